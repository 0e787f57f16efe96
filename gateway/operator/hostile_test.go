package operator_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestJobsThatAreRefused sends one good job and one that is wrong; the good one is taken whatever the other says.
func TestJobsThatAreRefused(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, root := w.Module(t), dial(w, "alice"), dial(w, "root")
	edit := func(change func(*operatorv1.NewJob)) *operatorv1.NewJob {
		j := newJob(module, "x")
		change(j)
		return j
	}
	unknown := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct {
		job  *operatorv1.NewJob
		code connect.Code
		who  clients
	}{
		"no spec":         {&operatorv1.NewJob{}, connect.CodeInvalidArgument, alice},
		"no module":       {edit(func(j *operatorv1.NewJob) { j.Spec.Module = nil }), connect.CodeInvalidArgument, alice},
		"unknown module":  {edit(func(j *operatorv1.NewJob) { j.Spec.Module = unknown }), connect.CodeFailedPrecondition, alice},
		"no fuel":         {edit(func(j *operatorv1.NewJob) { j.Spec.FuelLimit = 0 }), connect.CodeInvalidArgument, alice},
		"endless fuel":    {edit(func(j *operatorv1.NewJob) { j.Spec.FuelLimit = 1 << 63 }), connect.CodeInvalidArgument, alice},
		"no input":        {edit(func(j *operatorv1.NewJob) { j.Payload = nil }), connect.CodeInvalidArgument, alice},
		"two inputs":      {edit(func(j *operatorv1.NewJob) { j.Spec.Input = &eventv1.BlobRef{Sha256: unknown} }), connect.CodeInvalidArgument, alice},
		"unknown input":   {edit(func(j *operatorv1.NewJob) { j.Payload, j.Spec.Input = nil, &eventv1.BlobRef{Sha256: unknown, Size: 1} }), connect.CodeFailedPrecondition, alice},
		"short hash":      {edit(func(j *operatorv1.NewJob) { j.Payload, j.Spec.Input = nil, &eventv1.BlobRef{Sha256: unknown[:31]} }), connect.CodeInvalidArgument, alice},
		"tier 4":          {edit(func(j *operatorv1.NewJob) { j.Spec.MinTier = 4 }), connect.CodeInvalidArgument, alice},
		"absurd memory":   {edit(func(j *operatorv1.NewJob) { j.Spec.MinMemoryBytes = 1 << 62 }), connect.CodeInvalidArgument, alice},
		"absurd priority": {edit(func(j *operatorv1.NewJob) { j.Spec.Priority = -1 << 31 }), connect.CodeInvalidArgument, alice},
		"own pipeline":    {edit(func(j *operatorv1.NewJob) { j.Spec.Pipeline = strings.Repeat("0", 26) }), connect.CodeInvalidArgument, alice},
		"many labels":     {edit(func(j *operatorv1.NewJob) { j.Spec.Labels = make([]*eventv1.Label, 17) }), connect.CodeInvalidArgument, alice},
		"escapes":         {edit(func(j *operatorv1.NewJob) { j.Spec.RequestId = "\x1b[2J" }), connect.CodeInvalidArgument, alice},
		"long request":    {edit(func(j *operatorv1.NewJob) { j.Spec.RequestId = strings.Repeat("r", 129) }), connect.CodeInvalidArgument, alice},
		"bad tenant":      {edit(func(j *operatorv1.NewJob) { j.Spec.Tenant = "../alice" }), connect.CodeInvalidArgument, root},
		"kind 99":         {edit(func(j *operatorv1.NewJob) { j.Spec.Kind = 99 }), connect.CodeInvalidArgument, alice},
		"stress":          {edit(func(j *operatorv1.NewJob) { j.Spec.Kind = eventv1.JobKind_JOB_KIND_STRESS }), connect.CodePermissionDenied, alice},
		"ringer":          {edit(func(j *operatorv1.NewJob) { j.Spec.Kind = eventv1.JobKind_JOB_KIND_LITE_TEST }), connect.CodePermissionDenied, alice},
		"answerless":      {edit(func(j *operatorv1.NewJob) { j.Spec.Kind = eventv1.JobKind_JOB_KIND_LITE_TEST }), connect.CodeInvalidArgument, root},
		"known answer":    {edit(func(j *operatorv1.NewJob) { j.Spec.KnownChecksum = unknown }), connect.CodeInvalidArgument, root},
		"rank 9":          {edit(func(j *operatorv1.NewJob) { j.Spec.Output = &eventv1.OutputSpec{Shape: make([]uint64, 9)} }), connect.CodeInvalidArgument, alice},
		"shape overflow":  {edit(func(j *operatorv1.NewJob) { j.Spec.Output = &eventv1.OutputSpec{Shape: []uint64{1 << 40, 1 << 40}} }), connect.CodeInvalidArgument, alice},
		"shape of none":   {edit(func(j *operatorv1.NewJob) { j.Spec.Output = &eventv1.OutputSpec{Shape: []uint64{3, 0}} }), connect.CodeInvalidArgument, alice},
		"dtype 99":        {edit(func(j *operatorv1.NewJob) { j.Spec.Output = &eventv1.OutputSpec{Dtype: 99} }), connect.CodeInvalidArgument, alice},
		"giant output":    {edit(func(j *operatorv1.NewJob) { j.Spec.Output = &eventv1.OutputSpec{MaxBytes: 1 << 50} }), connect.CodeInvalidArgument, alice},
		"proof 99":        {edit(func(j *operatorv1.NewJob) { j.Spec.Proof = &eventv1.ProofSpec{System: 99} }), connect.CodeInvalidArgument, alice},
		"keyless proof": {edit(func(j *operatorv1.NewJob) {
			j.Spec.Proof = &eventv1.ProofSpec{System: eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254}
		}), connect.CodeInvalidArgument, alice},
		"less certainty": {edit(func(j *operatorv1.NewJob) { j.Overrides = &operatorv1.PolicyOverrides{Redundancy: 1} }), connect.CodeInvalidArgument, alice},
		"99 replicas":    {edit(func(j *operatorv1.NewJob) { j.Overrides = &operatorv1.PolicyOverrides{Redundancy: 99} }), connect.CodeInvalidArgument, alice},
		"another tenant": {edit(func(j *operatorv1.NewJob) { j.Spec.Tenant = "bob" }), connect.CodePermissionDenied, alice},
		"giant payload":  {edit(func(j *operatorv1.NewJob) { j.Payload = make([]byte, 16<<20+1) }), connect.CodeInvalidArgument, alice},
	} {
		res, err := c.who.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{c.job, newJob(module, "good")}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := connect.Code(res.Jobs[0].Code); got != c.code || res.Jobs[0].Id != "" || res.Jobs[0].Detail == "" {
			t.Errorf("%s: %v, want %v", name, res.Jobs[0], c.code)
		}
		if res.Jobs[1].Code != 0 || res.Jobs[1].Id == "" {
			t.Errorf("%s: the good job: %v", name, res.Jobs[1])
		}
	}
	for _, n := range []int{0, operator.MaxBatch + 1} {
		_, err := alice.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: make([]*operatorv1.NewJob, n)})
		wantCode(t, fmt.Sprintf("batch of %d", n), err, connect.CodeInvalidArgument, "INVALID")
	}
}

