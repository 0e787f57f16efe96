package dashboard

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ballot is the vote of a job's round: who says what, and what it comes to.
type ballot struct {
	Verdict saying // one sentence
	Tone    tone
	Groups  []ballotGroup
	Margin  uint32
	Empty   empty
}

// ballotGroup is one group of identical results.
type ballotGroup struct {
	Checksum string // in short
	Full     string
	Status   string
	Groups   string  // how many identities say it
	Standing badge   // agrees, contradicted, undecided
	Share    float64 // of all voices, percent
	Voices   []voice
}

// voice is one worker's result.
type voice struct {
	Key      string
	Slot     uint32
	Worker   string
	Full     string
	Href     string // empty: the viewer does not see workers
	Group    string
	Checksum string
	Took     string
	Fuel     string
	Size     string
	Status   string
	Attested bool
	Standing badge
}

// newBallot counts the voices of the current round. hidden says that outputs must not be seen.
func newBallot(j *readmodel.Job, staff, hidden bool) ballot {
	b := ballot{Margin: j.Policy.GetMargin(), Tone: toneRunning}
	b.Verdict, b.Tone = verdictSaying(j, staff)
	var voices uint32
	for _, v := range j.Votes {
		voices += v.Groups
	}
	for i := range j.Votes {
		v := &j.Votes[i]
		g := ballotGroup{
			Checksum: shortKey(v.Checksum), Full: hex.EncodeToString(v.Checksum), Status: enumText(v.Status),
			Groups: plural(int(v.Groups), "identity group"), Standing: standing(j, v),
		}
		if voices > 0 {
			g.Share = 100 * float64(v.Groups) / float64(voices)
		}
		for _, s := range j.Assignments {
			for k := range s.Attempts {
				a := &s.Attempts[k]
				if s.Round == j.Round && a.Outcome == readmodel.OutcomeReturned && slices.Contains(v.Slots, a.Slot) {
					g.Voices = append(g.Voices, newVoice(a, g.Standing, staff, hidden))
				}
			}
		}
		b.Groups = append(b.Groups, g)
	}
	b.Empty = empty{Title: "No result yet", Text: "Each result is compared by a checksum over its status, its fuel and its output."}
	return b
}

func newVoice(a *readmodel.Attempt, s badge, staff, hidden bool) voice {
	v := voice{
		Key: fmt.Sprintf("%d", a.Slot), Slot: a.Slot, Worker: shortKey(a.Worker), Full: hex.EncodeToString(a.Worker), Group: plain(clip(a.Group, 40)),
		Checksum: shortKey(a.Checksum), Took: "–", Fuel: thousands(a.Fuel), Size: "hidden until decided", Status: enumText(a.Status),
		Attested: a.Attested, Standing: s,
	}
	if staff {
		v.Href = linkWorker(a.Worker)
	} else {
		v.Group = ""
	}
	if a.RunMs > 0 {
		v.Took = lasting(time.Duration(a.RunMs) * time.Millisecond)
	}
	if !hidden {
		v.Size = sizeOf(a.Output.GetSize())
	}
	return v
}

// standing says whether the verdict is with a vote.
func standing(j *readmodel.Job, v *readmodel.Vote) badge {
	switch {
	case v.Decided:
		return badge{toneVerified, "agrees"}
	case j.Verdict != nil && !bytes.Equal(v.Checksum, j.Verdict.Checksum):
		return badge{toneMismatch, "contradicted"}
	case j.State == operatorv1.JobState_JOB_STATE_DEAD_LETTERED && len(j.DeadLetter.GetContradicted()) > 0 && slices.Contains(j.DeadLetter.Contradicted, v.Slots[0]):
		return badge{toneMismatch, "contradicted"}
	case j.State == operatorv1.JobState_JOB_STATE_OPEN:
		return badge{toneRunning, "undecided"}
	}
	return badge{toneWaiting, "no verdict"}
}

