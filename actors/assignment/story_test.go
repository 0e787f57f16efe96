package assignment_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	job  = "0123456789abcdefghjkmnpqrs"
	slot = job + "-3"
)

var seed = bytes.Repeat([]byte{5}, 16)

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func blob(text string) *eventv1.BlobRef {
	sum := sha256.Sum256([]byte(text))
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(text))}
}

func dispatch(worker byte) *eventv1.DispatchSlot {
	return &eventv1.DispatchSlot{
		Worker: key(worker), Group: "g", AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 2,
		Seed: seed, Head: 9, Candidates: [][]byte{key(worker)[:8]},
	}
}

func dispatched(attempt uint32, worker byte) *eventv1.AssignmentDispatched {
	return &eventv1.AssignmentDispatched{
		Attempt: attempt, Worker: key(worker), Group: "g", Token: token(attempt),
		AckDeadlineUs: story.Start + 5_000_000, ExecutionTimeoutMs: 10_000, MaxAttempts: 2,
		Candidates: [][]byte{key(worker)[:8]}, Seed: seed, Head: 9,
	}
}

func token(attempt uint32) uint64 { return assignment.Token(seed, attempt) }

func acked(attempt uint32) *eventv1.TaskAcked {
	return &eventv1.TaskAcked{Attempt: attempt, ExecutionDeadlineUs: story.Start + 10_000_000}
}

func stripped(attempt uint32, why eventv1.StripReason, counts bool) *eventv1.AssignmentStripped {
	return &eventv1.AssignmentStripped{Attempt: attempt, Reason: why, Counts: counts}
}

func returned(attempt uint32) *eventv1.ResultReturned {
	return &eventv1.ResultReturned{Attempt: attempt, Status: 1, Output: blob("x"), Fuel: 7}
}

func result(attempt uint32) *eventv1.ReturnResult {
	return &eventv1.ReturnResult{Token: token(attempt), Status: 1, Output: blob("x"), Fuel: 7}
}

func holder(worker byte) actors.Holder {
	return actors.Holder{Slot: 3, Worker: key(worker), Group: "g"}
}

func task(attempt uint32, worker byte, acked bool) actors.Task {
	return actors.Task{
		Job: job, Slot: 3, Attempt: attempt, Token: token(attempt), Worker: key(worker), Group: "g",
		AckDeadlineUs: story.Start + 5_000_000, ExecutionTimeoutMs: 10_000, Acked: acked,
	}
}

func armAck(attempt uint32) actors.Effect {
	return actors.Arm{AtUs: story.Start + 5_000_000, Command: story.Command(0, &eventv1.ExpireAck{Attempt: attempt})}
}

func armExecution(attempt uint32) actors.Effect {
	return actors.Arm{
		AtUs: story.Start + 10_000_000, Command: story.Command(0, &eventv1.ExpireExecution{Attempt: attempt}),
	}
}

func tell(cmd proto.Message) actors.Effect {
	return actors.Tell{To: actors.JobAddress(job), Command: story.Command(0, cmd)}
}

func recorded(attempt uint32, worker byte) actors.Effect {
	return tell(&eventv1.RecordReplica{
		Slot: 3, Attempt: attempt, Worker: key(worker), Group: "g", Status: 1, Output: blob("x"), Fuel: 7,
	})
}

const (
	ackTimeout = eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT
	dropped    = eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED
	rejected   = eventv1.StripReason_STRIP_REASON_RESULT_REJECTED
	notResumed = eventv1.StripReason_STRIP_REASON_NOT_RESUMED
	nobody     = eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER
	checksum   = eventv1.RejectReason_REJECT_REASON_CHECKSUM
)

func TestHandedOutAckedReturned(t *testing.T) {
	story.Of(t, &assignment.Room, slot).
		When(dispatch(1)).Then(dispatched(1, 1)).
		Effects(actors.Deliver{Task: task(1, 1, false)}, armAck(1)).
		When(&eventv1.AckTask{Token: token(1)}).Then(acked(1)).
		Effects(armExecution(1)).
		When(&eventv1.AckTask{Token: token(1)}).Nothing().
		At(40_000).When(result(1)).
		Then(&eventv1.ResultReturned{Attempt: 1, Status: 1, Output: blob("x"), Fuel: 7, RunMs: 40}).
		Replies(assignment.ReturnReply{Accepted: true}).
		IsDone(true).
		When(result(1)).Refuses(assignment.ErrDuplicate).
		When(dispatch(2)).Refuses(assignment.ErrClosed).
		When(&eventv1.CancelSlot{}).Refuses(assignment.ErrClosed).
		When(&eventv1.ExpireExecution{Attempt: 1}).Refuses(assignment.ErrStaleTimer)
}

