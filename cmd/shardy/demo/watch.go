package demo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"

	"google.golang.org/protobuf/proto"
)

// admission is how long all workers together may take to prove their hardware, one after another.
const admission = 60 * time.Second

// awaitWorkers waits until every worker is admitted: work that is done before the liars have joined shows nothing.
func (d *show) awaitWorkers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, admission, errors.New("not all workers were admitted in time"))
	defer cancel()
	stream, err := d.client.events.ReadEvents(ctx, &operatorv1.ReadEventsRequest{Follow: true, Types: []string{"WorkerAdmitted", "AdmissionRejected"}})
	if err != nil {
		return err
	}
	defer stream.Close()
	admitted := map[string]bool{}
	for stream.Receive() {
		for _, e := range stream.Msg().Events {
			if e.Type == "AdmissionRejected" {
				return fmt.Errorf("%s was not admitted: %s", e.Stream, e.DataJson)
			}
			admitted[e.Stream] = true
		}
		if len(admitted) >= len(d.workers) {
			d.screen.say("all workers of %s have proven their hardware", d.node)
			return nil
		}
	}
	return errors.Join(context.Cause(ctx), stream.Err())
}

// watch draws the pipelines' progress, and kills a worker when a quarter of the picture is done.
func (d *show) watch(ctx context.Context, pieces []*piece) error {
	var once sync.Once
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range pieces {
		group.Go(func() error {
			return d.follow(ctx, p, func(settled uint32) error {
				var err error
				if p == pieces[0] && int(settled)*4 >= p.chunks {
					once.Do(func() { err = d.kill(ctx) })
				}
				return err
			})
		})
	}
	return group.Wait()
}

func (d *show) follow(ctx context.Context, p *piece, each func(settled uint32) error) error {
	stream, err := d.client.pipelines.WatchPipeline(ctx, &operatorv1.WatchPipelineRequest{Id: p.pipeline})
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		now := stream.Msg().Pipeline
		d.screen.progress(p.title, int(now.Settled), p.chunks)
		if err := each(now.Settled); err != nil {
			return err
		}
		switch now.State {
		case operatorv1.PipelineState_PIPELINE_STATE_COMPLETED:
			d.screen.progress(p.title, p.chunks, p.chunks)
			return nil
		case operatorv1.PipelineState_PIPELINE_STATE_FAILED, operatorv1.PipelineState_PIPELINE_STATE_CANCELLED:
			return fmt.Errorf("%w: the %s ended as %s: %s", ErrWrong, p.title, now.State, now.Detail)
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("watch the %s: %w", p.title, err)
	}
	return fmt.Errorf("watch the %s: the stream ended early", p.title)
}

// kill waits until some honest worker has acked a task and ends its process at once, with the task in its hands.
func (d *show) kill(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	head, err := d.client.events.ReadEvents(ctx, &operatorv1.ReadEventsRequest{Follow: true, Types: []string{"AssignmentDispatched", "TaskAcked"}})
	if err != nil {
		return err
	}
	defer head.Close()
	byKey := map[string]*worker{}
	for _, w := range d.workers {
		byKey[w.key] = w
	}
	holder := map[string]string{} // slot -> key
	live := false
	for head.Receive() {
		live = live || head.Msg().Live
		for _, e := range head.Msg().Events {
			if e.Type == "AssignmentDispatched" {
				f := new(eventv1.AssignmentDispatched)
				if err := proto.Unmarshal(e.Data, f); err != nil {
					return err
				}
				holder[e.Stream] = hex.EncodeToString(f.Worker)
				continue
			}
			w := byKey[holder[e.Stream]]
			if !live || w == nil || w.kind != honest || rand.IntN(2) == 0 {
				continue
			}
			w.proc.Kill()
			d.sum.Killed = w.name
			d.screen.say("killed %s (pid %d) with %s in its hands", w.name, w.proc.Pid(), e.Stream)
			return nil
		}
	}
	return head.Err()
}
