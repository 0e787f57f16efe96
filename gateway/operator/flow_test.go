package operator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

const (
	verified  = operatorv1.JobState_JOB_STATE_VERIFIED
	deadState = operatorv1.JobState_JOB_STATE_DEAD_LETTERED
	openState = operatorv1.JobState_JOB_STATE_OPEN
)

// clients speak to a world with one token.
type clients struct {
	op.JobServiceClient
	op.PipelineServiceClient
	op.ModuleServiceClient
	op.WorkerServiceClient
	op.DeadLetterServiceClient
	op.EventServiceClient
	op.SystemServiceClient
}

func dial(w *operatortest.World, token string, opts ...connect.ClientOption) clients {
	h := operatortest.Client(token)
	return clients{
		op.NewJobServiceClient(h, w.URL, opts...), op.NewPipelineServiceClient(h, w.URL, opts...),
		op.NewModuleServiceClient(h, w.URL, opts...), op.NewWorkerServiceClient(h, w.URL, opts...),
		op.NewDeadLetterServiceClient(h, w.URL, opts...), op.NewEventServiceClient(h, w.URL, opts...),
		op.NewSystemServiceClient(h, w.URL, opts...),
	}
}

func newJob(module []byte, payload string) *operatorv1.NewJob {
	return &operatorv1.NewJob{Spec: &eventv1.JobSpec{Module: module, FuelLimit: 1000}, Payload: []byte(payload)}
}

func submit(t *testing.T, c clients, jobs ...*operatorv1.NewJob) []string {
	t.Helper()
	res, err := c.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: jobs})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(res.Jobs))
	for i, j := range res.Jobs {
		if j.Code != 0 {
			t.Fatalf("job %d: %v", i, j)
		}
		ids[i] = j.Id
	}
	return ids
}

// await watches jobs until each is in one of the states.
func await(t *testing.T, c clients, ids []string, states ...operatorv1.JobState) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := c.WatchJobs(ctx, &operatorv1.WatchJobsRequest{Ids: ids})
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{}
	for _, id := range ids {
		open[id] = true
	}
	for len(open) > 0 && watch.Receive() {
		for _, u := range watch.Msg().Updates {
			for _, s := range states {
				if u.State == s {
					delete(open, u.Id)
				}
			}
		}
	}
	if len(open) > 0 {
		t.Fatalf("jobs %v never came to %v: %v", open, states, watch.Err())
	}
	cancel()
	watch.Close()
}

func result(t *testing.T, c clients, id string) (string, error) {
	t.Helper()
	down, err := c.DownloadResult(t.Context(), &operatorv1.DownloadResultRequest{Id: id})
	if err != nil {
		return "", err
	}
	defer down.Close()
	var out bytes.Buffer
	for down.Receive() {
		out.Write(down.Msg().Data)
	}
	return out.String(), down.Err()
}

func wantCode(t *testing.T, what string, err error, code connect.Code, reason string) {
	t.Helper()
	if connect.CodeOf(err) != code {
		t.Errorf("%s: %v, want %v", what, err, code)
		return
	}
	if e, ok := err.(*connect.Error); ok && reason != "" {
		for _, d := range e.Details() {
			if v, err := d.Value(); err == nil {
				if info, ok := v.(*errdetails.ErrorInfo); ok && info.Reason == reason && info.Domain == operator.ErrorDomain {
					return
				}
			}
		}
		t.Errorf("%s: no detail with reason %s: %v", what, reason, e.Details())
	}
}

