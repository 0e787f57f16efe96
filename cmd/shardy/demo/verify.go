package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// compare holds every output against a reference that the network had no part in: the unmodified module in a fresh
// sandbox on this machine, and the committed hash of the whole.
func (d *show) compare(ctx context.Context, pieces []*piece) error {
	for _, p := range pieces {
		d.screen.say("%s: computing the reference apart from the network", p.title)
		want, err := reference(ctx, p.program)
		if err != nil {
			return fmt.Errorf("reference of the %s: %w", p.title, err)
		}
		outputs, err := cut(p.output, p.program.OutputSizes())
		if err != nil {
			return err
		}
		for i := range want {
			if !bytes.Equal(outputs[i], want[i]) {
				d.sum.WrongResults++
			}
		}
		committed, err := examples.Reference(p.program.Module(), d.cfg.Quick)
		if err != nil {
			return err
		}
		if examples.Digest(p.assembled) != committed {
			return fmt.Errorf("%w: the %s is not the one whose hash is committed", ErrWrong, p.title)
		}
	}
	return nil
}

// reference runs the program's unmodified module, one sandbox child per processor.
func reference(ctx context.Context, program examples.Program) ([][]byte, error) {
	module := examples.Module(program.Module())
	name := sha256.Sum256(module)
	chunks := program.Chunks()
	outputs := make([][]byte, len(chunks))
	group, ctx := errgroup.WithContext(ctx)
	lanes := min(runtime.GOMAXPROCS(0), len(chunks))
	for lane := range lanes {
		group.Go(func() error {
			box, err := sandbox.New(sandbox.Config{})
			if err != nil {
				return err
			}
			defer box.Close()
			if err := box.Load(ctx, name, module); err != nil {
				return err
			}
			for i := lane; i < len(chunks); i += lanes {
				res, err := box.Run(ctx, sandbox.Task{Module: name, Input: chunks[i], Unmetered: true})
				if err != nil {
					return fmt.Errorf("chunk %d: %w", i, err)
				}
				if res.Status != sandbox.OK {
					return fmt.Errorf("chunk %d: %s: %s", i, res.Status, res.Detail)
				}
				outputs[i] = res.Output
			}
			return nil
		})
	}
	return outputs, group.Wait()
}

// tally reads the log over the API and counts what happened to whom.
func (d *show) tally(ctx context.Context) error {
	stream, err := d.client.events.ReadEvents(ctx, &operatorv1.ReadEventsRequest{})
	if err != nil {
		return err
	}
	defer stream.Close()
	c := newCount(d.workers)
	for stream.Receive() {
		for _, e := range stream.Msg().Events {
			if err := c.add(e); err != nil {
				return err
			}
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	d.sum.Verified, d.sum.DeadLettered, d.sum.Mismatches = c.verified, c.deadLettered, c.mismatches
	d.sum.Reassigned, d.sum.AckTimeouts, d.sum.Referee = c.stripped, c.ackTimeouts, c.referee
	d.sum.HonestContradicted, d.sum.LiarsContradicted = c.contradicted[honest], c.contradicted[liar]
	return nil
}

// count folds the facts that the summary tells of. Of jobs it counts those of the demo's pipelines, and not the ringers
// among them: the orchestrator's own tests of its workers.
type count struct {
	own          map[string]bool              // streams of the pipelines' jobs
	kinds        map[string]kind              // by key, hex
	replicas     map[string]map[uint32]string // job -> slot -> key
	verified     int
	deadLettered int
	mismatches   int
	stripped     int
	ackTimeouts  int
	referee      int
	contradicted map[kind]int
}

func newCount(workers []*worker) *count {
	c := &count{own: map[string]bool{}, kinds: map[string]kind{}, replicas: map[string]map[uint32]string{}, contradicted: map[kind]int{}}
	for _, w := range workers {
		c.kinds[w.key] = w.kind
	}
	return c
}

func (c *count) add(e *operatorv1.Event) error {
	f, err := events.NewFact(e.Type)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(e.Data, f); err != nil {
		return fmt.Errorf("%s/%d: %w", e.Stream, e.Revision, err)
	}
	if f, ok := f.(*eventv1.JobSubmitted); ok && f.Spec.GetPipeline() != "" && f.Spec.GetKind() == eventv1.JobKind_JOB_KIND_STANDARD {
		c.own[e.Stream] = true
	}
	if strings.HasPrefix(e.Stream, "job-") && !c.own[e.Stream] {
		return nil
	}
	switch f := f.(type) {
	case *eventv1.ReplicaReturned:
		if c.replicas[e.Stream] == nil {
			c.replicas[e.Stream] = map[uint32]string{}
		}
		c.replicas[e.Stream][f.Slot] = hex.EncodeToString(f.Worker)
	case *eventv1.TaskVerified:
		c.verified++
		c.blame(e.Stream, f.Contradicted)
		if f.Basis == eventv1.VerdictBasis_VERDICT_BASIS_REFEREE {
			c.referee++
		}
	case *eventv1.JobDeadLettered:
		c.deadLettered++
		c.blame(e.Stream, f.Contradicted)
	case *eventv1.ConsensusMismatch:
		c.mismatches++
	case *eventv1.AssignmentStripped:
		c.stripped++
	case *eventv1.AckTimedOut:
		c.ackTimeouts++
	}
	return nil
}

func (c *count) blame(stream string, slots []uint32) {
	for _, slot := range slots {
		k := c.kinds[c.replicas[stream][slot]]
		if k == dropper { // droppers compute honestly
			k = honest
		}
		c.contradicted[k]++
	}
}

// names lists the workers of a kind.
func (d *show) names(k kind) []string {
	var names []string
	for _, w := range d.workers {
		if w.kind == k {
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	return names
}
