package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var quiet = slog.New(slog.DiscardHandler)

// write appends the facts of one decision.
func write(t testing.TB, l events.Log, stream string, facts ...events.Fact) {
	t.Helper()
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := events.Origin{ID: events.NewCommandID([]byte(stream), binary.BigEndian.AppendUint64(nil, uint64(head)))}
	drafts, err := events.Encode(o, facts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), stream, events.Any, drafts...); err != nil {
		t.Fatal(err)
	}
}

// catchUp applies what the projection has not seen.
func catchUp(t testing.TB, w *OpenWork, l events.Log) {
	t.Helper()
	var batch []events.Record
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range l.ReadAll(t.Context(), w.Position(), w.Filter()) {
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, r)
	}
	if err := w.Apply(t.Context(), batch, head); err != nil {
		t.Fatal(err)
	}
}

func openWork(t testing.TB, path string, l events.Log, o OpenWorkOptions) *OpenWork {
	t.Helper()
	o.Logger = quiet
	w, err := OpenOpenWork(t.Context(), path, l, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func submitted(tenant, pipeline string) *eventv1.JobSubmitted {
	return &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Tenant: tenant, Pipeline: pipeline}, AtUs: 1000}
}

func TestJobsOpenAndClose(t *testing.T) {
	l := memlog.New()
	w := openWork(t, "", l, OpenWorkOptions{})
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		write(t, l, "job-"+id, submitted("t", ""))
	}
	write(t, l, "job-a", &eventv1.TaskVerified{Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, AtUs: 2000})
	for _, id := range []string{"b", "c", "f"} {
		write(t, l, "job-"+id, &eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, Detail: "seven ways", AtUs: 3000})
	}
	write(t, l, "job-d", &eventv1.JobCancelled{AtUs: 4000})
	write(t, l, "job-b", &eventv1.JobRequeued{Round: 2, AtUs: 5000})
	write(t, l, "job-c", &eventv1.JobDiscarded{AtUs: 6000})
	write(t, l, "job-never", &eventv1.TaskVerified{})
	catchUp(t, w, l)

	if got := w.OpenJobs(); !slices.Equal(got, []string{"e", "b"}) { // b began again
		t.Errorf("open: %v", got)
	}
	if got := w.Counts(); got != (Counts{OpenJobs: 2}) {
		t.Errorf("counts: %+v", got)
	}
}

func TestClosedJobsLeaveNothing(t *testing.T) {
	l := memlog.New()
	w := openWork(t, "", l, OpenWorkOptions{})
	write(t, l, "job-open", submitted("", ""))
	for i := range 5000 {
		write(t, l, fmt.Sprintf("job-%d", i), submitted("", ""), &eventv1.TaskVerified{})
	}
	catchUp(t, w, l)
	if got := w.OpenJobs(); !slices.Equal(got, []string{"open"}) {
		t.Errorf("open: %v", got)
	}
	if n := len(w.jobs.order); n > 2000 {
		t.Errorf("%d places for 1 job", n)
	}
}

func TestPipelines(t *testing.T) {
	l := memlog.New()
	w := openWork(t, "", l, OpenWorkOptions{})
	for _, id := range []string{"failed", "done", "run", "stopped", "idle"} {
		write(t, l, "pipeline-"+id, &eventv1.PipelineSubmitted{Spec: &eventv1.PipelineSpec{Name: "picture"}})
	}
	write(t, l, "pipeline-failed", &eventv1.PipelineFailed{Detail: "too many"})
	write(t, l, "pipeline-run", &eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{{Verified: true}, {}}}, &eventv1.StageStarted{Stage: 1, Chunks: 9})
	write(t, l, "pipeline-done", &eventv1.PipelineCompleted{OutputBytes: 77})
	write(t, l, "pipeline-stopped", &eventv1.PipelineCancelled{})
	catchUp(t, w, l)
	if got := w.OpenPipelines(); !slices.Equal(got, []string{"run", "idle"}) {
		t.Errorf("open: %v", got)
	}
}

