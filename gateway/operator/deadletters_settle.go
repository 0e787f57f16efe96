package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Bounds of what is done to many dead letters at once.
const (
	MaxLetters     = 10_000 // of one call
	defaultLetters = 1000   // of a filter without a limit
	lettersAtOnce  = 64     // commands on their way: far below what mailboxes hold
	busyPatience   = 5 * time.Second
	busyPause      = 20 * time.Millisecond
)

// letterAct is what is done to each of many dead letters.
type letterAct struct {
	refuse  func(ctx context.Context, v *jobView) error // why it cannot be done to this one
	command func(v *jobView) *eventv1.Command
}

// RequeueDeadLetters opens a new round for each, as far as its pipeline still waits for it.
func (a *API) RequeueDeadLetters(ctx context.Context, req *operatorv1.RequeueDeadLettersRequest) (*operatorv1.RequeueDeadLettersResponse, error) {
	by := callerOf(ctx).name
	book := pipelineBook{api: a}
	which := chosen{req.GetIds(), req.GetFilter(), req.Limit, req.PageToken}
	outcomes, next, err := a.settleLetters(ctx, which, req.Reason, req.DryRun, letterAct{
		refuse: func(ctx context.Context, v *jobView) error {
			if v.job.Round >= job.MaxRounds {
				return job.ErrTooManyRounds
			}
			return book.refuse(ctx, v, v.job.Id)
		},
		command: func(v *jobView) *eventv1.Command {
			return &eventv1.Command{Kind: &eventv1.Command_RequeueJob{
				RequeueJob: &eventv1.RequeueJob{By: by, Reason: req.Reason, Round: v.job.Round},
			}}
		},
	})
	if err != nil {
		return nil, err
	}
	return &operatorv1.RequeueDeadLettersResponse{Outcomes: outcomes, Matched: uint32(len(outcomes)), NextPageToken: next}, nil
}

// DiscardDeadLetters gives each up for good.
func (a *API) DiscardDeadLetters(ctx context.Context, req *operatorv1.DiscardDeadLettersRequest) (*operatorv1.DiscardDeadLettersResponse, error) {
	by := callerOf(ctx).name
	which := chosen{req.GetIds(), req.GetFilter(), req.Limit, req.PageToken}
	outcomes, next, err := a.settleLetters(ctx, which, req.Reason, req.DryRun, letterAct{
		refuse: func(context.Context, *jobView) error { return nil },
		command: func(v *jobView) *eventv1.Command {
			return &eventv1.Command{Kind: &eventv1.Command_DiscardJob{
				DiscardJob: &eventv1.DiscardJob{By: by, Reason: req.Reason, Round: v.job.Round},
			}}
		},
	})
	if err != nil {
		return nil, err
	}
	return &operatorv1.DiscardDeadLettersResponse{Outcomes: outcomes, Matched: uint32(len(outcomes)), NextPageToken: next}, nil
}

// chosen is which dead letters a request means.
type chosen struct {
	ids    *operatorv1.DeadLetterIds
	filter *operatorv1.DeadLetterFilter
	limit  uint32
	token  string
}

// find lists the ids that are meant, in the order of the request or of the list.
func (w *chosen) find(ctx context.Context, a *API) (ids []string, next string, err error) {
	switch {
	case w.ids != nil:
		ids, err = w.named()
		return ids, "", err
	case w.filter == nil:
		return nil, "", refuse("which", "name ids or a filter; an empty filter means all")
	case w.limit > MaxLetters:
		return nil, "", refuse("limit", "at most 10,000")
	}
	f, err := callerOf(ctx).letterFilter(w.filter)
	if err != nil {
		return nil, "", err
	}
	cursor, page, err := f.open(maxPage, w.token)
	if err != nil {
		return nil, "", err
	}
	limit := int(w.limit)
	orDefault(&limit, defaultLetters)
	for {
		page.Limit = min(maxPage, limit-len(ids))
		rows, next, err := a.deps.Catalogue.DeadLetters(ctx, f.query(page))
		if err != nil {
			return nil, "", err
		}
		for _, d := range rows {
			ids = append(ids, d.Id)
		}
		if next == "" || len(ids) >= limit {
			return ids, cursor.token(next), nil
		}
		page.After = next
	}
}

func (w *chosen) named() ([]string, error) {
	ids := w.ids.Ids
	switch {
	case len(ids) == 0 || len(ids) > MaxLetters:
		return nil, refuse("ids", "1 to 10,000 of them")
	case w.limit != 0 || w.token != "":
		return nil, refuse("limit", "belongs to a filter, and so does page_token")
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			return nil, refuse("ids", "one is there twice")
		}
		seen[id] = true
	}
	return ids, nil
}

