package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

func content(n, size int) []byte {
	b := bytes.Repeat(fmt.Appendf(nil, "%08d", n), size/8+1)
	return b[:size]
}

// stores opens each kind of store.
func stores(t *testing.T, opts Options, story func(t *testing.T, s *Store)) {
	for name, open := range map[string]func(t *testing.T) (string, events.Log){
		"folder":         func(t *testing.T) (string, events.Log) { return t.TempDir(), nil },
		"file URL":       func(t *testing.T) (string, events.Log) { return "file://" + t.TempDir() + "/made", nil },
		"memory":         func(*testing.T) (string, events.Log) { return "mem://", nil },
		"memlog, memory": func(*testing.T) (string, events.Log) { return "mem://", memlog.New() },
		"pebblelog, folder": func(t *testing.T) (string, events.Log) {
			l, err := pebblelog.Open(t.TempDir(), pebblelog.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return t.TempDir(), l
		},
	} {
		t.Run(name, func(t *testing.T) {
			at, log := open(t)
			opts.Log = log
			s, err := Open(t.Context(), at, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if log != nil {
					if err := log.Close(); err != nil {
						t.Error(err)
					}
				}
			}()
			story(t, s)
		})
	}
}

func TestPutAndGet(t *testing.T) {
	stores(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for _, size := range []int{0, 1, 1024, events.MaxStagedBytes, events.MaxStagedBytes + 1, 3 << 20} {
			data := content(size, size)
			sum := sha256.Sum256(data)
			if _, err := s.Get(ctx, sum, 1<<30); !errors.Is(err, ErrNotFound) {
				t.Errorf("%d bytes, before: %v", size, err)
			}
			if ok, err := s.Has(ctx, sum); ok || err != nil {
				t.Errorf("%d bytes, before: %v, %v", size, ok, err)
			}
			if _, err := s.Size(ctx, sum); !errors.Is(err, ErrNotFound) || !errors.Is(err, events.ErrNotFound) {
				t.Errorf("%d bytes, before: %v", size, err)
			}
			if _, _, err := s.Open(ctx, sum); !errors.Is(err, ErrNotFound) {
				t.Errorf("%d bytes, before: %v", size, err)
			}
			for range 2 {
				if ref, err := s.Put(ctx, data); err != nil || ref != (Ref{sum, uint64(size)}) {
					t.Fatalf("%d bytes: %v, %v", size, ref, err)
				}
			}
			if ref, err := s.PutReader(ctx, iotest.HalfReader(bytes.NewReader(data)), int64(size)); err != nil || ref != (Ref{sum, uint64(size)}) {
				t.Fatalf("%d bytes from a reader: %v, %v", size, ref, err)
			}
			if got, err := s.Get(ctx, sum, int64(size)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
			if ok, err := s.Has(ctx, sum); !ok || err != nil {
				t.Errorf("%d bytes: %v, %v", size, ok, err)
			}
			if n, err := s.Size(ctx, sum); n != int64(size) || err != nil {
				t.Errorf("%d bytes: size %d, %v", size, n, err)
			}
			r, n, err := s.Open(ctx, sum)
			if err != nil || n != int64(size) {
				t.Fatalf("%d bytes: open %d, %v", size, n, err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: read %d, %v", size, len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if size > 0 {
				if _, err := s.Get(ctx, sum, int64(size-1)); !errors.Is(err, ErrTooLarge) {
					t.Errorf("%d bytes, limit %d: %v", size, size-1, err)
				}
			}
			if err := s.Delete(ctx, sum); err != nil {
				t.Error(err)
			}
			if err := s.Delete(ctx, sum); err != nil {
				t.Error("again:", err)
			}
			if _, err := s.Get(ctx, sum, 1<<30); !errors.Is(err, ErrNotFound) {
				t.Errorf("%d bytes, deleted: %v", size, err)
			}
		}
	})
}

func TestLimits(t *testing.T) {
	stores(t, Options{MaxBytes: 100_000}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for _, put := range []func() (Ref, error){
			func() (Ref, error) { return s.Put(ctx, content(1, 100_001)) },
			func() (Ref, error) { return s.PutReader(ctx, bytes.NewReader(content(1, 100_001)), 1<<30) },
			func() (Ref, error) { return s.PutReader(ctx, bytes.NewReader(content(1, 80_001)), 80_000) },
			func() (Ref, error) { return s.PutReader(ctx, bytes.NewReader(content(1, 11)), 10) },
		} {
			if _, err := put(); !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
		}
		broken := errors.New("broken pipe")
		r := io.MultiReader(bytes.NewReader(content(1, 70_000)), iotest.ErrReader(broken))
		if _, err := s.PutReader(ctx, r, 90_000); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSweep(t *testing.T) {
	stores(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		var refs []Ref
		for i := range 6 {
			ref, err := s.Put(ctx, content(i, 1000+i*40_000)) // some in the log, some in the bucket
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, ref)
		}
		wanted := func(sum [32]byte) bool { return sum == refs[0].Sum || sum == refs[5].Sum }
		if done, err := s.Sweep(ctx, wanted, time.Hour); err != nil || done != (Swept{}) {
			t.Errorf("all are young: %+v, %v", done, err)
		}
		if _, err := s.Sweep(ctx, wanted, 0); !errors.Is(err, ErrConfig) {
			t.Errorf("any age: %v", err)
		}
		var done, dry Swept
		deadline := time.Now().Add(10 * time.Second)
		for dry.Removed < 4 && time.Now().Before(deadline) {
			var err error
			if dry, err = s.Orphans(ctx, wanted, time.Nanosecond); err != nil {
				t.Fatal(err)
			}
		}
		if want := int64(4*1000 + (1+2+3+4)*40_000); dry.Removed != 4 || dry.Bytes != want {
			t.Errorf("orphans: %+v, want %d bytes", dry, want)
		}
		for i, ref := range refs {
			if ok, err := s.Has(ctx, ref.Sum); !ok || err != nil {
				t.Errorf("blob %d, not swept yet: %v, %v", i, ok, err)
			}
		}
		for done.Removed < 4 && time.Now().Before(deadline) { // until they are a nanosecond old by every clock
			got, err := s.Sweep(ctx, wanted, time.Nanosecond)
			if err != nil {
				t.Fatal(err)
			}
			done.Removed += got.Removed
			done.Bytes += got.Bytes
		}
		if done.Bytes != dry.Bytes {
			t.Errorf("removed %d bytes, want %d", done.Bytes, dry.Bytes)
		}
		for i, ref := range refs {
			ok, err := s.Has(ctx, ref.Sum)
			if want := i == 0 || i == 5; ok != want || err != nil {
				t.Errorf("blob %d: %v, %v", i, ok, err)
			}
		}
		if ref, err := s.Put(ctx, content(3, 1000+3*40_000)); err != nil || ref != refs[3] {
			t.Errorf("put again: %v, %v", ref, err)
		}
		if _, err := s.Get(ctx, refs[3].Sum, 1<<20); err != nil {
			t.Errorf("put after it was swept: %v", err)
		}
	})
}

func TestConcurrentPutsOfTheSame(t *testing.T) {
	stores(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		stop := make(chan struct{})
		var sweeper, wg sync.WaitGroup
		sweeper.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if done, err := s.Sweep(ctx, func([32]byte) bool { return false }, time.Hour); err != nil || done.Removed > 0 {
					t.Errorf("%+v, %v", done, err)
				}
			}
		})
		for i := range 64 {
			wg.Go(func() {
				data := content(i%4, 30_000+i%4*30_000)
				ref, err := s.Put(ctx, data)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(ctx, ref.Sum, 1<<20); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		close(stop)
		sweeper.Wait()
	})
}

func TestCorruptionIsTold(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref, err := s.Put(t.Context(), content(1, 5000))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.FromSlash(Key(ref.Sum)))
	for what, bad := range map[string][]byte{"altered": content(2, 5000), "cut": content(1, 4000), "empty": {}} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), ref.Sum, 1<<20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("get %s: %v", what, err)
		}
		r, _, err := s.Open(t.Context(), ref.Sum)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read %s: %v", what, err)
		}
		r.Close()
	}
	// Another process puts it right.
	again, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Put(t.Context(), content(1, 5000)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), ref.Sum, 1<<20); err != nil {
		t.Error(err)
	}
}