func TestReturnWithoutAckIsAccepted(t *testing.T) {
	story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1)).
		When(result(1)).Then(returned(1)).
		Effects(actors.Disarm{}, actors.Release{Job: job, Holder: holder(1), Returned: true}, recorded(1, 1))
}

func TestRejectedResultGoesToAnotherWorkerThenDeadLetters(t *testing.T) {
	bad := result(1)
	bad.Reject, bad.Detail, bad.Attestation = checksum, "not the payload's", make([]byte, 64)
	evidence := &eventv1.ResultRejected{
		Attempt: 1, Reason: checksum, Detail: "not the payload's", Status: 1, Output: blob("x"), Fuel: 7,
		Attestation: make([]byte, 64),
	}
	again := result(2)
	again.Reject = checksum
	story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1), acked(1)).
		When(bad).Then(evidence, stripped(1, rejected, true)).
		Replies(assignment.ReturnReply{Reject: checksum}).
		Effects(
			actors.Disarm{}, actors.Release{Job: job, Holder: holder(1)},
			actors.CountWork{Worker: key(1), Delta: &eventv1.Tally{Rejected: 1}},
			tell(&eventv1.ReseekSlot{Slot: 3, Excluded: [][]byte{key(1)}}),
		).
		When(result(1)).Refuses(assignment.ErrStaleToken).
		When(dispatch(2)).Then(dispatched(2, 2)).
		When(again).ThenTypes("ResultRejected", "AssignmentStripped", "AssignmentDeadLettered").
		Effects(
			actors.Disarm{}, actors.Release{Job: job, Holder: holder(2)},
			actors.CountWork{Worker: key(2), Delta: &eventv1.Tally{Rejected: 1}},
			tell(&eventv1.RecordFailure{Slot: 3, Reason: eventv1.SlotFailure_SLOT_FAILURE_ATTEMPTS_EXHAUSTED}),
		).
		IsDone(true).
		When(again).Refuses(assignment.ErrClosed)
}

func TestDeadlines(t *testing.T) {
	story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1)).
		At(4_999_999).When(&eventv1.ExpireAck{Attempt: 1}).Then().Effects(armAck(1)).
		At(5_000_000).When(&eventv1.ExpireExecution{Attempt: 1}).Refuses(assignment.ErrStaleTimer).
		When(&eventv1.ExpireAck{Attempt: 1}).
		Then(&eventv1.AckTimedOut{Attempt: 1}, stripped(1, ackTimeout, true)).
		Effects(
			actors.Disarm{}, actors.Release{Job: job, Holder: holder(1)},
			actors.Recall{Worker: key(1), Token: token(1), Reason: "not acknowledged in time"},
			actors.CountWork{Worker: key(1), Delta: &eventv1.Tally{TimedOut: 1}},
			tell(&eventv1.ReseekSlot{Slot: 3, Excluded: [][]byte{key(1)}}),
		).
		When(&eventv1.ExpireAck{Attempt: 1}).Refuses(assignment.ErrStaleTimer).
		At(0).When(dispatch(2)).ThenTypes("AssignmentDispatched").
		When(&eventv1.AckTask{Token: token(1)}).Refuses(assignment.ErrStaleToken).
		When(&eventv1.AckTask{Token: token(2)}).Then(acked(2)).
		At(10_000_000).When(&eventv1.ExpireAck{Attempt: 2}).Refuses(assignment.ErrStaleTimer).
		When(&eventv1.ExpireExecution{Attempt: 2}).
		ThenTypes("ExecutionTimedOut", "AssignmentStripped", "AssignmentDeadLettered")
}

func TestWhichLossesCount(t *testing.T) {
	for reason, want := range map[string]struct {
		counts bool
		tally  *eventv1.Tally
	}{
		"SOCKET_DROPPED": {true, &eventv1.Tally{Dropped: 1}},
		"WORKER_FAILED":  {true, &eventv1.Tally{Failed: 1}},
		"PROTOCOL":       {true, &eventv1.Tally{Dropped: 1}},
		"BANNED":         {true, nil},
		"DRAINED":        {false, nil},
		"NOT_RESUMED":    {false, nil},
		"UNDELIVERED":    {false, nil},
	} {
		t.Run(reason, func(t *testing.T) {
			why := eventv1.StripReason(eventv1.StripReason_value["STRIP_REASON_"+reason])
			s := story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1)).
				When(&eventv1.StripSlot{Token: token(1), Reason: why}).Then(stripped(1, why, want.counts))
			d, _ := s.Outcome()
			var got *eventv1.Tally
			for _, e := range d.Effects {
				if c, ok := e.(actors.CountWork); ok {
					got = c.Delta
				}
			}
			if !proto.Equal(got, want.tally) {
				t.Errorf("tally: got %v, want %v", got, want.tally)
			}
		})
	}
}