// settleLetters does something to many dead letters, a bounded number at once. Each is done or refused on its own; the
// whole fails only with the request.
func (a *API) settleLetters(ctx context.Context, which chosen, reason string, dry bool, act letterAct) ([]*operatorv1.DeadLetterOutcome, string, error) {
	if !callerOf(ctx).is(workers) {
		return nil, "", errRole // nobody came through the gate
	}
	if err := checkReason(reason, !dry); err != nil {
		return nil, "", err
	}
	ids, next, err := which.find(ctx, a)
	if err != nil {
		return nil, "", err
	}
	outcomes := make([]*operatorv1.DeadLetterOutcome, len(ids))
	var group errgroup.Group
	group.SetLimit(lettersAtOnce)
	for i, id := range ids {
		group.Go(func() error {
			if ctx.Err() == nil {
				outcomes[i] = a.settleLetter(ctx, id, dry, act)
			}
			return context.Cause(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, "", err // what was done is done: a repeat finds the rest
	}
	return outcomes, next, nil
}

func (a *API) settleLetter(ctx context.Context, id string, dry bool, act letterAct) *operatorv1.DeadLetterOutcome {
	out := &operatorv1.DeadLetterOutcome{Id: id}
	v, err := a.readJob(ctx, callerOf(ctx), id)
	switch {
	case err != nil:
	case !v.isLetter():
		err = v.noLetter()
	default:
		out.DeadLetter = v.letter()
		if err = act.refuse(ctx, v); err == nil && !dry {
			_, err = a.insist(ctx, actors.JobAddress(id), act.command(v))
		}
	}
	if err != nil {
		code, reason, detail := Refusal(err)
		out.Code, out.Reason, out.Detail = uint32(code), reason, detail
	}
	return out
}

// insist repeats a command for a while when a mailbox is full.
func (a *API) insist(ctx context.Context, to actors.Address, cmd *eventv1.Command) (any, error) {
	for end := time.Now().Add(busyPatience); ; {
		reply, err := a.deps.Orchestrator.Do(ctx, to, cmd)
		if !errors.Is(err, host.ErrBusy) || time.Now().After(end) {
			return reply, err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Refusal is how a client is told of an error: the Connect code, the typed reason and the text. What is internal is
// logged and not told.
func Refusal(err error) (code connect.Code, reason, detail string) {
	_, reason = classify(err)
	err = toConnect(err)
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Code(), reason, e.Message()
	}
	return connect.CodeOf(err), reason, err.Error()
}

// maxBook bounds the pipelines that a call remembers.
const maxBook = 64

// pipelineBook remembers the pipelines that one call meets, as they were when it met them first.
type pipelineBook struct {
	api *API

	mu    sync.Mutex
	pages map[string]*bookPage
}

type bookPage struct {
	once sync.Once
	view *pipelineView
	err  error
}

func (b *pipelineBook) read(ctx context.Context, id string) (*pipelineView, error) {
	b.mu.Lock()
	p := b.pages[id]
	if p == nil {
		if b.pages == nil || len(b.pages) >= maxBook {
			b.pages = map[string]*bookPage{}
		}
		p = &bookPage{}
		b.pages[id] = p
	}
	b.mu.Unlock()
	p.once.Do(func() { p.view, p.err = b.api.readPipeline(ctx, &caller{role: Admin}, id) })
	return p.view, p.err
}

// refuse says why the pipeline of a dead letter does not wait for a job in its place. The pipeline itself has the last
// word: it cancels a job that comes too late.
func (b *pipelineBook) refuse(ctx context.Context, v *jobView, successor string) error {
	spec := v.job.Spec
	if spec.Pipeline == "" {
		return nil
	}
	p, err := b.read(ctx, spec.Pipeline)
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if p.p.State != operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
		return fmt.Errorf("%w: %s is %s", pipeline.ErrEnded, spec.Pipeline, plain(p.p.State.String(), "PIPELINE_STATE_"))
	}
	if spec.Stage != p.p.Stage || p.idle {
		return fmt.Errorf("%w: %s has gone on without chunk %d of stage %d", errStageOver, spec.Pipeline, spec.Chunk, spec.Stage)
	}
	if p.outputs[spec.Chunk] != nil {
		return fmt.Errorf("%w: chunk %d has its output", errChunk, spec.Chunk)
	}
	if c, ok := p.claims[spec.Chunk]; ok && c.Job != v.job.Id && c.Job != successor {
		return fmt.Errorf("%w: job %s stands for chunk %d", errChunk, c.Job, spec.Chunk)
	}
	return nil
}
