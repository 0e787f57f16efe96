package job_test

import (
	"bytes"
	"crypto/sha256"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const id = "0123456789abcdefghjkmnpqrs"

func blob(text string) *eventv1.BlobRef {
	sum := sha256.Sum256([]byte(text))
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(text))}
}

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func spec() *eventv1.JobSpec {
	return &eventv1.JobSpec{Module: key(7), Input: blob("input"), FuelLimit: 1000}
}

func rules() *eventv1.JobPolicy { return policy.Default().Standard }

func submitted() *eventv1.JobSubmitted {
	return &eventv1.JobSubmitted{Spec: spec(), Policy: rules(), Slots: 2, AtUs: story.Start}
}

// says is a slot's result; each slot has its own worker, without a group.
func says(slot uint32, text string) *eventv1.RecordReplica {
	return &eventv1.RecordReplica{
		Slot: slot, Attempt: 1, Worker: key(byte(slot + 1)), Status: 1, Output: blob(text), Fuel: 5, RunMs: 200,
	}
}

func said(slot uint32, text string) *eventv1.ReplicaReturned {
	return &eventv1.ReplicaReturned{
		Slot: slot, Attempt: 1, Worker: key(byte(slot + 1)), Status: 1, Output: blob(text), Fuel: 5, RunMs: 200,
	}
}

func checksum(text string) []byte {
	sum := quorum.Checksum(1, 5, blob(text))
	return sum[:]
}

const (
	exhausted = eventv1.SlotFailure_SLOT_FAILURE_ATTEMPTS_EXHAUSTED
	nobody    = eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER
)

func TestSubmit(t *testing.T) {
	other := spec()
	other.FuelLimit++
	changed := rules()
	changed.Redundancy = 3
	story.Of(t, &job.Room, id).
		When(&eventv1.RecordReplica{}).Refuses(job.ErrNotFound).
		When(&eventv1.ReopenJob{}).Refuses(job.ErrNotFound).
		When(&eventv1.SubmitJob{Spec: spec(), Policy: rules()}).Then(submitted()).
		Replies(job.SubmitReply{ID: id}).
		Effects(actors.Seek{Job: id, Spec: spec(), Policy: rules(), Slots: []uint32{0, 1}, SinceUs: story.Start}).
		At(9).When(&eventv1.SubmitJob{Spec: spec(), Policy: changed}).Nothing().
		Replies(job.SubmitReply{ID: id, Existing: true}).
		When(&eventv1.SubmitJob{Spec: other, Policy: rules()}).Refuses(job.ErrRequestConflict).
		When(&eventv1.ReopenJob{}).Nothing().
		When(&eventv1.DispatchSlot{}).Refuses(actors.ErrUnknownCommand).
		IsDone(false)
}

func TestAgreement(t *testing.T) {
	story.Of(t, &job.Room, id).Given(submitted()).
		When(says(1, "x")).Then(said(1, "x")).Effects().
		When(says(1, "x")).Nothing().
		When(&eventv1.RecordFailure{Slot: 1, Reason: exhausted}).Refuses(job.ErrSlotClosed).
		When(says(2, "x")).Refuses(job.ErrNoSlot).
		At(77).When(says(0, "x")).
		Then(said(0, "x"), &eventv1.TaskVerified{
			Checksum: checksum("x"), Output: blob("x"), Fuel: 5, Agreeing: []uint32{0, 1},
			Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, AtUs: story.Start + 77,
		}).
		Effects(
			actors.Forget{Job: id},
			actors.CountWork{Worker: key(1), Delta: &eventv1.Tally{Agreed: 1, Fuel: 5}},
			actors.CountWork{Worker: key(2), Delta: &eventv1.Tally{Agreed: 1, Fuel: 5}},
		).
		IsDone(true).
		When(says(0, "x")).Refuses(job.ErrDecided).
		When(&eventv1.RecordFailure{Slot: 0, Reason: exhausted}).Refuses(job.ErrDecided).
		When(&eventv1.RecordReferee{}).Refuses(job.ErrDecided).
		When(&eventv1.ReseekSlot{}).Refuses(job.ErrDecided).
		When(&eventv1.CancelJob{}).Refuses(job.ErrDecided).
		When(&eventv1.DiscardJob{}).Refuses(job.ErrNotDeadLettered).
		When(&eventv1.RequeueJob{}).Refuses(job.ErrNotDeadLettered).
		Reloaded(actors.Forget{Job: id})
}

