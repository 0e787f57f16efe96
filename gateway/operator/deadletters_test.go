package operator_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func requeueIDs(ids ...string) *operatorv1.RequeueDeadLettersRequest_Ids {
	return &operatorv1.RequeueDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: ids}}
}

func discardIDs(ids ...string) *operatorv1.DiscardDeadLettersRequest_Ids {
	return &operatorv1.DiscardDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: ids}}
}

func requeue(t *testing.T, c clients, reason string, ids ...string) []*operatorv1.DeadLetterOutcome {
	t.Helper()
	res, err := c.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(ids...), Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcomes
}

func discard(t *testing.T, c clients, reason string, ids ...string) []*operatorv1.DeadLetterOutcome {
	t.Helper()
	res, err := c.DiscardDeadLetters(t.Context(), &operatorv1.DiscardDeadLettersRequest{Which: discardIDs(ids...), Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcomes
}

// wantOutcome holds each of the outcomes to a code and a typed reason.
func wantOutcome(t *testing.T, got []*operatorv1.DeadLetterOutcome, code connect.Code, reason string) {
	t.Helper()
	for _, o := range got {
		if connect.Code(o.Code) != code || o.Reason != reason || (code != 0) != (o.Detail != "") {
			t.Errorf("outcome %v, want %v %s", o, code, reason)
		}
	}
}

// die submits jobs whose module traps, and waits for their ends.
func die(t *testing.T, w *operatortest.World, c clients, jobs ...*operatorv1.NewJob) []string {
	t.Helper()
	w.Do(operatortest.Trap)
	ids := submit(t, c, jobs...)
	await(t, c, ids, deadState)
	return ids
}

func payloads(module []byte, texts ...string) []*operatorv1.NewJob {
	var jobs []*operatorv1.NewJob
	for _, text := range texts {
		jobs = append(jobs, newJob(module, text))
	}
	return jobs
}

func letters(t *testing.T, c clients, f *operatorv1.DeadLetterFilter) []string {
	t.Helper()
	res, err := c.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{Filter: f})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range res.DeadLetters {
		ids = append(ids, d.Id)
	}
	slices.Sort(ids)
	return ids
}

func sorted(ids ...string) []string { return slices.Sorted(slices.Values(ids)) }

func TestDeadLettersAreFiltered(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob, ops := w.Module(t), dial(w, "alice"), dial(w, "bob"), dial(w, "ops")
	mine := die(t, w, alice, payloads(module, "a", "b")...)
	stress := newJob(module, "c")
	stress.Spec.Kind, stress.Spec.Tenant = eventv1.JobKind_JOB_KIND_STRESS, "bob"
	his := append(die(t, w, bob, payloads(module, "d")...), die(t, w, ops, stress)...)
	all := sorted(append(slices.Clone(mine), his...)...)
	rows, err := ops.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{Filter: &operatorv1.DeadLetterFilter{Tenant: "bob"}})
	if err != nil || len(rows.DeadLetters) != 2 {
		t.Fatal(rows, err)
	}
	at := rows.DeadLetters[slices.IndexFunc(rows.DeadLetters, func(d *operatorv1.DeadLetter) bool { return d.Id == his[0] })].AtUs
	failed, quorum := eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED, eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM
	for name, c := range map[string]struct {
		who  clients
		f    *operatorv1.DeadLetterFilter
		want []string
	}{
		"nothing asked": {ops, nil, all}, "an empty filter": {ops, &operatorv1.DeadLetterFilter{}, all},
		"a client's":      {alice, nil, sorted(mine...)},
		"a tenant":        {ops, &operatorv1.DeadLetterFilter{Tenant: "bob"}, sorted(his...)},
		"several reasons": {ops, &operatorv1.DeadLetterFilter{Reasons: []eventv1.DeadLetterReason{quorum, failed}}, all},
		"another reason":  {ops, &operatorv1.DeadLetterFilter{Reasons: []eventv1.DeadLetterReason{quorum}}, nil},
		"a kind":          {ops, &operatorv1.DeadLetterFilter{Kind: eventv1.JobKind_JOB_KIND_STRESS}, his[1:]},
		"a module":        {alice, &operatorv1.DeadLetterFilter{Module: module}, sorted(mine...)},
		"another module":  {ops, &operatorv1.DeadLetterFilter{Module: bytes.Repeat([]byte{1}, 32)}, nil},
		"a moment":        {ops, &operatorv1.DeadLetterFilter{FromUs: at, UntilUs: at + 1, Tenant: "bob"}, his[:1]},
		"before it":       {ops, &operatorv1.DeadLetterFilter{UntilUs: at}, sorted(mine...)},
		"a pipeline":      {ops, &operatorv1.DeadLetterFilter{Pipeline: strings.Repeat("0", 26)}, nil},
	} {
		if got := letters(t, c.who, c.f); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	var walked []string
	req := &operatorv1.ListDeadLettersRequest{Filter: &operatorv1.DeadLetterFilter{Module: module}, PageSize: 1}
	for {
		res, err := ops.ListDeadLetters(t.Context(), req)
		if err != nil || len(res.DeadLetters) > 1 {
			t.Fatal(res, err)
		}
		for _, d := range res.DeadLetters {
			walked = append(walked, d.Id)
		}
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if slices.Sort(walked); !slices.Equal(walked, all) {
		t.Errorf("page by page %v, want %v", walked, all)
	}
}

// payload downloads what belongs to a dead letter.
func payload(t *testing.T, c clients, id string, slot ...uint32) (string, error) {
	t.Helper()
	req := &operatorv1.DownloadPayloadRequest{Id: id}
	if len(slot) > 0 {
		req.Slot = &slot[0]
	}
	down, err := c.DownloadPayload(t.Context(), req)
	if err != nil {
		return "", err
	}
	defer down.Close()
	var out strings.Builder
	for down.Receive() {
		out.Write(down.Msg().Data)
	}
	return out.String(), down.Err()
}

// differ lets every worker return something else; there is no referee in this world.
func differ(w *operatortest.World, task actors.Task) {
	ref, err := w.Blobs.Put(context.Background(), fmt.Appendf(nil, "slot %d", task.Slot))
	if err == nil {
		w.Return(task, eventv1.ResultStatus_RESULT_STATUS_OK, &eventv1.BlobRef{Sha256: ref.Sum[:], Size: ref.Size})
	}
}

// TestPayloadsOfDeadLetters: the input is its tenant's; what slots returned stays hidden until nobody computes it again.
func TestPayloadsOfDeadLetters(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob, eye, root := w.Module(t), dial(w, "alice"), dial(w, "bob"), dial(w, "eye"), dial(w, "root")
	w.Do(differ)
	asked := newJob(module, "question")
	asked.Overrides = &operatorv1.PolicyOverrides{MaxReplicas: 2}
	id := submit(t, alice, asked)[0]
	await(t, alice, []string{id}, deadState)
	if got, err := payload(t, alice, id); err != nil || got != "question" {
		t.Errorf("input: %q, %v", got, err)
	}
	_, err := payload(t, bob, id)
	wantCode(t, "another tenant's input", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = payload(t, eye, id)
	wantCode(t, "a viewer's input", err, connect.CodePermissionDenied, "ROLE")
	_, err = payload(t, alice, id, 0)
	wantCode(t, "output of a dead letter", err, connect.CodePermissionDenied, "RESULT_HIDDEN")
	if got, err := payload(t, root, id, 0); err != nil || got != "slot 0" {
		t.Errorf("an admin reads %q, %v", got, err)
	}
	_, err = payload(t, root, id, 77)
	wantCode(t, "no such slot", err, connect.CodeNotFound, "NOT_FOUND")
	d, err := alice.DescribeDeadLetter(t.Context(), &operatorv1.DescribeDeadLetterRequest{Id: id})
	if err != nil || len(d.Payloads) < 3 || !d.Payloads[0].Readable || d.Payloads[1].Readable || d.Payloads[1].Ref != nil {
		t.Errorf("payloads: %v, %v", d.GetPayloads(), err)
	}
	wantOutcome(t, discard(t, alice, "no answer", id), 0, "")
	if got, err := payload(t, alice, id, 1); err != nil || got != "slot 1" {
		t.Errorf("output of a discarded job: %q, %v", got, err)
	}
	d, err = alice.DescribeDeadLetter(t.Context(), &operatorv1.DescribeDeadLetterRequest{Id: id})
	if err != nil || d.Job.EndedBy != "alice" || d.Job.EndedReason != "no answer" || !d.Payloads[1].Readable {
		t.Errorf("discarded: %v, %v", d, err)
	}
}

// TestHistoryOfRounds: every life of a job is told, with who brought it back and why.
func TestHistoryOfRounds(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	id := die(t, w, alice, newJob(module, "x"))[0]
	wantOutcome(t, requeue(t, alice, "first try", id), 0, "")
	await(t, alice, []string{id}, deadState)
	d, err := alice.DescribeDeadLetter(t.Context(), &operatorv1.DescribeDeadLetterRequest{Id: id})
	if err != nil || len(d.Rounds) != 2 || len(d.Attempts) != 4 || d.DeadLetter.Round != 2 {
		t.Fatalf("%v, %v", d, err)
	}
	r := d.Rounds[1]
	if r.By != "alice" || r.Reason != "first try" || r.Round != 2 || r.FirstSlot != 2 || r.End.GetReason() != d.Rounds[0].End.GetReason() {
		t.Errorf("round 2: %v", r)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, bob := w.Module(t), dial(w, "alice"), dial(w, "bob")
	ids := die(t, w, alice, payloads(module, "a", "b", "c", "d", "e", "f", "g")...)
	foreign := die(t, w, bob, newJob(module, "his"))[0]
	everything := &operatorv1.RequeueDeadLettersRequest_Filter{Filter: &operatorv1.DeadLetterFilter{}}
	before, err := w.Log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dry, err := alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: everything, DryRun: true})
	if err != nil || dry.Matched != 7 || dry.NextPageToken != "" {
		t.Fatal(dry, err)
	}
	wantOutcome(t, dry.Outcomes, 0, "")
	if after, err := w.Log.Head(t.Context()); err != nil || after != before {
		t.Errorf("a dry run took the log from %d to %d, %v", before, after, err)
	}
	again, err := alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: everything, DryRun: true})
	if err != nil || !proto.Equal(again, dry) {
		t.Errorf("the same dry run says %v, %v", again, err)
	}
	w.Do(operatortest.Hold)
	part, err := alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: everything, Reason: "try", Limit: 3})
	if err != nil || part.Matched != 3 || part.NextPageToken == "" {
		t.Fatal(part, err)
	}
	for i, o := range part.Outcomes {
		if o.Id != dry.Outcomes[i].Id || o.Code != 0 {
			t.Errorf("%d: %v was not what the dry run said", i, o)
		}
	}
	rest, err := alice.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{
		Which: everything, Reason: "try", PageToken: part.NextPageToken,
	})
	if err != nil || rest.Matched != 4 || rest.NextPageToken != "" {
		t.Fatal(rest, err)
	}
	w.Release(operatortest.Echo)
	await(t, alice, ids, verified)

	mixed := discard(t, alice, "junk", foreign, ids[0], strings.Repeat("0", 26), "nonsense")
	for i, want := range []string{"NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "BAD_ID"} {
		if mixed[i].Reason != want || mixed[i].Detail == "" || mixed[i].DeadLetter != nil {
			t.Errorf("%d: %v, want %s", i, mixed[i], want)
		}
	}
	if got := letters(t, bob, nil); !slices.Equal(got, []string{foreign}) {
		t.Errorf("bob has %v", got)
	}
}

