package e2e

import (
	"bytes"
	"testing"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// goesOn waits until one of them shows a block that another than the former leader has proposed, and returns how long
// that took.
func (f *federation) goesOn(former *member, rest []*member) time.Duration {
	f.Helper()
	begin := time.Now()
	rest[0].poll("another leads and makes blocks", func() bool {
		res, err := rest[0].ledger.ListBlocks(f.Context(), &operatorv1.ListBlocksRequest{PageSize: 1})
		return err == nil && len(res.Blocks) == 1 && !bytes.Equal(res.Blocks[0].Header.Proposer, former.public())
	})
	return time.Since(begin).Round(10 * time.Millisecond)
}

// TestALeaderIsKilledUnderLoad kills one leader after the other while clients pay each other through all four orchestrators. The
// other three go on; the killed one comes back from its folder; no payment that was acknowledged is lost or made twice.
func TestALeaderIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, clients: 8})
	tr := f.traffic(50*time.Millisecond, f.operators...)
	for range 3 {
		f.operators[0].reaches(f.operators[0].height() + 10)
		leader := f.leader(f.operators...)
		rest := f.others(leader)
		f.kill(leader)
		took := f.goesOn(leader, rest)
		t.Logf("%s led and was killed; the others went on after %s, led by %s", leader.name, took, f.leader(rest...).name)
		for _, o := range rest {
			o.reaches(rest[0].height() + 5)
		}
		begin := time.Now()
		f.launch(leader)
		f.live(leader)
		leader.reaches(rest[0].height())
		had := time.Since(begin)
		leader.inStep()
		t.Logf("%s was back with all blocks %s after its start, and in step after %s", leader.name, had.Round(10*time.Millisecond),
			time.Since(begin).Round(10*time.Millisecond))
	}
	tr.settle(f.operators...)
	f.running(f.operators...)
	f.agree(f.operators...)
}

// TestALeaderIsKilledWhileAnotherComesBack kills a follower, and the leader when the follower has just come back: the quorum
// needs the one that was away.
func TestALeaderIsKilledWhileAnotherComesBack(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, clients: 8})
	tr := f.traffic(50*time.Millisecond, f.operators...)
	for range 3 {
		f.operators[0].reaches(f.operators[0].height() + 10)
		leader := f.leader(f.operators...)
		rest := f.others(leader)
		f.kill(rest[0])
		rest[1].reaches(rest[1].height() + 10)
		begin := time.Now()
		f.launch(rest[0])
		up := time.Since(begin)
		f.kill(leader)
		t.Logf("%s was killed %s after the start of %s; the others went on after %s", leader.name, up.Round(10*time.Millisecond),
			rest[0].name, f.goesOn(leader, rest))
		f.launch(leader)
		f.live(leader)
		leader.inStep()
	}
	tr.settle(f.operators...)
	f.running(f.operators...)
	f.agree(f.operators...)
}

// TestALeaderIsFrozen stops the leader's process for some heartbeats. The others do without it; when it goes on, it still
// believes that it leads, and is taught.
func TestALeaderIsFrozen(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, clients: 8})
	tr := f.traffic(50*time.Millisecond, f.operators...)
	f.operators[0].reaches(10)
	leader := f.leader(f.operators...)
	rest := f.others(leader)
	f.freeze(leader)
	begin := time.Now()
	t.Logf("%s led and was frozen; the others went on after %s", leader.name, f.goesOn(leader, rest))
	time.Sleep(3*heartbeat() - time.Since(begin)) // how long it is away is the fault, not something to be waited for
	f.thaw(leader)
	begin = time.Now()
	leader.reaches(rest[0].height())
	t.Logf("%s had all blocks %s after it was thawed", leader.name, time.Since(begin).Round(10*time.Millisecond))
	f.live(leader)
	rest[0].reaches(rest[0].height() + 10)
	tr.settle(f.operators...)
	f.running(f.operators...)
	f.agree(f.operators...)
}