func TestModulesTurnPages(t *testing.T) {
	l := memlog.New()
	w := openWork(t, "", l, OpenWorkOptions{})
	for i := range 7 {
		write(t, l, fmt.Sprintf("module-%02x", i), &eventv1.ModuleAdmitted{Name: []byte{byte(i)}, Size: uint64(i)})
	}
	catchUp(t, w, l)
	var got []uint64
	for p := (Page{Limit: 3}); ; {
		rows, next, err := w.ListModules(p)
		if err != nil || len(rows) > 3 {
			t.Fatal(rows, err)
		}
		for _, m := range rows {
			got = append(got, m.GetSize())
		}
		if p.After = next; next == "" {
			break
		}
	}
	if !slices.Equal(got, []uint64{6, 5, 4, 3, 2, 1, 0}) {
		t.Errorf("modules: %v", got)
	}
	for _, bad := range []string{"x", "0", "-1", "01", "99999999999999999999"} {
		if _, _, err := w.ListModules(Page{After: bad}); !errors.Is(err, ErrPage) {
			t.Errorf("place %q: %v", bad, err)
		}
	}
}

// history writes random but lawful life into a log.
func history(t testing.TB, l events.Log, dice *rand.Rand, n int) {
	for range n {
		id := dice.IntN(200)
		job, pipe, worker := fmt.Sprintf("job-%d", id), fmt.Sprintf("pipeline-%d", id%20), fmt.Sprintf("worker-%04x", id%30)
		switch dice.IntN(14) {
		case 0, 1, 2, 3:
			write(t, l, job+fmt.Sprint("-", dice.IntN(1000)), submitted(fmt.Sprint("t", id%3), fmt.Sprint(id%20)))
		case 4:
			write(t, l, job, submitted("", ""))
		case 5:
			write(t, l, job, &eventv1.TaskVerified{})
		case 6:
			write(t, l, job, &eventv1.JobDeadLettered{Detail: "d"})
		case 7:
			write(t, l, job, &eventv1.JobRequeued{Round: 3})
		case 8:
			write(t, l, pipe, &eventv1.PipelineSubmitted{Spec: &eventv1.PipelineSpec{Name: "p"}})
		case 9:
			write(t, l, pipe, &eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{{}}})
		case 10:
			write(t, l, pipe, &eventv1.PipelineCompleted{})
		case 11:
			write(t, l, worker, &eventv1.WorkerConnected{Group: "g"})
		case 12:
			write(t, l, worker, &eventv1.WorkerDisconnected{})
		default:
			write(t, l, fmt.Sprint("module-", id), &eventv1.ModuleAdmitted{Name: []byte{byte(id)}})
		}
	}
}