// TestRacingRequeues: many callers want the same dead letter; one of them has it, and one round is opened.
func TestRacingRequeues(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, ops := w.Module(t), dial(w, "alice"), dial(w, "ops")
	id := die(t, w, alice, newJob(module, "x"))[0]
	w.Do(operatortest.Hold)
	var won, lost atomic.Int64
	var group sync.WaitGroup
	for i := range 16 {
		c := []clients{alice, ops}[i%2]
		group.Go(func() {
			res, err := c.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(id), Reason: "race"})
			if err != nil {
				t.Error(err)
				return
			}
			switch o := res.Outcomes[0]; {
			case o.Code == 0:
				won.Add(1)
			case o.Reason == "NOT_FOUND" || o.Reason == "JOB_NOT_DEAD_LETTERED":
				lost.Add(1)
			default:
				t.Errorf("lost by %v", o)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	j, err := alice.GetJob(t.Context(), &operatorv1.GetJobRequest{Id: id})
	if err != nil || j.Job.Round != 2 {
		t.Errorf("round %d, %v", j.GetJob().GetRound(), err)
	}
	w.Release(operatortest.Echo)
	await(t, alice, []string{id}, verified)
}

func TestWrongBulks(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice, ops := w.Module(t), dial(w, "alice"), dial(w, "ops")
	id := die(t, w, alice, newJob(module, "x"))[0]
	many := make([]string, operator.MaxLetters+1)
	for i := range many {
		many[i] = fmt.Sprintf("%026d", i)
	}
	where := func(f *operatorv1.DeadLetterFilter) *operatorv1.RequeueDeadLettersRequest {
		return &operatorv1.RequeueDeadLettersRequest{Which: &operatorv1.RequeueDeadLettersRequest_Filter{Filter: f}, Reason: "r"}
	}
	limited := where(&operatorv1.DeadLetterFilter{})
	limited.Limit = operator.MaxLetters + 1
	reasonless := where(&operatorv1.DeadLetterFilter{})
	reasonless.Reason = ""
	endless := where(&operatorv1.DeadLetterFilter{})
	endless.Reason = strings.Repeat("r", operator.MaxReason+1)
	token := where(&operatorv1.DeadLetterFilter{})
	token.PageToken = "AAAAAAAAAAAAAAAA"
	named := &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(id), Reason: "r", Limit: 1}
	for name, c := range map[string]struct {
		req    *operatorv1.RequeueDeadLettersRequest
		code   connect.Code
		reason string
	}{
		"nothing":         {&operatorv1.RequeueDeadLettersRequest{Reason: "r"}, connect.CodeInvalidArgument, "INVALID"},
		"no ids":          {&operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(), Reason: "r"}, connect.CodeInvalidArgument, "INVALID"},
		"too many ids":    {&operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(many...), Reason: "r"}, connect.CodeInvalidArgument, "INVALID"},
		"an id twice":     {&operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(id, id), Reason: "r"}, connect.CodeInvalidArgument, "INVALID"},
		"ids and a limit": {named, connect.CodeInvalidArgument, "INVALID"},
		"absurd limit":    {limited, connect.CodeInvalidArgument, "INVALID"},
		"no reason":       {reasonless, connect.CodeInvalidArgument, "INVALID"},
		"endless reason":  {endless, connect.CodeInvalidArgument, "INVALID"},
		"foreign token":   {token, connect.CodeInvalidArgument, "PAGE_TOKEN"},
		"reason 0":        {where(&operatorv1.DeadLetterFilter{Reasons: []eventv1.DeadLetterReason{0}}), connect.CodeInvalidArgument, "INVALID"},
		"reason 99":       {where(&operatorv1.DeadLetterFilter{Reasons: []eventv1.DeadLetterReason{99}}), connect.CodeInvalidArgument, "INVALID"},
		"many reasons":    {where(&operatorv1.DeadLetterFilter{Reasons: slices.Repeat([]eventv1.DeadLetterReason{1}, 1000)}), connect.CodeInvalidArgument, "INVALID"},
		"kind 99":         {where(&operatorv1.DeadLetterFilter{Kind: 99}), connect.CodeInvalidArgument, "INVALID"},
		"short module":    {where(&operatorv1.DeadLetterFilter{Module: []byte{1}}), connect.CodeInvalidArgument, "INVALID"},
		"no pipeline":     {where(&operatorv1.DeadLetterFilter{Pipeline: "../x"}), connect.CodeInvalidArgument, "BAD_ID"},
		"before 1970":     {where(&operatorv1.DeadLetterFilter{FromUs: -1}), connect.CodeInvalidArgument, "INVALID"},
		"end before":      {where(&operatorv1.DeadLetterFilter{FromUs: 5, UntilUs: 5}), connect.CodeInvalidArgument, "INVALID"},
		"bad tenant":      {where(&operatorv1.DeadLetterFilter{Tenant: "../bob"}), connect.CodeInvalidArgument, "INVALID"},
		"another tenant":  {where(&operatorv1.DeadLetterFilter{Tenant: "bob"}), connect.CodePermissionDenied, "TENANT"},
	} {
		_, err := alice.RequeueDeadLetters(t.Context(), c.req)
		wantCode(t, name, err, c.code, c.reason)
		same := &operatorv1.DiscardDeadLettersRequest{Reason: c.req.Reason, Limit: c.req.Limit, PageToken: c.req.PageToken}
		if f := c.req.GetFilter(); f != nil {
			same.Which = &operatorv1.DiscardDeadLettersRequest_Filter{Filter: f}
			if c.reason != "PAGE_TOKEN" && name != "absurd limit" && !strings.HasSuffix(name, "reason") {
				_, err = alice.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{Filter: f})
				wantCode(t, name+" in a list", err, c.code, c.reason)
			}
		} else if c.req.GetIds() != nil {
			same.Which = discardIDs(c.req.GetIds().Ids...)
		}
		_, err = alice.DiscardDeadLetters(t.Context(), same)
		wantCode(t, "discard: "+name, err, c.code, c.reason)
	}
	if got := letters(t, ops, nil); !slices.Equal(got, []string{id}) {
		t.Errorf("after all that there is %v", got)
	}
}

