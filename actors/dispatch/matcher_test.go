package dispatch_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const mib = 1 << 20

func worker(name string) dispatch.Worker {
	return dispatch.Worker{Key: []byte(name), Tier: 2, MemoryBytes: 256 * mib, ChunkBytes: mib, FuelPerMs: 1000, Credits: 4}
}

func seek(job string, slots ...uint32) actors.Seek {
	return actors.Seek{
		Job: job, Slots: slots,
		Spec: &eventv1.JobSpec{
			FuelLimit: 1_000_000, MinTier: 2, MinMemoryBytes: 16 * mib, Tenant: "ada", Input: &eventv1.BlobRef{Size: 1024},
		},
		Policy: &eventv1.JobPolicy{
			AckTimeoutMs: 5000, MinExecutionTimeoutMs: 10_000, MaxExecutionTimeoutMs: 600_000, ExecutionSlack: 4, MaxAttempts: 5,
		},
	}
}

func holder(slot uint32, worker string) actors.Holder {
	return actors.Holder{Slot: slot, Worker: []byte(worker)}
}

// show draws placements as "job/slot>worker".
func show(placed []dispatch.Placement) string {
	var b strings.Builder
	for i, p := range placed {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s/%d>%s", p.Job, p.Slot, p.Dispatch.Worker)
	}
	return b.String()
}

func expect(t *testing.T, m *dispatch.Matcher, want string) []dispatch.Placement {
	t.Helper()
	placed := m.Match(7, 0, 100)
	if got := show(placed); got != want {
		t.Fatalf("placed %q, want %q", got, want)
	}
	return placed
}

func TestReplicasGoToDifferentWorkers(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("w1"))
	m.Seek(seek("j", 0, 1))
	expect(t, m, "j/0>w1")
	expect(t, m, "")
	m.Ready(worker("w2"))
	expect(t, m, "j/1>w2")
}

func TestReplicasGoToDifferentIdentityGroups(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	for _, name := range []string{"w1", "w2", "w3"} {
		w := worker(name)
		w.Group = "house"
		m.Ready(w)
	}
	m.Seek(seek("j", 0, 1))
	if n := len(m.Match(7, 0, 10)); n != 1 {
		t.Fatalf("%d replicas in one house", n)
	}
	other := worker("w4")
	other.Group = "elsewhere"
	m.Ready(other)
	expect(t, m, "j/1>w4")
}

func TestReturnedReplicaStillBarsItsWorker(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("w1"))
	m.Seek(seek("j", 0, 1))
	expect(t, m, "j/0>w1")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "w1")})
	expect(t, m, "")
}

func TestLoserOfASlotIsAskedAgainOnlyWhenNobodyElseIsThere(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	for _, name := range []string{"w1", "w2"} {
		m.Ready(worker(name))
	}
	m.Seek(seek("j", 0, 1))
	lost := string(m.Match(7, 0, 10)[0].Dispatch.Worker)
	m.Release(actors.Release{Job: "j", Holder: holder(0, lost)})
	again := seek("j", 0)
	again.Excluded = [][]byte{[]byte(lost)}

	busy := worker("w3")
	busy.Credits = 1
	m.Ready(busy)
	m.Hold(actors.Hold{Job: "other", Holder: holder(0, "w3")})
	m.Seek(again)
	expect(t, m, "") // w3 is busy, but it is there
	m.Gone([]byte("w3"))
	expect(t, m, "j/0>"+lost)
}

func TestSlotThatWasGivenBackMayReturnToItsWorkerWhenAskedForAgain(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("w1"))
	m.Seek(seek("j", 0))
	expect(t, m, "j/0>w1")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "w1")})
	other := worker("w2")
	other.Credits = 1
	m.Ready(other)
	m.Hold(actors.Hold{Job: "k", Holder: holder(0, "w2")})
	m.Seek(seek("j", 0))
	expect(t, m, "j/0>w1")
}

