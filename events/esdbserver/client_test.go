package esdbserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
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

func TestTombstone(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	put(t, c, "s", esdb.NoStream{}, event("A", `{}`))
	follower, err := c.SubscribeToStream(ctx, "s", esdb.SubscribeToStreamOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	appeared(t, follower, 1)
	if _, err := c.TombstoneStream(ctx, "s", esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Revision(7)}); err == nil {
		t.Error("ended at another revision")
	}
	if _, err := c.TombstoneStream(ctx, "s", esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Revision(0)}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"read": func() error {
			_, err := streamOf(ctx, c, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
			return err
		}(),
		"append": func() error {
			_, err := c.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{}, event("B", `{}`))
			return err
		}(),
		"delete": func() error { _, err := c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{}); return err }(),
	} {
		if code(err) != esdb.ErrorCodeStreamDeleted {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
	for follower.Recv().SubscriptionDropped == nil { // caught up comes first
	}
	rs, err := c.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards}, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	if got, err := list(rs); err != nil || got != fmt.Sprintf("$streamDeleted%d A0", int64(math.MaxInt64)) {
		t.Errorf("all: %q, %v", got, err)
	}
}

func TestStreamMetadata(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	put(t, c, "s", esdb.NoStream{}, event("A", `{}`), event("B", `{}`), event("C", `{}`), event("D", `{}`))
	set := func(f func(*esdb.StreamMetadata)) {
		t.Helper()
		var m esdb.StreamMetadata
		f(&m)
		if _, err := c.SetStreamMetadata(ctx, "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}, m); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(what, forth, back string) {
		t.Helper()
		for o, want := range map[esdb.ReadStreamOptions]string{
			{From: esdb.Start{}}:                          forth,
			{From: esdb.End{}, Direction: esdb.Backwards}: back,
		} {
			if got, err := streamOf(ctx, c, "s", o, 99); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", what, got, err, want)
			}
		}
	}
	set(func(m *esdb.StreamMetadata) { m.SetMaxCount(3) })
	reads("at most 3", "B1 C2 D3", "D3 C2 B1")
	set(func(m *esdb.StreamMetadata) { m.SetTruncateBefore(2) })
	reads("from 2", "C2 D3", "D3 C2")
	set(func(m *esdb.StreamMetadata) { m.SetMaxAge(time.Hour) })
	reads("of the last hour", "A0 B1 C2 D3", "D3 C2 B1 A0")
	var acl esdb.Acl
	acl.AddReadRoles("somebody")
	set(func(m *esdb.StreamMetadata) {
		m.SetMaxAge(time.Second)
		m.SetAcl(acl)
		m.AddCustomProperty("mine", "kept")
	})
	m, err := c.GetStreamMetadata(ctx, "s", esdb.ReadStreamOptions{})
	if err != nil || m.CustomProperty("mine") != "kept" || m.Acl() == nil || *m.MaxAge() != time.Second {
		t.Errorf("metadata %+v, %v", m, err)
	}
	put(t, c, "$$s", esdb.Any{}, event("$metadata", `not json`))
	reads("metadata that is none", "A0 B1 C2 D3", "D3 C2 B1 A0")
	put(t, c, "$$s", esdb.Any{}, event("$metadata", `{"$tb":9223372036854775807}`))
	if _, err = streamOf(ctx, c, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 1); code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("deleted by metadata: %v", err)
	}
	put(t, c, "s", esdb.NoStream{}, event("E", `{}`))
	reads("revived", "E4", "E4")
}

// TestMaxAge looks through the eyes of a reader with a clock: what is older than the metadata allows is out of sight.
func TestMaxAge(t *testing.T) {
	now := time.Now()
	old := events.Record{Rev: 3, Time: now.Add(-2 * time.Minute)}
	for _, c := range []struct {
		w    window
		want bool
	}{
		{window{}, true},
		{window{since: now.Add(-time.Minute)}, false},
		{window{since: now.Add(-time.Hour)}, true},
		{window{first: 4}, false},
	} {
		if c.w.shows(&old) != c.want {
			t.Errorf("%+v shows it: %v", c.w, !c.want)
		}
	}
}

