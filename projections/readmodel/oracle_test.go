package readmodel

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	jobroom "github.com/shardy-network/orchestrator/actors/job"
	pipelineroom "github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/quorum"
	workerroom "github.com/shardy-network/orchestrator/actors/worker"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

var ignoreUnexported = protocmp.Transform()

// TestRowsSayWhatTheRoomsSay holds what is shown of every entity against the state that its own room folds.
func TestRowsSayWhatTheRoomsSay(t *testing.T) {
	for seed := range uint64(2) {
		w := played(100+seed, 1800/effort)
		m := openFor(t, w.records, "", Options{})
		for i := 0; i < len(w.records); i += 97 {
			apply(t, m, w.records[i:min(i+97, len(w.records))])
		}
		for to, l := range w.alive {
			if l.next == 0 {
				continue
			}
			switch s := l.entity.State().(type) {
			case jobroom.State:
				checkJob(t, w, m, to.ID, s)
			case workerroom.State:
				checkWorker(t, m, s)
			case pipelineroom.State:
				checkPipeline(t, m, to.ID, s)
			}
		}
		checkCounts(t, w, m)
	}
}

var phases = map[jobroom.Phase]operatorv1.JobState{
	jobroom.Open: open, jobroom.Verified: verified, jobroom.DeadLettered: dead, jobroom.Cancelled: cancelled, jobroom.Discarded: discarded,
}

func checkJob(t *testing.T, w *world, m *Model, id string, s jobroom.State) {
	t.Helper()
	got, err := m.Job(t.Context(), id)
	if err != nil {
		t.Fatalf("job %s: %v", id, err)
	}
	spec := proto.CloneOf(s.Spec)
	spec.KnownChecksum = nil
	returned := uint32(0)
	for _, slot := range s.Slots {
		if slot.Phase == jobroom.SlotReturned {
			returned++
		}
	}
	type summary struct {
		State               operatorv1.JobState
		Round, Wave, Slots  uint32
		Returned            uint32
		Submitted, Decided  int64
		Refereeing          bool
		Spec                *eventv1.JobSpec
		Policy              *eventv1.JobPolicy
		Verdict             *eventv1.TaskVerified
		DeadLetter          *eventv1.JobDeadLettered
		By                  string
		Checksum            []byte
		Assignments, Failed int
	}
	decided := int64(0)
	if !got.Decided.IsZero() {
		decided = got.Decided.UnixMicro()
	}
	shown := summary{
		got.State, got.Round, got.Wave, got.Slots, got.Returned, got.Submitted.UnixMicro(), decided, got.Refereeing, got.Spec, got.Policy,
		got.Verdict, got.DeadLetter, got.By, got.Checksum, 0, 0,
	}
	want := summary{
		phases[s.Phase], s.Round, s.Wave, uint32(len(s.Slots)), returned, s.SubmittedUs, s.DecidedUs, s.Refereeing && s.Phase == jobroom.Open, spec, s.Policy,
		s.Verdict, s.DeadLetter, s.By, s.Verdict.GetChecksum(), len(s.Slots), 0,
	}
	for _, a := range got.Assignments {
		if a.Round == s.Round {
			shown.Assignments++
		}
		checkSlot(t, w, s, got, &a)
	}
	if d := cmp.Diff(want, shown, protocmp.Transform()); d != "" {
		t.Fatalf("job %s (-want +got):\n%s", id, d)
	}
	checkVotes(t, s, got)
}