// TestBulkPastOnePage: a call takes as many as its limit says, over the pages of the list, and none twice.
func TestBulkPastOnePage(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	var all []string
	for range 5 {
		all = append(all, die(t, w, alice, payloads(module, slices.Repeat([]string{"x"}, 125)...)...)...)
	}
	filter := &operatorv1.DiscardDeadLettersRequest_Filter{Filter: &operatorv1.DeadLetterFilter{Module: module}}
	first, err := alice.DiscardDeadLetters(t.Context(), &operatorv1.DiscardDeadLettersRequest{Which: filter, Reason: "junk", Limit: 600})
	if err != nil || first.Matched != 600 || first.NextPageToken == "" {
		t.Fatal(first.GetMatched(), err)
	}
	rest, err := alice.DiscardDeadLetters(t.Context(), &operatorv1.DiscardDeadLettersRequest{Which: filter, Reason: "junk", PageToken: first.NextPageToken})
	if err != nil || rest.Matched != 25 || rest.NextPageToken != "" {
		t.Fatal(rest.GetMatched(), err)
	}
	var done []string
	for _, o := range append(first.Outcomes, rest.Outcomes...) {
		if o.Code != 0 {
			t.Fatal(o)
		}
		done = append(done, o.Id)
	}
	if !slices.Equal(sorted(done...), sorted(all...)) {
		t.Error("others were discarded than had died")
	}
	if left := letters(t, alice, nil); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestBulkEndsWithItsCaller: nothing more is begun when the caller has gone.
func TestBulkEndsWithItsCaller(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, root := w.Module(t), dial(w, "root")
	ids := die(t, w, root, payloads(module, slices.Repeat([]string{"x"}, 200)...)...)
	w.Do(operatortest.Hold)
	d := &door{Orchestrator: w.Host}
	api, ctx := inside(t, w, d)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var begun atomic.Int64
	leave := func(cmd *eventv1.Command) error {
		if cmd.GetRequeueJob() != nil && begun.Add(1) == 10 {
			cancel()
		}
		return nil
	}
	d.stop.Store(&leave)
	_, err := api.RequeueDeadLetters(ctx, &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(ids...), Reason: "r"})
	if code, _, _ := operator.Refusal(err); code != connect.CodeCanceled {
		t.Errorf("ended with %v", err)
	}
	if n := begun.Load(); n > 10+64 {
		t.Errorf("%d were begun although the caller left after 10", n)
	}
}
