package operator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

func editOf(id string, edit *operatorv1.DeadLetterEdit) *operatorv1.EditDeadLetterRequest {
	return &operatorv1.EditDeadLetterRequest{Id: id, Edit: edit, Reason: "edited"}
}

func TestEditedJobIsANewJob(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob, eye := w.Module(t), dial(w, "alice"), dial(w, "bob"), dial(w, "eye")
	job := newJob(module, "old input")
	job.Spec.RequestId, job.Spec.Labels = "once", []*eventv1.Label{{Key: "a", Value: "b"}}
	id := die(t, w, alice, job)[0]
	w.Do(operatortest.Echo)
	edit := &operatorv1.DeadLetterEdit{
		Payload: []byte("new input"), FuelLimit: proto.Uint64(2000), MinTier: proto.Uint32(2), MinMemoryBytes: proto.Uint64(1 << 20),
		Priority: proto.Int32(-5), Labels: &operatorv1.LabelList{}, Output: &eventv1.OutputSpec{MaxBytes: 99},
		Overrides: &operatorv1.PolicyOverrides{MaxReplicas: 5},
	}
	dry := editOf(id, edit)
	dry.DryRun, dry.Reason = true, ""
	before, err := w.Log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	would, err := alice.EditDeadLetter(t.Context(), dry)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := w.Log.Head(t.Context()); err != nil || after != before {
		t.Errorf("a dry run took the log from %d to %d, %v", before, after, err)
	}
	_, err = bob.EditDeadLetter(t.Context(), editOf(id, edit))
	wantCode(t, "another tenant's edit", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = eye.EditDeadLetter(t.Context(), editOf(id, edit))
	wantCode(t, "a viewer's edit", err, connect.CodePermissionDenied, "ROLE")
	for range 2 { // the second finds what the first has done
		did, err := alice.EditDeadLetter(t.Context(), editOf(id, edit))
		if err != nil || !proto.Equal(did, would) {
			t.Fatalf("%v, %v, want %v", did, err, would)
		}
	}
	var fields []string
	for _, c := range would.Changes {
		fields = append(fields, c.Field)
	}
	if want := []string{
		"input", "fuel_limit", "min_tier", "min_memory_bytes", "priority", "labels", "output", "max_replicas",
	}; !slices.Equal(fields, want) {
		t.Errorf("changed %v, want %v", fields, want)
	}
	await(t, alice, []string{would.Id}, verified)
	if got, err := result(t, alice, would.Id); err != nil || got != "new input" {
		t.Errorf("result %q, %v", got, err)
	}
	old, err := alice.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
	if err != nil || old.Job.ReplacedBy != would.Id || old.Job.EndedBy != "alice" || old.Job.EndedReason != "edited" {
		t.Errorf("old job %v, %v", old, err)
	}
	next, err := alice.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: would.Id})
	if s := next.GetJob().GetSpec(); err != nil || s.Replaces != id || s.ReplacedRound != 1 || s.RequestId != "" || s.Tenant != "alice" ||
		len(s.Labels) != 0 || !bytes.Equal(s.Module, module) || next.Job.Policy.MaxReplicas != 5 {
		t.Errorf("new job %v, %v", next, err)
	}
	_, err = alice.EditDeadLetter(t.Context(), editOf(id, &operatorv1.DeadLetterEdit{Priority: proto.Int32(7)}))
	wantCode(t, "another edit of what was replaced", err, connect.CodeNotFound, "NOT_FOUND")
	if again := submit(t, alice, job); again[0] != id {
		t.Errorf("the request id names job %s now", again[0])
	}
}