// checkVotes holds the votes against the results that the job has counted.
func checkVotes(t *testing.T, s jobroom.State, got *Job) {
	t.Helper()
	want := map[string]int{}
	for _, slot := range s.Slots {
		if slot.Phase == jobroom.SlotReturned {
			sum := quorum.Checksum(slot.Result.Status, slot.Result.Fuel, slot.Result.Output)
			want[string(sum[:])]++
		}
	}
	shown := map[string]int{}
	for i, v := range got.Votes {
		shown[string(v.Checksum)] = len(v.Slots)
		if i > 0 && got.Votes[i-1].Groups < v.Groups {
			t.Fatalf("job %s: votes out of order", got.ID)
		}
		if v.Decided != (s.Verdict != nil && bytes.Equal(v.Checksum, s.Verdict.Checksum)) {
			t.Fatalf("job %s: vote %x: decided %v", got.ID, v.Checksum, v.Decided)
		}
	}
	if d := cmp.Diff(want, shown); d != "" {
		t.Fatalf("job %s: votes (-want +got):\n%s", got.ID, d)
	}
}

func checkSlot(t *testing.T, w *world, s jobroom.State, j *Job, got *Assignment) {
	t.Helper()
	l := w.alive[actors.SlotAddress(j.ID, got.Slot)]
	if l == nil || l.next == 0 {
		if len(got.Attempts) > 0 {
			t.Fatalf("job %s slot %d: attempts out of nowhere", j.ID, got.Slot)
		}
		return
	}
	slot := l.entity.State().(assignment.State)
	if n := uint32(len(got.Attempts)); n != slot.Attempt {
		t.Fatalf("job %s slot %d: %d attempts, want %d", j.ID, got.Slot, n, slot.Attempt)
	}
	if got.Round != s.Round || s.Phase != jobroom.Open || slot.Attempt == 0 {
		return
	}
	last := got.Attempts[len(got.Attempts)-1]
	want := map[assignment.Phase]SlotState{
		assignment.Waiting: SlotWaiting, assignment.Dispatched: SlotDispatched, assignment.Running: SlotRunning, assignment.Returned: SlotReturned,
		assignment.DeadLettered: SlotDeadLettered, assignment.Cancelled: SlotCancelled,
	}[slot.Phase]
	if got.State != want || !bytes.Equal(last.Worker, slot.Worker) {
		t.Fatalf("job %s slot %d: %s, want %s\n%+v", j.ID, got.Slot, got.State, want, last)
	}
}