func TestMismatchOpensExactlyWhatTheLeadLacks(t *testing.T) {
	s := story.Of(t, &job.Room, id).Given(submitted(), said(0, "x")).
		When(says(1, "y")).ThenTypes("ReplicaReturned", "ConsensusMismatch", "WaveOpened").
		Effects(actors.Seek{
			Job: id, Spec: spec(), Policy: rules(), Slots: []uint32{2, 3}, SinceUs: story.Start,
			Used: []actors.Holder{{Slot: 0, Worker: key(1)}, {Slot: 1, Worker: key(2)}},
		}).
		When(says(2, "x")).ThenTypes("ReplicaReturned").
		When(&eventv1.RecordFailure{Slot: 3, Reason: exhausted}).
		ThenTypes("ReplicaFailed", "ConsensusMismatch", "WaveOpened").
		When(says(4, "x")).ThenTypes("ReplicaReturned", "TaskVerified")
	v := s.State().(job.State).Verdict
	if len(v.Agreeing) != 3 || len(v.Contradicted) != 1 || v.Contradicted[0] != 1 {
		t.Errorf("verdict %s", story.Sketch(v))
	}
}

func TestLostSlots(t *testing.T) {
	story.Of(t, &job.Room, id).Given(submitted(), said(0, "x")).
		When(&eventv1.RecordFailure{Slot: 1, Reason: exhausted}).
		Then(&eventv1.ReplicaFailed{Slot: 1, Reason: exhausted}, &eventv1.WaveOpened{Wave: 2, FirstSlot: 2, Slots: 1, Why: "lead 1 of 2"}).
		When(&eventv1.RecordFailure{Slot: 1, Reason: exhausted}).Nothing().
		At(5).When(&eventv1.RecordFailure{Slot: 2, Reason: exhausted}).
		Then(&eventv1.ReplicaFailed{Slot: 2, Reason: exhausted}, &eventv1.JobDeadLettered{
			Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED,
			Detail: "wave 2 lost all its slots", AtUs: story.Start + 5,
		}).
		Effects(actors.Forget{Job: id}).
		When(&eventv1.CancelJob{}).Refuses(job.ErrDeadLettered).
		At(6).When(&eventv1.RequeueJob{By: "op", Reason: "again"}).
		Then(&eventv1.JobRequeued{Round: 2, FirstSlot: 3, Slots: 2, By: "op", Reason: "again", AtUs: story.Start + 6}).
		Effects(actors.Seek{Job: id, Spec: spec(), Policy: rules(), Slots: []uint32{3, 4}, SinceUs: story.Start}).
		When(says(0, "x")).Refuses(job.ErrNoSlot).
		When(says(3, "z")).ThenTypes("ReplicaReturned").
		When(says(4, "z")).ThenTypes("ReplicaReturned", "TaskVerified")
}

