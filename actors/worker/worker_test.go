package worker_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	compute = eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE
	memory  = eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY
	mib     = 1 << 20
	hour    = int64(3600) * 1_000_000
)

var (
	key     = bytes.Repeat([]byte{7}, 32)
	id      = hex.EncodeToString(key)
	session = bytes.Repeat([]byte{1}, worker.SessionSize)
	later   = bytes.Repeat([]byte{2}, worker.SessionSize)
	policy  = &eventv1.AdmissionPolicy{
		Tiers: []*eventv1.TierFloor{
			{Tier: 1, Mflops: 250, MemoryBytes: 64 * mib},
			{Tier: 2, Mflops: 2_000, MemoryBytes: 256 * mib},
			{Tier: 3, Mflops: 40_000, MemoryBytes: 2048 * mib},
		},
		MaxChunkBytes: 16 * mib,
	}
)

func connect(s []byte) *eventv1.ConnectWorker {
	return &eventv1.ConnectWorker{Key: key, Session: s, Group: "house", Node: "n1"}
}

func claim() *eventv1.Profile {
	return &eventv1.Profile{Mflops: 500_000, MaxAllocationBytes: 512 * mib, Arch: "amd64"}
}

// passed is a compute challenge of 5 GFLOPS (5,000 FLOP/us) at 1,000,000 fuel/ms.
func passed(nonce byte) *eventv1.RecordChallenge {
	return &eventv1.RecordChallenge{
		Kind: compute, Nonce: []byte{nonce}, Work: 500_000_000, Fuel: 100_000_000, ElapsedUs: 100_000, ProofTtlS: 3600,
	}
}

func filled(nonce byte, bytes uint64) *eventv1.RecordChallenge {
	return &eventv1.RecordChallenge{Kind: memory, Nonce: []byte{nonce}, Work: bytes, ElapsedUs: 400_000, ProofTtlS: 3600}
}

// proven is the story of a worker that has passed everything.
func proven(t *testing.T) *story.Story {
	s := story.Of(t, &worker.Room, id)
	s.When(connect(session)).When(&eventv1.ReportProfile{Profile: claim()})
	return s.When(passed(1)).When(filled(2, 64*mib)).When(filled(3, 256*mib))
}

func admitted(t *testing.T) *story.Story {
	return proven(t).When(&eventv1.AdmitWorker{Policy: policy})
}

func TestWorkerIsAdmittedForWhatItHasProven(t *testing.T) {
	sure := &eventv1.Proven{Mflops: 5_000, MemoryBytes: 512 * mib, FuelPerMs: 1_000_000, ExpiresUs: story.Start + hour}
	s := proven(t).When(&eventv1.AdmitWorker{Policy: policy})
	s.Then(&eventv1.WorkerAdmitted{Tier: 2, Proven: sure, ChunkBytes: 8 * mib})
	s.Replies(worker.AdmitReply{Tier: 2, Proven: sure, ChunkBytes: 8 * mib})
	if st := s.State().(worker.State); st.Tier != 2 || !st.ProofValid(story.Start+hour-1) || st.ProofValid(story.Start+hour) {
		t.Errorf("tier %d, proof until %d", st.Tier, st.Proven.ExpiresUs)
	}
}

func TestReconnectOfAnAdmittedWorkerCostsOneFact(t *testing.T) {
	s := admitted(t)
	s.When(&eventv1.DisconnectWorker{Session: session, Why: "gone"}).ThenTypes("WorkerDisconnected").IsDone(true)
	s.At(hour / 2).When(connect(later)).ThenTypes("WorkerConnected").IsDone(false)
	s.Replies(worker.ConnectReply{
		Tier: 2, Profile: claim(), ProofValid: true,
		Proven: &eventv1.Proven{Mflops: 5_000, MemoryBytes: 256 * mib, FuelPerMs: 1_000_000, ExpiresUs: story.Start + hour},
	})
	s.When(&eventv1.ReportProfile{Profile: claim()}).Nothing()
	s.When(&eventv1.AdmitWorker{Policy: policy}).Nothing()
	s.At(2 * hour).When(&eventv1.AdmitWorker{Policy: policy}).Then(&eventv1.AdmissionRejected{
		Reason: eventv1.RejectionReason_REJECTION_REASON_NO_PROOF, Detail: "the proof has expired",
	})
}