// TestFreeLossesEnd holds that a slot whose attempts are lost without counting still comes to an end.
func TestFreeLossesEnd(t *testing.T) {
	s := story.Of(t, &assignment.Room, slot)
	for attempt := uint32(1); ; attempt++ {
		if attempt > 200 {
			t.Fatal("the slot never ends")
		}
		s.When(dispatch(1)).ThenTypes("AssignmentDispatched")
		s.When(&eventv1.StripSlot{Token: token(attempt), Reason: notResumed})
		if d, err := s.Outcome(); err != nil {
			t.Fatal(err)
		} else if len(d.Facts) == 2 {
			if attempt != assignment.MaxFreeAttempts+2 {
				t.Errorf("ended after %d attempts", attempt)
			}
			return
		}
	}
}

func TestRememberedWorkersAreBounded(t *testing.T) {
	var facts []events.Fact
	for n := range byte(100) {
		d := dispatched(uint32(n)+1, n)
		facts = append(facts, d, stripped(d.Attempt, dropped, true))
	}
	facts = append(facts, dispatched(101, 99), stripped(101, dropped, true)) // once more: not twice in the list
	s := story.Of(t, &assignment.Room, slot).Given(facts...).State().(assignment.State)
	if len(s.Excluded) != assignment.MaxExcluded || !bytes.Equal(s.Excluded[len(s.Excluded)-1], key(99)) {
		t.Errorf("remembers %d workers, the last is %x", len(s.Excluded), s.Excluded[len(s.Excluded)-1][:1])
	}
}

func TestCancel(t *testing.T) {
	story.Of(t, &assignment.Room, slot).
		When(&eventv1.CancelSlot{Reason: "enough"}).Then(&eventv1.AssignmentCancelled{Reason: "enough"}).Effects().
		When(&eventv1.CancelSlot{Reason: "enough"}).Nothing().
		When(dispatch(1)).Refuses(assignment.ErrClosed).
		Reloaded()
	story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1), acked(1)).
		When(&eventv1.CancelSlot{Reason: "enough"}).Then(&eventv1.AssignmentCancelled{Reason: "enough"}).
		Effects(
			actors.Disarm{}, actors.Release{Job: job, Holder: holder(1)},
			actors.Recall{Worker: key(1), Token: token(1), Reason: "enough"},
		).
		When(result(1)).Refuses(assignment.ErrClosed).
		IsDone(true).Reloaded(actors.Release{Job: job, Holder: holder(1)})
}

func TestAbandonedWhileItWaits(t *testing.T) {
	gone := tell(&eventv1.RecordFailure{Slot: 3, Reason: nobody})
	story.Of(t, &assignment.Room, slot).
		When(&eventv1.AbandonSlot{Reason: nobody}).Then(&eventv1.AssignmentDeadLettered{Reason: nobody}).
		Effects(gone).
		IsDone(true).
		When(&eventv1.AbandonSlot{Reason: nobody}).Nothing().
		When(dispatch(1)).Refuses(assignment.ErrClosed)
	story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1), stripped(1, dropped, true)).
		When(&eventv1.AbandonSlot{Reason: nobody}).Then(&eventv1.AssignmentDeadLettered{Reason: nobody, Attempts: 1}).
		Effects(gone). // its last holder was released when the attempt was lost
		Reloaded(actors.Release{Job: job, Holder: holder(1)}, gone)
}