func TestJobsFromSubmissionToResult(t *testing.T) {
	for name, opts := range map[string][]connect.ClientOption{
		"connect": nil, "json": {connect.WithProtoJSON()}, "grpcweb": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			w := operatortest.Start(t, guarded())
			module, alice := w.Module(t), dial(w, "alice", opts...)
			long := strings.Repeat("x", 700_000) // several messages
			ids := submit(t, alice, newJob(module, "one"), newJob(module, long), newJob(module, "three"))
			await(t, alice, ids, verified)
			for i, want := range []string{"one", long, "three"} {
				if got, err := result(t, alice, ids[i]); err != nil || got != want {
					t.Errorf("result %d: %.20q, %v", i, got, err)
				}
			}
			j, err := alice.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: ids[0]})
			if err != nil {
				t.Fatal(err)
			}
			if j.Job.State != verified || len(j.Job.Slots) != 2 || len(j.Job.Replicas) != 2 || j.Job.Spec.Tenant != "alice" {
				t.Errorf("job is %v", j.Job)
			}
			if j.Job.Replicas[0].Output == nil {
				t.Error("a decided job hides its outputs from its tenant")
			}
			lines, err := alice.ExplainJob(t.Context(), &operatorv1.ExplainJobRequest{Id: ids[0]})
			if err != nil || !strings.Contains(strings.Join(lines.Lines, "\n"), "verified") {
				t.Errorf("explain: %v, %v", lines, err)
			}
		})
	}
}