func TestTenantsTakeTurns(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	for i := range 4 {
		s := seek(fmt.Sprintf("a%d", i), 0)
		m.Seek(s)
	}
	for i := range 2 {
		s := seek(fmt.Sprintf("b%d", i), 0)
		s.Spec.Tenant = "bob"
		m.Seek(s)
	}
	w := worker("w")
	w.Credits = 6
	m.Ready(w)
	expect(t, m, "a0/0>w b0/0>w a1/0>w b1/0>w a2/0>w a3/0>w")
}

func TestPriorityThenAge(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	young, old, urgent := seek("young", 0), seek("old", 0), seek("urgent", 0)
	young.SinceUs, old.SinceUs, urgent.SinceUs = 20, 10, 30
	urgent.Spec.Priority = 5
	for _, s := range []actors.Seek{young, old, urgent} {
		m.Seek(s)
	}
	m.Ready(worker("w"))
	expect(t, m, "urgent/0>w old/0>w young/0>w")
}

func TestJobsThatCannotBePlacedAreSteppedOver(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	heavy, hungry, wide, plain := seek("heavy", 0), seek("hungry", 0), seek("wide", 0), seek("plain", 0)
	heavy.Spec.MinTier, heavy.Spec.Priority = 3, 9
	hungry.Spec.MinMemoryBytes = 256*mib + 1
	wide.Spec.Input.Size = mib + 1
	for _, s := range []actors.Seek{heavy, hungry, wide, plain} {
		m.Seek(s)
	}
	m.Ready(worker("w"))
	expect(t, m, "plain/0>w")
}

func TestCreditsBoundWhatAWorkerHolds(t *testing.T) {
	m := dispatch.New(dispatch.Config{MaxCredits: 2})
	w := worker("w")
	w.Credits = 1000
	m.Ready(w)
	for i := range 4 {
		m.Seek(seek(fmt.Sprintf("j%d", i), 0))
	}
	expect(t, m, "j0/0>w j1/0>w")
	m.Release(actors.Release{Job: "j9", Holder: holder(0, "w")})
	m.Release(actors.Release{Job: "j0", Holder: holder(0, "v")})
	expect(t, m, "")
	for range 2 { // the second is a repeat
		m.Release(actors.Release{Job: "j0", Holder: holder(0, "w")})
	}
	expect(t, m, "j2/0>w")
	m.Credits([]byte("w"), 0)
	m.Release(actors.Release{Job: "j1", Holder: holder(0, "w")})
	expect(t, m, "")
	m.Credits([]byte("w"), 2)
	m.Drain([]byte("w"), true)
	expect(t, m, "")
	m.Drain([]byte("w"), false)
	expect(t, m, "j3/0>w")
}

func TestForgottenJobStillCountsInItsWorkersHands(t *testing.T) {
	m := dispatch.New(dispatch.Config{MaxCredits: 1})
	m.Ready(worker("w"))
	m.Seek(seek("j", 0, 1))
	expect(t, m, "j/0>w")
	m.Forget("j")
	m.Seek(seek("k", 0))
	expect(t, m, "")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "w")})
	expect(t, m, "k/0>w")
	m.Release(actors.Release{Job: "k", Holder: holder(0, "w")})
	m.Forget("k")
	if s := m.Stats(); s.Jobs != 0 || s.WaitingSlots != 0 || s.InFlight != 0 || s.WaitingJobs != 0 {
		t.Fatalf("left over: %+v", s)
	}
}

func TestHeldSlotsOfAWorkerThatIsYetToReconnectUseItsCredits(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Hold(actors.Hold{Job: "j", Holder: holder(0, "w1")})
	m.Seek(seek("j", 0, 1)) // slot 0 is held: a late request
	w := worker("w1")
	w.Credits = 1
	m.Ready(w)
	m.Seek(seek("k", 0))
	expect(t, m, "")
	m.Ready(worker("w2"))
	expect(t, m, "j/1>w2 k/0>w2")
}