func TestOpenSlotRepeatsWhatIsOpen(t *testing.T) {
	reseek := tell(&eventv1.ReseekSlot{Slot: 3, Excluded: [][]byte{key(1)}})
	failure := tell(&eventv1.RecordFailure{Slot: 3, Reason: eventv1.SlotFailure_SLOT_FAILURE_ATTEMPTS_EXHAUSTED})
	release := actors.Release{Job: job, Holder: holder(1)}
	hold := actors.Hold{Job: job, Holder: holder(1)}
	for _, c := range []struct {
		name  string
		given []events.Fact
		want  []actors.Effect
	}{
		{"never dispatched", nil, []actors.Effect{tell(&eventv1.ReseekSlot{Slot: 3})}},
		{"lost", []events.Fact{dispatched(1, 1), stripped(1, dropped, true)}, []actors.Effect{release, reseek}},
		{"dispatched", []events.Fact{dispatched(1, 1)}, []actors.Effect{hold, actors.Deliver{Task: task(1, 1, false), Restored: true}, armAck(1)}},
		{"running", []events.Fact{dispatched(1, 1), acked(1)}, []actors.Effect{hold, actors.Deliver{Task: task(1, 1, true), Restored: true}, armExecution(1)}},
		{"returned", []events.Fact{dispatched(1, 1), returned(1)}, []actors.Effect{actors.Release{Job: job, Holder: holder(1), Returned: true}, recorded(1, 1)}},
		{"abandoned", []events.Fact{&eventv1.AssignmentDeadLettered{Reason: nobody}}, []actors.Effect{tell(&eventv1.RecordFailure{Slot: 3, Reason: nobody})}},
		{"dead-lettered", []events.Fact{dispatched(1, 1), stripped(1, dropped, true), &eventv1.AssignmentDeadLettered{Reason: 1, Attempts: 1}}, []actors.Effect{release, failure}},
	} {
		t.Run(c.name, func(t *testing.T) {
			story.Of(t, &assignment.Room, slot).Given(c.given...).
				When(&eventv1.OpenSlot{}).Then().Effects(c.want...).Reloaded(c.want...)
		})
	}
}

func TestTableOfRefusals(t *testing.T) {
	waiting := []events.Fact{dispatched(1, 1), stripped(1, dropped, true)}
	inHand := []events.Fact{dispatched(1, 1)}
	for _, c := range []struct {
		name  string
		given []events.Fact
		cmd   proto.Message
		want  error
	}{
		{"ack of a waiting slot", waiting, &eventv1.AckTask{Token: token(1)}, assignment.ErrStaleToken},
		{"result of a waiting slot", waiting, result(1), assignment.ErrStaleToken},
		{"strip of a waiting slot", waiting, &eventv1.StripSlot{Token: token(1), Reason: dropped}, assignment.ErrStaleToken},
		{"timer of a waiting slot", waiting, &eventv1.ExpireAck{Attempt: 1}, assignment.ErrStaleTimer},
		{"token 0 of a slot never dispatched", nil, &eventv1.AckTask{}, assignment.ErrStaleToken},
		{"dispatch of a slot in hand", inHand, dispatch(2), assignment.ErrNotWaiting},
		{"wrong token", inHand, &eventv1.AckTask{Token: token(2)}, assignment.ErrStaleToken},
		{"strip with a wrong token", inHand, &eventv1.StripSlot{Token: 1, Reason: dropped}, assignment.ErrStaleToken},
		{"strip for a reason of the slot's own", inHand, &eventv1.StripSlot{Token: token(1), Reason: ackTimeout}, assignment.ErrInvalid},
		{"strip for an unknown reason", inHand, &eventv1.StripSlot{Token: token(1), Reason: 99}, assignment.ErrInvalid},
		{"strip with a novel", inHand, &eventv1.StripSlot{Token: token(1), Reason: dropped, Detail: strings.Repeat("x", 2000)}, assignment.ErrInvalid},
		{"cancel with a novel", inHand, &eventv1.CancelSlot{Reason: strings.Repeat("x", 2000)}, assignment.ErrInvalid},
		{"abandoning a slot in hand", inHand, &eventv1.AbandonSlot{Reason: nobody}, assignment.ErrInFlight},
		{"abandoning a running slot", []events.Fact{dispatched(1, 1), acked(1)}, &eventv1.AbandonSlot{Reason: nobody}, assignment.ErrInFlight},
		{"abandoning a returned slot", []events.Fact{dispatched(1, 1), returned(1)}, &eventv1.AbandonSlot{Reason: nobody}, assignment.ErrClosed},
		{"abandoning a cancelled slot", []events.Fact{&eventv1.AssignmentCancelled{}}, &eventv1.AbandonSlot{Reason: nobody}, assignment.ErrClosed},
		{"abandoning an exhausted slot", []events.Fact{&eventv1.AssignmentDeadLettered{Reason: 1}}, &eventv1.AbandonSlot{Reason: nobody}, assignment.ErrClosed},
		{"abandoning for a reason of the slot's own", waiting, &eventv1.AbandonSlot{Reason: 1}, assignment.ErrInvalid},
		{"abandoning for an unknown reason", waiting, &eventv1.AbandonSlot{Reason: 9}, assignment.ErrInvalid},
		{"job's command", inHand, &eventv1.CancelJob{}, actors.ErrUnknownCommand},
		{"time before all times", inHand, &eventv1.Command{AtUs: -1}, assignment.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			story.Of(t, &assignment.Room, slot).Given(c.given...).When(c.cmd).Refuses(c.want)
		})
	}
	story.Of(t, &assignment.Room, "no slot").When(dispatch(1)).Refuses(assignment.ErrInvalid)
}