func TestOtherTenantsSeeNothing(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob, eye := w.Module(t), dial(w, "alice"), dial(w, "bob"), dial(w, "eye")
	id := submit(t, alice, newJob(module, "mine"))[0]
	await(t, alice, []string{id}, verified)
	_, err := bob.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
	wantCode(t, "get", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = bob.CancelJob(t.Context(), &operatorv1.CancelJobRequest{Id: id})
	wantCode(t, "cancel", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = result(t, bob, id)
	wantCode(t, "result", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = bob.ListJobs(t.Context(), &operatorv1.ListJobsRequest{Tenant: "alice"})
	wantCode(t, "list", err, connect.CodePermissionDenied, "TENANT")
	list, err := bob.ListJobs(t.Context(), &operatorv1.ListJobsRequest{})
	if err != nil || len(list.Jobs) != 0 {
		t.Errorf("bob lists %v, %v", list, err)
	}
	watch, err := bob.WatchJobs(t.Context(), &operatorv1.WatchJobsRequest{Ids: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	for watch.Receive() {
		if len(watch.Msg().Updates) > 0 {
			t.Errorf("bob watches %v", watch.Msg())
		}
	}
	wantCode(t, "watch", watch.Err(), connect.CodeNotFound, "NOT_FOUND")
	watch.Close()
	for _, stream := range []string{"job-" + id, "assignment-" + id + "-0"} {
		_, err := readEvents(t, bob, &operatorv1.ReadEventsRequest{Stream: stream})
		wantCode(t, stream, err, connect.CodeNotFound, "NOT_FOUND")
	}
	for _, stream := range []string{"", "worker-" + strings.Repeat("01", 32), "policy-default", "shard-0"} {
		_, err := readEvents(t, bob, &operatorv1.ReadEventsRequest{Stream: stream})
		wantCode(t, stream, err, connect.CodePermissionDenied, "ROLE")
	}
	job := newJob(module, "x")
	job.Spec.Tenant = "alice"
	res, err := bob.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{job}})
	if err != nil || connect.Code(res.Jobs[0].Code) != connect.CodePermissionDenied {
		t.Errorf("bob submits for alice: %v, %v", res, err)
	}
	seen, err := eye.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
	if err != nil || seen.Job.Verdict.Output != nil || seen.Job.Replicas[0].Output != nil {
		t.Errorf("a viewer sees content: %v, %v", seen, err)
	}
}

// TestOutputsHideUntilTheVerdict: while one replica is still computing, nobody but admins sees what the other returned.
func TestOutputsHideUntilTheVerdict(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, ops, root := w.Module(t), dial(w, "alice"), dial(w, "ops"), dial(w, "root")
	first := make(chan struct{}, 2)
	w.Do(func(w *operatortest.World, task actors.Task) {
		if task.Slot == 0 {
			operatortest.Echo(w, task)
		} else {
			operatortest.Hold(w, task)
		}
		first <- struct{}{}
	})
	stop := w.Host.Observe(func(_ actors.Address, facts []events.Fact) {
		for _, f := range facts {
			if _, ok := f.(*eventv1.ReplicaReturned); ok {
				first <- struct{}{}
			}
		}
	})
	defer stop()
	id := submit(t, alice, newJob(module, "secret"))[0]
	for range 3 { // two deliveries, one replica
		<-first
	}
	sum := sha256.Sum256([]byte("secret"))
	for name, c := range map[string]clients{"alice": alice, "ops": ops} {
		j, err := c.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
		if err != nil || len(j.Job.Replicas) != 1 || j.Job.Replicas[0].Output != nil {
			t.Errorf("%s sees %v, %v", name, j, err)
		}
		for _, stream := range []string{"job-" + id, "assignment-" + id + "-0"} {
			evs, err := readEvents(t, c, &operatorv1.ReadEventsRequest{Stream: stream})
			if err != nil || len(evs) == 0 {
				t.Fatal(err)
			}
			for _, e := range evs {
				if e.Type == "ReplicaReturned" || e.Type == "ResultReturned" {
					if bytes.Contains(e.Data, sum[:]) || bytes.Contains(e.Meta, sum[:]) || strings.Contains(e.DataJson, `"output"`) {
						t.Errorf("%s reads the output in %s: %s %s", name, e.Type, e.DataJson, e.MetaJson)
					}
				}
			}
		}
	}
	_, err := result(t, alice, id)
	wantCode(t, "result", err, connect.CodeFailedPrecondition, "UNDECIDED")
	evs, err := readEvents(t, root, &operatorv1.ReadEventsRequest{Stream: "job-" + id})
	if err != nil || !strings.Contains(evs[len(evs)-1].DataJson, `"output"`) {
		t.Errorf("an admin reads %v, %v", evs, err)
	}
	w.Release(operatortest.Echo)
	await(t, alice, []string{id}, verified)
	evs, err = readEvents(t, alice, &operatorv1.ReadEventsRequest{Stream: "job-" + id})
	if err != nil || !strings.Contains(evs[1].DataJson, `"output"`) {
		t.Errorf("after the verdict alice reads %v, %v", evs, err)
	}
}

func readEvents(t *testing.T, c clients, req *operatorv1.ReadEventsRequest) ([]*operatorv1.Event, error) {
	t.Helper()
	stream, err := c.ReadEvents(t.Context(), req)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var out []*operatorv1.Event
	for stream.Receive() {
		out = append(out, stream.Msg().Events...)
	}
	return out, stream.Err()
}

func TestDeadLetters(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob := w.Module(t), dial(w, "alice"), dial(w, "bob")
	w.Do(operatortest.Trap)
	id := submit(t, alice, newJob(module, "bad"))[0]
	await(t, alice, []string{id}, deadState)
	list, err := alice.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{})
	if err != nil || len(list.DeadLetters) != 1 || list.DeadLetters[0].Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED {
		t.Fatalf("list: %v, %v", list, err)
	}
	d, err := alice.DescribeDeadLetter(t.Context(), &operatorv1.DescribeDeadLetterRequest{Id: id})
	if err != nil || len(d.Attempts) != 2 || d.Attempts[0].Outcome != "returned_trap" || len(d.Attempts[0].Worker) != 32 {
		t.Fatalf("describe: %v, %v", d, err)
	}
	wantOutcome(t, discard(t, bob, "mine", id), connect.CodeNotFound, "NOT_FOUND")
	_, err = alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(id)})
	wantCode(t, "requeue without reason", err, connect.CodeInvalidArgument, "INVALID")
	w.Do(operatortest.Echo)
	wantOutcome(t, requeue(t, alice, "module fixed", id), 0, "")
	await(t, alice, []string{id}, verified)
	wantOutcome(t, discard(t, alice, "late", id), connect.CodeNotFound, "NOT_FOUND")
	evs, err := readEvents(t, alice, &operatorv1.ReadEventsRequest{Stream: "job-" + id})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range evs {
		if e.Type == "JobRequeued" && !strings.Contains(e.DataJson, `"alice"`) {
			t.Errorf("the requeue does not say who: %s", e.DataJson)
		}
	}
}

