package esdbserver

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

func atomicRecord(stream string) *esdbv1.AtomicRecord {
	return &esdbv1.AtomicRecord{
		Stream: stream, Schema: &esdbv1.SchemaInfo{Format: esdbv1.SchemaInfo_FORMAT_JSON, Name: "E"}, Data: []byte("{}"),
		Properties: map[string]*structpb.Value{"who": structpb.NewStringValue("me")},
	}
}

func TestAtomicAppends(t *testing.T) {
	log := memlog.New()
	_, addr := serve(t, log, Config{Users: []User{{Name: "x", Hash: mustHash(t, "x"), Role: RoleReader}}, Anonymous: RoleWriter})
	c, ctx := raw(t, addr), limited(t)
	ask := func(checks []*esdbv1.ConsistencyCheck, records ...*esdbv1.AtomicRecord) (*esdbv1.AppendRecordsResponse, error) {
		var a esdbv1.AppendRecordsResponse
		err := c.Invoke(ctx, "/"+atomicService+"/AppendRecords", &esdbv1.AppendRecordsRequest{Records: records, Checks: checks}, &a)
		return &a, err
	}
	check := func(stream string, state int64) *esdbv1.ConsistencyCheck {
		return &esdbv1.ConsistencyCheck{Kind: &esdbv1.ConsistencyCheck_StreamState_{StreamState: &esdbv1.ConsistencyCheck_StreamState{Stream: stream, ExpectedState: state}}}
	}
	a, err := ask([]*esdbv1.ConsistencyCheck{check("none", -1), check("a", -1)}, atomicRecord("a"), atomicRecord("b"), atomicRecord("a"))
	if err != nil || a.GetPosition() != 3 || len(a.GetRevisions()) != 2 || a.GetRevisions()[0].GetRevision() != 1 {
		t.Fatalf("%v, %v", a, err)
	}
	for r, err := range log.Read(ctx, "b", events.Span{}) {
		if err != nil || string(r.Meta) != `{"who":"me"}` || !r.JSON {
			t.Errorf("%+v, %v", r, err)
		}
	}
	huge := atomicRecord("a")
	huge.Data = make([]byte, events.MaxAppendBytes+1)
	for what, x := range map[string]struct {
		checks  []*esdbv1.ConsistencyCheck
		records []*esdbv1.AtomicRecord
		code    codes.Code
	}{
		"failed check":       {[]*esdbv1.ConsistencyCheck{check("b", 7)}, []*esdbv1.AtomicRecord{atomicRecord("a")}, codes.FailedPrecondition},
		"check of no sense":  {[]*esdbv1.ConsistencyCheck{check("b", -9)}, []*esdbv1.AtomicRecord{atomicRecord("a")}, codes.InvalidArgument},
		"checked twice":      {[]*esdbv1.ConsistencyCheck{check("b", 0), check("b", 1)}, nil, codes.InvalidArgument},
		"a protected stream": {nil, []*esdbv1.AtomicRecord{atomicRecord("a"), atomicRecord("job-1")}, codes.PermissionDenied},
		"too large":          {nil, []*esdbv1.AtomicRecord{huge}, codes.InvalidArgument},
		"nothing":            {nil, nil, codes.InvalidArgument},
	} {
		if _, err := ask(x.checks, x.records...); status.Code(err) != x.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	stale := int64(0)
	ss := call(t, ctx, c, "/"+atomicService+"/AppendSession", &esdbv1.SessionPart{Stream: "a", Records: []*esdbv1.AtomicRecord{atomicRecord("")}, ExpectedRevision: &stale})
	if err := ss.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := ss.RecvMsg(&esdbv1.SessionResponse{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("stale session: %v", err)
	}
	if head, err := log.Head(ctx); err != nil || head != 3 {
		t.Errorf("head %d, %v", head, err)
	}
}

// plain is a log without optional powers.
type plain struct{ events.Log }

// TestPlainLog: what a log cannot do is not promised, and refused with a code that says so.
func TestPlainLog(t *testing.T) {
	_, addr := serve(t, plain{memlog.New()}, Config{})
	c, ctx := raw(t, addr), limited(t)
	var m esdbv1.SupportedMethods
	if err := c.Invoke(ctx, "/"+featuresService+"/GetSupportedMethods", &esdbv1.Empty{}, &m); err != nil {
		t.Fatal(err)
	}
	for _, x := range m.GetMethods() {
		if x.GetMethodName() == "appendsession" || x.GetMethodName() == "appendrecords" {
			t.Errorf("%s is promised", x.GetMethodName())
		}
	}
	err := c.Invoke(ctx, "/"+atomicService+"/AppendRecords", &esdbv1.AppendRecordsRequest{}, &esdbv1.AppendRecordsResponse{}, grpc.WaitForReady(true))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("append: %v", err)
	}
	err = c.Invoke(ctx, "/"+streamsService+"/Tombstone", &esdbv1.DeleteRequest{Options: expect("s").GetOptions()}, &esdbv1.DeleteResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("tombstone: %v", err)
	}
}

func mustHash(t *testing.T, password string) string {
	t.Helper()
	h, err := hashPassword(password, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