// TestNobodyLeftToAsk: when the workers run out before the votes decide, the referee does.
func TestNobodyLeftToAsk(t *testing.T) {
	t.Run("an honest worker and a liar", func(t *testing.T) {
		story.Of(t, &job.Room, id).Given(submitted(), said(0, "x")).
			When(says(1, "y")).ThenTypes("ReplicaReturned", "ConsensusMismatch", "WaveOpened").
			When(&eventv1.RecordFailure{Slot: 2, Reason: nobody}).ThenTypes("ReplicaFailed").
			When(&eventv1.RecordFailure{Slot: 3, Reason: nobody}).
			ThenTypes("ReplicaFailed", "ConsensusMismatch", "RefereeRequested").
			Effects(actors.Referee{Job: id, Spec: spec()}).
			When(&eventv1.RecordFailure{Slot: 3, Reason: nobody}).Nothing()
	})
	t.Run("one worker alone", func(t *testing.T) {
		story.Of(t, &job.Room, id).Given(submitted(), said(0, "x")).
			When(&eventv1.RecordFailure{Slot: 1, Reason: nobody}).
			Then(&eventv1.ReplicaFailed{Slot: 1, Reason: nobody}, &eventv1.RefereeRequested{
				Why: "lead 1 of 2, and nobody who is connected may take another replica",
			})
	})
	t.Run("no referee", func(t *testing.T) {
		f := submitted()
		f.Policy.Referee = eventv1.RefereeMode_REFEREE_MODE_NEVER
		story.Of(t, &job.Room, id).Given(f, said(0, "x"), said(1, "y"), &eventv1.WaveOpened{Wave: 2, FirstSlot: 2, Slots: 2}).
			When(&eventv1.RecordFailure{Slot: 2, Reason: exhausted}).ThenTypes("ReplicaFailed").
			When(&eventv1.RecordFailure{Slot: 3, Reason: nobody}).ThenTypes("ReplicaFailed", "ConsensusMismatch", "JobDeadLettered").
			Effects(actors.Forget{Job: id})
	})
	t.Run("decided all the same", func(t *testing.T) {
		f := submitted()
		f.Slots = 3
		story.Of(t, &job.Room, id).Given(f, said(0, "x"), &eventv1.ReplicaFailed{Slot: 2, Reason: nobody}).
			When(says(1, "x")).ThenTypes("ReplicaReturned", "TaskVerified")
	})
	t.Run("nobody ever returned", func(t *testing.T) {
		s := story.Of(t, &job.Room, id).Given(submitted(), &eventv1.ReplicaFailed{Slot: 0, Reason: nobody}).
			When(&eventv1.RecordFailure{Slot: 1, Reason: nobody}).ThenTypes("ReplicaFailed", "JobDeadLettered").State().(job.State)
		if s.DeadLetter.Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED {
			t.Errorf("got %s", story.Sketch(s.DeadLetter))
		}
	})
	t.Run("an earlier wave's shortage is forgotten", func(t *testing.T) {
		story.Of(t, &job.Room, id).
			Given(submitted(), said(0, "x"), &eventv1.ReplicaFailed{Slot: 1, Reason: nobody}, &eventv1.WaveOpened{Wave: 2, FirstSlot: 2, Slots: 1}).
			When(says(2, "y")).ThenTypes("ReplicaReturned", "ConsensusMismatch", "WaveOpened")
	})
}

func TestOneIdentityHasOneVoice(t *testing.T) {
	one, two := says(0, "x"), says(1, "x")
	one.Group, two.Group = "house", "house"
	story.Of(t, &job.Room, id).Given(submitted()).
		When(one).ThenTypes("ReplicaReturned").
		When(two).ThenTypes("ReplicaReturned", "WaveOpened").
		When(says(2, "x")).ThenTypes("ReplicaReturned", "TaskVerified")
}

func kindOf(kind eventv1.JobKind, known string) *eventv1.JobSubmitted {
	f := submitted()
	f.Spec.Kind, f.Policy, f.Slots = kind, policy.Default().Stress, 1
	if known != "" {
		f.Spec.KnownChecksum = checksum(known)
	}
	return f
}

func TestStressIsBelieved(t *testing.T) {
	story.Of(t, &job.Room, id).Given(kindOf(eventv1.JobKind_JOB_KIND_STRESS, "")).
		When(says(0, "x")).
		Then(said(0, "x"), &eventv1.TaskVerified{
			Checksum: checksum("x"), Output: blob("x"), Fuel: 5, Agreeing: []uint32{0},
			Basis: eventv1.VerdictBasis_VERDICT_BASIS_SINGLE, AtUs: story.Start,
		}).
		Effects(actors.Forget{Job: id}) // compared with nothing, counted for nothing
}

func TestRingers(t *testing.T) {
	story.Of(t, &job.Room, id).Given(kindOf(eventv1.JobKind_JOB_KIND_LITE_TEST, "x")).
		When(says(0, "x")).
		Then(said(0, "x"), &eventv1.TaskVerified{
			Checksum: checksum("x"), Output: blob("x"), Fuel: 5, Agreeing: []uint32{0},
			Basis: eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER, AtUs: story.Start,
		}).
		Effects(actors.Forget{Job: id}, actors.CountWork{Worker: key(1), Delta: &eventv1.Tally{Agreed: 1, Fuel: 5, RingersPassed: 1}})
	story.Of(t, &job.Room, id).Given(kindOf(eventv1.JobKind_JOB_KIND_LITE_TEST, "x")).
		When(says(0, "y")).
		Then(said(0, "y"), &eventv1.JobDeadLettered{
			Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED, Detail: "the answer is not the known one",
			Contradicted: []uint32{0}, AtUs: story.Start,
		}).
		Effects(actors.Forget{Job: id}, actors.CountWork{Worker: key(1), Delta: &eventv1.Tally{Contradicted: 1, RingersFailed: 1}})
}