func TestSessions(t *testing.T) {
	s := story.Of(t, &worker.Room, id)
	s.When(&eventv1.DisconnectWorker{Session: session}).Refuses(worker.ErrNotRegistered)
	s.When(connect(session)).Then(
		&eventv1.WorkerRegistered{Key: key}, &eventv1.WorkerConnected{Session: session, Group: "house", Node: "n1"},
	)
	s.When(connect(session)).Nothing()
	s.When(connect(later)).ThenTypes("WorkerConnected")
	s.When(&eventv1.DisconnectWorker{Session: session}).Nothing() // of the session that was replaced
	s.When(&eventv1.DisconnectWorker{Session: later}).ThenTypes("WorkerDisconnected")
	s.When(&eventv1.DisconnectWorker{Session: later}).Nothing()
	owned := connect(session)
	owned.Owner = bytes.Repeat([]byte{9}, 32)
	s.When(owned).ThenTypes("WorkerRegistered", "WorkerConnected")
}

func TestMalformedCommandsAreRefused(t *testing.T) {
	stranger := connect(session)
	stranger.Key = bytes.Repeat([]byte{8}, 32)
	long := connect(session)
	long.Group = strings.Repeat("g", worker.MaxGroup+1)
	binary := connect(session)
	binary.Node = "\xff"
	instant := passed(9)
	instant.ElapsedUs = 0
	forever := passed(9)
	forever.ProofTtlS = math.MaxUint64
	for name, cmd := range map[string]proto.Message{
		"another worker's key":   stranger,
		"long group":             long,
		"group that is not text": binary,
		"short session":          connect([]byte{1}),
		"no elapsed time":        instant,
		"endless proof":          forever,
		"unknown challenge":      &eventv1.RecordChallenge{Kind: 9, Nonce: []byte{1}},
		"no nonce":               &eventv1.RecordChallenge{Kind: compute, Work: 1, ElapsedUs: 1},
		"no policy":              &eventv1.AdmitWorker{},
		"long reason":            &eventv1.BanWorker{Reason: strings.Repeat("r", worker.MaxReason+1)},
		"time before 1970":       &eventv1.Command{AtUs: -1, Kind: &eventv1.Command_BanWorker{BanWorker: &eventv1.BanWorker{}}},
	} {
		t.Run(name, func(t *testing.T) {
			proven(t).When(cmd).Refuses(worker.ErrInvalid)
		})
	}
	story.Of(t, &worker.Room, id).When(connect(session)).When(passed(1)).Refuses(worker.ErrNoProfile)
	admitted(t).When(&eventv1.OpenSlot{}).Refuses(actors.ErrUnknownCommand)
}

func TestProofIsTheBestOfItsSeriesAndNeverAboveTheClaim(t *testing.T) {
	slow, quick := passed(1), passed(2)
	slow.ElapsedUs *= 4
	quick.Work = math.MaxUint64
	s := story.Of(t, &worker.Room, id).When(connect(session)).When(&eventv1.ReportProfile{Profile: claim()})
	check := func(mflops, bytes uint64, expires int64) {
		t.Helper()
		if p := s.State().(worker.State).Proven; p.Mflops != mflops || p.MemoryBytes != bytes || p.ExpiresUs != story.Start+expires {
			t.Fatalf("proven %s", story.Sketch(p))
		}
	}
	s.When(slow)
	check(1_250, 0, hour)
	s.At(5).When(quick)
	check(500_000, 0, hour)
	s.When(quick).Nothing() // a repeat
	s.When(filled(4, 1<<40))
	check(500_000, 512*mib, hour)
	s.At(hour - 1).When(slow)
	check(500_000, 512*mib, hour)
	s.At(hour).When(passed(5)) // the series has expired
	check(5_000, 0, 2*hour)
}

func TestWrongAnswerVoidsTheProof(t *testing.T) {
	s := admitted(t).When(&eventv1.RecordChallenge{
		Kind: compute, Nonce: []byte{9}, Failure: eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED, Detail: "wrong digest",
	})
	s.ThenTypes("ChallengeFailed")
	s.When(&eventv1.AdmitWorker{Policy: policy}).Then(&eventv1.AdmissionRejected{
		Reason: eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED, Detail: "wrong digest",
	})
	s.When(&eventv1.AdmitWorker{Policy: policy}).Nothing() // the same answer again
}

