package pebblelog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
)

// TestReopen: what was written is there after a restart, in its place, and a repeat from before it is still known.
func TestReopen(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	first := eventstest.Draft("A")
	var want events.Appended
	for round := range 5 {
		l := open(t, dir, Options{})
		switch round {
		case 0:
			got, err := l.Append(ctx, "s", events.Absent, first, eventstest.Draft("B"))
			if err != nil {
				t.Fatal(err)
			}
			want = got
		default:
			if _, err := l.Append(ctx, "s", events.At(uint64(round)), eventstest.Draft("C")); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir, Options{})
	defer l.Close()
	if got, err := l.Append(ctx, "s", events.Absent, first); err != nil || got != (events.Appended{Rev: 0, Pos: 1}) {
		t.Errorf("repeat after restarts: %+v, %v", got, err)
	}
	if head, err := l.Head(ctx); err != nil || head != want.Pos+4 {
		t.Errorf("head %d, %v", head, err)
	}
	if err := l.Delete(ctx, "s", events.Exists); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{})
	defer l.Close()
	if got, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("D")); err != nil || got.Rev != 6 {
		t.Errorf("revived after a restart: %+v, %v", got, err)
	}
}

// TestBackup takes copies while others write.
func TestBackup(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				data := fmt.Appendf(nil, "blob %d %d", g, i)
				err := l.Stage(ctx, sha256.Sum256(data), data)
				if err == nil {
					_, err = l.Append(ctx, fmt.Sprint("s", g), events.Any, eventstest.Draft("A"))
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	base := t.TempDir()
	for n := range 3 {
		if _, err := l.Append(ctx, "mark", events.Any, eventstest.Draft("Mark")); err != nil {
			t.Fatal(err)
		}
		head, err := l.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := l.Backup(ctx, dir); err != nil {
			t.Fatal(err)
		}
		if rep, err := Fsck(dir); err != nil || rep.Head < head {
			t.Errorf("copy %d: %+v, %v; head was %d", n, rep, err, head)
		}
		if err := l.Backup(ctx, dir); err == nil {
			t.Error("a copy over a copy")
		}
	}
	cancel()
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	restored := open(t, filepath.Join(base, "1"), Options{})
	defer restored.Close()
	if _, err := restored.Append(t.Context(), "mark", events.At(1), eventstest.Draft("Mark")); err != nil {
		t.Error(err)
	}
}

// TestStagedBlobsOutliveCacheAndProcess, also those that were never named.
func TestStagedBlobsOutliveCacheAndProcess(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	l := open(t, dir, Options{BlobCacheBytes: 10_000})
	var sums [][32]byte
	for i := range 200 {
		data := fmt.Appendf(make([]byte, 500), "%d", i)
		sums = append(sums, sha256.Sum256(data))
		if err := l.Stage(ctx, sums[i], data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("A")); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for i, sum := range sums {
			if data, err := l.Staged(ctx, sum); err != nil || sha256.Sum256(data) != sum {
				t.Errorf("blob %d: %v", i, err)
			}
		}
	}
	check()
	if l.blobs.bytes > 5000 {
		t.Errorf("the cache holds %d bytes", l.blobs.bytes)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{})
	defer l.Close()
	check()
}

// TestUnstage: a blob that is staged while it is being removed is there afterwards.
func TestUnstage(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	defer l.Close()
	ctx := t.Context()
	data := []byte("wanted again and again")
	sum := sha256.Sum256(data)
	if ok, err := l.Unstage(ctx, sum, time.Now()); ok || err != nil {
		t.Errorf("before it was staged: %v, %v", ok, err)
	}
	for range 300 {
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Unstage(ctx, sum, time.Now()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := l.Stage(ctx, sum, data); err != nil {
				t.Error(err)
			}
			if _, err := l.Append(ctx, "s", events.Any, eventstest.Draft("A")); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		// Staged before the removal began: it may be gone. Else it is there. Put it there, and look with the
		// eyes of the disk.
		if err := l.Stage(ctx, sum, data); err != nil {
			t.Fatal(err)
		}
		if ok, err := l.Unstage(ctx, sum, time.Now().Add(-time.Hour)); ok || err != nil {
			t.Fatalf("a young blob was removed: %v, %v", ok, err)
		}
		l.blobs.init(1000)
		if _, err := l.Staged(ctx, sum); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAbandonedAppends: callers that leave early leave nothing half done, and their requests are not mixed up.
func TestAbandonedAppends(t *testing.T) {
	l := open(t, t.TempDir(), Options{QueuedRequests: 4})
	defer l.Close()
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			stream, want := fmt.Sprint("s", g), events.Absent
			for i := range 150 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*20*time.Microsecond)
				d := eventstest.Draft("A")
				d.Data = []byte(stream)
				got, err := l.Append(ctx, stream, want, d)
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					copy(d.Data, "!!!") // the caller's again
					d.Data = []byte(stream)
					if got, err = l.Append(t.Context(), stream, want, d); err != nil {
						t.Errorf("repeat: %v", err)
					}
				}
				cancel()
				want = events.At(got.Rev)
			}
		})
	}
	wg.Wait()
	n := 0
	for r, err := range l.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil || string(r.Data) != r.Stream {
			t.Fatalf("%s holds %q, %v", r.Stream, r.Data, err)
		}
		n++
	}
	if n != 16*150 {
		t.Errorf("%d events", n)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Linger: -1}, {Linger: time.Second}, {RecentBytes: -1}, {MemTableBytes: 2 << 30}} {
		if l, err := Open(t.TempDir(), o); err == nil {
			l.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}