// TestRingerLooksLikeAnyReplica: it is kept from those who know the answer, and its slot may carry any number.
func TestRingerLooksLikeAnyReplica(t *testing.T) {
	f := kindOf(eventv1.JobKind_JOB_KIND_LITE_TEST, "x")
	f.FirstSlot, f.Spec.Barred = 1, []*eventv1.Party{{Worker: key(8), Group: "house"}, {Worker: key(9)}}
	seek := actors.Seek{
		Job: id, Spec: f.Spec, Policy: f.Policy, Slots: []uint32{1}, SinceUs: story.Start,
		Barred: []actors.Holder{{Worker: key(8), Group: "house"}, {Worker: key(9)}},
	}
	story.Of(t, &job.Room, id).
		When(&eventv1.SubmitJob{Spec: f.Spec, Policy: f.Policy, FirstSlot: 1}).Then(f).Effects(seek).
		When(says(0, "x")).Refuses(job.ErrNoSlot).
		When(&eventv1.ReseekSlot{Slot: 1}).Then().Effects(seek).
		When(says(1, "y")).ThenTypes("ReplicaReturned", "JobDeadLettered").
		At(3).When(&eventv1.RequeueJob{}).Then(&eventv1.JobRequeued{Round: 2, FirstSlot: 2, Slots: 1, AtUs: story.Start + 3})
	story.Of(t, &job.Room, id).
		When(&eventv1.SubmitJob{Spec: f.Spec, Policy: f.Policy, FirstSlot: policy.MaxReplicas + 1}).Refuses(job.ErrInvalid)
}

// disputed is a job whose referee was asked: x, y and nobody ahead.
func disputed() []events.Fact {
	f := submitted()
	f.Policy.MaxReplicas = 3
	return []events.Fact{f, said(0, "x"), said(1, "y"), &eventv1.RefereeRequested{Why: "cap"}}
}

func TestReferee(t *testing.T) {
	decided := eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED
	story.Of(t, &job.Room, id).Given(disputed()...).
		Reloaded(actors.Referee{Job: id, Spec: spec()}).
		When(&eventv1.RecordReferee{}).Refuses(job.ErrInvalid).
		When(&eventv1.RecordReferee{Outcome: 9}).Refuses(job.ErrInvalid).
		When(&eventv1.RecordReferee{Outcome: decided, Status: 1}).Refuses(job.ErrInvalid).
		When(&eventv1.RecordReferee{Outcome: decided, Status: 1, Output: blob("z"), Fuel: 5}).
		Then(
			&eventv1.RefereeDecided{Outcome: decided, Status: 1, Output: blob("z"), Fuel: 5},
			&eventv1.TaskVerified{
				Checksum: checksum("z"), Output: blob("z"), Fuel: 5, Contradicted: []uint32{0, 1},
				Basis: eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, AtUs: story.Start,
			},
		)
	for _, c := range []struct {
		name   string
		cmd    *eventv1.RecordReferee
		reason eventv1.DeadLetterReason
		wrong  int
	}{
		{"no budget", &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET}, eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, 0},
		{"failed", &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_FAILED, Detail: "killed"}, eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, 0},
		{"trap", &eventv1.RecordReferee{Outcome: decided, Status: eventv1.ResultStatus_RESULT_STATUS_TRAP}, eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := story.Of(t, &job.Room, id).Given(disputed()...).
				When(c.cmd).ThenTypes("RefereeDecided", "JobDeadLettered").State().(job.State)
			if s.DeadLetter.Reason != c.reason || len(s.DeadLetter.Contradicted) != c.wrong {
				t.Errorf("got %s", story.Sketch(s.DeadLetter))
			}
		})
	}
	story.Of(t, &job.Room, id).Given(submitted()).
		When(&eventv1.RecordReferee{Outcome: decided}).Refuses(job.ErrNotRefereed)
}

func TestCancelTellsOpenSlotsAndPipeline(t *testing.T) {
	f := submitted()
	f.Spec.Pipeline, f.Spec.Stage, f.Spec.Chunk = id, 1, 4
	settled := actors.SettleChunk{Pipeline: id, Stage: 1, Job: &eventv1.SettledJob{Chunk: 4}}
	tell := actors.Tell{To: actors.SlotAddress(id, 1), Command: story.Command(0, &eventv1.CancelSlot{Reason: "enough"})}
	story.Of(t, &job.Room, id).Given(f, said(0, "x")).
		When(&eventv1.CancelJob{By: "op", Reason: "enough"}).
		Then(&eventv1.JobCancelled{By: "op", Reason: "enough", AtUs: story.Start}).
		Effects(actors.Forget{Job: id}, tell, settled).
		When(says(1, "x")).Refuses(job.ErrDecided).
		Reloaded(actors.Forget{Job: id}, tell, settled)
}

