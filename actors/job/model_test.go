package job_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestAnyCommandsKeepTheInvariants plays a job and its slots with commands drawn at random, right and wrong ones. The
// scene holds the laws of all rooms (Decide changes nothing, replay equals live, facts survive encoding); this holds
// what is a job's own.
func TestAnyCommandsKeepTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rules()
		p.Redundancy = rapid.Uint32Range(1, 4).Draw(t, "redundancy")
		p.Margin = rapid.Uint32Range(1, 3).Draw(t, "margin")
		p.MaxReplicas = rapid.Uint32Range(max(p.Redundancy, p.Margin), 7).Draw(t, "cap")
		p.MaxAttempts = rapid.Uint32Range(1, 3).Draw(t, "attempts")
		if rapid.Bool().Draw(t, "never a referee") {
			p.Referee = eventv1.RefereeMode_REFEREE_MODE_NEVER
		}
		submit := &eventv1.SubmitJob{Spec: spec(), Policy: p}
		scene := story.NewScene(t, &job.Room, &assignment.Room)
		if _, err := scene.Do(actors.JobAddress(id), submit); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			state := scene.State(actors.JobAddress(id)).(job.State)
			switch n := rapid.IntRange(0, 20).Draw(t, "what"); {
			case n == 0:
				scene.Crash()
			case n == 1:
				scene.Pass(rapid.Int64Range(0, 15_000_000).Draw(t, "us"))
			case n < 6:
				_, _ = scene.Do(actors.JobAddress(id), anyJobCommand(submit).Draw(t, "job command"))
			default:
				to, cmd := anySlotCommand(t, scene, &state)
				_, _ = scene.Do(to, cmd)
			}
			checkJob(t, scene, p)
		}
	})
}

func anyJobCommand(submit *eventv1.SubmitJob) *rapid.Generator[proto.Message] {
	return rapid.Custom(func(t *rapid.T) proto.Message {
		slot := rapid.Uint32Range(0, 6).Draw(t, "slot")
		return rapid.SampledFrom([]proto.Message{
			submit,
			&eventv1.ReopenJob{}, &eventv1.RequeueJob{}, &eventv1.RequeueJob{}, &eventv1.ReseekSlot{Slot: slot},
			&eventv1.RecordFailure{Slot: slot, Reason: exhausted}, &eventv1.RecordFailure{Slot: slot, Reason: nobody},
			&eventv1.RecordReferee{Outcome: 1, Status: 1, Output: blob("x"), Fuel: 5},
			&eventv1.RecordReferee{Outcome: 2},
			&eventv1.CancelJob{}, &eventv1.DiscardJob{}, &eventv1.DiscardJob{ReplacedBy: someJob, Round: 1},
			&eventv1.RequeueJob{Round: slot},
		}).Draw(t, "command")
	})
}

// anySlotCommand draws mostly what is likely to be accepted, so that games get somewhere.
func anySlotCommand(t *rapid.T, scene *story.Scene, state *job.State) (actors.Address, proto.Message) {
	number := state.First + rapid.Uint32Range(0, uint32(len(state.Slots))).Draw(t, "slot")
	to := actors.SlotAddress(id, number)
	slot := scene.State(to).(assignment.State)
	if slot.Phase == assignment.Waiting && rapid.IntRange(0, 9).Draw(t, "abandon") == 0 {
		return to, &eventv1.AbandonSlot{Reason: nobody}
	}
	token := slot.Token
	if rapid.IntRange(0, 9).Draw(t, "token") == 0 {
		token++
	}
	if slot.Phase == assignment.Waiting && rapid.IntRange(0, 9).Draw(t, "dispatch") > 0 {
		worker := rapid.ByteRange(1, 9).Draw(t, "worker")
		return to, &eventv1.DispatchSlot{
			Worker: key(worker), AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: state.Policy.MaxAttempts,
			Group: rapid.SampledFrom([]string{"", "", "", "house"}).Draw(t, "group"), Seed: key(byte(number))[:16],
		}
	}
	result := &eventv1.ReturnResult{Token: token, Status: 1, Output: blob(rapid.SampledFrom([]string{"x", "x", "y"}).Draw(t, "says")), Fuel: 5}
	rejected := proto.CloneOf(result)
	rejected.Reject = eventv1.RejectReason_REJECT_REASON_SIGNATURE
	trap := &eventv1.ReturnResult{Token: token, Status: eventv1.ResultStatus_RESULT_STATUS_TRAP, Fuel: 5}
	return to, rapid.SampledFrom([]proto.Message{
		result, result, result, trap, rejected, &eventv1.AckTask{Token: token}, &eventv1.OpenSlot{},
		&eventv1.StripSlot{Token: token, Reason: eventv1.StripReason(rapid.IntRange(3, 10).Draw(t, "why"))},
		&eventv1.AbandonSlot{Reason: nobody},
		&eventv1.ExpireAck{Attempt: slot.Attempt}, &eventv1.ExpireExecution{Attempt: slot.Attempt},
	}).Draw(t, "command")
}