func TestWorkerThatIsReadyAnewStillHoldsItsSlots(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	w := worker("w1")
	w.Credits = 1
	m.Ready(w)
	m.Seek(seek("j", 0))
	expect(t, m, "j/0>w1")
	m.Credits(w.Key, 0) // its session was replaced: nothing until the new one is admitted
	m.Seek(seek("k", 0))
	expect(t, m, "")
	m.Ready(w)
	expect(t, m, "")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "w1"), Returned: true})
	expect(t, m, "k/0>w1")
}

func TestPlacementCanBeDrawnAgain(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	for i := range 9 {
		m.Ready(worker(fmt.Sprintf("worker-%d-key", i)))
	}
	m.Seek(seek("j", 0, 1, 2))
	for _, p := range m.Match(99, 0, 10) {
		seed := dispatch.Seed(99, p.Job, p.Slot, 0)
		d := p.Dispatch
		if !bytes.Equal(seed[:], d.Seed) || d.Head != 99 || len(d.Candidates) != 4 {
			t.Fatalf("seed %x over %d candidates at %d", d.Seed, len(d.Candidates), d.Head)
		}
		if chosen := d.Candidates[dispatch.Pick(seed, 4)]; !bytes.Equal(chosen, d.Worker[:8]) {
			t.Fatalf("candidate %q, worker %q", chosen, d.Worker)
		}
	}
}

func TestSeedIsPinned(t *testing.T) {
	seed := dispatch.Seed(1, "job", 2, 3)
	if got := hex.EncodeToString(seed[:]); got != wantSeed {
		t.Errorf("seed %s", got)
	}
	big := [16]byte{0: 1} // 2^120
	if got := dispatch.Pick(big, 7); got != 1 {
		t.Errorf("2^120 mod 7 = %d", got)
	}
	if got := dispatch.Pick([16]byte{15: 5}, 3); got != 2 {
		t.Errorf("5 mod 3 = %d", got)
	}
}

func TestPickIsTheSeedModuloN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "seed"))
		n := rapid.IntRange(1, 64).Draw(t, "n")
		want := new(big.Int).Mod(new(big.Int).SetBytes(seed[:]), big.NewInt(int64(n)))
		if got := dispatch.Pick(seed, n); int64(got) != want.Int64() {
			t.Fatalf("%x mod %d = %d, want %d", seed, n, got, want)
		}
	})
}

// TestManyKindsOfNeed: kinds of jobs that come and go leave nothing that hinders later ones.
func TestManyKindsOfNeed(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	w := worker("w")
	w.MemoryBytes = 1 << 40
	m.Ready(w)
	for round := range 2 {
		for i := range 1500 {
			s := seek(fmt.Sprint(round, i), 0)
			s.Spec.Priority, s.Spec.MinMemoryBytes, s.Spec.MinTier = int32(i%50), 1<<(i/50), 3
			m.Seek(s)
			if i%2 == round {
				m.Forget(s.Job)
			}
		}
	}
	if n := m.Stats().WaitingSlots; n != 1500 {
		t.Errorf("%d slots wait", n)
	}
	expect(t, m, "")
	for i := range 4 {
		s := seek(fmt.Sprint("late", i), 0)
		s.Spec.Priority, s.Spec.MinMemoryBytes = int32(-i), 1<<(i*10)
		m.Seek(s)
	}
	expect(t, m, "late0/0>w late1/0>w late2/0>w late3/0>w")
	m.Gone(w.Key)
	w.Tier, w.Credits = 3, 256
	m.Ready(w)
	if n := len(m.Match(0, 0, 5000)); n != 256 {
		t.Errorf("%d placed with 256 credits", n)
	}
}