func TestReseek(t *testing.T) {
	lost := [][]byte{key(9)}
	story.Of(t, &job.Room, id).Given(submitted(), said(0, "x")).
		When(&eventv1.ReseekSlot{Slot: 1, Excluded: lost}).Then().
		Effects(actors.Seek{
			Job: id, Spec: spec(), Policy: rules(), Slots: []uint32{1}, Excluded: lost, SinceUs: story.Start,
			Used: []actors.Holder{{Slot: 0, Worker: key(1)}},
		}).
		When(&eventv1.ReseekSlot{Slot: 0}).Refuses(job.ErrSlotClosed).
		When(&eventv1.ReseekSlot{Slot: 2}).Refuses(job.ErrNoSlot).
		When(&eventv1.ReseekSlot{Slot: 1, Excluded: [][]byte{{1}}}).Refuses(job.ErrInvalid).
		When(&eventv1.ReseekSlot{Slot: 1, Excluded: make([][]byte, job.MaxExcluded+1)}).Refuses(job.ErrInvalid).
		Reloaded(actors.Tell{To: actors.SlotAddress(id, 1), Command: story.Command(0, &eventv1.OpenSlot{})})
}

func TestRoundsEnd(t *testing.T) {
	dead := &eventv1.JobDeadLettered{Reason: 1}
	story.Of(t, &job.Room, id).
		Given(submitted(), dead, &eventv1.JobRequeued{Round: job.MaxRounds, FirstSlot: 9, Slots: 1}, dead).
		When(&eventv1.RequeueJob{}).Refuses(job.ErrTooManyRounds).
		When(&eventv1.DiscardJob{By: "\xff"}).Refuses(job.ErrInvalid).
		When(&eventv1.DiscardJob{By: "op", Reason: "hopeless"}).
		Then(&eventv1.JobDiscarded{By: "op", Reason: "hopeless", AtUs: story.Start})
}

func TestMalformedReplicas(t *testing.T) {
	for name, spoil := range map[string]func(*eventv1.RecordReplica){
		"worker":     func(c *eventv1.RecordReplica) { c.Worker = nil },
		"group":      func(c *eventv1.RecordReplica) { c.Group = strings.Repeat("g", job.MaxGroup+1) },
		"status":     func(c *eventv1.RecordReplica) { c.Status = 0 },
		"output":     func(c *eventv1.RecordReplica) { c.Output.Sha256 = nil },
		"no output":  func(c *eventv1.RecordReplica) { c.Output = nil },
		"odd status": func(c *eventv1.RecordReplica) { c.Status = 50 },
	} {
		t.Run(name, func(t *testing.T) {
			c := says(0, "x")
			spoil(c)
			story.Of(t, &job.Room, id).Given(submitted()).When(c).Refuses(job.ErrInvalid)
		})
	}
	story.Of(t, &job.Room, id).Given(submitted()).
		When(&eventv1.RecordFailure{Slot: 0}).Refuses(job.ErrInvalid).
		When(&eventv1.CancelJob{Reason: strings.Repeat("x", job.MaxText+1)}).Refuses(job.ErrInvalid)
}

