package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// CheckOptions say how to check a bundle.
type CheckOptions struct {
	// Key is the orchestrator's public key, from a place that the checker trusts. Nil: the key in the bundle.
	Key ed25519.PublicKey
	// Runner runs the module again. Nil: it is not run.
	Runner Runner
	// MaxFound bounds the faults that are listed. Default 20.
	MaxFound int
}

// Checked is what a check of a bundle found. Its JSON is a documented contract.
type Checked struct {
	Job          string          `json:"job"`
	Sound        bool            `json:"sound"` // nothing is wrong, and nothing was undecidable
	Records      uint64          `json:"records"`
	Streams      uint64          `json:"streams"`
	Commands     uint64          `json:"commands"`
	Undecidable  uint64          `json:"undecidable"`
	Evidence     Evidence        `json:"evidence"`
	Anchor       *Anchored       `json:"anchor,omitempty"` // absent: no checkpoint that holds
	Contents     int             `json:"contents"`
	Missing      []string        `json:"missing"` // hashes of contents that facts name and that are not in the bundle
	Phase        string          `json:"phase"`
	Verdict      *Ruling         `json:"verdict,omitempty"`
	Contradicted []Contradiction `json:"contradicted"`
	Rerun        *Rerun          `json:"rerun,omitempty"` // when the module was run again
	Unproven     []string        `json:"unproven"`
	Faults       uint64          `json:"faults"`
	Found        []Divergence    `json:"found"` // the first ones

	Story *auditv1.Story `json:"-"`
}

// Ruling is the last verdict of a job.
type Ruling struct {
	Basis        string   `json:"basis"`                 // quorum, referee, single, known answer; empty: none
	DeadLetter   string   `json:"dead_letter,omitempty"` // reason
	Status       string   `json:"status"`
	Fuel         uint64   `json:"fuel"`
	Checksum     string   `json:"checksum"` // hex
	Output       string   `json:"output"`   // SHA-256, hex
	Agreeing     []uint32 `json:"agreeing"`
	Contradicted []uint32 `json:"contradicted"`
}

// Contradiction is the evidence against a worker whose result is not the decided one.
type Contradiction struct {
	Slot    uint32 `json:"slot"`
	Attempt uint32 `json:"attempt"`
	Worker  string `json:"worker"` // public key, hex
	Group   string `json:"group"`
	Signed  bool   `json:"signed"`  // the worker's own signature over what it returned holds
	Said    string `json:"said"`    // checksum, hex
	Decided string `json:"decided"` // checksum, hex; empty for a ringer's failure without a known answer
	Refuted bool   `json:"refuted"` // the module was run again, and gives something else than what was said
}

// Check verifies a bundle with nothing but the bundle: its form, its digest, the proofs of inclusion, every decision,
// every signature, placement, checksum and content. An error means that the file is no bundle that can be checked, or
// that ctx ended; what is wrong with one that can is in the answer.
func Check(ctx context.Context, file []byte, o CheckOptions) (Checked, error) {
	u, err := unpack(file)
	if err != nil {
		return Checked{}, err
	}
	if o.MaxFound < 1 {
		o.MaxFound = defaultMaxFound
	}
	found := findings{max: o.MaxFound}
	c := newCase(u.job, u.records)
	anchor := u.checkAnchor(o.Key, &found)
	contents := u.checkContents(c, &found)
	report, err := c.replay(ctx, contents, o.MaxFound, &found)
	if err != nil {
		return Checked{}, err
	}
	story := c.story(report)
	out := Checked{
		Job: u.job, Records: uint64(len(u.records)), Streams: report.Streams, Commands: report.Commands,
		Undecidable: report.Undecidable, Evidence: report.Evidence, Anchor: anchor, Contents: len(contents),
		Missing: missing(c, contents), Phase: phrase(story.Phase), Story: story,
	}
	out.verdict(story)
	out.complete(c, story, &found)
	if o.Runner != nil {
		if err := out.rerun(ctx, c, contents, o.Runner, &found); err != nil {
			return Checked{}, err
		}
	}
	out.Faults, out.Found = found.count, append([]Divergence{}, found.kept...)
	out.Sound = out.Faults == 0 && out.Undecidable == 0
	out.Unproven = out.unproven(story, o)
	story.Unproven, story.Evidence = out.Unproven, evidence(Report{
		Commands: report.Commands, Undecidable: report.Undecidable, Evidence: report.Evidence, Divergences: out.Faults, Found: out.Found,
	})
	return out, nil
}

// Describe says what a bundle holds, and whose key is in it, without verifying more than its form and digest.
func Describe(file []byte) (Bundled, ed25519.PublicKey, error) {
	u, err := unpack(file)
	if err != nil {
		return Bundled{}, nil, err
	}
	var found findings
	c := newCase(u.job, u.records)
	contents := u.checkContents(c, &found)
	return Bundled{
		Job: u.job, Records: len(u.records), Anchored: u.anchor != nil, Contents: len(contents),
		Left: missing(c, contents), Bytes: int64(len(file)),
	}, u.anchor.GetKey(), nil
}

