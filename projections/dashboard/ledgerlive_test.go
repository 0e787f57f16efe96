package dashboard

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// watched counts who waits for blocks, and can end.
type watched struct {
	*mint
	waiting atomic.Int64
	lists   atomic.Int64
	life    context.Context
	end     context.CancelFunc
}

func (w *watched) Await(ctx context.Context, height uint64) error {
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(w.life, stop)()
	return w.mint.Await(ctx, height)
}

func (w *watched) ListBlocks(ctx context.Context, req *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error) {
	w.lists.Add(1)
	if w.life.Err() != nil {
		return nil, &Refusal{Code: "CLOSED", Text: "The ledger has ended."}
	}
	return w.mint.ListBlocks(ctx, req)
}

// watchedScene has a short chain.
func watchedScene(t *testing.T, change func(*Deps)) (*scene, *watched) {
	w := &watched{mint: newMint(t, time.Now().UnixMicro(), nil, nil)}
	w.life, w.end = context.WithCancel(t.Context())
	s := newScene(t, func(d *Deps) {
		d.Ledger = w
		if change != nil {
			change(d)
		}
	})
	w.add()
	return s, w
}

func fast(d *Deps) { d.Limits.RenderEvery = 20 * time.Millisecond }

func TestLedgerPagesFollowTheBlocks(t *testing.T) {
	s, w := watchedScene(t, fast)
	body := s.page("/ledger/blocks")
	at := strings.ReplaceAll(between(body, `hx-sse:connect="`, `" hx-swap`), "&amp;", "&")
	if at != "/live/ledger/blocks?since=1" {
		t.Fatalf("live from %q", at)
	}
	s.listen(at, "").quiet(200 * time.Millisecond) // the page has just been rendered
	l := s.listen(at, "")
	until(t, "the page waits for a block", func() bool { return w.waiting.Load() == 1 })
	w.add()
	e := l.await(linkBlock(2))
	if place, _, _ := strings.Cut(e.id, "-"); place != "2" {
		t.Errorf("event id %s, the ledger is at 2", e.id)
	}
	l.close()
	s.listen(at, e.id).quiet(200 * time.Millisecond) // came back and missed nothing
	w.add()
	s.listen(at, e.id).await(linkBlock(3))
}

// TestLedgerPagesWaitForBlocksOnly: what happens to jobs does not render them again, and while nothing happens they ask
// nothing.
func TestLedgerPagesWaitForBlocksOnly(t *testing.T) {
	s, w := watchedScene(t, fast)
	l := s.listen("/live/ledger/blocks", "")
	l.await(linkBlock(1))
	until(t, "the page waits for a block", func() bool { return w.waiting.Load() == 1 })
	asked := w.lists.Load()
	s.fleet()
	for range 20 {
		s.plant.submit(nil)
	}
	s.plant.work()
	s.plant.must(actors.WorkerAddress(s.plant.key(0)), workerCmd(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 1}}))
	s.settle()
	l.quiet(200 * time.Millisecond)
	if n := w.lists.Load(); n != asked {
		t.Errorf("asked %d times for blocks while there were none", n-asked)
	}
	until(t, "nobody waits any more", func() bool { return w.waiting.Load() == 0 })
}

// TestManyBlocksCostTwoRendersASecond holds the bound of the product, and that all readers share it.
func TestManyBlocksCostTwoRendersASecond(t *testing.T) {
	s, w := watchedScene(t, nil)
	listeners := make([]*listener, 4)
	for i := range listeners {
		listeners[i] = s.listen("/live/ledger/blocks", "")
		listeners[i].await(linkBlock(1))
	}
	begin, asked := time.Now(), w.lists.Load()
	for time.Since(begin) < 2*time.Second {
		w.add()
		time.Sleep(2 * time.Millisecond)
	}
	for _, l := range listeners {
		l.await(fmt.Sprintf(`href="%s"`, linkBlock(w.Height())))
	}
	if n, most := w.lists.Load()-asked, int64(time.Since(begin).Seconds()*2)+2; n > most {
		t.Errorf("%d renderings of %d blocks in %.1f s, at most %d", n, w.Height(), time.Since(begin).Seconds(), most)
	}
}

func TestALedgerThatEndsIsSpokenOf(t *testing.T) {
	s, w := watchedScene(t, fast)
	l := s.listen("/live/ledger/blocks", "")
	l.await(linkBlock(1))
	until(t, "the page waits for a block", func() bool { return w.waiting.Load() == 1 })
	w.end()
	if e := l.await("The ledger has ended."); e.event != "trouble" {
		t.Errorf("told by %q", e.event)
	}
	l.close()
	until(t, "nobody waits any more", func() bool { return w.waiting.Load() == 0 })
}

func TestWhatNeverChangesIsNotLive(t *testing.T) {
	s, _, all := ledgerScene(t, nil)
	for _, path := range []string{"/ledger/blocks/2", "/ledger/transactions/" + hexOf(all.slash)} {
		if strings.Contains(s.page(path), "hx-sse:connect") {
			t.Errorf("%s is live", path)
		}
		if a := s.get("/live" + path); a.status == 200 {
			t.Errorf("/live%s: %d", path, a.status)
		}
	}
}
