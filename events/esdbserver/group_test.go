package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events/memlog"
)

func settings(change func(*esdb.PersistentSubscriptionSettings)) *esdb.PersistentSubscriptionSettings {
	s := esdb.SubscriptionSettingsDefault()
	s.CheckpointAfter = 20
	s.CheckpointLowerBound = 1
	if change != nil {
		change(&s)
	}
	return &s
}

func createGroup(t *testing.T, c *esdb.Client, stream, name string, from esdb.StreamPosition, change func(*esdb.PersistentSubscriptionSettings)) {
	t.Helper()
	err := c.CreatePersistentSubscription(limited(t), stream, name, esdb.PersistentStreamSubscriptionOptions{StartFrom: from, Settings: settings(change)})
	if err != nil {
		t.Fatal(err)
	}
}

func joinGroup(t *testing.T, c *esdb.Client, stream, name string, buffer uint32) *esdb.PersistentSubscription {
	t.Helper()
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), stream, name, esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: buffer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Close() })
	return sub
}

func given(t *testing.T, sub *esdb.PersistentSubscription) *esdb.EventAppeared {
	t.Helper()
	e := sub.Recv()
	if e.SubscriptionDropped != nil {
		t.Fatal(e.SubscriptionDropped.Error)
	}
	return e.EventAppeared
}

// until asks a group about itself until it is as wanted.
func until(t *testing.T, c *esdb.Client, stream, name string, done func(*esdb.PersistentSubscriptionInfo) bool) {
	t.Helper()
	var info *esdb.PersistentSubscriptionInfo
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if info, err = c.GetPersistentSubscriptionInfo(limited(t), stream, name, esdb.GetPersistentSubscriptionOptions{}); err != nil {
			t.Fatal(err)
		}
		if done(info) {
			return
		}
	}
	t.Fatalf("the group stays at %+v %+v", *info, *info.Stats)
}