func TestDeadlines(t *testing.T) {
	huge := ^uint64(0)
	for _, c := range []struct {
		name      string
		fuel      uint64
		rate      uint64
		input     uint64
		ack, exec uint32
	}{
		{"short work gets the least", 1_000, 1000, 0, 5000, 10_000},
		{"slack times the run", 5_000_000, 1000, 0, 5000, 20_000},
		{"transfer counts twice over", 5_000_000, 1000, 500_000, 7000, 22_000},
		{"never more than the most", huge, 1, 0, 5000, 600_000},
		{"unknown rate", 5_000_000, 0, 0, 5000, 600_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := dispatch.New(dispatch.Config{})
			w := worker("w")
			w.FuelPerMs, w.ChunkBytes = c.rate, huge
			m.Ready(w)
			s := seek("j", 0)
			s.Spec.FuelLimit, s.Spec.Input.Size = c.fuel, c.input
			m.Seek(s)
			d := m.Match(0, 0, 1)[0].Dispatch
			if d.AckTimeoutMs != c.ack || d.ExecutionTimeoutMs != c.exec || d.MaxAttempts != 5 {
				t.Errorf("ack %d, execution %d", d.AckTimeoutMs, d.ExecutionTimeoutMs)
			}
		})
	}
}

func TestWorkQueuedAheadExtendsTheDeadline(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("w"))
	for _, id := range []string{"a", "b"} {
		s := seek(id, 0)
		s.Spec.FuelLimit = 30_000_000 // 30 s
		m.Seek(s)
	}
	placed := m.Match(0, 0, 2)
	if got := placed[1].Dispatch.ExecutionTimeoutMs - placed[0].Dispatch.ExecutionTimeoutMs; got != 30_000 {
		t.Errorf("second gets %d ms more", got)
	}
}

func TestExplain(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Seek(seek("j", 0, 1))
	explain(t, m, "waiting for 2 of 2 workers: no worker is connected")
	small := worker("small")
	small.Tier = 1
	m.Ready(small)
	explain(t, m, "waiting for 2 of 2 workers: no tier 2 worker is connected")
	m.Ready(worker("w1"))
	m.Match(0, 1_000_000, 9)
	busy := worker("w2")
	busy.Credits = 1
	m.Hold(actors.Hold{Job: "k", Holder: holder(0, "w2")})
	m.Ready(busy)
	off := worker("w3")
	off.Draining = true
	m.Ready(off)
	m.Match(0, 3_500_000, 9)
	explain(t, m,
		"waiting for 1 of 2 workers: 3 connected workers are of tier 2 or better: 1 draining, 1 already had a slot of this job, or share the identity of one that had, 1 busy (0 credits free)",
		"slot 0 is in the hands of worker 7731.. since 2.5 s")
	m.Forget("j")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "w1")})
	explain(t, m, "the dispatcher does not know this job: it is decided, or it was never submitted")
}