func TestMemoryIsProvenUpToTheFirstSizeThatFails(t *testing.T) {
	for _, reason := range []eventv1.RejectionReason{
		eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_TIMEOUT, eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED,
	} {
		s := story.Of(t, &worker.Room, id).When(connect(session)).When(&eventv1.ReportProfile{Profile: claim()})
		s.When(passed(1)).When(filled(2, 64*mib))
		s.When(&eventv1.RecordChallenge{Kind: memory, Nonce: []byte{3}, Failure: reason}).ThenTypes("ChallengeFailed")
		s.When(&eventv1.AdmitWorker{Policy: policy}).ThenTypes("WorkerAdmitted")
		if st := s.State().(worker.State); st.Tier != 1 || st.Sure.MemoryBytes != 64*mib {
			t.Errorf("%v: tier %d with %d bytes", reason, st.Tier, st.Sure.MemoryBytes)
		}
	}
}

func TestAbsurdProfileIsRejectedOnce(t *testing.T) {
	s := story.Of(t, &worker.Room, id).When(connect(session))
	absurd := &eventv1.ReportProfile{Profile: &eventv1.Profile{Mflops: math.MaxUint64, MaxAllocationBytes: 1}}
	s.When(absurd).ThenTypes("AdmissionRejected")
	s.When(absurd).Then()
	d, _ := s.Outcome()
	if r := d.Reply.(worker.AdmitReply).Rejection; r == nil || r.Reason != eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID {
		t.Errorf("reply %+v", d.Reply)
	}
}

func TestBanAndDrain(t *testing.T) {
	s := admitted(t)
	s.When(&eventv1.DrainWorker{By: "op"}).ThenTypes("WorkerDrained")
	s.When(&eventv1.DrainWorker{By: "op"}).Nothing()
	s.When(&eventv1.BanWorker{By: "op", Reason: "ringers"}).ThenTypes("WorkerBanned")
	s.When(&eventv1.BanWorker{By: "op"}).Nothing()
	s.When(connect(later)).Refuses(worker.ErrBanned)
	s.When(&eventv1.AdmitWorker{Policy: policy})
	d, _ := s.Outcome()
	if r := d.Reply.(worker.AdmitReply).Rejection; r.Reason != eventv1.RejectionReason_REJECTION_REASON_BANNED {
		t.Errorf("rejected because %s", r.Detail)
	}
	s.When(&eventv1.ReinstateWorker{By: "op"}).ThenTypes("WorkerReinstated")
	s.When(&eventv1.ReinstateWorker{By: "op"}).Nothing()
	s.When(connect(later)).ThenTypes("WorkerConnected")
	s.When(&eventv1.AdmitWorker{Policy: policy}).ThenTypes("WorkerAdmitted")
}

func TestBetterProofRaisesTheTier(t *testing.T) {
	s := admitted(t)
	quick := passed(8)
	quick.ElapsedUs = 10_000
	big := claim()
	big.MaxAllocationBytes = 4096 * mib
	s.When(&eventv1.ReportProfile{Profile: big}).When(quick).When(filled(9, 1024*mib))
	s.When(&eventv1.AdmitWorker{Policy: policy}).ThenTypes("TierChanged", "WorkerAdmitted")
	if st := s.State().(worker.State); st.Tier != 3 || st.Sure.MemoryBytes != 2048*mib {
		t.Errorf("tier %d with %d bytes", st.Tier, st.Sure.MemoryBytes)
	}
}

// TestDrift: a worker whose work comes back at a given part of the proven rate is demoted after so many batches.
func TestDrift(t *testing.T) {
	const rate = 1_000_000
	for _, c := range []struct {
		slower  uint64 // times
		batches int    // until demoted; 0: never within 100
	}{
		{1, 0}, {11, 0}, {13, 32}, {17, 16}, {25, 8}, {49, 4}, {97, 2}, {193, 1}, {1000, 1},
	} {
		s := admitted(t)
		got := 0
		for i := 1; i <= 100 && got == 0; i++ {
			s.When(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 1}, FastestFuelPerMs: rate / c.slower})
			if d, _ := s.Outcome(); len(d.Facts) == 2 {
				got = i
			}
		}
		if got != c.batches {
			t.Errorf("%d times slower: demoted after %d batches, want %d", c.slower, got, c.batches)
		}
		if st := s.State().(worker.State); got > 0 && (st.Tier != 0 || st.ProofValid(story.Start)) {
			t.Errorf("tier %d, proof %v", st.Tier, st.Proven)
		}
	}
}

func TestOneQuickBatchClearsASlowOne(t *testing.T) {
	s := admitted(t)
	for i := range 64 {
		rate := uint64(15_000) // 66 times slower
		if i%3 == 2 {
			rate = 1_000_000
		}
		s.When(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 1}, FastestFuelPerMs: rate}).ThenTypes("ReliabilityChanged")
	}
}

