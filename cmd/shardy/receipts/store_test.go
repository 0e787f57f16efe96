package receipts

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func receipt(orchestrator byte, body string) *workerv1.KeptReceipt {
	return &workerv1.KeptReceipt{Orchestrator: key(orchestrator), Worker: key(99), KeptUs: 1, Kind: &workerv1.KeptReceipt_Recorded{
		Recorded: &workerv1.Receipts{Body: []byte(body)},
	}}
}

func open(t testing.TB, dir string, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func keep(t testing.TB, s *Store, k *workerv1.KeptReceipt) {
	t.Helper()
	if err := s.Keep(k); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, dir string) (bodies []string, torn int) {
	t.Helper()
	torn, err := Read(dir, func(k *workerv1.KeptReceipt) bool {
		bodies = append(bodies, string(k.GetRecorded().GetBody()))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies, torn
}

func expect(t testing.TB, dir string, torn int, want ...string) {
	t.Helper()
	got, n := read(t, dir)
	if fmt.Sprint(got) != fmt.Sprint(want) || n != torn {
		t.Fatalf("read %q, %d torn, want %q, %d", got, n, want, torn)
	}
}

func files(t testing.TB, dir string, orchestrator byte) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%x", key(orchestrator)), "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReceiptsOutliveTheirProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	keep(t, s, receipt(1, "a"))
	keep(t, s, receipt(2, "b"))
	keep(t, s, receipt(1, "c"))
	expect(t, dir, 0, "a", "c", "b") // also before anything is closed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(receipt(1, "late")); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	keep(t, open(t, dir, Config{}), receipt(1, "d"))
	expect(t, dir, 0, "a", "c", "d", "b")
	if n := len(files(t, dir, 1)); n != 1 {
		t.Fatalf("%d files: a new run goes on with the last one", n)
	}
	expect(t, filepath.Join(dir, "elsewhere"), 0)
}

// Wherever a crash tears the last file, what is before is read, and the next run loses nothing.
func TestATornTailIsPassedOver(t *testing.T) {
	whole := t.TempDir()
	keep(t, open(t, whole, Config{}), receipt(1, "first"))
	keep(t, open(t, whole, Config{}), receipt(1, "second"))
	data, err := os.ReadFile(files(t, whole, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2
	for cut := half - 1; cut < len(data); cut++ {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		keep(t, s, receipt(1, "x"))
		_ = s.Close()
		if err := os.WriteFile(files(t, dir, 1)[0], data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		before, torn := read(t, dir)
		keep(t, open(t, dir, Config{}), receipt(1, "after"))
		after, _ := read(t, dir)
		if fmt.Sprint(after) != fmt.Sprint(append(before, "after")) {
			t.Fatalf("cut at %d: %q, then %q", cut, before, after)
		}
		if n := len(files(t, dir, 1)); n != 1+torn {
			t.Fatalf("cut at %d: %d files, %d torn", cut, n, torn)
		}
	}
}

func TestFoldersAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{MaxBytes: 1 << 20})
	big := string(make([]byte, 30<<10))
	const n = 100
	for i := range n {
		keep(t, s, receipt(1, fmt.Sprint(i)+big))
	}
	keep(t, s, receipt(2, "of another"))
	var total int64
	for _, f := range files(t, dir, 1) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	bodies, _ := read(t, dir)
	if total > 1<<20 || total < 1<<19 {
		t.Fatalf("%d bytes", total)
	}
	last := bodies[len(bodies)-2]
	if last != fmt.Sprint(n-1)+big || bodies[len(bodies)-1] != "of another" {
		t.Fatal("the youngest are gone")
	}
	for i := byte(3); i <= MaxOrchestrators; i++ {
		keep(t, s, receipt(i, "x"))
	}
	if err := s.Keep(receipt(77, "x")); !errors.Is(err, ErrFull) {
		t.Fatalf("one key too many: %v", err)
	}
	keep(t, s, receipt(2, "still"))
}

func TestBadValuesAreRefused(t *testing.T) {
	for _, c := range []Config{{MaxBytes: 1}, {MaxBytes: -1}, {SyncAfter: -1}} {
		if _, err := Open(t.TempDir(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	s := open(t, t.TempDir(), Config{})
	if err := s.Keep(&workerv1.KeptReceipt{Orchestrator: key(1)[1:]}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	if err := s.Keep(receipt(1, string(make([]byte, MaxEntry)))); !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
}

// Two processes of one worker do not spoil each other's.
func TestTwoStoresOfOneFolder(t *testing.T) {
	dir := t.TempDir()
	var writers sync.WaitGroup
	const each = 200
	for w := range 2 {
		s := open(t, dir, Config{MaxBytes: 1 << 20, SyncAfter: time.Millisecond})
		writers.Go(func() {
			for i := range each {
				if err := s.Keep(receipt(1, fmt.Sprintf("%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	bodies, torn := read(t, dir)
	if len(bodies) != 2*each || torn != 0 {
		t.Fatalf("%d receipts, %d torn", len(bodies), torn)
	}
}

func TestReadingMayStop(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	for i := range 5 {
		keep(t, s, receipt(byte(1+i/3), fmt.Sprint(i)))
	}
	n := 0
	if _, err := Read(dir, func(*workerv1.KeptReceipt) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Fatal(n, err)
	}
}

func TestEveryEntryReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file []byte
		var want []*workerv1.KeptReceipt
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			k := receipt(rapid.Byte().Draw(t, "key"), rapid.String().Draw(t, "body"))
			entry, err := encode(k)
			if err != nil {
				t.Fatal(err)
			}
			file, want = append(file, entry...), append(want, k)
		}
		i := 0
		end, err := entries(file, func(k *workerv1.KeptReceipt) bool {
			if !proto.Equal(k, want[i]) {
				t.Fatalf("%v, want %v", k, want[i])
			}
			i++
			return true
		})
		if err != nil || end != len(file) || i != len(want) {
			t.Fatal(end, i, err)
		}
	})
}

func FuzzEntries(f *testing.F) {
	entry, _ := encode(receipt(1, "x"))
	f.Add(entry)
	f.Add(append(entry, entry[:5]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		end, err := entries(data, func(*workerv1.KeptReceipt) bool { return true })
		if end > len(data) || err == nil && end != len(data) || err != nil && !errors.Is(err, ErrTorn) {
			t.Fatal(end, err)
		}
	})
}