func TestMalformedJobs(t *testing.T) {
	label := func(k, v string) *eventv1.Label { return &eventv1.Label{Key: k, Value: v} }
	f32 := eventv1.ElementType_ELEMENT_TYPE_F32
	for name, spoil := range map[string]func(*eventv1.JobSpec, *eventv1.JobPolicy){
		"module":            func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Module = s.Module[1:] },
		"no input":          func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Input = nil },
		"input digest":      func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Input.Sha256 = nil },
		"giant input":       func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Input.Size = math.MaxUint64 },
		"no fuel":           func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.FuelLimit = 0 },
		"endless fuel":      func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.FuelLimit = math.MaxUint64 },
		"kind":              func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Kind = 9 },
		"tier":              func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.MinTier = 4 },
		"memory":            func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.MinMemoryBytes = math.MaxUint64 },
		"priority":          func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Priority = math.MinInt32 },
		"tenant":            func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Tenant = strings.Repeat("t", job.MaxTenant+1) },
		"tenant not UTF-8":  func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Tenant = "\xff" },
		"request id":        func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.RequestId = strings.Repeat("r", job.MaxRequestID+1) },
		"pipeline":          func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Pipeline = "mine" },
		"chunk of nothing":  func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Chunk = 3 },
		"label without key": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Labels = []*eventv1.Label{label("", "v")} },
		"long label": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Labels = []*eventv1.Label{label("k", strings.Repeat("v", 999))}
		},
		"crowd of labels":    func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Labels = make([]*eventv1.Label, job.MaxLabels+1) },
		"ringer unknown":     func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Kind = eventv1.JobKind_JOB_KIND_LITE_TEST },
		"kept from somebody": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Barred = []*eventv1.Party{{Worker: key(1)}} },
		"kept from nobody": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Kind, s.KnownChecksum, s.Barred = eventv1.JobKind_JOB_KIND_LITE_TEST, key(1), []*eventv1.Party{nil}
		},
		"kept from a crowd": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Kind, s.KnownChecksum = eventv1.JobKind_JOB_KIND_LITE_TEST, key(1)
			s.Barred = slices.Repeat([]*eventv1.Party{{Worker: key(1)}}, job.MaxBarred+1)
		},
		"answer given away": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.KnownChecksum = key(1) },
		"dtype":             func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Output = &eventv1.OutputSpec{Dtype: 99} },
		"rank": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Output = &eventv1.OutputSpec{Dtype: f32, Shape: make([]uint64, 9)}
		},
		"shape of bytes": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Output = &eventv1.OutputSpec{Shape: []uint64{4}} },
		"empty dimension": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Output = &eventv1.OutputSpec{Dtype: f32, Shape: []uint64{4, 0}}
		},
		"overflowing shape": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Output = &eventv1.OutputSpec{Dtype: f32, Shape: []uint64{1 << 32, 1 << 32, 1 << 32}}
		},
		"shape above max_bytes": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Output = &eventv1.OutputSpec{Dtype: f32, Shape: []uint64{4}, MaxBytes: 15}
		},
		"max_bytes": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Output = &eventv1.OutputSpec{MaxBytes: math.MaxUint64}
		},
		"proof system":   func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Proof = &eventv1.ProofSpec{System: 9} },
		"groth16 no key": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) { s.Proof = &eventv1.ProofSpec{System: 2} },
		"key for nothing": func(s *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			s.Proof = &eventv1.ProofSpec{System: 1, VerificationKey: blob("k")}
		},
		"policy": func(_ *eventv1.JobSpec, p *eventv1.JobPolicy) { p.Redundancy = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s, p := spec(), rules()
			spoil(s, p)
			story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{Spec: s, Policy: p}).Refuses(job.ErrInvalid)
		})
	}
	story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{}).Refuses(job.ErrInvalid)
	story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{Spec: spec()}).Refuses(policy.ErrInvalid)
	whole := proto.CloneOf(spec())
	whole.Output = &eventv1.OutputSpec{Dtype: f32, Shape: []uint64{2, 2}, MaxBytes: 16}
	whole.Proof = &eventv1.ProofSpec{System: 2, VerificationKey: blob("k")}
	whole.Labels = []*eventv1.Label{label("team", "")}
	story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{Spec: whole, Policy: rules()}).ThenTypes("JobSubmitted")
}

func TestFactsAboutForeignSlotsAreRefused(t *testing.T) {
	e := job.Room.Open(id)
	if err := e.Evolve(said(0, "x")); err == nil {
		t.Error("a job that was never submitted took a result")
	}
	if err := e.Evolve(submitted()); err != nil {
		t.Fatal(err)
	}
	if err := e.Evolve(said(math.MaxUint32, "x")); err == nil {
		t.Error("a slot that was never opened took a result")
	}
}

func BenchmarkVerifiedJob(b *testing.B) {
	cmds := [...]*eventv1.Command{
		story.Command(story.Start, &eventv1.SubmitJob{Spec: spec(), Policy: rules()}),
		story.Command(story.Start, says(0, "x")), story.Command(story.Start, says(1, "x")),
	}
	b.ReportAllocs()
	for b.Loop() {
		e := job.Room.Open(id)
		for _, cmd := range cmds {
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
		if !e.Done() {
			b.Fatal("not decided")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}