func TestGroupDealsEveryEventToOneReader(t *testing.T) {
	c, _ := house(t)
	createGroup(t, c, "s", "g", esdb.Start{}, nil)
	const n = 300
	seen := make(map[uint64]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	for range 3 {
		sub, err := c.SubscribeToPersistentSubscription(ctx, "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 7})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer sub.Close()
			for mine := 0; ; mine++ {
				e := sub.Recv()
				if e.SubscriptionDropped != nil {
					if mine == 0 {
						t.Error("a reader got nothing")
					}
					return
				}
				if err := sub.Ack(e.EventAppeared.Event); err != nil {
					return
				}
				mu.Lock()
				seen[e.EventAppeared.Event.Event.EventNumber]++
				if len(seen) == n {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		put(t, c, "s", esdb.Any{}, event("E", fmt.Sprint(i)))
	}
	wg.Wait()
	for rev, times := range seen {
		if times != 1 {
			t.Errorf("event %d was dealt %d times", rev, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d events of %d", len(seen), n)
	}
}

func TestGroupRetriesParksAndReplays(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	for i := range 6 {
		put(t, c, "s", esdb.Any{}, event("E", fmt.Sprint(i)))
	}
	createGroup(t, c, "s", "g", esdb.Revision(1), func(s *esdb.PersistentSubscriptionSettings) { s.MaxRetryCount, s.MessageTimeout = 2, 30 })
	sub := joinGroup(t, c, "s", "g", 10)
	tries := map[uint64]int{}
	for len(tries) < 5 || tries[3] < 3 || tries[4] < 3 {
		e := given(t, sub)
		rev := e.Event.Event.EventNumber
		if e.RetryCount != tries[rev] {
			t.Errorf("event %d: try %d is said to be %d", rev, tries[rev], e.RetryCount)
		}
		tries[rev]++
		var err error
		switch rev {
		case 1:
			err = sub.Ack(e.Event)
		case 2:
			err = sub.Nack("not now", esdb.NackActionPark, e.Event)
		case 3:
			err = sub.Nack("again", esdb.NackActionRetry, e.Event) // until it is parked
		case 4: // silence, until it is parked
		case 5:
			err = sub.Nack("never", esdb.NackActionSkip, e.Event)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(tries) != "map[1:1 2:1 3:3 4:3 5:1]" {
		t.Errorf("tries %v", tries)
	}
	until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool {
		return i.Stats.ParkedMessagesCount == 3 && i.Stats.OutstandingMessagesCount == 0
	})
	// What was parked is told by links in a system stream of the log.
	rs, err := c.ReadStream(ctx, "$persistentsubscription-s::g-parked", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	if l, err := rs.Recv(); err != nil || string(l.Event.Data) != "2@s" || l.Event.EventType != "$>" {
		t.Errorf("link %+v, %v", l, err)
	}
	if err := c.ReplayParkedMessages(ctx, "s", "g", esdb.ReplayParkedMessagesOptions{}); err != nil {
		t.Fatal(err)
	}
	again := map[uint64]bool{}
	for len(again) < 3 {
		e := given(t, sub)
		again[e.Event.Event.EventNumber] = true
		if err := sub.Ack(e.Event); err != nil {
			t.Fatal(err)
		}
	}
	if !again[2] || !again[3] || !again[4] {
		t.Errorf("replayed %v", again)
	}
	until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.ParkedMessagesCount == 0 })
}

// TestGroupOutlivesTheServer restarts the server between reading and parking: what was settled does not come again,
// what was parked can be replayed, and what was in a reader's hands comes again.
func TestGroupOutlivesTheServer(t *testing.T) {
	log := memlog.New()
	run := func(story func(c *esdb.Client)) {
		s, err := New(log, Config{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		cfg, err := esdb.ParseConnectionString("esdb://" + l.Addr().String() + "?tls=false")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Logger = esdb.NoopLogging()
		c, err := esdb.NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		story(c)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	run(func(c *esdb.Client) {
		for i := range 10 {
			put(t, c, "s", esdb.Any{}, event("E", fmt.Sprint(i)))
		}
		createGroup(t, c, "s", "g", esdb.Start{}, nil)
		sub := joinGroup(t, c, "s", "g", 10)
		for i := range uint64(10) {
			e := given(t, sub)
			var err error
			switch {
			case i == 2:
				err = sub.Nack("not now", esdb.NackActionPark, e.Event)
			case i < 6:
				err = sub.Ack(e.Event)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool {
			return i.Stats.ParkedMessagesCount == 1 && i.Stats.OutstandingMessagesCount == 4
		})
	})
	run(func(c *esdb.Client) {
		sub := joinGroup(t, c, "s", "g", 10)
		for want := uint64(6); want < 10; want++ {
			e := given(t, sub)
			if e.Event.Event.EventNumber != want {
				t.Fatalf("event %d after the restart, want %d", e.Event.Event.EventNumber, want)
			}
			if err := sub.Ack(e.Event); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.ReplayParkedMessages(limited(t), "s", "g", esdb.ReplayParkedMessagesOptions{}); err != nil {
			t.Fatal(err)
		}
		if e := given(t, sub); e.Event.Event.EventNumber != 2 {
			t.Errorf("replayed %d", e.Event.Event.EventNumber)
		} else if err := sub.Ack(e.Event); err != nil {
			t.Fatal(err)
		}
		until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool {
			return i.Stats.OutstandingMessagesCount == 0 && i.Stats.TotalInFlightMessages == 0
		})
	})
	run(func(c *esdb.Client) {
		put(t, c, "s", esdb.Any{}, event("E", "10"))
		sub := joinGroup(t, c, "s", "g", 10)
		if e := given(t, sub); e.Event.Event.EventNumber != 10 {
			t.Errorf("event %d after the second restart", e.Event.Event.EventNumber)
		}
		until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.ParkedMessagesCount == 0 })
		if err := c.DeletePersistentSubscription(limited(t), "s", "g", esdb.DeletePersistentSubscriptionOptions{}); err != nil {
			t.Fatal(err)
		}
		if e := sub.Recv(); e.SubscriptionDropped == nil {
			t.Error("the reader of a group that is no more goes on")
		}
		createGroup(t, c, "s", "g", esdb.Start{}, nil)
		if e := given(t, joinGroup(t, c, "s", "g", 1)); e.Event.Event.EventNumber != 0 {
			t.Errorf("a new group of the same name begins at %d", e.Event.Event.EventNumber)
		}
	})
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

func TestGroupOfAll(t *testing.T) {
	c, _ := house(t)
	ctx := limited(t)
	for i := range 50 {
		put(t, c, fmt.Sprintf("a-%d", i), esdb.Any{}, event("E", fmt.Sprint(i)))
		put(t, c, fmt.Sprintf("b-%d", i), esdb.Any{}, event("E", fmt.Sprint(i)))
	}
	for name, c2 := range map[string]struct {
		filter *esdb.SubscriptionFilter
		want   int
	}{
		"some":  {&esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"b-"}}, 50},
		"every": {nil, 100},
	} {
		err := c.CreatePersistentSubscriptionToAll(ctx, name, esdb.PersistentAllSubscriptionOptions{StartFrom: esdb.Start{}, Filter: c2.filter, Settings: settings(nil)})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := c.SubscribeToPersistentSubscriptionToAll(ctx, name, esdb.SubscribeToPersistentSubscriptionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range c2.want {
			e := given(t, sub)
			if e.Event.Event.EventType != "E" {
				t.Errorf("%s: %s in %s", name, e.Event.Event.EventType, e.Event.Event.StreamID)
			}
			if err := sub.Ack(e.Event); err != nil {
				t.Fatal(err)
			}
		}
		sub.Close()
	}
	infos, err := c.ListAllPersistentSubscriptions(ctx, esdb.ListPersistentSubscriptionsOptions{})
	if err != nil || len(infos) != 2 || infos[0].EventSource != "$all" || infos[0].GroupName != "every" {
		t.Errorf("%+v, %v", infos, err)
	}
}

func TestGroupRefusals(t *testing.T) {
	log := memlog.New()
	_, addr := serve(t, log, Config{MaxGroups: 2, MaxSubscriptions: 3})
	c := dial(t, "esdb://"+addr+"?tls=false")
	ctx := limited(t)
	createGroup(t, c, "s", "g", esdb.End{}, func(s *esdb.PersistentSubscriptionSettings) { s.MaxSubscriberCount = 1 })
	options := esdb.PersistentStreamSubscriptionOptions{Settings: settings(nil)}
	if err := c.CreatePersistentSubscription(ctx, "s", "g", options); code(err) != esdb.ErrorCodeResourceAlreadyExists {
		t.Errorf("twice: %v", err)
	}
	pinned := esdb.PersistentStreamSubscriptionOptions{Settings: settings(func(s *esdb.PersistentSubscriptionSettings) { s.ConsumerStrategyName = esdb.ConsumerStrategyPinned })}
	if err := c.CreatePersistentSubscription(ctx, "s", "pinned", pinned); err == nil {
		t.Error("pinned readers were promised")
	}
	if err := c.UpdatePersistentSubscription(ctx, "s", "none", options); code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("update of none: %v", err)
	}
	if _, err := c.SubscribeToPersistentSubscription(ctx, "s", "none", esdb.SubscribeToPersistentSubscriptionOptions{}); code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("join of none: %v", err)
	}
	joinGroup(t, c, "s", "g", 1)
	until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool { return len(i.Connections) == 1 })
	if e := joinGroup(t, c, "s", "g", 1).Recv(); e.SubscriptionDropped == nil {
		t.Error("one reader too many")
	}
	if err := c.UpdatePersistentSubscription(ctx, "s", "g", esdb.PersistentStreamSubscriptionOptions{Settings: settings(nil)}); err != nil {
		t.Fatal(err)
	}
	joinGroup(t, c, "s", "g", 1)
	until(t, c, "s", "g", func(i *esdb.PersistentSubscriptionInfo) bool { return len(i.Connections) == 2 })
	createGroup(t, c, "s", "h", esdb.End{}, nil)
	if err := c.CreatePersistentSubscription(ctx, "s", "i", options); err == nil {
		t.Error("one group too many")
	}
}

// TestOutstanding compares the watermark with the plain reckoning.
func TestOutstanding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o outstanding
		var keys []uint64
		settled := map[uint64]bool{}
		key := uint64(0)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(keys) == 0 || rapid.Bool().Draw(t, "add") {
				key += rapid.Uint64Range(1, 3).Draw(t, "gap")
				if n := o.add(key); n != uint64(len(keys)) {
					t.Fatalf("number %d, want %d", n, len(keys))
				}
				keys = append(keys, key)
				continue
			}
			n := uint64(rapid.IntRange(0, len(keys)-1).Draw(t, "settle"))
			o.settle(n)
			settled[keys[n]] = true
			want := key + 1
			for _, k := range keys {
				if !settled[k] {
					want = k
					break
				}
			}
			if o.low() != want {
				t.Fatalf("low %d, want %d", o.low(), want)
			}
		}
	})
}