// answers is all that a projection shows.
func answers(t testing.TB, w *OpenWork) string {
	modules, _, err := w.ListModules(Page{Limit: MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintln(w.OpenJobs(), w.OpenPipelines(), w.Counts(), modules)
}

// same shows where two answers begin to differ.
func same(t *testing.T, seed uint64, what, a, b string) {
	t.Helper()
	if a == b {
		return
	}
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	from := max(0, i-100)
	t.Fatalf("seed %d: %s differ:\n%.200s\n%.200s", seed, what, a[from:], b[from:])
}

// TestCheckpointEqualsReplay: whatever the history and wherever the checkpoint was taken, going on from it shows what
// reading everything shows.
func TestCheckpointEqualsReplay(t *testing.T) {
	for range 10 {
		seed := rand.Uint64()
		dice := rand.New(rand.NewPCG(seed, 1))
		var o OpenWorkOptions
		l, path := memlog.New(), filepath.Join(t.TempDir(), "deep", "open-work")
		first := openWork(t, path, l, o)
		history(t, l, dice, 50+dice.IntN(400))
		catchUp(t, first, l)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := openWork(t, path, l, o)
		if second.Position() == 0 || second.Position() > first.Position() {
			t.Fatalf("seed %d: position %d after %d", seed, second.Position(), first.Position())
		}
		same(t, seed, "loaded and saved", answers(t, second), answers(t, first))
		history(t, l, dice, dice.IntN(300))
		catchUp(t, second, l)
		whole := openWork(t, "", l, o)
		catchUp(t, whole, l)
		same(t, seed, "with and without checkpoint", answers(t, second), answers(t, whole))
	}
}

func TestUselessCheckpointsAreRebuilt(t *testing.T) {
	l, path := memlog.New(), filepath.Join(t.TempDir(), "open-work")
	w := openWork(t, path, l, OpenWorkOptions{})
	history(t, l, rand.New(rand.NewPCG(1, 2)), 200)
	catchUp(t, w, l)
	if err := w.Save(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := memlog.New()
	history(t, other, rand.New(rand.NewPCG(3, 4)), 200)
	for what, c := range map[string]struct {
		data []byte
		log  events.Log
	}{
		"cut":         {good[:len(good)/2], l},
		"empty":       {nil, l},
		"altered":     {append([]byte(nil), append(good[:100:100], append([]byte{good[100] ^ 1}, good[101:]...)...)...), l},
		"another log": {good, other},
		"newer log":   {good, memlog.New()},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		w := openWork(t, path, c.log, OpenWorkOptions{})
		if w.Position() != 0 || w.Counts() != (Counts{}) {
			t.Errorf("%s: %d, %+v", what, w.Position(), w.Counts())
		}
		catchUp(t, w, c.log)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if w := openWork(t, path, l, OpenWorkOptions{}); w.Position() == 0 {
		t.Error("the good one was not taken")
	}
}

func TestCheckpointsAreTakenOnTheWay(t *testing.T) {
	l, path := memlog.New(), filepath.Join(t.TempDir(), "open-work")
	w := openWork(t, path, l, OpenWorkOptions{SaveEvery: time.Nanosecond})
	write(t, l, "job-1", submitted("", ""))
	catchUp(t, w, l)
	w.saves.Wait()
	if got := openWork(t, path, l, OpenWorkOptions{}); got.Counts().OpenJobs != 1 {
		t.Errorf("%+v", got.Counts())
	}
	if err := w.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) || w.Counts() != (Counts{}) {
		t.Errorf("after reset: %v, %+v", err, w.Counts())
	}
}

func TestDamagedFactsStopTheProjection(t *testing.T) {
	w := openWork(t, "", memlog.New(), OpenWorkOptions{})
	bad := events.Record{Draft: events.Draft{Type: "JobSubmitted", Data: []byte{0xff}}, Stream: "job-1", Pos: 1}
	if err := w.Apply(t.Context(), []events.Record{bad}, 1); !errors.Is(err, events.ErrMalformed) || w.Position() != 0 {
		t.Errorf("%v, position %d", err, w.Position())
	}
	unknown := events.Record{Draft: events.Draft{Type: "WorkerSang"}, Stream: "worker-1", Pos: 1}
	if err := w.Apply(t.Context(), []events.Record{unknown}, 1); err != nil || w.Position() != 1 {
		t.Errorf("%v, position %d", err, w.Position())
	}
}

func FuzzCheckpoint(f *testing.F) {
	l := memlog.New()
	path := filepath.Join(f.TempDir(), "open-work")
	w := openWork(f, path, l, OpenWorkOptions{})
	history(f, l, rand.New(rand.NewPCG(5, 6)), 60)
	catchUp(f, w, l)
	if err := w.Save(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-sumLen])
	f.Add([]byte(checkpointMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)) // get past the checksum
		w := openWork(t, "", memlog.New(), OpenWorkOptions{})
		if err := w.decode(data); err != nil {
			if !errors.Is(err, ErrCheckpoint) {
				t.Error(err)
			}
			return
		}
		encoded, err := w.snapshot().encode()
		if err != nil {
			t.Skip(err) // text that is not UTF-8
		}
		again := openWork(t, "", memlog.New(), OpenWorkOptions{})
		if err := again.decode(encoded); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// BenchmarkRestart loads a checkpoint of 100,000 open jobs and lists them.
func BenchmarkRestart(b *testing.B) {
	l, path := memlog.New(), filepath.Join(b.TempDir(), "open-work")
	w := openWork(b, path, l, OpenWorkOptions{})
	for i := range 100_000 {
		write(b, l, fmt.Sprintf("job-01kq3x5t6a7r8e9n0m1d2%06d", i), submitted("tenant", ""))
	}
	catchUp(b, w, l)
	if err := w.Save(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(openWork(b, path, l, OpenWorkOptions{}).OpenJobs()); n != 100_000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(info.Size())/100_000, "B/job")
}

func BenchmarkOpenWork(b *testing.B) {
	l := memlog.New()
	for i := range 20_000 {
		write(b, l, "job-"+fmt.Sprint(i), submitted("tenant", "pipeline"), &eventv1.TaskVerified{})
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		catchUp(b, openWork(b, "", l, OpenWorkOptions{}), l)
		n += 40_000
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