func TestRepeatedSubmissionIsTheSameJob(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, root := w.Module(t), dial(w, "alice"), dial(w, "root")
	job := func(payload, tenant string) *operatorv1.NewJob {
		j := newJob(module, payload)
		j.Spec.RequestId, j.Spec.Tenant = "once", tenant
		return j
	}
	ids := submit(t, alice, job("a", ""), job("a", ""))
	again := submit(t, alice, job("a", "alice"))
	other := submit(t, root, job("a", ""))
	if ids[0] != ids[1] || again[0] != ids[0] || other[0] == ids[0] {
		t.Errorf("ids %v, %v, %v", ids, again, other)
	}
	res, err := alice.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{job("b", "")}})
	if err != nil || connect.Code(res.Jobs[0].Code) != connect.CodeAlreadyExists {
		t.Errorf("another payload under the same request id: %v, %v", res, err)
	}
}

// TestAnswersOfRingersStayHidden: not even the admin who set it reads it back from a job.
func TestAnswersOfRingersStayHidden(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, root, ops := w.Module(t), dial(w, "root"), dial(w, "ops")
	w.Do(operatortest.Hold)
	j := newJob(module, "ringer")
	answer := bytes.Repeat([]byte{0xab}, 32)
	j.Spec.Kind, j.Spec.KnownChecksum = eventv1.JobKind_JOB_KIND_LITE_TEST, answer
	id := submit(t, root, j)[0]
	for name, c := range map[string]clients{"root": root, "ops": ops} {
		got, err := c.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
		if err != nil || got.Job.Spec.KnownChecksum != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	evs, err := readEvents(t, ops, &operatorv1.ReadEventsRequest{Stream: "job-" + id})
	if err != nil || len(evs) == 0 {
		t.Fatal(evs, err)
	}
	for _, e := range evs {
		if raw, _ := proto.Marshal(e); bytes.Contains(raw, answer) || strings.Contains(e.DataJson+e.MetaJson, "known_checksum") {
			t.Errorf("the answer is in %s", e.Type)
		}
	}
}

func TestRequestsThatAreNoRequests(t *testing.T) {
	w := operatortest.Start(t, guarded())
	post := func(path, kind string, body []byte) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		res, err := operatortest.Client("alice").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res
	}
	const submit = "/shardy.operator.v1.JobService/SubmitJobs"
	for name, c := range map[string]struct {
		path, kind string
		body       []byte
		status     int
	}{
		"junk":         {submit, "application/proto", []byte("\xff\xff\xff"), http.StatusBadRequest},
		"junk json":    {submit, "application/json", []byte("{"), http.StatusBadRequest},
		"oversized":    {submit, "application/proto", make([]byte, 21<<20), http.StatusTooManyRequests},
		"other type":   {submit, "text/html", nil, http.StatusUnsupportedMediaType},
		"no such call": {"/shardy.operator.v1.JobService/Hack", "application/json", []byte("{}"), http.StatusNotFound},
		"no such path": {"/../../etc/passwd", "application/json", nil, http.StatusNotFound},
	} {
		if got := post(c.path, c.kind, c.body).StatusCode; got != c.status && !(name == "no such path" && got == http.StatusMethodNotAllowed) {
			t.Errorf("%s: %d, want %d", name, got, c.status)
		}
	}
	alice := dial(w, "alice")
	for _, id := range []string{"", "x", strings.Repeat("0", 27), "job-" + strings.Repeat("0", 22), strings.Repeat("l", 26), strings.Repeat("../", 9)[:26]} {
		_, err := alice.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
		wantCode(t, "id "+id, err, connect.CodeInvalidArgument, "BAD_ID")
	}
	for _, token := range []string{"x", "####", strings.Repeat("A", 1000), "AAAAAAAAAAAAAAAA"} {
		_, err := alice.ListJobs(t.Context(), &operatorv1.ListJobsRequest{PageToken: token})
		wantCode(t, "page "+token[:1], err, connect.CodeInvalidArgument, "PAGE_TOKEN")
	}
}