func TestMalformedDispatchesAndResults(t *testing.T) {
	for name, spoil := range map[string]func(*eventv1.DispatchSlot){
		"worker":              func(c *eventv1.DispatchSlot) { c.Worker = c.Worker[1:] },
		"long group":          func(c *eventv1.DispatchSlot) { c.Group = strings.Repeat("g", 129) },
		"group not UTF-8":     func(c *eventv1.DispatchSlot) { c.Group = "\xff" },
		"no ack timeout":      func(c *eventv1.DispatchSlot) { c.AckTimeoutMs = 0 },
		"endless ack":         func(c *eventv1.DispatchSlot) { c.AckTimeoutMs = 1 << 31 },
		"no execution":        func(c *eventv1.DispatchSlot) { c.ExecutionTimeoutMs = 0 },
		"endless execution":   func(c *eventv1.DispatchSlot) { c.ExecutionTimeoutMs = 1 << 31 },
		"no attempts":         func(c *eventv1.DispatchSlot) { c.MaxAttempts = 0 },
		"endless attempts":    func(c *eventv1.DispatchSlot) { c.MaxAttempts = 1 << 31 },
		"short seed":          func(c *eventv1.DispatchSlot) { c.Seed = c.Seed[1:] },
		"crowd of candidates": func(c *eventv1.DispatchSlot) { c.Candidates = make([][]byte, 65) },
		"long candidate":      func(c *eventv1.DispatchSlot) { c.Candidates = [][]byte{key(1)} },
	} {
		t.Run("dispatch/"+name, func(t *testing.T) {
			c := dispatch(1)
			spoil(c)
			story.Of(t, &assignment.Room, slot).When(c).Refuses(assignment.ErrInvalid)
		})
	}
	for name, spoil := range map[string]func(*eventv1.ReturnResult){
		"no status":          func(c *eventv1.ReturnResult) { c.Status = 0 },
		"unknown status":     func(c *eventv1.ReturnResult) { c.Status = 77 },
		"no output":          func(c *eventv1.ReturnResult) { c.Output = nil },
		"short digest":       func(c *eventv1.ReturnResult) { c.Output.Sha256 = c.Output.Sha256[1:] },
		"long digest":        func(c *eventv1.ReturnResult) { c.Output.Sha256 = make([]byte, 33); c.Reject = checksum },
		"half a signature":   func(c *eventv1.ReturnResult) { c.Attestation = make([]byte, 32) },
		"long signature":     func(c *eventv1.ReturnResult) { c.Attestation = make([]byte, 65); c.Reject = checksum },
		"proof not a digest": func(c *eventv1.ReturnResult) { c.Proof = make([]byte, 31) },
		"long proof seed":    func(c *eventv1.ReturnResult) { c.ProofSeed = make([]byte, 65) },
		"unknown reject":     func(c *eventv1.ReturnResult) { c.Reject = 99 },
		"detail not UTF-8":   func(c *eventv1.ReturnResult) { c.Detail = "\xff"; c.Reject = checksum },
	} {
		t.Run("result/"+name, func(t *testing.T) {
			c := result(1)
			spoil(c)
			story.Of(t, &assignment.Room, slot).Given(dispatched(1, 1)).When(c).Refuses(assignment.ErrInvalid)
		})
	}
}

func TestTokensDifferAndAreNeverZero(t *testing.T) {
	seen := map[uint64]bool{0: true}
	for attempt := range uint32(1000) {
		if seen[token(attempt)] {
			t.Fatalf("attempt %d has a token that was there before", attempt)
		}
		seen[token(attempt)] = true
	}
	if token(1) == assignment.Token(key(9)[:16], 1) {
		t.Error("the seed does not matter")
	}
}

func BenchmarkSlotFromDispatchToResult(b *testing.B) {
	to, ack, ret := story.Command(story.Start, dispatch(1)), story.Command(story.Start, &eventv1.AckTask{Token: token(1)}), story.Command(story.Start, result(1))
	b.ReportAllocs()
	for b.Loop() {
		e := assignment.Room.Open(slot)
		for _, cmd := range [...]*eventv1.Command{to, ack, ret} {
			d, err := e.Decide(actors.Rules, cmd)
			if err != nil {
				b.Fatal(err)
			}
			for _, f := range d.Facts {
				if err := e.Evolve(f); err != nil {
					b.Fatal(err)
				}
			}
			e.React(d.Facts)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "slots/s")
}