func TestPipelineFromChunksToOutput(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	var chunks []*eventv1.BlobRef
	var want strings.Builder
	for i := range 20 {
		text := fmt.Sprintf("chunk %d;", i%7)
		want.WriteString(text)
		res, err := alice.PutBlob(t.Context(), &operatorv1.PutBlobRequest{Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, res.Ref)
	}
	stage := func(feed eventv1.StageFeed, cut uint64) *eventv1.StageSpec {
		return &eventv1.StageSpec{Template: &eventv1.JobSpec{Module: module, FuelLimit: 1000}, Feed: feed, ChunkBytes: cut}
	}
	spec := &eventv1.PipelineSpec{Name: "echo", RequestId: "r1", Stages: []*eventv1.StageSpec{
		stage(0, 0), stage(eventv1.StageFeed_STAGE_FEED_GATHER, 50),
	}}
	res, err := alice.SubmitPipeline(t.Context(), &operatorv1.SubmitPipelineRequest{Spec: spec, Chunks: chunks})
	if err != nil {
		t.Fatal(err)
	}
	again, err := alice.SubmitPipeline(t.Context(), &operatorv1.SubmitPipelineRequest{Spec: spec, Chunks: chunks})
	if err != nil || again.Id != res.Id {
		t.Errorf("repeat: %v, %v", again, err)
	}
	watch, err := alice.WatchPipeline(t.Context(), &operatorv1.WatchPipelineRequest{Id: res.Id})
	if err != nil {
		t.Fatal(err)
	}
	var last *operatorv1.Pipeline
	for watch.Receive() {
		last = watch.Msg().Pipeline
	}
	if watch.Err() != nil || last.State != operatorv1.PipelineState_PIPELINE_STATE_COMPLETED || last.OutputBytes != uint64(len(want.String())) {
		t.Fatalf("ended as %v, %v", last, watch.Err())
	}
	watch.Close()
	down, err := alice.DownloadOutput(t.Context(), &operatorv1.DownloadOutputRequest{Id: res.Id})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	var got strings.Builder
	for down.Receive() {
		got.WriteString(string(down.Msg().Data))
	}
	if got.String() != want.String() || down.Err() != nil {
		t.Errorf("output %q, want %q; %v", got.String(), want.String(), down.Err())
	}
	_, err = dial(w, "bob").GetPipeline(t.Context(), &operatorv1.GetPipelineRequest{Id: res.Id})
	wantCode(t, "another tenant's pipeline", err, connect.CodeNotFound, "NOT_FOUND")
}

func TestModulesAreAdmittedOnce(t *testing.T) {
	w := operatortest.Start(t, guarded())
	alice := dial(w, "alice")
	_, err := alice.AdmitModule(t.Context(), &operatorv1.AdmitModuleRequest{Module: []byte("no module")})
	wantCode(t, "junk", err, connect.CodeInvalidArgument, "MODULE_REFUSED_MALFORMED")
	_, err = alice.AdmitModule(t.Context(), &operatorv1.AdmitModuleRequest{Module: []byte("no module")})
	wantCode(t, "junk again", err, connect.CodeInvalidArgument, "MODULE_REFUSED_MALFORMED")
	m, err := alice.AdmitModule(t.Context(), &operatorv1.AdmitModuleRequest{Module: operatortest.EchoModule})
	if err != nil || m.Module.CanaryFuel != 42 || m.Module.MemoryBytes != 1<<16 {
		t.Fatalf("admit: %v, %v", m, err)
	}
	again, err := alice.AdmitModule(t.Context(), &operatorv1.AdmitModuleRequest{Module: operatortest.EchoModule, Canary: []byte("diverge")})
	if err != nil || !bytes.Equal(again.Module.Name, m.Module.Name) {
		t.Errorf("again: %v, %v", again, err)
	}
	list, err := alice.ListModules(t.Context(), &operatorv1.ListModulesRequest{})
	if err != nil || len(list.Modules) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	id := submit(t, alice, newJob(m.Module.Name, "x"))
	await(t, alice, id, verified)
	res, err := http.Get(w.URL + "/blob/" + hex.EncodeToString(m.Module.Name))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ContentLength != int64(m.Module.Size) || !strings.Contains(res.Header.Get("Cache-Control"), "public") {
		t.Errorf("a worker fetches the module: %v", res)
	}
	evs, err := readEvents(t, dial(w, "ops"), &operatorv1.ReadEventsRequest{Types: []string{"Module"}})
	if err != nil || len(evs) != 2 {
		t.Errorf("modules' events: %v, %v", evs, err)
	}
}