func explain(t *testing.T, m *dispatch.Matcher, want ...string) {
	t.Helper()
	if got := m.Explain("j"); !reflect.DeepEqual(got, want) {
		t.Errorf("explained:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantSeed was computed with another program.
const wantSeed = "5fefc0278e0ec5594b3c0677afa7bdc8"

const second = 1_000_000

// stuck is a job that ann and bob differ about, and nobody else is there.
func stuck(t *testing.T) *dispatch.Matcher {
	t.Helper()
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("ann"))
	m.Ready(worker("bob"))
	s := seek("j", 2, 3)
	s.Used = []actors.Holder{holder(0, "ann"), holder(1, "bob")}
	m.Seek(s)
	expect(t, m, "")
	return m
}

func abandons(t *testing.T, m *dispatch.Matcher, atUs int64, want string) {
	t.Helper()
	if got := fmt.Sprint(m.Abandoned(atUs, 30*time.Second)); got != want {
		t.Fatalf("at %d s: abandoned %s, want %s", atUs/second, got, want)
	}
}

func TestPatienceBeginsWhenNobodyIsLeft(t *testing.T) {
	m := stuck(t)
	abandons(t, m, 100*second, "[]")
	abandons(t, m, 129*second, "[]")
	explain(t, m, "waiting for 2 of 4 workers: 2 connected workers are of tier 2 or better: 2 already had a slot of this job, or share the identity of one that had",
		"nobody who is connected may have it: the referee is asked in 1 s")
	abandons(t, m, 130*second, "[{j 2} {j 3}]")
	m.Abandon(dispatch.Slot{Job: "j", Number: 2})
	abandons(t, m, 131*second, "[{j 3}]")
	m.Abandon(dispatch.Slot{Job: "j", Number: 3})
	abandons(t, m, 200*second, "[]")
	m.Ready(worker("cat"))
	expect(t, m, "")
	m.Seek(seek("j", 3)) // the slot refused to be given up, and is sought again
	expect(t, m, "j/3>cat")
}

func TestPatienceBeginsAnewWhenSomebodyCame(t *testing.T) {
	m := stuck(t)
	abandons(t, m, 0, "[]")
	cat := worker("cat")
	cat.Credits = 0 // takes no work now, but would have to be asked
	m.Ready(cat)
	abandons(t, m, 29*second, "[]")
	abandons(t, m, 300*second, "[]")
	m.Drain(cat.Key, true)
	abandons(t, m, 301*second, "[]")
	abandons(t, m, 331*second, "[{j 2} {j 3}]")
	m.Drain(cat.Key, false)
	m.Credits(cat.Key, 1)
	expect(t, m, "j/2>cat")
	abandons(t, m, 332*second, "[]") // cat has one of them: the other waits anew
	abandons(t, m, 362*second, "[{j 3}]")
}

func TestNobodyConnectedIsNoShortage(t *testing.T) {
	m := stuck(t)
	abandons(t, m, 0, "[]")
	m.Gone([]byte("ann"))
	m.Gone([]byte("bob"))
	abandons(t, m, 1000*second, "[]")
	m.Ready(worker("ann"))
	abandons(t, m, 1001*second, "[]")
	abandons(t, m, 1031*second, "[{j 2} {j 3}]")
}

func TestJobsWithoutResultsWaitForEver(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	m.Ready(worker("ann"))
	m.Seek(seek("j", 0, 1))
	expect(t, m, "j/0>ann")
	abandons(t, m, 0, "[]")
	abandons(t, m, 3600*second, "[]")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "ann")}) // lost
	abandons(t, m, 3601*second, "[]")
	abandons(t, m, 7200*second, "[]")
	m.Seek(seek("j", 0))
	expect(t, m, "j/0>ann")
	m.Release(actors.Release{Job: "j", Holder: holder(0, "ann"), Returned: true})
	abandons(t, m, 7201*second, "[]")
	abandons(t, m, 7231*second, "[{j 1}]")
}

func TestBusyOrExcludedWorkersAreWaitedFor(t *testing.T) {
	m := stuck(t)
	cat := worker("cat")
	cat.Credits = 1
	m.Hold(actors.Hold{Job: "other", Holder: holder(0, "cat")})
	m.Ready(cat)
	expect(t, m, "")
	abandons(t, m, 0, "[]")
	abandons(t, m, 900*second, "[]")
	lost := seek("j", 2)
	lost.Excluded = [][]byte{[]byte("cat")}
	m.Seek(lost)
	abandons(t, m, 901*second, "[]")
	abandons(t, m, 1900*second, "[]")
}

func TestBarredPartiesGetNothing(t *testing.T) {
	m := dispatch.New(dispatch.Config{})
	ann, bob := worker("ann"), worker("bob")
	bob.Group = "house"
	m.Ready(ann)
	m.Ready(bob)
	s := seek("ringer", 1)
	s.Barred = []actors.Holder{{Worker: []byte("ann")}, {Worker: []byte("old"), Group: "house"}}
	if m.Anyone(s.Spec, s.Barred) || !m.Anyone(s.Spec, s.Barred[:1]) {
		t.Error("Anyone does not tell who may have it")
	}
	m.Seek(s)
	expect(t, m, "")
	abandons(t, m, 0, "[]") // nothing of it was returned
	abandons(t, m, 99*second, "[]")
	m.Ready(worker("cat"))
	expect(t, m, "ringer/1>cat")
}
