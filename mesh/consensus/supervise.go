package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Failures of the ordering in a row, without a block between them, after which the engine gives up.
const maxFailures = 5

// supervisor decides when this validator votes. It is the only one that starts and stops instances; its fields belong to
// the engine's goroutine.
type supervisor struct {
	e  *Engine
	in *instance

	looked   bool   // at the log of votes, when the engine began
	floor    uint64 // there was none: no vote before this height is final
	checked  uint64 // height at the last look
	behind   int    // looks in a row that saw the chain ahead and this one standing still
	begun    time.Time
	failures int
	failedAt uint64 // height
	offered  time.Time
}

// run is the engine's goroutine.
func (e *Engine) run(ctx context.Context) {
	defer close(e.done)
	s := &supervisor{e: e}
	defer s.stop()
	look := time.NewTicker(e.cfg.Heartbeat / looksPerHeartbeat)
	defer look.Stop()
	s.begin(ctx)
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
			s.mend(ctx)
		case <-look.C:
			if fresh := s.in != nil && time.Since(s.begun) < freshFor*e.cfg.Heartbeat; n%looksPerHeartbeat == 0 || fresh {
				s.mend(ctx)
				s.watch(ctx, fresh)
			}
		}
	}
}

// An instance is looked at once a heartbeat, and more often while it is fresh: it may have missed the last blocks that
// came before the leader died, and a next leader does not count who is behind.
const (
	looksPerHeartbeat = 4
	freshFor          = 3 // heartbeats
)

// mend stops an instance that cannot go on and starts what should run.
func (s *supervisor) mend(ctx context.Context) {
	if s.e.failure.Load() != nil {
		s.stop()
		return
	}
	if s.in != nil {
		err := s.in.failure.Load()
		switch {
		case err != nil:
			s.stop()
			s.failed(*err)
		case s.in.evicted.Load():
			s.e.log.Info("no validator any more")
			s.stop()
		}
	}
	if s.in == nil {
		s.begin(ctx)
	}
}

// failed counts failures without progress.
func (s *supervisor) failed(err error) {
	if h := s.e.height.Load(); h != s.failedAt {
		s.failures, s.failedAt = 0, h
	}
	if s.failures++; s.failures > maxFailures {
		s.e.giveUp(fmt.Errorf("%d failures at height %d, the last: %w", s.failures, s.failedAt, err))
	}
}

// begin catches up and then votes, if this is a validator and may.
func (s *supervisor) begin(ctx context.Context) {
	e := s.e
	if e.failure.Load() != nil {
		return
	}
	target := e.pull(ctx)
	if e.failure.Load() != nil || ctx.Err() != nil {
		return
	}
	s.look(target)
	m := e.members()
	if !m.has(e.self) || len(m.nodes) > 1 && e.height.Load() < s.floor {
		e.role.Store(Observer)
		return
	}
	in, err := e.startInstance(ctx)
	switch {
	case errors.Is(err, errAhead): // its blocks must come first
		e.role.Store(Observer)
		return
	case errors.Is(err, errStart):
		e.giveUp(err)
		return
	case err != nil:
		s.unreadable(err)
		return
	}
	s.in = in
	s.behind, s.checked, s.begun = 0, e.height.Load(), time.Now()
	e.running.Store(in)
	e.role.Store(Validator)
	s.offer(in)
}

// look decides once, when the engine begins, what a missing log of votes means: either this key has never voted, or its
// last votes are forgotten and it might contradict them. Both are safe as soon as a block is final that was not there
// yet. Who becomes a validator while the engine runs need not wait.
func (s *supervisor) look(target uint64) {
	if s.looked {
		return
	}
	s.looked = true
	h := max(s.e.height.Load(), target)
	if h == 0 || s.e.cfg.FreshLog || hasVoteLog(s.e.cfg.Dir) {
		return
	}
	s.floor = h + 1
	s.e.log.Warn("no log of votes: no vote before another block is final", "height", s.floor)
}

// unreadable treats a log of votes that cannot be read as a lost one.
func (s *supervisor) unreadable(err error) {
	e := s.e
	e.role.Store(Observer)
	if aside := setAside(e.cfg.Dir); aside != nil {
		e.giveUp(errors.Join(err, aside))
		return
	}
	e.log.Error("the log of votes cannot be read and was set aside", "err", err)
	s.floor = max(e.height.Load(), e.hint.Load()) + 1
}

func (s *supervisor) stop() {
	if s.in == nil {
		return
	}
	s.e.running.Store(nil)
	if err := s.in.stop(); err != nil {
		s.e.giveUp(err)
	}
	s.in = nil
	s.e.restarts.Add(1)
	if s.e.role.Load() == Validator {
		s.e.role.Store(Starting)
	}
}

// offer submits again what was accepted and is in no block.
func (s *supervisor) offer(in *instance) {
	s.offered = time.Now()
	in.offerAll(s.e.pending.between(0, s.e.pending.last()))
}

// watch looks whether the chain moves without this validator. The library notices most of it, but not that exactly one
// block was missed on a quiet chain, nor all of what a frozen process has slept through.
func (s *supervisor) watch(ctx context.Context, fresh bool) {
	e := s.e
	if s.in == nil {
		return
	}
	if time.Since(s.offered) > 10*e.cfg.Heartbeat {
		s.offer(s.in)
	}
	h := e.height.Load()
	if h != s.checked {
		s.checked, s.behind = h, 0
		return
	}
	if e.target(ctx) <= h {
		s.behind = 0
		return
	}
	if s.behind++; s.behind < 2 && !fresh {
		return
	}
	e.log.Info("behind the chain: starting again", "height", h)
	s.stop()
	s.begin(ctx)
}

// target is the height that the chain is known to have.
func (e *Engine) target(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Heartbeat)
	defer cancel()
	t, err := e.cfg.Puller.Target(ctx)
	if err != nil {
		e.log.Debug("no peer says how high the chain is", "err", err)
	}
	return max(t, e.hint.Load())
}

// pull fetches and commits the blocks that the chain has and this engine has not. It returns what the chain is known to
// have.
func (e *Engine) pull(ctx context.Context) uint64 {
	target := e.target(ctx)
	from := e.height.Load() + 1
	if target < from {
		return target
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	moved := time.AfterFunc(4*e.cfg.Heartbeat, cancel) // without a block
	defer moved.Stop()
	var broken error
	err := e.cfg.Puller.Pull(ctx, from, target, func(b *ledgerv1.CertifiedBlock) error {
		err := e.accept(b)
		if err != nil && !errors.Is(err, ErrBlock) {
			broken = err
		}
		moved.Reset(4 * e.cfg.Heartbeat)
		return err
	})
	if broken != nil {
		e.giveUp(broken)
	}
	if err != nil {
		e.log.Debug("blocks not pulled", "from", from, "to", target, "err", err)
	}
	return target
}