// round is what a job's history says of its current round.
type round struct {
	verdicts int
	open     uint32
	failed   int
	stranded bool // a slot of the wave was given up because nobody may have it
	results  []quorum.Result
}

// tell follows the round by one fact and says what is wrong with it.
func (r *round) tell(fact events.Fact, p *eventv1.JobPolicy) error {
	switch f := fact.(type) {
	case *eventv1.JobSubmitted:
		*r = round{open: f.Slots}
	case *eventv1.JobRequeued:
		*r = round{open: f.Slots}
	case *eventv1.ReplicaReturned:
		r.open--
		r.results = append(r.results, quorum.Result{
			Slot: f.Slot, Worker: f.Worker, Group: f.Group, Status: f.Status, Checksum: quorum.Checksum(f.Status, f.Fuel, f.Output),
		})
	case *eventv1.ReplicaFailed:
		r.open--
		r.failed++
		r.stranded = r.stranded || f.Reason == nobody
	case *eventv1.JobCancelled:
		r.verdicts++
		r.open = 0
	case *eventv1.TaskVerified, *eventv1.JobDeadLettered:
		r.verdicts++
		return r.closed(fact)
	case *eventv1.RefereeRequested:
		if len(r.results) == 0 {
			return errors.New("a referee for nothing")
		}
		return r.closed(fact)
	case *eventv1.WaveOpened:
		err := r.closed(fact)
		if r.stranded {
			return errors.New("another wave although nobody may have a slot")
		}
		r.open = f.Slots
		v := quorum.Decide(r.results, r.failed, quorum.Rule{Margin: p.Margin, MaxReplicas: p.MaxReplicas})
		if v.Outcome != quorum.NeedMore || v.Need != f.Slots {
			return fmt.Errorf("a wave of %d slots after\n%s", f.Slots, v.Describe())
		}
		return err
	}
	return nil
}

// closed refuses what may happen only when no slot is open.
func (r *round) closed(fact events.Fact) error {
	if r.open != 0 {
		return fmt.Errorf("%s while %d slots were open", events.TypeOf(fact), r.open)
	}
	return nil
}

// checkJob holds the invariants of a job and its slots over their whole history.
func checkJob(t *rapid.T, scene *story.Scene, p *eventv1.JobPolicy) {
	var r round
	for _, fact := range scene.History(actors.JobAddress(id)) {
		if err := r.tell(fact, p); err != nil {
			t.Fatal(err)
		}
		if r.verdicts > 1 {
			t.Fatal("two verdicts in one round")
		}
		if len(r.results) > int(p.MaxReplicas) {
			t.Fatalf("%d results: the cap is %d", len(r.results), p.MaxReplicas)
		}
	}
	verdicts := r.verdicts
	state := scene.State(actors.JobAddress(id)).(job.State)
	if (verdicts == 0) != (state.Phase == job.Open) {
		t.Fatalf("%d verdicts and %v", verdicts, state.Phase)
	}
	if state.Phase == job.Open && state.Pending == 0 && !state.Refereeing {
		t.Fatal("an open job that waits for nothing")
	}
	if state.Phase != job.Open && state.Refereeing {
		t.Fatal("a decided job whose referee is asked")
	}
	checkVerdict(t, &state)
	for n := range state.First + uint32(len(state.Slots)) {
		checkSlot(t, scene, &state, n, p)
	}
}