func TestFilters(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	for i := range 40 {
		put(t, c, fmt.Sprintf("a-%d", i%2), esdb.Any{}, event("Apple", `{}`))
		put(t, c, fmt.Sprintf("b-%d", i%2), esdb.Any{}, event("$system", `{}`))
	}
	put(t, c, "c", esdb.Any{}, event("Last", `{}`))
	for _, f := range []struct {
		filter esdb.SubscriptionFilter
		want   int
	}{
		{esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"a-1", "c"}}, 21},
		{esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: []string{"App", "Last"}}, 41},
		{esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: "^[bc]-?0?$"}, 21},
		{*esdb.ExcludeSystemEventsFilter(), 41},
	} {
		sub, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}, MaxSearchWindow: 10, CheckpointInterval: 2, Filter: &f.filter})
		if err != nil {
			t.Fatal(err)
		}
		n, places := 0, []uint64{}
		for n < f.want {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				t.Fatal(e.SubscriptionDropped.Error)
			}
			if e.CheckPointReached != nil {
				places = append(places, e.CheckPointReached.Commit)
			}
			if e.EventAppeared != nil {
				n++
			}
		}
		sub.Close()
		if fmt.Sprint(places) != "[20 40 60 80]" {
			t.Errorf("%+v: checkpoints at %v", f.filter, places)
		}
	}
	_, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{Filter: &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Regex: "(?!a)"}})
	if err == nil {
		t.Error("a regex that is none was taken")
	}
}

// TestFollowWhileThousandsAppend starts followers at all times of a busy log: none misses or repeats an event.
func TestFollowWhileThousandsAppend(t *testing.T) {
	const writers, each = 8, 250
	log, err := pebblelog.Open(t.TempDir(), pebblelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, log, Config{})
	c := dial(t, "esdb://"+addr+"?tls=false")
	ctx := limited(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var want esdb.ExpectedRevision = esdb.NoStream{}
			for range each {
				got, err := c.AppendToStream(ctx, fmt.Sprintf("w-%d", w), esdb.AppendToStreamOptions{ExpectedRevision: want}, event("W", `{}`))
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				want = esdb.Revision(got.NextExpectedVersion)
			}
		})
	}
	for i := range 12 {
		wg.Go(func() {
			stream, n := "", writers*each
			if i%3 == 2 {
				stream, n = fmt.Sprintf("w-%d", i%writers), each
			}
			var sub *esdb.Subscription
			var err error
			if stream == "" {
				sub, err = c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}})
			} else {
				sub, err = c.SubscribeToStream(ctx, stream, esdb.SubscribeToStreamOptions{From: esdb.Start{}})
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer sub.Close()
			next := map[string]uint64{}
			for n > 0 {
				e := sub.Recv()
				if e.SubscriptionDropped != nil {
					t.Errorf("follower %d: %v", i, e.SubscriptionDropped.Error)
					return
				}
				if e.EventAppeared == nil {
					continue
				}
				r := e.EventAppeared.Event
				if r.EventNumber != next[r.StreamID] {
					t.Errorf("follower %d: %s at %d, want %d", i, r.StreamID, r.EventNumber, next[r.StreamID])
					return
				}
				next[r.StreamID]++
				n--
			}
		})
	}
	wg.Wait()
}

// TestFactsPassUntouched reads a record that the product wrote, through the eyes of a stranger.
func TestFactsPassUntouched(t *testing.T) {
	c, log := house(t)
	ctx := limited(t)
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID([]byte("x")), Node: "n"}, []events.Fact{&eventv1.TaskAcked{Attempt: 3}})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	if _, err := log.Append(ctx, "assignment-x", events.Absent, drafts...); err != nil {
		t.Fatal(err)
	}
	rs, err := c.ReadStream(ctx, "assignment-x", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	e, err := rs.Recv()
	if err != nil {
		t.Fatal(err)
	}
	r, d := e.Event, drafts[0]
	if events.ID(r.EventID) != d.ID || !bytes.Equal(r.Data, d.Data) || !bytes.Equal(r.UserMetadata, d.Meta) || r.EventType != "TaskAcked" {
		t.Errorf("%+v", r)
	}
	if r.ContentType != "application/octet-stream" || r.Position.Commit != 1 || r.CreatedDate.Before(before) || r.CreatedDate.After(time.Now()) {
		t.Errorf("%+v", r)
	}
	// A stranger's event keeps its id too, and its repeat is recognised.
	mine := event("Mine", `{}`)
	first := put(t, c, "mine", esdb.NoStream{}, mine)
	if again := put(t, c, "mine", esdb.NoStream{}, mine); again.NextExpectedVersion != 0 || again.CommitPosition != first.CommitPosition {
		t.Errorf("repeat: %+v, first %+v", again, first)
	}
	for r, err := range log.Read(ctx, "mine", events.Span{}) {
		if err != nil || r.ID != events.ID(mine.EventID) || !r.JSON {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	log := memlog.New()
	s, addr := serve(t, log, Config{})
	c := dial(t, "esdb+discover://"+addr+"?tls=false")
	put(t, c, "s", esdb.Any{}, event("A", `{}`))
	v, err := c.GetServerVersion()
	if err != nil || fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) != ServedVersion {
		t.Errorf("%+v, %v", v, err)
	}
	if host, port := s.endpoint(); fmt.Sprintf("%s:%d", host, port) != addr {
		t.Errorf("%s:%d, want %s", host, port, addr)
	}
}
