package operator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// prompt answers every command at once: what is left is the door's own cost.
type prompt struct {
	see func(actors.Address, []events.Fact)
}

func (p *prompt) Do(context.Context, actors.Address, *eventv1.Command) (any, error) { return nil, nil }

func (p *prompt) Explain(context.Context, string) ([]string, error) { return nil, nil }

func (p *prompt) Tell(_ actors.Address, _ *eventv1.Command, done func(any, error)) { done(nil, nil) }

func (p *prompt) Observe(see func(actors.Address, []events.Fact)) func() {
	p.see = see
	return func() {}
}

// hashing keeps nothing.
type hashing struct{}

func (hashing) Put(_ context.Context, data []byte) (blobs.Ref, error) {
	return blobs.Ref{Sum: sha256.Sum256(data), Size: uint64(len(data))}, nil
}

func (hashing) Open(context.Context, [32]byte) (io.ReadCloser, int64, error) {
	return nil, 0, blobs.ErrNotFound
}

func newDoor(b *testing.B) (clients, *prompt, []byte) {
	b.Helper()
	p, log := &prompt{}, memlog.New()
	api, err := operator.New(b.Context(), operator.Config{Listen: "127.0.0.1:0"}, operator.Deps{
		Orchestrator: p, Log: log, Blobs: hashing{}, Catalogue: operatortest.Catalogue{Log: log}, Trial: nothing{},
	})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = operator.NewServer(api)
	server.Start()
	b.Cleanup(func() { api.Close(); server.Close() })
	module := bytes.Repeat([]byte{1}, 32)
	p.see(actors.Address{Room: actors.ModuleRoom, ID: "m"}, []events.Fact{&eventv1.ModuleAdmitted{Name: module}})
	return dial(&operatortest.World{URL: server.URL}, ""), p, module
}

type nothing struct{}

func (nothing) Trial(context.Context, []byte, []byte, []byte) (operator.TrialResult, error) {
	return operator.TrialResult{}, nil
}

// BenchmarkSubmitJobs is the road of a batch of 1 KiB jobs through the door, client included.
func BenchmarkSubmitJobs(b *testing.B) {
	c, _, module := newDoor(b)
	req := &operatorv1.SubmitJobsRequest{}
	for range operator.MaxBatch {
		req.Jobs = append(req.Jobs, &operatorv1.NewJob{Spec: &eventv1.JobSpec{Module: module, FuelLimit: 1000}, Payload: make([]byte, 1024)})
	}
	b.ReportAllocs()
	for b.Loop() {
		res, err := c.SubmitJobs(b.Context(), req)
		if err != nil || res.Jobs[0].Code != 0 {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(float64(b.N*operator.MaxBatch)/b.Elapsed().Seconds(), "jobs/s")
}

// BenchmarkWatchJobs is the road of verdicts to one watcher of everything.
func BenchmarkWatchJobs(b *testing.B) {
	c, p, _ := newDoor(b)
	s, err := c.WatchJobs(b.Context(), &operatorv1.WatchJobsRequest{})
	if err != nil || !s.Receive() {
		b.Fatal(err)
	}
	defer s.Close()
	to := actors.JobAddress("00000000000000000000000000")
	facts := []events.Fact{&eventv1.ReplicaReturned{}, &eventv1.TaskVerified{
		Checksum: make([]byte, 32), Output: &eventv1.BlobRef{Sha256: make([]byte, 32), Size: 1}, Agreeing: []uint32{0, 1},
	}}
	b.ReportAllocs()
	const burst = 1000
	for b.Loop() {
		for range burst {
			p.see(to, facts)
		}
		for got := 0; got < burst; got += len(s.Msg().Updates) {
			if !s.Receive() {
				b.Fatal(s.Err())
			}
		}
	}
	b.ReportMetric(float64(b.N*burst)/b.Elapsed().Seconds(), "updates/s")
}