func TestWrongEdits(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, root := w.Module(t), dial(w, "alice"), dial(w, "root")
	id := die(t, w, alice, newJob(module, "x"))[0]
	ringer := newJob(module, "r")
	ringer.Spec.Kind, ringer.Spec.KnownChecksum = eventv1.JobKind_JOB_KIND_LITE_TEST, bytes.Repeat([]byte{1}, 32)
	ringers := die(t, w, root, ringer)
	stress := newJob(module, "s")
	stress.Spec.Kind, stress.Spec.Tenant = eventv1.JobKind_JOB_KIND_STRESS, "alice"
	stresses := die(t, w, root, stress)
	w.Do(operatortest.Echo)
	living := submit(t, alice, newJob(module, "fine"))
	await(t, alice, living, verified)
	unknown := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct {
		who    clients
		id     string
		edit   *operatorv1.DeadLetterEdit
		code   connect.Code
		reason string
	}{
		"no edit":         {alice, id, nil, connect.CodeInvalidArgument, "INVALID"},
		"an empty one":    {alice, id, &operatorv1.DeadLetterEdit{}, connect.CodeInvalidArgument, "INVALID"},
		"the same":        {alice, id, &operatorv1.DeadLetterEdit{FuelLimit: proto.Uint64(1000), Module: module}, connect.CodeInvalidArgument, "INVALID"},
		"no fuel":         {alice, id, &operatorv1.DeadLetterEdit{FuelLimit: proto.Uint64(0)}, connect.CodeInvalidArgument, "INVALID"},
		"endless fuel":    {alice, id, &operatorv1.DeadLetterEdit{FuelLimit: proto.Uint64(1 << 63)}, connect.CodeInvalidArgument, "INVALID"},
		"unknown module":  {alice, id, &operatorv1.DeadLetterEdit{Module: unknown}, connect.CodeFailedPrecondition, "MODULE_UNKNOWN"},
		"short module":    {alice, id, &operatorv1.DeadLetterEdit{Module: []byte{}}, connect.CodeInvalidArgument, "INVALID"},
		"unknown input":   {alice, id, &operatorv1.DeadLetterEdit{Input: &eventv1.BlobRef{Sha256: unknown, Size: 1}}, connect.CodeFailedPrecondition, "BLOB_UNKNOWN"},
		"two inputs":      {alice, id, &operatorv1.DeadLetterEdit{Input: &eventv1.BlobRef{Sha256: unknown, Size: 1}, Payload: []byte("x")}, connect.CodeInvalidArgument, "INVALID"},
		"giant payload":   {alice, id, &operatorv1.DeadLetterEdit{Payload: make([]byte, 16<<20+1)}, connect.CodeInvalidArgument, "INVALID"},
		"tier 4":          {alice, id, &operatorv1.DeadLetterEdit{MinTier: proto.Uint32(4)}, connect.CodeInvalidArgument, "INVALID"},
		"absurd memory":   {alice, id, &operatorv1.DeadLetterEdit{MinMemoryBytes: proto.Uint64(1 << 60)}, connect.CodeInvalidArgument, "INVALID"},
		"absurd priority": {alice, id, &operatorv1.DeadLetterEdit{Priority: proto.Int32(1 << 30)}, connect.CodeInvalidArgument, "INVALID"},
		"many labels":     {alice, id, &operatorv1.DeadLetterEdit{Labels: &operatorv1.LabelList{Labels: make([]*eventv1.Label, 17)}}, connect.CodeInvalidArgument, "INVALID"},
		"escapes":         {alice, id, &operatorv1.DeadLetterEdit{Labels: &operatorv1.LabelList{Labels: []*eventv1.Label{{Key: "\x1b[2J"}}}}, connect.CodeInvalidArgument, "INVALID"},
		"dtype 99":        {alice, id, &operatorv1.DeadLetterEdit{Output: &eventv1.OutputSpec{Dtype: 99}}, connect.CodeInvalidArgument, "INVALID"},
		"less certainty":  {alice, id, &operatorv1.DeadLetterEdit{Overrides: &operatorv1.PolicyOverrides{Redundancy: 1}}, connect.CodeInvalidArgument, "POLICY_INVALID"},
		"a ringer":        {root, ringers[0], &operatorv1.DeadLetterEdit{Priority: proto.Int32(1)}, connect.CodeFailedPrecondition, "RINGER"},
		"unpaid load":     {alice, stresses[0], &operatorv1.DeadLetterEdit{Priority: proto.Int32(1)}, connect.CodePermissionDenied, "ROLE"},
		"a verified job":  {alice, living[0], &operatorv1.DeadLetterEdit{Priority: proto.Int32(1)}, connect.CodeNotFound, "NOT_FOUND"},
		"nobody":          {alice, strings.Repeat("0", 26), &operatorv1.DeadLetterEdit{}, connect.CodeNotFound, "NOT_FOUND"},
		"no id":           {alice, "../x", &operatorv1.DeadLetterEdit{}, connect.CodeInvalidArgument, "BAD_ID"},
	} {
		for _, dry := range []bool{true, false} {
			req := editOf(c.id, c.edit)
			req.DryRun = dry
			_, err := c.who.EditDeadLetter(t.Context(), req)
			wantCode(t, fmt.Sprintf("%s, dry %v", name, dry), err, c.code, c.reason)
		}
	}
	_, err := alice.EditDeadLetter(t.Context(), &operatorv1.EditDeadLetterRequest{Id: id, Edit: &operatorv1.DeadLetterEdit{Priority: proto.Int32(1)}})
	wantCode(t, "no reason", err, connect.CodeInvalidArgument, "INVALID")
	forged := newJob(module, "x")
	forged.Spec.Replaces, forged.Spec.ReplacedRound = id, 1
	res, err := alice.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{forged}})
	if err != nil || connect.Code(res.Jobs[0].Code) != connect.CodeInvalidArgument {
		t.Errorf("a client says what its job replaces: %v, %v", res, err)
	}
	if got := letters(t, root, nil); !slices.Equal(got, sorted(id, ringers[0], stresses[0])) {
		t.Errorf("after all that there is %v", got)
	}
}

