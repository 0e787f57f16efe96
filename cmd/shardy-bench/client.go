package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	"github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// maxBatch is how many jobs one call of SubmitJobs takes.
const maxBatch = 256

// maxCalls is how many calls of SubmitJobs are in flight at once.
const maxCalls = 4

var (
	errRefused     = errors.New("job refused")
	errNotVerified = errors.New("job was not verified")
)

// client submits jobs over the operator API and hears of their verdicts. Submissions that wait while calls are in flight
// go out together in the next call; nothing waits for company.
type client struct {
	jobs    operatorv1connect.JobServiceClient
	modules operatorv1connect.ModuleServiceClient
	system  operatorv1connect.SystemServiceClient
	events  operatorv1connect.EventServiceClient
	ledger  operatorv1connect.LedgerServiceClient
	spec    *eventv1.JobSpec // of every job; the payload becomes its input

	verified func(j *job, at int64)
	failed   func(err error)

	mu      sync.Mutex // guards what follows
	waiting []submission
	calls   int
	known   map[string]*job  // by the server's id: accepted, verdict not heard
	early   map[string]early // verdicts that came before the answer to the submission
}

type submission struct {
	j       *job
	payload []byte
	answer  chan error
}

type early struct {
	at  int64
	err error
}

// newClient speaks HTTP/2 without TLS to the server at the address.
func newClient(address string) *client {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	web, base := &http.Client{Transport: transport}, "http://"+address
	return &client{
		jobs:    operatorv1connect.NewJobServiceClient(web, base, plain),
		modules: operatorv1connect.NewModuleServiceClient(web, base, plain),
		system:  operatorv1connect.NewSystemServiceClient(web, base, plain),
		events:  operatorv1connect.NewEventServiceClient(web, base, plain),
		ledger:  operatorv1connect.NewLedgerServiceClient(web, base, plain),
		known:   make(map[string]*job),
		early:   make(map[string]early),
	}
}

// admit makes the module known to the deployment and the one that every job names.
func (c *client) admit(ctx context.Context, wasm, canary []byte) error {
	res, err := c.modules.AdmitModule(ctx, &operatorv1.AdmitModuleRequest{Module: wasm, Canary: canary})
	if err != nil {
		return fmt.Errorf("admit module: %w", err)
	}
	c.spec = &eventv1.JobSpec{
		Module: res.GetModule().GetName(), FuelLimit: 10 * echoFuel, Kind: eventv1.JobKind_JOB_KIND_STANDARD,
	}
	return nil
}

// watch hears verdicts until ctx ends. It returns once the watch is established.
func (c *client) watch(ctx context.Context) error {
	stream, err := c.jobs.WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
	if err != nil {
		return fmt.Errorf("watch jobs: %w", err)
	}
	if !stream.Receive() {
		return fmt.Errorf("watch jobs: %w", errors.Join(stream.Err(), stream.Close()))
	}
	c.updates(stream.Msg())
	go func() {
		for stream.Receive() {
			c.updates(stream.Msg())
		}
		if err := stream.Err(); err != nil && ctx.Err() == nil {
			c.failed(fmt.Errorf("watch jobs: %w", err))
		}
		_ = stream.Close()
	}()
	return nil
}

func (c *client) updates(m *operatorv1.WatchJobsResponse) {
	at := time.Now().UnixNano()
	for _, u := range m.GetUpdates() {
		var err error
		switch u.GetState() {
		case operatorv1.JobState_JOB_STATE_VERIFIED:
		case operatorv1.JobState_JOB_STATE_DEAD_LETTERED, operatorv1.JobState_JOB_STATE_CANCELLED, operatorv1.JobState_JOB_STATE_DISCARDED:
			err = fmt.Errorf("%w: %s: %s %s", errNotVerified, u.GetId(), u.GetState(), u.GetDeadLetter().GetDetail())
		default:
			continue
		}
		c.mu.Lock()
		j := c.known[u.GetId()]
		if j == nil {
			c.early[u.GetId()] = early{at, err}
		}
		delete(c.known, u.GetId())
		c.mu.Unlock()
		if j != nil {
			c.settle(j, early{at, err})
		}
	}
}

func (c *client) settle(j *job, v early) {
	if v.err != nil {
		c.failed(v.err)
		return
	}
	c.verified(j, v.at)
}

// submit queues a job and waits until the server has accepted it.
func (c *client) submit(ctx context.Context, j *job, payload []byte) error {
	s := submission{j: j, payload: payload, answer: make(chan error, 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, s)
	start := c.calls < maxCalls
	if start {
		c.calls++
	}
	c.mu.Unlock()
	if start {
		go c.send(ctx)
	}
	select {
	case err := <-s.answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send calls until nothing waits.
func (c *client) send(ctx context.Context) {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), maxBatch)
		batch := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		if n == 0 {
			c.waiting = nil
			c.calls--
		}
		c.mu.Unlock()
		if n == 0 {
			return
		}
		c.call(ctx, batch)
	}
}

func (c *client) call(ctx context.Context, batch []submission) {
	req := &operatorv1.SubmitJobsRequest{Jobs: make([]*operatorv1.NewJob, len(batch))}
	for i, s := range batch {
		req.Jobs[i] = &operatorv1.NewJob{Spec: c.spec, Payload: s.payload}
	}
	res, err := c.jobs.SubmitJobs(ctx, req)
	if err == nil && len(res.GetJobs()) != len(batch) {
		err = fmt.Errorf("%w: %d answers for %d jobs", errRefused, len(res.GetJobs()), len(batch))
	}
	for i, s := range batch {
		if err != nil {
			s.answer <- err
			continue
		}
		answer := res.GetJobs()[i]
		if answer.GetCode() != 0 {
			s.answer <- fmt.Errorf("%w: %s (code %d)", errRefused, answer.GetDetail(), answer.GetCode())
			continue
		}
		c.accepted(answer.GetId(), s.j)
		s.answer <- nil
	}
}

// accepted joins a job with its id, and with its verdict when that was faster.
func (c *client) accepted(id string, j *job) {
	c.mu.Lock()
	v, decided := c.early[id]
	if decided {
		delete(c.early, id)
	} else {
		c.known[id] = j
	}
	c.mu.Unlock()
	if decided {
		c.settle(j, v)
	}
}

// plain asks for uncompressed answers, as the clients of the other systems get them.
var plain = connect.WithAcceptCompression("gzip", nil, nil)
