package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// seen is a record with its fact.
type seen struct {
	Stream   string
	Position uint64
	Fact     events.Fact
}

var errLate = errors.New("waited too long")

// until follows the log over the API, from after a position, until done is content. It returns the position of the
// record that made it so.
func (s *site) until(what string, after uint64, types []string, done func(*seen) bool) uint64 {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(s.Context(), patience(60*time.Second), errLate)
	defer cancel()
	stream, err := s.events.ReadEvents(ctx, &operatorv1.ReadEventsRequest{Follow: true, After: after, Types: types})
	s.must(err)
	defer stream.Close()
	for stream.Receive() {
		for _, e := range stream.Msg().Events {
			f, err := events.NewFact(e.Type)
			s.must(err)
			s.must(proto.Unmarshal(e.Data, f))
			if done(&seen{e.Stream, e.Position, f}) {
				return e.Position
			}
		}
	}
	s.Fatalf("waiting until %s: %v", what, errors.Join(context.Cause(ctx), stream.Err()))
	return 0
}

// head is the log's position now.
func (s *site) head() uint64 {
	s.Helper()
	status, err := s.system.GetStatus(s.Context(), &operatorv1.GetStatusRequest{})
	s.must(err)
	return status.Head
}

// history is what a whole log says of verdicts.
type history struct {
	verified     map[string][]*eventv1.TaskVerified // by job
	deadLettered map[string][]*eventv1.JobDeadLettered
	submitted    map[string]*eventv1.JobSubmitted
	pipelines    map[string]int // PipelineCompleted by pipeline
	replicas     map[string]map[uint32]string
	counts       map[string]int // records by type
	stripped     map[eventv1.StripReason]int
	connected    map[string]int // by key
}

// history reads the log of a stopped orchestrator.
func (s *site) history() *history {
	s.Helper()
	log, err := pebblelog.Open(orchestrator.LogDir(s.dir), pebblelog.Options{})
	s.must(err)
	defer log.Close()
	h := &history{
		verified: map[string][]*eventv1.TaskVerified{}, deadLettered: map[string][]*eventv1.JobDeadLettered{},
		submitted: map[string]*eventv1.JobSubmitted{}, pipelines: map[string]int{}, replicas: map[string]map[uint32]string{},
		counts: map[string]int{}, stripped: map[eventv1.StripReason]int{}, connected: map[string]int{},
	}
	for r, err := range log.ReadAll(s.Context(), 0, events.Filter{}) {
		s.must(err)
		f, err := events.Decode(r)
		s.must(err)
		h.add(r, f)
	}
	return h
}

func (h *history) add(r events.Record, f events.Fact) {
	h.counts[r.Type]++
	room, id := split(r.Stream)
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		h.submitted[id] = f
	case *eventv1.TaskVerified:
		h.verified[id] = append(h.verified[id], f)
	case *eventv1.JobDeadLettered:
		h.deadLettered[id] = append(h.deadLettered[id], f)
	case *eventv1.PipelineCompleted:
		h.pipelines[id]++
	case *eventv1.ReplicaReturned:
		if h.replicas[id] == nil {
			h.replicas[id] = map[uint32]string{}
		}
		h.replicas[id][f.Slot] = fmt.Sprintf("%x", f.Worker)
	case *eventv1.AssignmentStripped:
		h.stripped[f.Reason]++
	case *eventv1.WorkerConnected:
		if room == "worker" {
			h.connected[id]++
		}
	}
}

// contradicted counts, by worker, the results that verdicts contradicted.
func (h *history) contradicted() map[string]int {
	n := map[string]int{}
	for job, all := range h.verified {
		for _, v := range all {
			for _, slot := range v.Contradicted {
				n[h.replicas[job][slot]]++
			}
		}
	}
	for job, all := range h.deadLettered {
		for _, d := range all {
			for _, slot := range d.Contradicted {
				n[h.replicas[job][slot]]++
			}
		}
	}
	return n
}