// checkVerdict recounts a quorum's verdict from the results that the state keeps.
func checkVerdict(t *rapid.T, s *job.State) {
	if s.Phase != job.Verified || s.Verdict.Basis == eventv1.VerdictBasis_VERDICT_BASIS_REFEREE {
		return
	}
	v := s.Tally()
	if v.Outcome != quorum.Verified || !slices.Equal(v.Votes[0].Slots, s.Verdict.Agreeing) || !slices.Equal(v.Contradicted(), s.Verdict.Contradicted) {
		t.Fatalf("%s after\n%s", story.Sketch(s.Verdict), v.Describe())
	}
}

func checkSlot(t *rapid.T, scene *story.Scene, j *job.State, n uint32, p *eventv1.JobPolicy) {
	of := actors.SlotAddress(id, n)
	s := scene.State(of).(assignment.State)
	if s.Counted > p.MaxAttempts || s.Attempt > p.MaxAttempts+assignment.MaxFreeAttempts+1 {
		t.Fatalf("slot %d was lost %d times in %d attempts", n, s.Counted, s.Attempt)
	}
	if _, armed := scene.Deadline(of); armed && !s.InFlight() {
		t.Fatalf("slot %d is %v and has a deadline", n, s.Phase)
	}
	ends := 0
	for _, f := range scene.History(of) {
		switch f.(type) {
		case *eventv1.ResultReturned, *eventv1.AssignmentDeadLettered, *eventv1.AssignmentCancelled:
			ends++
		}
	}
	if ends > 1 {
		t.Fatalf("slot %d ended %d times", n, ends)
	}
	if n < j.First || j.Phase != job.Open {
		return
	}
	if known := j.Slots[n-j.First].Phase; known == job.SlotReturned && s.Phase != assignment.Returned && s.Attempt > 0 {
		t.Fatalf("the job has a result of slot %d, which is %v", n, s.Phase)
	}
}

// FuzzForeignLog folds facts that no decision made: they are refused, or at least nobody falls over them.
func FuzzForeignLog(f *testing.F) {
	kinds := []actors.Kind{&job.Room, &assignment.Room}
	for _, history := range [][]events.Fact{
		{submitted(), said(0, "x"), said(1, "x"), &eventv1.TaskVerified{Agreeing: []uint32{0, 9}}},
		{kindOf(eventv1.JobKind_JOB_KIND_LITE_TEST, ""), said(0, "x")},
		{submitted(), &eventv1.WaveOpened{FirstSlot: 2, Slots: 1 << 31}},
		{&eventv1.ResultReturned{}, &eventv1.AssignmentStripped{}, &eventv1.AssignmentCancelled{}},
	} {
		f.Add(pack(f, history))
	}
	names := events.Types()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range kinds {
			e := kind.Open(actors.SlotID(id, 0))
			rest := data
			for len(rest) > 2 {
				fact, err := events.NewFact(names[int(rest[0])%len(names)])
				if err != nil {
					t.Fatal(err)
				}
				n := min(int(rest[1]), len(rest)-2)
				if proto.Unmarshal(rest[2:2+n], fact) != nil {
					break
				}
				rest = rest[2+n:]
				if e.Evolve(fact) != nil {
					break
				}
				e.React([]events.Fact{fact})
			}
			e.React(nil)
			for _, cmd := range []proto.Message{says(0, "x"), &eventv1.RequeueJob{}, &eventv1.OpenSlot{}, &eventv1.ExpireAck{}, &eventv1.CancelJob{}} {
				_, _ = e.Decide(actors.Rules, story.Command(story.Start, cmd))
			}
		}
	})
}

// pack is the inverse of what the fuzz target reads: type, length, bytes.
func pack(f *testing.F, history []events.Fact) (data []byte) {
	names := events.Types()
	for _, fact := range history {
		b, err := proto.Marshal(fact)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) > 255 {
			f.Fatal(fmt.Errorf("%s takes %d bytes", events.TypeOf(fact), len(b)))
		}
		data = append(data, byte(slices.Index(names, events.TypeOf(fact))), byte(len(b)))
		data = append(data, b...)
	}
	return data
}