// TestPagesCoverAList also takes a token to another list, where it means nothing.
func TestPagesCoverAList(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	jobs := make([]*operatorv1.NewJob, 25)
	for i := range jobs {
		jobs[i] = newJob(module, "x")
	}
	want := map[string]bool{}
	for _, id := range submit(t, alice, jobs...) {
		want[id] = true
	}
	token, rounds := "", 0
	for {
		res, err := alice.ListJobs(t.Context(), &operatorv1.ListJobsRequest{PageSize: 7, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range res.Jobs {
			if !want[j.Id] {
				t.Errorf("%s twice, or never submitted", j.Id)
			}
			delete(want, j.Id)
		}
		if rounds++; res.NextPageToken == "" {
			break
		}
		token = res.NextPageToken
	}
	if len(want) > 0 || rounds != 4 {
		t.Errorf("%d jobs missing after %d pages", len(want), rounds)
	}
	_, err := alice.ListJobs(t.Context(), &operatorv1.ListJobsRequest{PageToken: token, State: deadState})
	wantCode(t, "token of another list", err, connect.CodeInvalidArgument, "PAGE_TOKEN")
}

func TestContentNeedsTheRight(t *testing.T) {
	w := operatortest.Start(t, guarded())
	ref, err := dial(w, "alice").PutBlob(t.Context(), &operatorv1.PutBlobRequest{Data: []byte("private")})
	if err != nil {
		t.Fatal(err)
	}
	name := hex.EncodeToString(ref.Ref.Sha256)
	get := func(token, path, etag string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/blob/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if etag != "" {
			req.Header.Set("If-None-Match", etag)
		}
		res, err := operatortest.Client(token).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	for token, want := range map[string]int{
		"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, "alice": http.StatusForbidden, "eye": http.StatusForbidden,
		"ops": http.StatusOK, "root": http.StatusOK,
	} {
		if got := get(token, name, "").StatusCode; got != want {
			t.Errorf("token %q: %d, want %d", token, got, want)
		}
	}
	res := get("root", name, "")
	if res.ContentLength != 7 || res.Header.Get("Etag") != `"`+name+`"` || !strings.Contains(res.Header.Get("Cache-Control"), "private, max-age=31536000, immutable") {
		t.Errorf("headers %v", res.Header)
	}
	if got := get("root", name, res.Header.Get("Etag")).StatusCode; got != http.StatusNotModified {
		t.Errorf("again: %d", got)
	}
	for path, want := range map[string]int{
		strings.Repeat("00", 32): http.StatusNotFound, "xyz": http.StatusBadRequest, name[:62]: http.StatusBadRequest,
	} {
		if got := get("root", path, "").StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// TestLimits: requests a second, streams of a token and streams in all.
func TestLimits(t *testing.T) {
	cfg := guarded()
	cfg.RequestRate, cfg.RequestBurst, cfg.MaxStreamsToken, cfg.MaxStreams = 0.001, 3, 2, 3
	w := operatortest.Start(t, cfg)
	alice, bob, root := dial(w, "alice"), dial(w, "bob"), dial(w, "root")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := func(c clients) error {
		s, err := c.WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
		if err == nil && !s.Receive() {
			err = s.Err()
		}
		return err
	}
	for i := range 2 {
		if err := watch(alice); err != nil {
			t.Fatalf("watch %d: %v", i, err)
		}
	}
	wantCode(t, "third watch of a token", watch(alice), connect.CodeResourceExhausted, "STREAMS")
	wantCode(t, "fourth request of a token", watch(alice), connect.CodeResourceExhausted, "RATE")
	if err := watch(bob); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "fourth watch of all", watch(root), connect.CodeResourceExhausted, "STREAMS")
	if _, err := root.GetPolicy(t.Context(), &operatorv1.GetPolicyRequest{}); err != nil {
		t.Errorf("streams keep the unary calls out: %v", err)
	}
}

// TestStandingReaderIsCutOff: whoever does not read what was asked for loses the stream, and with it the place that it
// took from others.
func TestStandingReaderIsCutOff(t *testing.T) {
	cfg := guarded()
	cfg.WriteTimeout, cfg.MaxStreamsToken = 100*time.Millisecond, 2
	w := operatortest.Start(t, cfg)
	module, alice := w.Module(t), dial(w, "alice")
	id := submit(t, alice, newJob(module, strings.Repeat("x", 16<<20)))[0]
	await(t, alice, []string{id}, verified)
	addr := strings.TrimPrefix(w.URL, "http://")
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := fmt.Sprintf(`{"id":%q}`, id)
		fmt.Fprintf(conn, "POST /shardy.operator.v1.JobService/DownloadResult HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer alice\r\n"+
			"Content-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n\x00\x00\x00\x00%c%s", addr, len(body)+5, len(body), body)
		if _, err := conn.Read(make([]byte, 1)); err != nil { // it has begun
			t.Fatal(err)
		}
	}
	refused := false
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := result(t, alice, id)
		if err == nil {
			break
		}
		wantCode(t, "a third download", err, connect.CodeResourceExhausted, "STREAMS")
		if refused = true; time.Now().After(deadline) {
			t.Fatal("the standing readers keep their places")
		}
	}
	if !refused {
		t.Log("both were cut off before the third came")
	}
}

// TestWatchesMissNothing submits from several sides while watches of all kinds run.
func TestWatchesMissNothing(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module := w.Module(t)
	alice, bob, root := dial(w, "alice"), dial(w, "bob"), dial(w, "root")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watches := map[string]clients{"alice": alice, "root": root}
	seen := map[string]chan string{}
	var readers sync.WaitGroup
	for name, c := range watches {
		s, err := c.WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
		if err != nil || !s.Receive() {
			t.Fatal(err, s.Err())
		}
		seen[name] = make(chan string, 10_000)
		readers.Go(func() {
			for s.Receive() {
				for _, u := range s.Msg().Updates {
					seen[name] <- u.Id
				}
			}
		})
	}
	const n = 300
	var sides sync.WaitGroup
	ids := make(chan string, 3*n)
	for name, c := range map[string]clients{"alice": alice, "bob": bob} {
		sides.Go(func() {
			for range n / 50 {
				jobs := make([]*operatorv1.NewJob, 50)
				for i := range jobs {
					jobs[i] = newJob(module, "x")
				}
				got := submit(t, c, jobs...)
				if name == "alice" {
					await(t, c, got, verified) // named while they are under way
				}
				for _, id := range got {
					ids <- name + " " + id
				}
			}
		})
	}
	sides.Wait()
	close(ids)
	want := map[string]map[string]bool{"alice": {}, "root": {}}
	for line := range ids {
		who, id, _ := strings.Cut(line, " ")
		want["root"][id] = true
		if who == "alice" {
			want["alice"][id] = true
		}
	}
	deadline := time.After(20 * time.Second)
	for name, ids := range want {
		for len(ids) > 0 {
			select {
			case id := <-seen[name]:
				if !ids[id] {
					t.Errorf("%s was told of %s: twice, or another tenant's", name, id)
				}
				delete(ids, id)
			case <-deadline:
				t.Fatalf("%s was never told of %d jobs", name, len(ids))
			}
		}
	}
	cancel()
	readers.Wait()
}

func TestFollowedStreams(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, root := w.Module(t), dial(w, "alice"), dial(w, "root")
	w.Do(operatortest.Hold)
	id := submit(t, alice, newJob(module, "x"))[0]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := alice.ReadEvents(ctx, &operatorv1.ReadEventsRequest{Stream: "job-" + id, Follow: true})
	if err != nil || !s.Receive() {
		t.Fatal(err, s.Err())
	}
	w.Release(operatortest.Echo)
	next := uint64(0)
	for done := false; !done; {
		for _, e := range s.Msg().Events {
			if e.Revision != next || e.Stream != "job-"+id {
				t.Fatalf("%s/%d, want revision %d", e.Stream, e.Revision, next)
			}
			next++
			done = e.Type == "TaskVerified"
		}
		if !done && !s.Receive() {
			t.Fatal(s.Err())
		}
	}
	cancel()
	s.Close()
	all, err := readEvents(t, root, &operatorv1.ReadEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	half, err := readEvents(t, root, &operatorv1.ReadEventsRequest{After: all[4].Position, Limit: 3})
	if err != nil || len(half) != 3 || half[0].Position != all[5].Position {
		t.Errorf("a part of the log: %v, %v", half, err)
	}
	for name, req := range map[string]*operatorv1.ReadEventsRequest{
		"types of a stream": {Stream: "job-" + id, Types: []string{"Job"}}, "revision of the log": {From: 1},
		"position of a stream": {Stream: "job-" + id, After: 1}, "empty type": {Types: []string{""}},
		"long stream": {Stream: strings.Repeat("x", 300)},
	} {
		_, err := readEvents(t, root, req)
		wantCode(t, name, err, connect.CodeInvalidArgument, "INVALID")
	}
	_, err = readEvents(t, root, &operatorv1.ReadEventsRequest{Stream: "job-" + strings.Repeat("0", 26)})
	wantCode(t, "missing stream", err, connect.CodeNotFound, "NOT_FOUND")
}

// TestClosingEndsStreams: a watcher is told that the server goes, not left waiting.
func TestClosingEndsStreams(t *testing.T) {
	w := operatortest.Start(t, guarded())
	s, err := dial(w, "alice").WatchJobs(t.Context(), &operatorv1.WatchJobsRequest{})
	if err != nil || !s.Receive() {
		t.Fatal(err)
	}
	tail, err := dial(w, "root").ReadEvents(t.Context(), &operatorv1.ReadEventsRequest{Follow: true})
	if err != nil || !tail.Receive() {
		t.Fatal(err)
	}
	w.API.Close()
	for s.Receive() {
	}
	wantCode(t, "watch", s.Err(), connect.CodeUnavailable, "CLOSING")
	for s := tail; s.Receive(); {
	}
	wantCode(t, "tail", tail.Err(), connect.CodeUnavailable, "CLOSING")
	w.API.Close()
	res, err := http.Get(w.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready while closing: %s", res.Status)
	}
}