func missing(c *Case, h held) []string {
	out := []string{}
	for _, sum := range c.contents() {
		if _, ok := h[sum]; !ok {
			out = append(out, hex.EncodeToString(sum[:]))
		}
	}
	return out
}

// verdict fills in the last verdict and the evidence against those that it contradicts.
func (out *Checked) verdict(s *auditv1.Story) {
	out.Contradicted = []Contradiction{}
	for _, round := range s.Rounds {
		v := round.Verdict
		if v == nil {
			continue
		}
		decided := v.Checksum
		if len(v.KnownChecksum) > 0 {
			decided = v.KnownChecksum
		}
		attempts := returned(round)
		for _, n := range v.Contradicted {
			a := attempts[n]
			if a == nil {
				continue // the replay has named it
			}
			out.Contradicted = append(out.Contradicted, Contradiction{
				Slot: n, Attempt: a.Attempt, Worker: hex.EncodeToString(a.Worker), Group: a.Group,
				Signed: a.GetResult().GetSignature() == auditv1.SignatureState_SIGNATURE_STATE_VERIFIED,
				Said:   hex.EncodeToString(a.GetResult().GetChecksum()), Decided: hex.EncodeToString(decided),
			})
		}
		out.Verdict = ruling(v)
	}
	if s.Phase == auditv1.JobPhase_JOB_PHASE_OPEN || s.Phase == auditv1.JobPhase_JOB_PHASE_CANCELLED {
		out.Verdict = nil
	}
}

func ruling(v *auditv1.Verdict) *Ruling {
	r := &Ruling{
		Status: phrase(v.Status), Fuel: v.Fuel, Checksum: hex.EncodeToString(v.Checksum),
		Output: hex.EncodeToString(v.GetOutput().GetSha256()), Agreeing: append([]uint32{}, v.Agreeing...),
		Contradicted: append([]uint32{}, v.Contradicted...),
	}
	if v.Basis != eventv1.VerdictBasis_VERDICT_BASIS_UNSPECIFIED {
		r.Basis = phrase(v.Basis)
	}
	if v.DeadLetter != eventv1.DeadLetterReason_DEAD_LETTER_REASON_UNSPECIFIED {
		r.DeadLetter = phrase(v.DeadLetter)
	}
	return r
}

// complete looks for what a bundle must hold and a part of the log need not: the submission, and the records of every
// result that the job counts.
func (out *Checked) complete(c *Case, s *auditv1.Story, found *findings) {
	if s.Spec == nil {
		found.add(&c.records[0], Cut, "the job's submission is not in the bundle")
	}
	slots := map[uint32]bool{}
	for _, round := range s.Rounds {
		for n := range returned(round) {
			slots[n] = true
		}
	}
	for i := range c.records {
		r := &c.records[i]
		if r.Stream != jobPrefix+c.Job {
			continue
		}
		f, err := events.Decode(*r)
		if err != nil {
			continue
		}
		if f, ok := f.(*eventv1.ReplicaReturned); ok && !slots[f.Slot] {
			found.add(r, Replica, "the result of slot %d is not in the bundle", f.Slot)
		}
	}
}

// unproven says what even a sound bundle does not prove.
func (out *Checked) unproven(s *auditv1.Story, o CheckOptions) []string {
	var list []string
	for _, line := range unproven(s) {
		if line == unprovenLog || out.Rerun.agrees() && slices.Contains(rerunProves, line) {
			continue
		}
		list = append(list, line)
	}
	switch {
	case out.Anchor == nil:
		list = append(list, "That these records are in any log: the bundle has no checkpoint that holds.")
	case o.Key == nil:
		list = append(list, fmt.Sprintf("That the key is the orchestrator's: it is the bundle's own, fingerprint %s. Give the key to check against.", out.Anchor.Fingerprint))
	}
	if len(out.Missing) > 0 {
		list = append(list, fmt.Sprintf("What is in %s: only hashes are here.", count(len(out.Missing), "content")))
	}
	return append(list, "That nothing came after the last of these records: proofs show what is in a log, never what is not.")
}

// decidedSum is the checksum that the last verdict rests on.
func decidedSum(s *auditv1.Story) (sum [32]byte, ok bool) {
	if len(s.Rounds) == 0 {
		return sum, false
	}
	v := s.Rounds[len(s.Rounds)-1].Verdict
	return sum, fill(&sum, v.GetChecksum()) || fill(&sum, v.GetKnownChecksum())
}

func runSum(r Run) [32]byte {
	return quorum.Checksum(r.Status, r.Fuel, &eventv1.BlobRef{Sha256: r.Output[:]})
}
