package dashboard

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// word is a part of a sentence: text, and where it leads.
type word struct {
	Text string
	Href string // empty: nowhere
}

// saying says what a fact means.
type saying []word

func (s saying) String() string {
	var b strings.Builder
	for _, w := range s {
		b.WriteString(w.Text)
	}
	return b.String()
}

func say(format string, args ...any) word { return word{Text: fmt.Sprintf(format, args...)} }

// The words that lead somewhere.
func sayWorker(key []byte) word {
	if len(key) == 0 {
		return word{Text: "nobody"}
	}
	return word{shortHex(key), linkWorker(key)}
}

func sayJob(id string) word {
	if events.CheckEntityID(id) != nil {
		return word{Text: id}
	}
	return word{id, linkJob(id)}
}

func sayPipeline(id string) word {
	if events.CheckEntityID(id) != nil {
		return word{Text: id}
	}
	return word{id, linkPipeline(id)}
}

// shortHex is enough of a key or a hash to tell it from others on one page.
func shortHex(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b[:min(len(b), 4)])
}

// enumText is an enum value's name for people: DEAD_LETTER_REASON_NO_QUORUM becomes "no quorum".
func enumText[E interface {
	protoreflect.Enum
	String() string
}](v E,
) string {
	values := v.Descriptor().Values()
	if values.ByNumber(v.Number()) == nil {
		return fmt.Sprintf("unknown (%d)", v.Number())
	}
	zero := string(values.ByNumber(0).Name())
	name := strings.TrimPrefix(v.String(), strings.TrimSuffix(zero, "UNSPECIFIED"))
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}

// factTone is how a page colours a fact.
func factTone(f events.Fact) tone {
	switch f := f.(type) {
	case *eventv1.TaskVerified, *eventv1.PipelineCompleted, *eventv1.WorkerAdmitted, *eventv1.ChallengePassed, *eventv1.ModuleAdmitted:
		return toneVerified
	case *eventv1.JobDeadLettered, *eventv1.ResultRejected, *eventv1.AssignmentDeadLettered, *eventv1.ReplicaFailed,
		*eventv1.ChallengeFailed, *eventv1.AdmissionRejected, *eventv1.WorkerBanned, *eventv1.PipelineFailed, *eventv1.ModuleRefused:
		return toneDead
	case *eventv1.ConsensusMismatch, *eventv1.AckTimedOut, *eventv1.ExecutionTimedOut, *eventv1.AssignmentStripped,
		*eventv1.RefereeRequested, *eventv1.JobRequeued, *eventv1.WorkerDrained, *eventv1.JobCancelled, *eventv1.PipelineCancelled:
		return toneMismatch
	case *eventv1.ReplicaReturned:
		if f.Status != eventv1.ResultStatus_RESULT_STATUS_OK {
			return toneMismatch
		}
	}
	return toneQuiet
}

// tell says in words what a fact of a stream means. What was cut out of it is not spoken of.
func tell(f events.Fact) saying {
	if s := tellJob(f); s != nil {
		return s
	}
	if s := tellSlot(f); s != nil {
		return s
	}
	if s := tellWorker(f); s != nil {
		return s
	}
	if s := tellPipeline(f); s != nil {
		return s
	}
	if s := tellDeployment(f); s != nil {
		return s
	}
	text, err := protojson.Marshal(f)
	if err != nil {
		return saying{say("%s", events.TypeOf(f))}
	}
	return saying{say("%s", text)}
}

func tellJob(f events.Fact) saying {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		s := saying{say("submitted: %s, %s, margin %d", enumText(f.GetSpec().GetKind()), plural(int(f.Slots), "replica"), f.GetPolicy().GetMargin())}
		if p := f.GetSpec().GetPipeline(); p != "" {
			s = append(s, say("; chunk %d of stage %d of pipeline ", f.Spec.Chunk, f.Spec.Stage), sayPipeline(p))
		}
		if f.GetSpec().GetReplaces() != "" {
			s = append(s, say("; instead of job "), sayJob(f.Spec.Replaces))
		}
		return s
	case *eventv1.ReplicaReturned:
		return append(saying{say("slot %d: worker ", f.Slot), sayWorker(f.Worker)}, tellResult(f.Status, f.Output, f.Fuel, f.RunMs)...)
	case *eventv1.ReplicaFailed:
		return saying{say("slot %d was given up: %s", f.Slot, enumText(f.Reason))}
	case *eventv1.ConsensusMismatch:
		return saying{say("wave %d does not agree: %s", f.Wave, tellVotes(f.Votes))}
	case *eventv1.WaveOpened:
		return saying{say("wave %d opens %s: %s", f.Wave, slotRange(f.FirstSlot, f.Slots), f.Why)}
	case *eventv1.RefereeRequested:
		return saying{say("the referee is asked: %s", f.Why)}
	case *eventv1.RefereeDecided:
		if f.Outcome != eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED {
			return saying{say("the referee has no answer: %s%s", enumText(f.Outcome), after(": ", f.Detail))}
		}
		return append(saying{say("the referee computed it")}, tellResult(f.Status, f.Output, f.Fuel, 0)...)
	case *eventv1.TaskVerified:
		s := say("verified by %s: %s", enumText(f.Basis), agreement(len(f.Agreeing), len(f.Contradicted)))
		return saying{s, say("; checksum %s", shortHex(f.Checksum))}
	case *eventv1.JobDeadLettered:
		return saying{say("dead-lettered: %s%s", enumText(f.Reason), after(": ", f.Detail))}
	case *eventv1.JobRequeued:
		return saying{say("requeued by %s: round %d opens %s%s", f.By, f.Round, slotRange(f.FirstSlot, f.Slots), after(": ", f.Reason))}
	case *eventv1.JobDiscarded:
		s := saying{say("discarded by %s%s", f.By, after(": ", f.Reason))}
		if f.ReplacedBy != "" {
			s = append(s, say("; job "), sayJob(f.ReplacedBy), say(" stands in for it"))
		}
		return s
	case *eventv1.JobCancelled:
		return saying{say("cancelled by %s%s", f.By, after(": ", f.Reason))}
	}
	return nil
}

