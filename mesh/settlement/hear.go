package settlement

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/projections"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

var (
	_ projections.Projection = (*Settlement)(nil)
	_ projections.Batcher    = (*Settlement)(nil)
)

// Name is "settlement".
func (s *Settlement) Name() string { return "settlement" }

// Filter passes the facts that settle wants.
func (s *Settlement) Filter() events.Filter { return filter() }

// Batch asks the runner for a few batches a second, none so large that its rest is a long one.
func (s *Settlement) Batch() projections.Batch {
	return projections.Batch{Records: 1024, Bytes: 2 << 20, MinCoalesce: 250 * time.Millisecond}
}

// Position is the place in the log up to which everything was heard.
func (s *Settlement) Position() events.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Position()
}

// Apply hears a batch. It waits before while too much waits to be sent, and rests after it: the runner lags then, and
// reads the log on its own instead of with the other projections.
func (s *Settlement) Apply(ctx context.Context, batch []events.Record, upTo events.Position) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	if err := s.recall(ctx, batch); err != nil {
		return err
	}
	if err := s.take(batch, upTo); err != nil {
		return err
	}
	s.pace.rest(ctx)
	return nil
}

// take hears a batch, or changes nothing.
func (s *Settlement) take(batch []events.Record, upTo events.Position) error {
	defer s.pace.work()()
	facts, err := projections.Facts(batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for i := range batch {
		s.hear(&batch[i], facts[i])
	}
	if n := len(batch); n > 0 {
		last := &batch[n-1]
		before := s.title.mark.last
		if n > 1 {
			before = batch[n-2].Pos
		}
		s.title.mark = mark{before: before, last: last.Pos, id: last.ID}
		s.heard = s.now().Sub(last.Time)
		s.dirty = true
	}
	s.book.Skip(upTo)
	s.look()
	doubts := len(s.book.Doubts(1)) > 0
	s.mu.Unlock()
	if len(batch) > 0 {
		signal(s.kick)
	}
	if doubts {
		signal(s.doubted)
	}
	return nil
}

// hear takes in one record. It must be called with the lock held.
func (s *Settlement) hear(r *events.Record, fact events.Fact) {
	switch {
	case r.Pos <= s.book.Position():
		return
	case s.history && !r.Time.Before(s.title.born):
		s.history = false // what follows was recorded after the book was begun
	}
	if r.Time.Before(s.config.Since) || s.history && r.Time.Before(s.memory.time) {
		s.title.passed++
		s.book.Skip(r.Pos)
		return
	}
	if fact != nil {
		s.book.Hear(r.Pos, r.Stream, fact)
	}
}

// Reset is refused with ErrRebuild.
func (s *Settlement) Reset(context.Context) error { return ErrRebuild }

// await waits until there is room for more deeds.
func (s *Settlement) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		_, waiting, _ := s.book.Open()
		room, failed := s.room, s.failed
		s.mu.Unlock()
		if failed != nil {
			return failed
		}
		if waiting < maxWaiting {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look notes whether deeds wait. It must be called with the lock held.
func (s *Settlement) look() {
	_, waiting, _ := s.book.Open()
	switch {
	case waiting == 0:
		s.waits = time.Time{}
	case s.waits.IsZero():
		s.waits = s.now()
	}
	if waiting < maxWaiting {
		close(s.room)
		s.room = make(chan struct{})
	}
}

// horizon is how far back the ledger remembers what it paid.
type horizon struct {
	height uint64    // of the chain, when it was looked at
	time   time.Time // zero: it remembers all
}

const (
	horizonBlocks = 100       // between two looks
	horizonMargin = time.Hour // clocks of chain and log differ, and what is heard is paid somewhat later
	freshMargin   = time.Minute
	freshLook     = 250 * time.Millisecond
)

// recall finds out how far back the ledger remembers, while there are records from before the book. As long as the chain
// has no block of about the time of the book or later nobody can say that: it may be that most of it is still to be fetched.
func (s *Settlement) recall(ctx context.Context, batch []events.Record) error {
	s.mu.Lock()
	history, known, born := s.history, s.memory.height, s.title.born
	s.mu.Unlock()
	if !history || len(batch) == 0 || !batch[0].Time.Before(born) {
		return nil
	}
	state := s.config.Ledger.State()
	for time.UnixMicro(state.TimeUs()).Before(born.Add(-freshMargin)) {
		s.setStale(true)
		if sleep(ctx, freshLook); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		state = s.config.Ledger.State()
	}
	s.setStale(false)
	h, memory := state.Height(), state.Params().GetEvidenceBlocks()
	if h <= memory || known > 0 && h < known+horizonBlocks {
		return nil
	}
	at, err := s.timeOf(ctx, h-memory)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = horizon{h, at.Add(horizonMargin)}
	return nil
}

func (s *Settlement) setStale(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale = is; is && s.loud("stale") {
		s.config.Logger.Info("a new book of payments waits for a block before it hears what was recorded before it")
	}
}

// timeOf is when a block was made, or the first one after it that is there.
func (s *Settlement) timeOf(ctx context.Context, height uint64) (time.Time, error) {
	f := s.config.Ledger.Follow(height)
	b, err := f.Next(ctx)
	if errors.Is(err, chain.ErrPruned) {
		f.Skip()
		b, err = f.Next(ctx)
	}
	if err != nil {
		return time.Time{}, err
	}
	h := new(ledgerv1.Header)
	if err := proto.Unmarshal(b.Block.GetBlock().GetHeader(), h); err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(h.TimeUs), nil
}