func TestWorkThatSaysNothingWritesNothing(t *testing.T) {
	s := admitted(t)
	s.When(&eventv1.RecordWork{}).Nothing()
	s.When(&eventv1.RecordWork{Delta: &eventv1.Tally{}}).Nothing()
	s.When(&eventv1.RecordWork{Delta: &eventv1.Tally{Contradicted: 2, RingersFailed: math.MaxUint64}})
	s.When(&eventv1.RecordWork{Delta: &eventv1.Tally{RingersFailed: 1}})
	if r := s.State().(worker.State).Record; r.Contradicted != 2 || r.RingersFailed != math.MaxUint64 {
		t.Errorf("record %+v", r)
	}
}

// TestAnyLife holds the laws of a worker's life over random commands.
func TestAnyLife(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at, e, history := story.Start, worker.Room.Open(id), []events.Fact(nil)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			at += rapid.Int64Range(0, hour/4).Draw(rt, "pass")
			before := e.State().(worker.State)
			cmd := story.Command(at, anyCommand(rt))
			d, err := story.Decide(t, &worker.Room, id, e, history, cmd)
			history = append(history, d.Facts...)
			check(rt, before, e.State().(worker.State), cmd, d, err)
		}
	})
}

func check(t *rapid.T, before, after worker.State, cmd *eventv1.Command, d actors.Decision, err error) {
	if err != nil && !errors.Is(err, worker.ErrInvalid) && !errors.Is(err, worker.ErrBanned) &&
		!errors.Is(err, worker.ErrNotRegistered) && !errors.Is(err, worker.ErrNoProfile) {
		t.Fatalf("refusal without a type: %v", err)
	}
	if after.Banned && after.Tier > 0 {
		t.Fatal("banned with a tier")
	}
	if after.Tier > 0 && (after.Profile == nil || after.Sure.Mflops > before.Profile.GetMflops() && before.Tier == 0) {
		t.Fatal("tier above the claim")
	}
	if reply, ok := d.Reply.(worker.AdmitReply); ok && cmd.GetAdmitWorker() != nil {
		if (reply.Tier > 0) != (reply.Rejection == nil) || reply.Tier != after.Tier {
			t.Fatalf("reply %+v, tier %d", reply, after.Tier)
		}
		if reply.Tier > 0 && !after.ProofValid(cmd.AtUs) {
			t.Fatal("admitted without a valid proof")
		}
	}
	// Asked the same again at the same time, nothing more is written.
	if cmd.GetRecordWork() != nil {
		return
	}
	again, _ := worker.Decide(after, cmd)
	if len(again.Facts) > 0 && len(d.Facts) > 0 {
		t.Fatalf("a repeat wrote %s after %s", story.SketchAll(again.Facts), story.SketchAll(d.Facts))
	}
}

func anyCommand(t *rapid.T) proto.Message {
	nonce := rapid.ByteRange(0, 200)
	switch rapid.IntRange(0, 9).Draw(t, "command") {
	case 0:
		return connect(rapid.SampledFrom([][]byte{session, later}).Draw(t, "session"))
	case 1:
		p := claim()
		p.Mflops = rapid.SampledFrom([]uint64{0, 300, 5_000, 500_000}).Draw(t, "mflops")
		return &eventv1.ReportProfile{Profile: p}
	case 2, 3:
		c := passed(nonce.Draw(t, "nonce"))
		c.ElapsedUs = rapid.Uint64Range(1, 4_000_000).Draw(t, "elapsed")
		return c
	case 4:
		return filled(nonce.Draw(t, "nonce"), rapid.SampledFrom([]uint64{mib, 64 * mib, 256 * mib, 1024 * mib}).Draw(t, "bytes"))
	case 5:
		return &eventv1.RecordChallenge{
			Kind: compute, Nonce: []byte{nonce.Draw(t, "nonce")}, Failure: eventv1.RejectionReason(rapid.Int32Range(1, 9).Draw(t, "failure")),
		}
	case 6, 7:
		return &eventv1.AdmitWorker{Policy: policy}
	case 8:
		return &eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 1}, FastestFuelPerMs: rapid.Uint64().Draw(t, "rate")}
	default:
		return rapid.SampledFrom([]proto.Message{
			&eventv1.DisconnectWorker{Session: session}, &eventv1.DrainWorker{}, &eventv1.BanWorker{}, &eventv1.ReinstateWorker{},
		}).Draw(t, "act")
	}
}
