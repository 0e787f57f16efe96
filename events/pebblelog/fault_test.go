package pebblelog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/shardy-network/orchestrator/events"
)

// errDisk is what the injected faults say.
var errDisk = errors.New("no space left on device (injected)")

// faulty is a disk in memory whose writes fail from the n-th on, or only the n-th.
type faulty struct {
	mem    *vfs.MemFS
	fs     vfs.FS
	writes atomic.Int64
	at     int64
	once   bool
}

func newFaulty(mem *vfs.MemFS, at int64, once bool) *faulty {
	f := &faulty{mem: mem, at: at, once: once}
	f.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileClose, errorfs.OpLock, errorfs.OpFilePreallocate, errorfs.OpRemove:
			return nil // these do not fail for want of space
		}
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		if n := f.writes.Add(1); n == f.at || n > f.at && !f.once {
			return errDisk
		}
		return nil
	}))
	return f
}

// work appends until the log stops or it has appended enough, with a blob for each event.
func work(ctx context.Context, l *Log, n int) (acked int, err error) {
	dice := rand.New(rand.NewPCG(1, 1))
	for ; acked < n; acked++ {
		data := make([]byte, 20_000)
		noise(dice, data)
		sum := sha256.Sum256(data)
		if err := l.Stage(ctx, sum, data); err != nil {
			return acked, err
		}
		d := events.Draft{ID: events.ID{1}, Type: "T", Data: append(sum[:], data[:5000]...)}
		binary.BigEndian.PutUint64(d.ID[8:], uint64(acked))
		if _, err := l.Append(ctx, fmt.Sprintf("s-%d", acked%7), events.Any, d); err != nil {
			return acked, err
		}
	}
	return acked, nil
}

// TestEveryWriteMayFail lets each write of a log's life fail in turn, once or for good. The log must stop cleanly or
// go on; after a loss of power every acknowledged event and its blob must be there.
func TestEveryWriteMayFail(t *testing.T) {
	step := int64(101)
	if testing.Short() {
		step = 197
	}
	sound := newFaulty(vfs.NewCrashableMem(), 0, true)
	oneLife(t, sound)
	writes := sound.writes.Load()
	var stopped atomic.Int64
	t.Run("write", func(t *testing.T) {
		for at := 1 + rand.Int64N(step); at <= writes; at += step {
			t.Run(fmt.Sprint(at), func(t *testing.T) {
				t.Parallel()
				if oneLife(t, newFaulty(vfs.NewCrashableMem(), at, at%2 == 0)) {
					stopped.Add(1)
				}
			})
		}
	})
	if stopped.Load() == 0 {
		t.Error("no fault stopped a log")
	}
	t.Logf("%d writes, %d faults stopped the log", writes, stopped.Load())
}

// oneLife fills a log, and tells whether it was stopped.
func oneLife(t *testing.T, disk *faulty) (stopped bool) {
	const appends = 120 // enough for flushes and compactions
	l, err := Open("log", Options{Logger: quiet, MemTableBytes: 256 << 10, fs: disk.fs})
	if err != nil {
		if !errors.Is(err, errDisk) && !errors.Is(err, events.ErrUnavailable) {
			t.Fatalf("open: %v", err)
		}
		return false
	}
	acked, err := work(t.Context(), l, appends)
	if err != nil {
		if !errors.Is(err, events.ErrUnavailable) || !errors.Is(err, errDisk) {
			t.Fatalf("stopped with %v", err)
		}
		if _, err := l.Append(t.Context(), "s", events.Any, events.Draft{ID: events.ID{9}, Type: "T"}); !errors.Is(err, events.ErrUnavailable) {
			t.Fatalf("next append: %v", err)
		}
	}
	seen := 0
	for _, err := range l.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		seen++
	}
	if seen != acked && (err == nil || seen != acked+1) { // one may be durable whose answer was overtaken by the failure
		t.Fatalf("%d events to be read, %d acknowledged", seen, acked)
	}
	left := disk.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(disk.at), 1))})
	afterPowerLoss(t, left, acked)
	_ = l.Close() // tells the failure again
	return err != nil
}

func afterPowerLoss(t *testing.T, fs vfs.FS, acked int) {
	t.Helper()
	rep, err := fsck("log", fs)
	if err != nil || rep.Events < uint64(acked) || rep.Events > uint64(acked)+1 {
		t.Fatalf("after the loss of power %+v, %v; acknowledged %d", rep, err, acked)
	}
	l := open(t, "log", Options{fs: fs})
	defer l.Close()
	for r, err := range l.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Staged(t.Context(), [32]byte(r.Data[:32])); err != nil {
			t.Fatalf("blob of event %d: %v", r.Pos, err)
		}
	}
	if _, err := l.Append(t.Context(), "s", events.Any, events.Draft{ID: events.ID{9}, Type: "T"}); err != nil {
		t.Fatalf("append after the loss of power: %v", err)
	}
}

// TestFailureAnswersAllWhoWait: one failed sync, many appenders; each gets the cause, and none waits for ever.
func TestFailureAnswersAllWhoWait(t *testing.T) {
	var stuck atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if stuck.Load() && isWAL(op.Path) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errDisk
		}
		return nil
	}))
	l := open(t, "log", Options{fs: fs, QueuedRequests: 8})
	defer l.Close()
	ctx := t.Context()
	ended := make(chan error, 64)
	for g := range cap(ended) {
		go func() {
			for i := 0; ; i++ {
				_, err := l.Append(ctx, fmt.Sprint("s", g), events.Any, events.Draft{ID: events.ID{1, byte(g), byte(i >> 8), byte(i)}, Type: "T"})
				if err != nil {
					ended <- err
					return
				}
				if i == 20 {
					stuck.Store(true)
				}
			}
		}()
	}
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, events.ErrUnavailable) || !errors.Is(err, errDisk) {
			t.Errorf("got %v", err)
		}
	}
	select {
	case <-l.Failed():
	default:
		t.Error("the log does not say that it failed")
	}
	head, err := l.Head(ctx)
	n := events.Position(0)
	for _, err := range l.ReadAll(ctx, 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err != nil || n != head {
		t.Errorf("%d events, head %d, %v", n, head, err)
	}
}