// door is a second door to the world, through which some commands do not get.
type door struct {
	operator.Orchestrator
	stop atomic.Pointer[func(*eventv1.Command) error]
}

func (d *door) Do(ctx context.Context, to actors.Address, cmd *eventv1.Command) (any, error) {
	if stop := d.stop.Load(); stop != nil {
		if err := (*stop)(cmd); err != nil {
			return nil, err
		}
	}
	return d.Orchestrator.Do(ctx, to, cmd)
}

type noTrial struct{}

func (noTrial) Trial(context.Context, []byte, []byte, []byte) (operator.TrialResult, error) {
	return operator.TrialResult{}, errors.New("no trials here")
}

// inside calls the API as rooms of the process do.
func inside(t *testing.T, w *operatortest.World, d *door) (*operator.API, context.Context) {
	t.Helper()
	api, err := operator.New(t.Context(), operator.Config{Listen: "127.0.0.1:0"}, operator.Deps{
		Orchestrator: d, Log: w.Log, Blobs: w.Blobs, Catalogue: operatortest.Catalogue{Log: w.Log}, Trial: noTrial{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	ctx, err := api.Act(t.Context(), api.Open(), op.DeadLetterServiceEditDeadLetterProcedure)
	if err != nil {
		t.Fatal(err)
	}
	return api, ctx
}

// TestEditThatIsCutShort: the process dies after the new job was submitted and before the old one was discarded. Both
// are there; repeating the edit makes no third.
func TestEditThatIsCutShort(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, root := w.Module(t), dial(w, "root")
	id := die(t, w, root, newJob(module, "x"))[0]
	w.Do(operatortest.Hold)
	d := &door{Orchestrator: w.Host}
	api, ctx := inside(t, w, d)
	dead := func(cmd *eventv1.Command) error {
		if cmd.GetDiscardJob() != nil || cmd.GetCancelJob() != nil {
			return events.ErrUnavailable
		}
		return nil
	}
	d.stop.Store(&dead)
	req := editOf(id, &operatorv1.DeadLetterEdit{Payload: []byte("y")})
	_, err := api.EditDeadLetter(ctx, req)
	if code, reason, _ := operator.Refusal(err); code != connect.CodeUnavailable || reason != "LOG_UNAVAILABLE" {
		t.Fatal(err)
	}
	if got := letters(t, root, nil); !slices.Equal(got, []string{id}) {
		t.Errorf("dead letters %v", got)
	}
	d.stop.Store(nil)
	done, err := api.EditDeadLetter(ctx, proto.CloneOf(req))
	if err != nil {
		t.Fatal(err)
	}
	w.Release(operatortest.Echo)
	await(t, root, []string{done.Id}, verified)
	jobs, err := root.ListJobs(t.Context(), &operatorv1.ListJobsRequest{})
	if err != nil || len(jobs.Jobs) != 2 {
		t.Errorf("%d jobs, %v", len(jobs.GetJobs()), err)
	}
	old, err := root.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
	if err != nil || old.Job.ReplacedBy != done.Id {
		t.Errorf("old job %v, %v", old, err)
	}
}

// TestEditLosesToARequeue: the dead letter is requeued between the two steps; it goes on, and the new job does not.
func TestEditLosesToARequeue(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, root := w.Module(t), dial(w, "root")
	id := die(t, w, root, newJob(module, "x"))[0]
	w.Do(operatortest.Hold)
	d := &door{Orchestrator: w.Host}
	api, ctx := inside(t, w, d)
	var once sync.Once
	between := func(cmd *eventv1.Command) error {
		if cmd.GetDiscardJob() != nil {
			once.Do(func() { wantOutcome(t, requeue(t, root, "meanwhile", id), 0, "") })
		}
		return nil
	}
	d.stop.Store(&between)
	_, err := api.EditDeadLetter(ctx, editOf(id, &operatorv1.DeadLetterEdit{Payload: []byte("y")}))
	if code, reason, _ := operator.Refusal(err); code != connect.CodeFailedPrecondition || reason != "JOB_NOT_DEAD_LETTERED" {
		t.Fatal(err)
	}
	w.Release(operatortest.Echo)
	await(t, root, []string{id}, verified)
	jobs, err := root.ListJobs(t.Context(), &operatorv1.ListJobsRequest{State: operatorv1.JobState_JOB_STATE_CANCELLED})
	if err != nil || len(jobs.Jobs) != 1 {
		t.Errorf("cancelled %v, %v", jobs, err)
	}
	replays(t, w)
}

// TestRoomsOfTheProcessHaveRoles: who calls the API from within is held to the same table.
func TestRoomsOfTheProcessHaveRoles(t *testing.T) {
	w := operatortest.Start(t, guarded())
	eye, err := w.API.Identify("eye")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.API.Act(t.Context(), eye, op.DeadLetterServiceRequeueDeadLettersProcedure)
	wantCode(t, "a viewer inside", err, connect.CodePermissionDenied, "ROLE")
	_, err = w.API.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs("x"), Reason: "nobody asks"})
	if _, reason, _ := operator.Refusal(err); reason != "ROLE" {
		t.Errorf("nobody inside: %v", err)
	}
	_, err = w.API.EditDeadLetter(t.Context(), editOf("x", nil))
	if _, reason, _ := operator.Refusal(err); reason != "ROLE" {
		t.Errorf("nobody inside: %v", err)
	}
}

func sum(text string) []byte {
	s := sha256.Sum256([]byte(text))
	return s[:]
}

// choosy lets tasks whose input is among the bad ones trap, and echoes the others.
func choosy(bad ...*eventv1.BlobRef) operatortest.Answer {
	return func(w *operatortest.World, task actors.Task) {
		for _, ref := range bad {
			if bytes.Equal(ref.GetSha256(), task.Spec.Input.GetSha256()) {
				operatortest.Trap(w, task)
				return
			}
		}
		operatortest.Echo(w, task)
	}
}

// held sets what the workers do, but for tasks with one input: the test answers those, and so keeps their stage running.
func held(w *operatortest.World, input string, others operatortest.Answer) <-chan actors.Task {
	tasks := make(chan actors.Task, 16)
	w.Do(func(w *operatortest.World, task actors.Task) {
		if bytes.Equal(task.Spec.Input.GetSha256(), sum(input)) {
			tasks <- task
			return
		}
		others(w, task)
	})
	return tasks
}

// chunked submits a pipeline of one stage, or more, over these chunks.
func chunked(t *testing.T, c clients, module []byte, stages, tolerated int, texts ...string) (string, []*eventv1.BlobRef) {
	t.Helper()
	var chunks []*eventv1.BlobRef
	for _, text := range texts {
		res, err := c.PutBlob(t.Context(), &operatorv1.PutBlobRequest{Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, res.Ref)
	}
	spec := &eventv1.PipelineSpec{Name: "p", MaxFailures: uint32(tolerated)}
	for range stages {
		spec.Stages = append(spec.Stages, &eventv1.StageSpec{Template: &eventv1.JobSpec{Module: module, FuelLimit: 1000}})
	}
	res, err := c.SubmitPipeline(t.Context(), &operatorv1.SubmitPipelineRequest{Spec: spec, Chunks: chunks})
	if err != nil {
		t.Fatal(err)
	}
	return res.Id, chunks
}

// ended watches a pipeline until it has ended.
func ended(t *testing.T, c clients, id string) *operatorv1.Pipeline {
	t.Helper()
	return followed(t, c, id, func(p *operatorv1.Pipeline) bool { return p.State != operatorv1.PipelineState_PIPELINE_STATE_RUNNING })
}

func followed(t *testing.T, c clients, id string, until func(*operatorv1.Pipeline) bool) *operatorv1.Pipeline {
	t.Helper()
	watch, err := c.WatchPipeline(t.Context(), &operatorv1.WatchPipelineRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for watch.Receive() {
		if p := watch.Msg().Pipeline; until(p) {
			return p
		}
	}
	t.Fatal(watch.Err())
	return nil
}

func outputText(t *testing.T, c clients, id string) string {
	t.Helper()
	down, err := c.DownloadOutput(t.Context(), &operatorv1.DownloadOutputRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	var out strings.Builder
	for down.Receive() {
		out.Write(down.Msg().Data)
	}
	if down.Err() != nil {
		t.Fatal(down.Err())
	}
	return out.String()
}

// TestChunksAreRequeuedAndEdited: two chunks of a running pipeline die; one is requeued, the other edited. The pipeline
// waits for both, and its output has no holes.
func TestChunksAreRequeuedAndEdited(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	bad := []*eventv1.BlobRef{{Sha256: sum("bad1;")}, {Sha256: sum("bad3;")}}
	hold := held(w, "last;", choosy(bad...))
	id, _ := chunked(t, alice, module, 1, 2, "zero;", "bad1;", "two;", "bad3;", "last;")
	p := followed(t, alice, id, func(p *operatorv1.Pipeline) bool { return p.Settled == 4 })
	if p.Failed != 2 {
		t.Fatalf("%v", p)
	}
	rows, err := alice.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{Filter: &operatorv1.DeadLetterFilter{Pipeline: id}})
	if err != nil || len(rows.DeadLetters) != 2 {
		t.Fatal(rows, err)
	}
	of := map[uint32]string{}
	for _, d := range rows.DeadLetters {
		of[d.Chunk] = d.Id
	}
	w.Do(operatortest.Hold)
	wantOutcome(t, requeue(t, alice, "again", of[1]), 0, "")
	done, err := alice.EditDeadLetter(t.Context(), editOf(of[3], &operatorv1.DeadLetterEdit{Payload: []byte("THREE;")}))
	if err != nil || done.Spec.Pipeline != id || done.Spec.Chunk != 3 {
		t.Fatal(done, err)
	}
	p = followed(t, alice, id, func(p *operatorv1.Pipeline) bool { return p.Settled == 2 })
	if p.Failed != 0 {
		t.Errorf("reopened: %v", p)
	}
	for range 2 {
		operatortest.Echo(w, <-hold)
	}
	p = followed(t, alice, id, func(p *operatorv1.Pipeline) bool { return p.Settled == 3 })
	if p.State != operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
		t.Errorf("did not wait: %v", p)
	}
	w.Release(operatortest.Echo)
	p = ended(t, alice, id)
	if p.State != operatorv1.PipelineState_PIPELINE_STATE_COMPLETED || p.Failed != 0 || p.Settled != 5 {
		t.Errorf("ended %v", p)
	}
	if got := outputText(t, alice, id); got != "zero;bad1;two;THREE;last;" {
		t.Errorf("output %q", got)
	}
	replays(t, w)
}

// TestTooLateForThePipeline: what a pipeline does not wait for any more is refused by name, dry or not.
func TestTooLateForThePipeline(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	w.Do(choosy(&eventv1.BlobRef{Sha256: sum("bad;")}))
	failed, _ := chunked(t, alice, module, 1, 0, "good;", "bad;")
	ended(t, alice, failed)
	hold := make(chan actors.Task, 8)
	w.Do(func(w *operatortest.World, task actors.Task) {
		if task.Spec.Stage == 1 {
			hold <- task
			return
		}
		choosy(&eventv1.BlobRef{Sha256: sum("bad;")})(w, task)
	})
	gone, _ := chunked(t, alice, module, 2, 1, "fine;", "bad;")
	<-hold // the second stage runs
	for pipeline, reason := range map[string]string{failed: "PIPELINE_ENDED", gone: "PIPELINE_STAGE_OVER"} {
		rows, err := alice.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{Filter: &operatorv1.DeadLetterFilter{Pipeline: pipeline}})
		if err != nil || len(rows.DeadLetters) != 1 {
			t.Fatal(rows, err)
		}
		letter := rows.DeadLetters[0].Id
		wantOutcome(t, requeue(t, alice, "late", letter), connect.CodeFailedPrecondition, reason)
		res, err := alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(letter), DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		wantOutcome(t, res.Outcomes, connect.CodeFailedPrecondition, reason)
		for _, dry := range []bool{true, false} {
			req := editOf(letter, &operatorv1.DeadLetterEdit{Payload: []byte("y")})
			req.DryRun = dry
			_, err = alice.EditDeadLetter(t.Context(), req)
			wantCode(t, "late edit", err, connect.CodeFailedPrecondition, reason)
		}
		wantOutcome(t, discard(t, alice, "late", letter), 0, "")
	}
	w.Release(operatortest.Echo)
	replays(t, w)
}