func TestCrashLeftoversAreSwept(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ref, err := s.Put(ctx, content(1, 5000))
	if err != nil {
		t.Fatal(err)
	}
	// What an upload leaves that was cut off by the end of the process, and a stranger's file.
	path := filepath.Join(dir, filepath.FromSlash(Key(ref.Sum)))
	for _, name := range []string{path + ".1800000000000000000.tmp", filepath.Join(dir, "notes.txt")} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	done, err := s.Sweep(ctx, func([32]byte) bool { return true }, time.Minute)
	if err != nil || done != (Swept{Leftovers: 1}) {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Error(err)
	}
	// An upload that is given up leaves nothing.
	cancel()
	if _, err := s.Put(ctx, content(2, 5000)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	left := 0
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left++
		}
		return err
	})
	if err != nil || left != 2 {
		t.Errorf("%d files, %v", left, err)
	}
}

func TestBadAddresses(t *testing.T) {
	for _, at := range []string{"", "file://host/path", "file:///x?y=z", "file://", "nothing://x", "file://%zz"} {
		if s, err := Open(t.Context(), at, Options{}); err == nil {
			s.Close()
			t.Errorf("%q was opened", at)
		}
	}
	if _, err := Open(t.Context(), t.TempDir(), Options{MaxBytes: -1}); !errors.Is(err, ErrConfig) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key(sha256.Sum256(nil)))
	f.Add("ab/cd/" + string(bytes.Repeat([]byte("ab"), 32)))
	f.Fuzz(func(t *testing.T, key string) {
		if sum, err := ParseKey(key); err == nil && Key(sum) != key {
			t.Errorf("%q became %q", key, Key(sum))
		}
		sum := sha256.Sum256([]byte(key))
		if got, err := ParseKey(Key(sum)); err != nil || got != sum {
			t.Errorf("%x: %x, %v", sum, got, err)
		}
	})
}
