package settlement

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/settle"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const (
	submitTime = 10 * time.Second // one Submit may take
	idle       = time.Minute      // most that the sender sleeps
	grain      = time.Millisecond // least
	lull       = time.Second      // for what is due and cannot be done
	manyDeeds  = maxWaiting / 2   // from which on company is not waited for
	poorFactor = 10               // how much longer deeds wait while there is no money
)

// trip is a transaction on its way.
type trip struct {
	id     ledger.Hash
	body   []byte
	until  uint64 // last block that may hold it
	need   uint64 // what the account must have for it, the fee not counted
	trial  bool   // it may be sent without: escrows that fail are dropped, and do no harm
	stored bool   // in the file, so that it may be signed
	sent   int    // how often
	next   time.Time
}

// begin reads a sealed body.
func begin(body []byte) (*trip, error) {
	t := new(ledgerv1.Transaction)
	if err := proto.Unmarshal(body, t); err != nil {
		return nil, err
	}
	out := &trip{id: seal.TransactionID(body), body: body, until: t.ValidUntil}
	for i, a := range t.Actions {
		e := a.GetJobEscrow()
		if e == nil {
			continue
		}
		out.need = min(out.need+e.Amount, ledger.MaxSupply)
		pays := i+1 < len(t.Actions) && t.Actions[i+1].GetTaskVerified().GetDecision().GetJob() == e.Job
		out.trial = out.trial || !pays
	}
	return out, nil
}

// sending sends until ctx ends.
func (s *Settlement) sending(ctx context.Context) {
	for ctx.Err() == nil {
		wait := s.pass(ctx)
		s.pace.rest(ctx)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.kick:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// pass does what is due, and returns when to look again: seal, store, sign and submit, in this order.
func (s *Settlement) pass(ctx context.Context) time.Duration {
	s.anchorIfDue()
	s.sealIfDue()
	if s.storeDue() {
		if err := s.store(); err != nil {
			s.mu.Lock()
			if s.loud("store") {
				s.config.Logger.Error("the book of the settlement was not written", "error", err)
			}
			s.mu.Unlock()
		}
	}
	for _, t := range s.due() {
		if !s.submit(ctx, t) {
			break
		}
		s.pace.rest(ctx)
	}
	return s.sleepFor()
}

// sealIfDue makes transactions of what waits.
func (s *Settlement) sealIfDue() {
	height := s.config.Ledger.State().Height()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sealDue(height) {
		return
	}
	defer s.pace.work()()
	for _, body := range s.book.Seal() {
		s.carry(body)
	}
	s.anchor.asked = false
	s.waits = time.Time{}
	s.look()
}

// carry puts a sealed body on the road. It must be called with the lock held.
func (s *Settlement) carry(body []byte) {
	t, err := begin(body)
	if err != nil { // settle has just made it
		s.trouble = err
		return
	}
	s.road = append(s.road, t)
	s.dirty = true
}

// sealDue must be called with the lock held.
func (s *Settlement) sealDue(height uint64) bool {
	_, waiting, sent := s.book.Open()
	switch {
	case waiting == 0 && !s.anchor.asked, sent >= settle.MaxSent, s.unstored():
		return false
	case height < s.book.Height() || height-s.book.Height() > s.rules.Life/4:
		return false // the chain is not where the book was, or the book not where the chain is
	case s.anchor.asked && s.poor == nil:
		return true
	}
	return !s.now().Before(s.ripe())
}

// ripe is when what waits has waited for long enough. It must be called with the lock held.
func (s *Settlement) ripe() time.Time {
	_, waiting, sent := s.book.Open()
	if waiting >= manyDeeds && sent <= settle.MaxSent/2 && s.poor == nil {
		return s.stored.at.Add(10 * s.stored.took) // writing the book costs a tenth at most
	}
	linger := s.config.Linger
	if s.poor != nil {
		linger *= poorFactor
	}
	return s.waits.Add(linger)
}

// unstored reports whether there is a transaction that is not in the file. It must be called with the lock held.
func (s *Settlement) unstored() bool {
	n := len(s.road)
	return n > 0 && !s.road[n-1].stored
}

func (s *Settlement) storeDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Before(s.retry.at) {
		return false
	}
	return s.unstored() || s.dirty && s.now().Sub(s.stored.at) >= s.config.SaveEvery
}

// due are the transactions that may be submitted now: what is stored, not too lately sent, and can be paid for.
func (s *Settlement) due() []*trip {
	state := s.config.Ledger.State()
	account, _ := state.Account(s.rules.Sender)
	fee := state.Params().GetFee()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Before(s.retry.at) || state.Height() < s.book.Height() {
		return nil
	}
	var out []*trip
	var bound uint64 // by what is on its way
	short := false
	for _, t := range s.road {
		if t.sent > 0 {
			bound = min(bound+t.need+fee, ledger.MaxSupply)
		}
	}
	for _, t := range s.road {
		if !t.stored || s.now().Before(t.next) || t.until <= state.Height() {
			continue
		}
		if state.Executed(t.id) { // its block is still to be heard
			t.next = s.now().Add(s.config.Resubmit)
			continue
		}
		if t.sent == 0 {
			need := fee
			if !t.trial {
				need = min(t.need+fee, ledger.MaxSupply)
			}
			if account.GetBalance() < need {
				short = true
				s.impoverish(need)
			}
			if account.GetBalance() < min(bound+need, ledger.MaxSupply) {
				continue
			}
			bound += need
		}
		out = append(out, t)
	}
	if !short && s.poor != nil && account.GetBalance() >= s.poor.Needed {
		s.poor = nil
	}
	return out
}

// impoverish notes that the account cannot pay. It must be called with the lock held.
func (s *Settlement) impoverish(need uint64) {
	account, _ := s.config.Ledger.State().Account(s.rules.Sender)
	since := s.now()
	if s.poor != nil {
		since = s.poor.Since
	}
	s.poor = &Poverty{Needed: need, Balance: account.GetBalance(), Since: since}
	if s.loud("money") {
		s.config.Logger.Warn("settlement waits for money", "balance", s.poor.Balance, "needed", need)
	}
}

// submit signs one transaction and hands it to the node. It returns false if the node takes none now.
func (s *Settlement) submit(ctx context.Context, t *trip) bool {
	if ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, submitTime)
	defer cancel()
	end := s.pace.work()
	encoded, err := proto.Marshal(seal.SignTransaction(t.body, s.key()))
	if err == nil {
		_, err = s.config.Ledger.Submit(ctx, encoded)
	}
	end()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if t.sent++; t.sent > 1 {
			s.resubmits++
		}
		t.next = s.now().Add(s.config.Resubmit << min(t.sent-1, 3))
		s.retry.succeeded()
		s.trouble = nil
		return true
	case broken(err) && s.mend(t):
		return true
	}
	s.trouble = err
	s.retry.failed(s.now())
	t.next = s.now().Add(s.config.Resubmit) // others first: it may be about this one
	if s.loud("submit") {
		s.config.Logger.Warn("the node takes no transaction of the settlement", "error", err)
	}
	return false
}

