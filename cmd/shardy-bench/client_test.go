package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	"github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// counter answers submissions with numbers as ids, and verifies each job before or after it has answered.
type counter struct {
	operatorv1connect.UnimplementedJobServiceHandler
	early    bool
	calls    atomic.Int64
	inFlight atomic.Int64
	most     atomic.Int64
	largest  atomic.Int64
	next     atomic.Int64
	verdicts chan *operatorv1.JobUpdate
}

func (c *counter) SubmitJobs(_ context.Context, req *operatorv1.SubmitJobsRequest) (*operatorv1.SubmitJobsResponse, error) {
	c.calls.Add(1)
	raise(&c.most, c.inFlight.Add(1))
	defer c.inFlight.Add(-1)
	raise(&c.largest, int64(len(req.Jobs)))
	res := &operatorv1.SubmitJobsResponse{}
	for _, j := range req.Jobs {
		if len(j.Payload) == 1 {
			res.Jobs = append(res.Jobs, &operatorv1.SubmittedJob{Code: 8, Detail: "busy"})
			continue
		}
		id := fmt.Sprint(c.next.Add(1))
		res.Jobs = append(res.Jobs, &operatorv1.SubmittedJob{Id: id})
		u := &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_VERIFIED}
		if len(j.Payload) == 2 {
			u = &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_DEAD_LETTERED, DeadLetter: &eventv1.JobDeadLettered{Detail: "lost"}}
		}
		if c.early {
			c.verdicts <- u
		} else {
			go func() { c.verdicts <- u }()
		}
	}
	time.Sleep(time.Millisecond) // a log has to sync
	return res, nil
}

func raise(most *atomic.Int64, n int64) {
	for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
	}
}

func (c *counter) WatchJobs(ctx context.Context, _ *operatorv1.WatchJobsRequest, out *connect.ServerStream[operatorv1.WatchJobsResponse]) error {
	if err := out.Send(&operatorv1.WatchJobsResponse{}); err != nil {
		return err
	}
	for {
		select {
		case u := <-c.verdicts:
			if err := out.Send(&operatorv1.WatchJobsResponse{Updates: []*operatorv1.JobUpdate{u}}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// dial serves the counter and connects a client with its load.
func dial(t *testing.T, c *counter) *load {
	t.Helper()
	c.verdicts = make(chan *operatorv1.JobUpdate, 10_000)
	mux := http.NewServeMux()
	mux.Handle(operatorv1connect.NewJobServiceHandler(c))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	cl := newClient(ln.Addr().String())
	cl.spec = &eventv1.JobSpec{}
	l := newLoad(cl)
	cl.verified, cl.failed = l.verified, l.fail
	if err := cl.watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestClientSendsWhatWaitsTogether(t *testing.T) {
	for _, early := range []bool{true, false} {
		c := &counter{early: early}
		l := dial(t, c)
		var all sync.WaitGroup
		for range 2000 {
			all.Go(func() { l.one(t.Context(), time.Now(), true) })
		}
		all.Wait()
		if l.done.Load() != 2000 || l.dups.Load() != 0 || l.failures.Load() != 0 {
			t.Errorf("early %t: %d done, %d twice, %d failed", early, l.done.Load(), l.dups.Load(), l.failures.Load())
		}
		if c.most.Load() > maxCalls || c.largest.Load() > maxBatch || c.calls.Load() > 1000 {
			t.Errorf("early %t: %d calls, %d at once, up to %d jobs each", early, c.calls.Load(), c.most.Load(), c.largest.Load())
		}
	}
}

func TestClientTellsRefusalsAndDeadLetters(t *testing.T) {
	l := dial(t, &counter{})
	j := &job{done: make(chan struct{})}
	if err := l.to.submit(t.Context(), j, []byte{1}); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("got %v, want the refusal", err)
	}
	if err := l.to.submit(t.Context(), j, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); l.failures.Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if text, _ := l.lastErr.Load().(string); !strings.Contains(text, "lost") {
		t.Errorf("a dead letter was told as %q", text)
	}
}

func TestClientWithoutServer(t *testing.T) {
	c := newClient("127.0.0.1:1")
	c.spec = &eventv1.JobSpec{}
	if err := c.submit(t.Context(), &job{}, []byte{1}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if c.watch(t.Context()) == nil || c.admit(t.Context(), nil, nil) == nil {
		t.Error("a server that is not there was watched")
	}
}
