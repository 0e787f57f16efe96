package kurrent

import (
	"bytes"
	"errors"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

func sent(d events.Draft) *streams.ReadResp_ReadEvent {
	m := systemMetadata(&d)
	m[keyCreated] = strconv.FormatInt(time.Date(2026, 3, 1, 2, 3, 4, 567_800, time.UTC).UnixNano()/100, 10)
	return &streams.ReadResp_ReadEvent{Event: &streams.ReadResp_ReadEvent_RecordedEvent{
		Id: uuid(d.ID), StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("job-1")}, StreamRevision: 7,
		CommitPosition: 42, PreparePosition: 42, Metadata: m, Data: d.Data, CustomMetadata: d.Meta,
	}}
}

func TestRecord(t *testing.T) {
	d := events.Draft{ID: events.ID{0xff, 1, 2, 15: 0x80}, Type: "T", JSON: true, Data: []byte("{}"), Meta: []byte("m")}
	r, err := record(sent(d))
	if err != nil || r.ID != d.ID || r.Type != "T" || !r.JSON || !bytes.Equal(r.Data, d.Data) || !bytes.Equal(r.Meta, d.Meta) ||
		r.Stream != "job-1" || r.Rev != 7 || r.Pos != 42 || !r.Time.Equal(time.Date(2026, 3, 1, 2, 3, 4, 567_800, time.UTC)) {
		t.Errorf("%+v, %v", r, err)
	}
	text := sent(d)
	text.Event.Id = &shared.UUID{Value: &shared.UUID_String_{String_: d.ID.String()}}
	if r, err = record(text); err != nil || r.ID != d.ID {
		t.Errorf("id as text: %v, %v", r.ID, err)
	}
	for what, break_ := range map[string]func(*streams.ReadResp_ReadEvent){
		"nothing": func(e *streams.ReadResp_ReadEvent) { e.Event = nil },
		"no id":   func(e *streams.ReadResp_ReadEvent) { e.Event.Id = nil },
		"bad id": func(e *streams.ReadResp_ReadEvent) {
			e.Event.Id = &shared.UUID{Value: &shared.UUID_String_{String_: "x"}}
		},
		"no stream": func(e *streams.ReadResp_ReadEvent) { e.Event.StreamIdentifier = nil },
		"no type":   func(e *streams.ReadResp_ReadEvent) { delete(e.Event.Metadata, keyType) },
		"no date":   func(e *streams.ReadResp_ReadEvent) { delete(e.Event.Metadata, keyCreated) },
		"bad date":  func(e *streams.ReadResp_ReadEvent) { e.Event.Metadata[keyCreated] = "2026-03-01" },
		"far date":  func(e *streams.ReadResp_ReadEvent) { e.Event.Metadata[keyCreated] = "9223372036854775807" },
	} {
		e := sent(d)
		break_(e)
		if _, err := record(e); !errors.Is(err, events.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzRecord feeds what a server may send to the decoder: a record or a typed error, never a panic.
func FuzzRecord(f *testing.F) {
	b, err := proto.Marshal(&streams.ReadResp{Content: &streams.ReadResp_Event{Event: sent(events.Draft{ID: events.ID{1}, Type: "T"})}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("\x0a\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var resp streams.ReadResp
		if proto.Unmarshal(b, &resp) != nil {
			return
		}
		r, err := record(resp.GetEvent())
		if err != nil && !errors.Is(err, events.ErrCorrupt) || err == nil && (r.Stream == "" || r.Type == "") {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRefusalsAreTyped(t *testing.T) {
	for _, c := range []struct {
		code    codes.Code
		trailer metadata.MD
		want    error
	}{
		{codes.FailedPrecondition, metadata.Pairs("exception", "stream-deleted"), events.ErrDeleted},
		{codes.Unknown, metadata.Pairs("exception", "access-denied"), events.ErrDenied},
		{codes.InvalidArgument, metadata.Pairs("exception", "maximum-append-size-exceeded"), events.ErrTooLarge},
		{codes.NotFound, metadata.Pairs("exception", "not-leader"), events.ErrUnavailable},
		{codes.NotFound, metadata.Pairs("exception", "not-leader", "leader-endpoint-host", "h", "leader-endpoint-port", "99999"), events.ErrUnavailable},
		{codes.NotFound, metadata.Pairs("exception", "not-leader", "leader-endpoint-host", "h", "leader-endpoint-port", "1"), events.ErrUnavailable},
		{codes.Unauthenticated, nil, events.ErrDenied},
		{codes.PermissionDenied, nil, events.ErrDenied},
		{codes.InvalidArgument, nil, events.ErrInvalid},
		{codes.Unimplemented, nil, events.ErrUnsupported},
		{codes.DataLoss, nil, events.ErrCorrupt},
		{codes.Unavailable, nil, events.ErrUnavailable},
		{codes.Canceled, nil, events.ErrUnavailable},
		{codes.DeadlineExceeded, nil, events.ErrUnavailable},
		{codes.Internal, nil, events.ErrUnavailable},
		{codes.ResourceExhausted, nil, events.ErrUnavailable},
	} {
		if err := typed(status.Error(c.code, "x"), c.trailer, "s"); !errors.Is(err, c.want) {
			t.Errorf("%v %v: %v, want %v", c.code, c.trailer, err, c.want)
		}
	}
	var w *wrongVersion
	err := typed(status.Error(codes.FailedPrecondition, "x"), metadata.Pairs("exception", "wrong-expected-version", "actual-version", "4"), "s")
	if !errors.As(err, &w) || w.got != events.At(4) {
		t.Errorf("wrong version: %v", err)
	}
}