// verdictSaying is the verdict in one sentence: its basis, its margin, and whom it contradicts.
func verdictSaying(j *readmodel.Job, staff bool) (saying, tone) {
	if v := j.Verdict; v != nil && j.State == operatorv1.JobState_JOB_STATE_VERIFIED {
		s := saying{say("%s.", verdictBasis(j))}
		if len(v.Contradicted) > 0 {
			s = append(s, contradictedSaying(j, v.Contradicted, staff)...)
		}
		return s, toneVerified
	}
	switch j.State {
	case operatorv1.JobState_JOB_STATE_DEAD_LETTERED:
		return saying{say("No verdict: %s%s.", enumText(j.Reason), after(": ", strings.TrimSuffix(j.Detail, ".")))}, toneDead
	case operatorv1.JobState_JOB_STATE_CANCELLED, operatorv1.JobState_JOB_STATE_DISCARDED:
		return saying{say("%s%s%s.", titleCase(enumText(j.State)), after(" by ", j.By), after(": ", strings.TrimSuffix(j.Detail, ".")))}, toneWaiting
	}
	switch {
	case j.Refereeing:
		return saying{say("The results did not decide it: the referee computes the chunk.")}, toneMismatch
	case len(j.Votes) > 1:
		return saying{say("The results differ: a group must be ahead of the next one by %d. %s.", j.Policy.GetMargin(), openSlots(j))}, toneMismatch
	case len(j.Votes) == 1:
		return saying{say("%s so far, all alike: %s needed. %s.", titleCase(plural(int(j.Returned), "result")), plural(int(j.Policy.GetMargin()), "identity group"), openSlots(j))}, toneRunning
	}
	return saying{say("No result yet. %s.", openSlots(j))}, toneRunning
}

func verdictBasis(j *readmodel.Job) string {
	v := j.Verdict
	switch v.Basis {
	case eventv1.VerdictBasis_VERDICT_BASIS_QUORUM:
		lead, of := lead(j.Votes)
		return fmt.Sprintf("Verified by quorum: %d of %s agree, ahead by %d %s where %d needed", len(v.Agreeing),
			plural(len(v.Agreeing)+len(v.Contradicted), "result"), lead, of, j.Policy.GetMargin())
	case eventv1.VerdictBasis_VERDICT_BASIS_REFEREE:
		return fmt.Sprintf("Verified by the referee, which computed the chunk itself: %s", agreement(len(v.Agreeing), len(v.Contradicted)))
	case eventv1.VerdictBasis_VERDICT_BASIS_SINGLE:
		return "Accepted from one worker: a stress job is not compared"
	case eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER:
		return "The worker gave the answer that was known before: this job tested it"
	}
	return "Verified by " + enumText(v.Basis)
}

// lead is by how many identity groups the first vote is ahead.
func lead(votes []readmodel.Vote) (uint32, string) {
	var n uint32
	if len(votes) > 0 {
		n = votes[0].Groups
	}
	if len(votes) > 1 {
		n -= min(n, votes[1].Groups)
	}
	if n == 1 {
		return n, "group"
	}
	return n, "groups"
}

func openSlots(j *readmodel.Job) string {
	open := 0
	for _, s := range j.Assignments {
		switch s.State {
		case readmodel.SlotWaiting, readmodel.SlotDispatched, readmodel.SlotRunning:
			open++
		}
	}
	if open == 0 {
		return "No slot is open"
	}
	return titleCase(plural(open, "slot")) + " open"
}

// contradictedSaying names the workers whose results the verdict contradicts.
func contradictedSaying(j *readmodel.Job, slots []uint32, staff bool) saying {
	s := saying{say(" Contradicted: ")}
	n := 0
	for _, as := range j.Assignments {
		for i := range as.Attempts {
			a := &as.Attempts[i]
			if a.Outcome != readmodel.OutcomeReturned || as.Round != j.Round || !slices.Contains(slots, a.Slot) {
				continue
			}
			if n > 0 {
				s = append(s, say(", "))
			}
			if n++; n > 6 {
				return append(s, say("%d more.", len(slots)-6))
			}
			w := sayWorker(a.Worker)
			if !staff {
				w.Href = ""
			}
			s = append(s, w)
		}
	}
	if n == 0 {
		return append(s, say("%s.", slotList(slots)))
	}
	return append(s, say("."))
}