func tellSlot(f events.Fact) saying {
	switch f := f.(type) {
	case *eventv1.AssignmentDispatched:
		return saying{
			say("attempt %d of %d goes to worker ", f.Attempt, f.MaxAttempts), sayWorker(f.Worker),
			say(", one of %s", plural(len(f.Candidates), "candidate")),
		}
	case *eventv1.TaskAcked:
		return saying{say("attempt %d was acknowledged", f.Attempt)}
	case *eventv1.AckTimedOut:
		return saying{say("attempt %d was not acknowledged in time", f.Attempt)}
	case *eventv1.ExecutionTimedOut:
		return saying{say("attempt %d did not return in time", f.Attempt)}
	case *eventv1.AssignmentStripped:
		s := say("attempt %d was taken away: %s%s", f.Attempt, enumText(f.Reason), after(": ", f.Detail))
		if !f.Counts {
			s.Text += " (does not count)"
		}
		return saying{s}
	case *eventv1.ResultReturned:
		return append(saying{say("attempt %d", f.Attempt)}, tellResult(f.Status, f.Output, f.Fuel, f.RunMs)...)
	case *eventv1.ResultRejected:
		return saying{say("the result of attempt %d was refused: %s%s", f.Attempt, enumText(f.Reason), after(": ", f.Detail))}
	case *eventv1.AssignmentDeadLettered:
		return saying{say("given up after %s: %s", plural(int(f.Attempts), "attempt"), enumText(f.Reason))}
	case *eventv1.AssignmentCancelled:
		return saying{say("no longer needed%s", after(": ", f.Reason))}
	}
	return nil
}

func tellWorker(f events.Fact) saying {
	switch f := f.(type) {
	case *eventv1.WorkerRegistered:
		return saying{say("worker "), sayWorker(f.Key), say(" is new here")}
	case *eventv1.ProfileReported:
		p := f.GetProfile()
		return saying{say("claims %s and %s, %s, %s", gflops(p.GetMflops()), sizeOf(p.GetMaxAllocationBytes()), plural(int(p.GetCores()), "core"), p.GetAgent())}
	case *eventv1.ChallengePassed:
		return saying{say("passed a %s challenge in %s", enumText(f.Kind), lasting(time.Duration(f.ElapsedUs)*time.Microsecond))}
	case *eventv1.ChallengeFailed:
		return saying{say("failed a %s challenge: %s%s", enumText(f.Kind), enumText(f.Reason), after(": ", f.Detail))}
	case *eventv1.WorkerAdmitted:
		return saying{say("admitted to tier %d, proven %s and %s", f.Tier, gflops(f.GetProven().GetMflops()), sizeOf(f.GetProven().GetMemoryBytes()))}
	case *eventv1.AdmissionRejected:
		return saying{say("not admitted: %s%s", enumText(f.Reason), after(": ", f.Detail))}
	case *eventv1.TierChanged:
		return saying{say("tier %d, before %d: %s", f.To, f.From, f.Why)}
	case *eventv1.WorkerConnected:
		return saying{say("connected to %s", f.Node)}
	case *eventv1.WorkerDisconnected:
		return saying{say("disconnected%s", after(": ", f.Why))}
	case *eventv1.ReliabilityChanged:
		d := f.GetDelta()
		return saying{say("%d agreed, %d contradicted, %d refused, %d late, %d dropped, %d failed",
			d.GetAgreed(), d.GetContradicted(), d.GetRejected(), d.GetTimedOut(), d.GetDropped(), d.GetFailed())}
	case *eventv1.WorkerDrained:
		return saying{say("drained by %s%s", f.By, after(": ", f.Reason))}
	case *eventv1.WorkerBanned:
		return saying{say("banned by %s%s", f.By, after(": ", f.Reason))}
	case *eventv1.WorkerReinstated:
		return saying{say("reinstated by %s%s", f.By, after(": ", f.Reason))}
	}
	return nil
}

