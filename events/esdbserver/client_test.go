package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

func event(typ, data string) esdb.EventData {
	return esdb.EventData{EventID: uuid.New(), EventType: typ, ContentType: esdb.ContentTypeJson, Data: []byte(data)}
}

func put(t testing.TB, c *esdb.Client, stream string, want esdb.ExpectedRevision, evs ...esdb.EventData) *esdb.WriteResult {
	t.Helper()
	got, err := c.AppendToStream(limited(t), stream, esdb.AppendToStreamOptions{ExpectedRevision: want}, evs...)
	if err != nil {
		t.Fatalf("append to %s: %v", stream, err)
	}
	return got
}

func code(err error) esdb.ErrorCode {
	var e *esdb.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return -1
}

func streamOf(ctx context.Context, c *esdb.Client, stream string, o esdb.ReadStreamOptions, n uint64) (string, error) {
	rs, err := c.ReadStream(ctx, stream, o, n)
	if err != nil {
		return "", err
	}
	defer rs.Close()
	return list(rs)
}

func list(rs *esdb.ReadStream) (string, error) {
	got := ""
	for {
		e, err := rs.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if got != "" {
			got += " "
		}
		got += fmt.Sprint(e.Event.EventType, e.Event.EventNumber)
	}
}

func TestAppendAndRead(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	got := put(t, c, "s", esdb.NoStream{}, event("A", `{"a":1}`), event("B", `{"b":1}`))
	if got.NextExpectedVersion != 1 || got.CommitPosition != 2 {
		t.Errorf("%+v", got)
	}
	put(t, c, "x", esdb.Any{}, event("X", `1`))
	put(t, c, "s", esdb.Revision(1), event("C", `{}`))
	_, err := c.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.Revision(1)}, event("D", `{}`))
	if code(err) != esdb.ErrorCodeWrongExpectedVersion {
		t.Errorf("conflict: %v", err)
	}
	for _, w := range []struct {
		o    esdb.ReadStreamOptions
		n    uint64
		want string
	}{
		{esdb.ReadStreamOptions{From: esdb.Start{}}, 9, "A0 B1 C2"},
		{esdb.ReadStreamOptions{From: esdb.Revision(1)}, 1, "B1"},
		{esdb.ReadStreamOptions{From: esdb.End{}, Direction: esdb.Backwards}, 2, "C2 B1"},
		{esdb.ReadStreamOptions{From: esdb.Revision(1), Direction: esdb.Backwards}, 9, "B1 A0"},
		{esdb.ReadStreamOptions{From: esdb.Revision(9), Direction: esdb.Backwards}, 1, "C2"},
		{esdb.ReadStreamOptions{From: esdb.Revision(9)}, 1, ""},
	} {
		if got, err := streamOf(ctx, c, "s", w.o, w.n); err != nil || got != w.want {
			t.Errorf("%+v: %q, %v, want %q", w.o, got, err, w.want)
		}
	}
	_, err = streamOf(ctx, c, "none", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
	if code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("missing stream: %v", err)
	}
	rs, err := c.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.Start{}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	if got, err := list(rs); err != nil || got != "A0 B1 X0 C2" {
		t.Errorf("all: %q, %v", got, err)
	}
}

func TestFollow(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	put(t, c, "s", esdb.NoStream{}, event("A", `{}`), event("B", `{}`))
	all, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	one, err := c.SubscribeToStream(ctx, "s", esdb.SubscribeToStreamOptions{From: esdb.Revision(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	put(t, c, "x", esdb.Any{}, event("X", `{}`))
	put(t, c, "s", esdb.Any{}, event("C", `{}`))
	if got := appeared(t, all, 4); got != "A0 B1 X0 C2" {
		t.Errorf("all: %s", got)
	}
	if got := appeared(t, one, 2); got != "B1 C2" {
		t.Errorf("stream: %s", got)
	}
}

// appeared waits for so many events.
func appeared(t *testing.T, s *esdb.Subscription, n int) string {
	t.Helper()
	got := ""
	for n > 0 {
		e := s.Recv()
		if d := e.SubscriptionDropped; d != nil {
			t.Fatalf("dropped after %q: %v", got, d.Error)
		}
		if a := e.EventAppeared; a != nil {
			if got != "" {
				got += " "
			}
			got += fmt.Sprint(a.Event.EventType, a.Event.EventNumber)
			n--
		}
	}
	return got
}

func TestDelete(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	put(t, c, "s", esdb.NoStream{}, event("A", `{}`), event("B", `{}`))
	if _, err := c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(0)}); err == nil {
		t.Error("deleted at another revision")
	}
	if _, err := c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(1)}); err != nil {
		t.Fatal(err)
	}
	_, err := streamOf(ctx, c, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
	if code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("deleted stream: %v", err)
	}
	put(t, c, "s", esdb.NoStream{}, event("C", `{}`))
	if got, err := streamOf(ctx, c, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 9); err != nil || got != "C2" {
		t.Errorf("revived: %q, %v", got, err)
	}
}