func checkWorker(t *testing.T, m *Model, s workerroom.State) {
	t.Helper()
	got, err := m.Worker(t.Context(), s.Key)
	if err != nil {
		t.Fatalf("worker %x: %v", s.Key[:4], err)
	}
	if got.Tier != s.Tier || got.Connected != s.Connected || got.Group != s.Group || got.Record.GetAgreed() != s.Record.Agreed ||
		got.Record.GetDropped() != s.Record.Dropped || (got.State == WorkerBanned) != s.Banned || !proto.Equal(got.Claim, s.Profile) {
		t.Fatalf("worker %x: %+v\nwant %+v", s.Key[:4], got, s)
	}
	sessions, _, err := m.Sessions(t.Context(), s.Key, Page{Limit: MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range sessions {
		if x.Ended.IsZero() != (i == 0 && s.Connected) {
			t.Fatalf("worker %x: session %d of %d ended %v, connected %v", s.Key[:4], i, len(sessions), x.Ended, s.Connected)
		}
	}
}

func checkPipeline(t *testing.T, m *Model, id string, s pipelineroom.State) {
	t.Helper()
	got, err := m.Pipeline(t.Context(), id)
	if err != nil {
		t.Fatalf("pipeline %s: %v", id, err)
	}
	want := map[pipelineroom.Phase]operatorv1.PipelineState{
		pipelineroom.Running: running, pipelineroom.Gathering: running,
		pipelineroom.Completed: operatorv1.PipelineState_PIPELINE_STATE_COMPLETED,
		pipelineroom.Failed:    operatorv1.PipelineState_PIPELINE_STATE_FAILED, pipelineroom.Cancelled: operatorv1.PipelineState_PIPELINE_STATE_CANCELLED,
	}[s.Phase]
	if got.State != want || got.Stage != s.Stage || got.Chunks != s.Chunks || got.Settled != s.Settled || got.Failed != s.Failures ||
		!proto.Equal(got.Spec, s.Spec) || got.OutputBytes != s.OutputBytes {
		t.Fatalf("pipeline %s: %+v\nwant %+v", id, got.PipelineRow, s)
	}
	chunks, err := m.Chunks(t.Context(), id, s.Stage, 0, MaxPage)
	if err != nil || len(chunks) != int(s.Chunks) {
		t.Fatalf("pipeline %s: %d chunks, %v, want %d", id, len(chunks), err, s.Chunks)
	}
}

// checkCounts holds the counters against the rows.
func checkCounts(t *testing.T, w *world, m *Model) {
	t.Helper()
	ctx := t.Context()
	type question struct {
		name string
		q    JobQuery
	}
	questions := []question{{"all", JobQuery{}}, {"kind", JobQuery{Kinds: []eventv1.JobKind{eventv1.JobKind_JOB_KIND_STRESS}}}, {"nobody", JobQuery{Tenants: []string{}}}}
	for _, tenant := range w.tenants {
		questions = append(questions, question{"tenant " + tenant, JobQuery{Tenants: []string{tenant}}})
	}
	questions = append(questions, question{"tenants", JobQuery{Tenants: w.tenants[:3], States: []operatorv1.JobState{dead, open}}},
		question{"module", JobQuery{Module: moduleOf(1)}}, question{"worker", JobQuery{Worker: w.keys[2]}},
		question{"module and tenant", JobQuery{Module: moduleOf(1), Tenants: w.tenants[:1]}},
		question{"module of a worker", JobQuery{Module: moduleOf(1), Worker: w.keys[3], States: []operatorv1.JobState{open}}})
	for _, p := range w.pipes[:min(5, len(w.pipes))] {
		questions = append(questions, question{"pipeline", JobQuery{Pipeline: p}}, question{"pipeline of a tenant", JobQuery{Pipeline: p, Tenants: w.tenants[1:3]}})
	}
	for _, x := range questions {
		got, err := m.CountJobs(ctx, x.q)
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		want := map[operatorv1.JobState]int64{}
		seen := map[string]bool{}
		q := x.q
		q.Limit = 7
		for {
			rows, next, err := m.Jobs(ctx, q)
			if err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
			for _, r := range rows {
				if seen[r.ID] {
					t.Fatalf("%s: job %s twice", x.name, r.ID)
				}
				seen[r.ID] = true
				want[r.State]++
			}
			if next == "" {
				break
			}
			q.After = next
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s: rows against counts (-rows +counts):\n%s", x.name, d)
		}
		if n := expected(w, x.q); n != len(seen) {
			t.Fatalf("%s: %d jobs, want %d", x.name, len(seen), n)
		}
	}
}

// expected counts the jobs that a query asks for, out of the rooms.
func expected(w *world, q JobQuery) int {
	n := 0
	for to, l := range w.alive {
		s, ok := l.entity.State().(jobroom.State)
		if !ok || l.next == 0 || to.Room != actors.JobRoom {
			continue
		}
		handed := len(q.Worker) == 0
		for slot := range uint32(64) {
			if x := w.alive[actors.SlotAddress(to.ID, slot)]; !handed && x != nil {
				handed = w.everHad(actors.SlotAddress(to.ID, slot), q.Worker)
			}
		}
		if handed && among(q.States, phases[s.Phase]) && (len(q.Kinds) == 0 || among(q.Kinds, s.Spec.Kind)) &&
			(q.Tenants == nil || len(q.Tenants) > 0 && among(q.Tenants, s.Spec.Tenant)) && (q.Pipeline == "" || q.Pipeline == s.Spec.Pipeline) &&
			(len(q.Module) == 0 || bytes.Equal(q.Module, s.Spec.Module)) {
			n++
		}
	}
	return n
}

func among[T comparable](list []T, v T) bool {
	if slices.Contains(list, v) {
		return true
	}
	return len(list) == 0
}
