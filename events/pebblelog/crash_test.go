package pebblelog

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// The test binary runs itself as a process that writes to a log, told by these variables.
const (
	envRole  = "PEBBLELOG_TEST_ROLE" // writer or filler
	envDir   = "PEBBLELOG_TEST_DIR"
	envRound = "PEBBLELOG_TEST_ROUND"
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "writer":
		os.Exit(writer())
	case "filler":
		os.Exit(filler())
	}
	os.Exit(m.Run())
}

// child prepares the test binary to be run in a role.
func child(t *testing.T, role, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, envRole+"="+role, envDir+"="+dir)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// payload is the blob that goes with an event.
func payload(stream string, rev uint64) []byte {
	return []byte(strings.Repeat(fmt.Sprint(stream, rev, " "), 40))
}

// writer appends from many goroutines until it is killed, each event with a staged blob that it names, and says on
// stdout what was acknowledged: "stream revision position".
func writer() int {
	l, err := Open(os.Getenv(envDir), Options{Logger: quiet, MemTableBytes: 1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	out := bufio.NewWriterSize(os.Stdout, 256)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			ctx := context.Background()
			for s := 0; ; s++ {
				stream, want := fmt.Sprintf("r%s-g%d-s%d", os.Getenv(envRound), g, s), events.Absent
				for n := uint64(0); n < 20; {
					data := payload(stream, n)
					sum := sha256.Sum256(data)
					err := l.Stage(ctx, sum, data)
					evs := make([]events.Draft, 1+n%3)
					for i := range evs {
						evs[i] = events.Draft{ID: events.ID{1, byte(n), byte(i)}, Type: "T", Data: sum[:], Meta: make([]byte, 100)}
					}
					var got events.Appended
					if err == nil {
						got, err = l.Append(ctx, stream, want, evs...)
					}
					if err != nil {
						fmt.Fprintln(os.Stderr, err)
						os.Exit(1)
					}
					mu.Lock()
					fmt.Fprintln(out, stream, got.Rev, uint64(got.Pos))
					out.Flush()
					mu.Unlock()
					want, n = events.At(got.Rev), got.Rev+1
				}
			}
		})
	}
	wg.Wait()
	return 0
}

// TestKill kills a writing process at a random moment, again and again, and looks after each time for every event
// that it had acknowledged, and for gaps.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	acked := map[string]uint64{} // "stream/revision" to position
	for round := range rounds {
		cmd := child(t, "writer", dir, envRound+"="+strconv.Itoa(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(rand.IntN(300)) * time.Millisecond
		killed := false
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			if !killed { // from the first acknowledgement on
				killed = true
				time.AfterFunc(wait, func() { cmd.Process.Kill() })
			}
			f := strings.Fields(scan.Text())
			if len(f) != 3 { // cut off by the kill
				continue
			}
			rev, err1 := strconv.ParseUint(f[1], 10, 64)
			pos, err2 := strconv.ParseUint(f[2], 10, 64)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			acked[fmt.Sprint(f[0], "/", rev)] = pos
		}
		if err := cmd.Wait(); err == nil || !killed {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		rep, err := Fsck(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkAcked(t, dir, acked, rep)
	}
	t.Logf("%d acknowledged appends", len(acked))
}

func checkAcked(t *testing.T, dir string, acked map[string]uint64, rep Report) {
	t.Helper()
	l := open(t, dir, Options{})
	defer l.Close()
	found := 0
	for r, err := range l.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if pos, ok := acked[fmt.Sprint(r.Stream, "/", r.Rev)]; ok {
			found++
			if pos != uint64(r.Pos) {
				t.Fatalf("%s/%d is at %d, was acknowledged at %d", r.Stream, r.Rev, r.Pos, pos)
			}
		}
		if _, err := l.Staged(t.Context(), [32]byte(r.Data)); err != nil {
			t.Fatalf("blob named by %s/%d: %v", r.Stream, r.Rev, err)
		}
	}
	if found != len(acked) {
		t.Fatalf("%d of %d acknowledged appends are gone", len(acked)-found, len(acked))
	}
	if rep.Events < uint64(found) {
		t.Fatalf("fsck saw %d events, there are %d", rep.Events, found)
	}
}

// filler appends until the log stops, under a limit of bytes per file, and then looks whether it stopped cleanly.
func filler() int {
	fail := func(what string, args ...any) int {
		fmt.Printf(what+"\n", args...)
		return 1
	}
	limit := &syscall.Rlimit{Cur: 3 << 20, Max: 3 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit); err != nil {
		return fail("limit: %v", err)
	}
	return fill(os.Getenv(envDir), fail)
}

// fill appends until the log stops. It prints "acked N" at the end.
func fill(dir string, fail func(string, ...any) int) int {
	l, err := Open(dir, Options{Logger: quiet, MemTableBytes: 1})
	if err != nil {
		return fail("open: %v", err)
	}
	ctx := context.Background()
	acked, data := uint64(0), make([]byte, 10_000)
	dice := rand.New(rand.NewPCG(1, 1))
	for err == nil {
		noise(dice, data)
		id := events.ID{1}
		binary.BigEndian.PutUint64(id[8:], acked)
		if _, err = l.Append(ctx, "s", events.Any, events.Draft{ID: id, Type: "T", Data: data}); err == nil {
			acked++
		}
		if acked > 100_000 {
			return fail("the disk did not fill up")
		}
	}
	if !errors.Is(err, events.ErrUnavailable) || l.Cause() == nil || !errors.Is(err, l.Cause()) {
		return fail("append: %v, cause %v", err, l.Cause())
	}
	if _, err := l.Append(ctx, "s2", events.Any, events.Draft{ID: events.ID{2}, Type: "T"}); !errors.Is(err, events.ErrUnavailable) {
		return fail("next append: %v", err)
	}
	if err := l.Stage(ctx, sha256.Sum256(data), data); !errors.Is(err, events.ErrUnavailable) {
		return fail("stage: %v", err)
	}
	n := uint64(0)
	for _, err := range l.ReadAll(ctx, 0, events.Filter{}) {
		if err != nil {
			return fail("read after %d of %d: %v", n, acked, err)
		}
		n++
	}
	if n != acked {
		return fail("%d events can be read, %d were acknowledged", n, acked)
	}
	begin := time.Now()
	_ = l.Close() // may say that the engine is stuck; it must return
	if took := time.Since(begin); took > 2*closePatience {
		return fail("close took %v", took)
	}
	fmt.Println("acked", acked)
	return 0
}

// afterFull checks what a process left that ran into a full disk: all that was acknowledged, and a log that goes on.
func afterFull(t *testing.T, dir string, out []byte) {
	t.Helper()
	var acked uint64
	if _, err := fmt.Sscanf(string(out), "acked %d", &acked); err != nil || acked == 0 {
		t.Fatalf("%q: %v", out, err)
	}
	rep, err := Fsck(dir)
	if err != nil || rep.Events < acked {
		t.Fatalf("%d were acknowledged; %+v, %v", acked, rep, err)
	}
	l := open(t, dir, Options{})
	defer l.Close()
	if _, err := l.Append(t.Context(), "after", events.Absent, events.Draft{ID: events.ID{3}, Type: "T"}); err != nil {
		t.Errorf("append after the disk was made larger: %v", err)
	}
	t.Logf("%d events were acknowledged, %d are there", acked, rep.Events)
}

// TestFullDisk runs a process into the limit of what it may write to a file.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	out, err := child(t, "filler", dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	afterFull(t, dir, out)
}