func tellPipeline(f events.Fact) saying {
	switch f := f.(type) {
	case *eventv1.PipelineSubmitted:
		return saying{say("submitted: %q, %s, %s", f.GetSpec().GetName(), plural(len(f.GetSpec().GetStages()), "stage"), plural(int(f.GetSpec().GetChunks()), "chunk"))}
	case *eventv1.StageStarted:
		return saying{say("stage %d begins: %s", f.Stage, plural(int(f.Chunks), "chunk"))}
	case *eventv1.JobsSettled:
		verified := 0
		for _, j := range f.Jobs {
			if j.GetVerified() {
				verified++
			}
		}
		return saying{say("stage %d: %s verified, %d failed", f.Stage, plural(verified, "chunk"), len(f.Jobs)-verified)}
	case *eventv1.ChunksReopened:
		return saying{say("stage %d waits again for %s", f.Stage, plural(len(f.Chunks), "chunk"))}
	case *eventv1.StageCompleted:
		return saying{say("stage %d is complete", f.Stage)}
	case *eventv1.PipelineCompleted:
		return saying{say("complete: %s of output", sizeOf(f.OutputBytes))}
	case *eventv1.PipelineFailed:
		return saying{say("failed: %s", f.Detail)}
	case *eventv1.PipelineCancelled:
		return saying{say("cancelled by %s%s", f.By, after(": ", f.Reason))}
	}
	return nil
}

func tellDeployment(f events.Fact) saying {
	switch f := f.(type) {
	case *eventv1.ModuleAdmitted:
		return saying{say("module %s admitted as %s: %s, %s of memory", shortHex(f.Original), shortHex(f.Name), enumText(f.Class), sizeOf(f.MemoryBytes))}
	case *eventv1.ModuleRefused:
		return saying{say("module %s refused: %s%s", shortHex(f.Original), f.Code, after(": ", f.Detail))}
	case *eventv1.PolicyChanged:
		return saying{say("policy changed by %s%s", f.By, after(": ", f.Reason))}
	case *eventv1.ShardTaken:
		return saying{say("taken by %s", f.Node)}
	}
	return nil
}

func tellResult(status eventv1.ResultStatus, output *eventv1.BlobRef, fuel uint64, runMs uint32) saying {
	var b strings.Builder
	fmt.Fprintf(&b, " returned %s, %s fuel", enumText(status), thousands(fuel))
	if output != nil {
		fmt.Fprintf(&b, ", %s", sizeOf(output.Size))
	}
	if runMs > 0 {
		fmt.Fprintf(&b, ", in %s", lasting(time.Duration(runMs)*time.Millisecond))
	}
	return saying{{Text: b.String()}}
}

func tellVotes(votes []*eventv1.Vote) string {
	parts := make([]string, 0, len(votes))
	for i, v := range votes {
		if i == 4 && len(votes) > 5 {
			parts = append(parts, fmt.Sprintf("%d more", len(votes)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s says %s", slotList(v.GetSlots()), shortHex(v.GetChecksum())))
	}
	return strings.Join(parts, ", ")
}

// agreement says how many replicas stand behind a verdict.
func agreement(agreeing, contradicted int) string {
	s := fmt.Sprintf("%d agree", agreeing)
	if contradicted > 0 {
		s += fmt.Sprintf(", %d contradicted", contradicted)
	}
	return s
}

func slotRange(first, n uint32) string {
	switch n {
	case 0:
		return "no slot"
	case 1:
		return fmt.Sprintf("slot %d", first)
	}
	return fmt.Sprintf("slots %d to %d", first, uint64(first)+uint64(n)-1)
}

// slotList names slots, the first eight of them.
func slotList(slots []uint32) string {
	if len(slots) == 0 {
		return "no slot"
	}
	b := strings.Builder{}
	b.WriteString("slot")
	if len(slots) > 1 {
		b.WriteByte('s')
	}
	for i, s := range slots {
		switch {
		case i == 8:
			fmt.Fprintf(&b, " and %d more", len(slots)-i)
			return b.String()
		case i > 0:
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %d", s)
	}
	return b.String()
}

func after(sep, text string) string {
	if text == "" {
		return ""
	}
	return sep + text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// streamWords says whose stream it is, and where that leads.
func streamWords(stream string) (what string, where word) {
	room, id, _ := strings.Cut(stream, "-")
	switch room {
	case actors.JobRoom:
		return "job", sayJob(id)
	case actors.AssignmentRoom:
		if job, slot, err := actors.ParseSlotID(id); err == nil {
			return fmt.Sprintf("slot %d of job", slot), sayJob(job)
		}
	case actors.PipelineRoom:
		return "pipeline", sayPipeline(id)
	case actors.WorkerRoom:
		if key, err := hex.DecodeString(id); err == nil && len(key) == 32 {
			return "worker", sayWorker(key)
		}
	}
	return room, word{Text: id}
}