// broken reports whether an error says that some deed of a transaction cannot be done.
func broken(err error) bool {
	return errors.Is(err, ledger.ErrEvidence) || errors.Is(err, ledger.ErrMalformed) || errors.Is(err, ledger.ErrTooLarge)
}

// mend takes a transaction off the road that no block can hold, without the deeds that are to blame. It returns false if
// none was found to be. It must be called with the lock held.
func (s *Settlement) mend(t *trip) bool {
	i := s.find(t.id[:])
	if i < 0 {
		return true // a block was heard meanwhile
	}
	refused := s.book.Broken(t.body)
	s.road = append(s.road[:i], s.road[i+1:]...)
	s.dirty = true
	s.refused(refused)
	s.look()
	return len(refused) > 0
}

// sleepFor is how long there is nothing to do, unless somebody kicks.
func (s *Settlement) sleepFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	soonest := now.Add(idle)
	at := func(t time.Time) {
		if t.Before(soonest) {
			soonest = t
		}
	}
	_, waiting, sent := s.book.Open()
	if waiting > 0 && sent < settle.MaxSent {
		at(s.ripe())
	}
	if s.dirty {
		at(s.stored.at.Add(s.config.SaveEvery))
	}
	if s.config.Checkpoint != nil {
		at(s.anchor.next)
	}
	for _, t := range s.road {
		at(t.next)
	}
	if soonest.Before(s.retry.at) {
		soonest = s.retry.at
	}
	if wait := soonest.Sub(now); wait > 0 {
		return max(wait, grain)
	}
	return lull // something is due that cannot be done yet: a block or money will come
}
