package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// ErrSelf refuses an accusation of this orchestrator by itself: somebody else has its key.
var ErrSelf = errors.New("node: the evidence is against this orchestrator itself")

const (
	// accusedBlocks is how long a transaction with evidence is valid. One that got lost is followed by a fresh one.
	accusedBlocks = 60
	// maxTurns bounds the wait for others to accuse first, in heartbeats.
	maxTurns = 8
	// maxRest is how many blocks pass at most between two transactions for one accusation.
	maxRest = 256
)

// accuser makes transactions of evidence, until the accused is punished or cannot be any more. All who know of it do, one
// after the other (turn), so that the later ones mostly find nothing left to pay a fee for.
type accuser struct {
	n       *Node
	path    string
	reports chan *ledgerv1.Equivocation // from those who must not wait
	wake    chan struct{}               // there is a block, or a charge; holds one

	mu      sync.Mutex
	charges []*charge // the list; what is in one belongs to the goroutine of run
}

// charge is an accusation that is not decided.
type charge struct {
	evidence *ledgerv1.Equivocation
	accused  []byte
	due      time.Time   // not before: others come first
	next     uint64      // not before this height
	rest     uint64      // blocks to wait after the next attempt
	tx       ledger.Hash // that is on its way; zero: none
	until    uint64      // its last height
	poor     bool        // it was said that there is no money for the fee
}

func newAccuser(n *Node, path string) (*accuser, error) {
	a := &accuser{n: n, path: path, reports: make(chan *ledgerv1.Equivocation, 64), wake: make(chan struct{}, 1)}
	list, err := readDocket(path)
	switch {
	case errors.Is(err, errDocket):
		n.log.Error("accusations cannot be read and are set aside", "file", path, "error", err)
		return a, os.Rename(path, path+".broken")
	case err != nil:
		return nil, fmt.Errorf("node: accusations: %w", err)
	}
	for _, e := range list {
		if err := a.add(e, false); err != nil {
			n.log.Debug("accusation is over", "error", err)
		}
	}
	return a, nil
}

// Accuse has a key punished on the ledger that has signed two things which cannot both be meant. It returns when the
// accusation is on disk; a *Refusal says that it would come to nothing. The fee is this orchestrator's.
func (n *Node) Accuse(e *ledgerv1.Equivocation) error {
	if n.ctx.Err() != nil {
		return ErrClosed
	}
	return n.accuser.add(e, true)
}

// witnessed is told by the engine of two votes that contradict each other. It does not wait.
func (a *accuser) witnessed(p *ledgerv1.VotePair) {
	a.report(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: p}})
}

func (a *accuser) report(e *ledgerv1.Equivocation) {
	select {
	case a.reports <- e:
	default:
		a.n.log.Warn("too many contradictions at once, one is passed over")
	}
}

// run works on the accusations until ctx ends.
func (a *accuser) run(ctx context.Context) {
	tick := time.NewTicker(a.n.cfg.Heartbeat / 2)
	defer tick.Stop()
	for {
		select {
		case e := <-a.reports:
			var r *Refusal
			if err := a.add(e, true); err != nil && !errors.As(err, &r) {
				a.n.log.Error("contradiction not accused", "error", err)
			}
		case <-a.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		a.press(ctx)
	}
}

func (a *accuser) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// add takes an accusation, unless there is one against this key already.
func (a *accuser) add(e *ledgerv1.Equivocation, save bool) error {
	accused := accusedBy(e)
	if bytes.Equal(accused, a.n.key) {
		return ErrSelf
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(a.charges, func(c *charge) bool { return bytes.Equal(c.accused, accused) }) {
		return nil
	}
	_, verdict, err := a.trial(e)
	switch {
	case err != nil:
		return err
	case a.punished(accused):
		return &Refusal{Code: ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN, Detail: "the key is tombstoned"}
	case verdict.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE: // there may be money later
	case verdict.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		return &Refusal{Code: verdict.Code, Detail: verdict.Detail}
	}
	if len(a.charges) >= maxCharges {
		return fmt.Errorf("%w: %d accusations", ErrFull, len(a.charges))
	}
	a.charges = append(a.charges, &charge{evidence: e, accused: accused, due: time.Now().Add(a.turn(accused)), rest: 1})
	a.n.log.Warn("a key contradicts itself and is accused", "key", fmt.Sprintf("%x", accused))
	if save {
		a.save()
	}
	a.nudge()
	return nil
}

// punished reports whether a key has lost what it can lose. All that it signs twice is one fault.
func (a *accuser) punished(key []byte) bool {
	account, _ := a.n.chain.State().Account(key)
	return account.Tombstoned
}

// accusedBy is the key that has signed both statements; nil when there are none.
func accusedBy(e *ledgerv1.Equivocation) []byte {
	switch k := e.GetKind().(type) {
	case *ledgerv1.Equivocation_Votes:
		return k.Votes.GetValidator()
	case *ledgerv1.Equivocation_Checkpoints:
		return k.Checkpoints.GetOrchestrator()
	case *ledgerv1.Equivocation_Results:
		return k.Results.GetFirst().GetWorker()
	}
	return nil
}

// trial makes a transaction of evidence and says what would become of it in the next block.
func (a *accuser) trial(e *ledgerv1.Equivocation) (ledger.Checked, *ledgerv1.Receipt, error) {
	s := a.n.chain.State()
	tx := ledger.Sign(&ledgerv1.Transaction{
		ChainId: s.Chain(), Sender: a.n.key, Salt: salt(), ValidUntil: s.Height() + min(s.Params().WindowBlocks, accusedBlocks),
		Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Equivocation{Equivocation: e}}},
	}, a.n.cfg.Key)
	c, err := ledger.Check(s.Chain(), tx)
	if err != nil {
		return c, nil, fmt.Errorf("node: accuse: %w", err)
	}
	_, receipts, err := s.Execute(s.Height()+1, []ledger.Checked{c})
	if err != nil {
		return c, nil, fmt.Errorf("node: accuse: %w", err)
	}
	return c, receipts[0], nil
}

// turn is how long others are left to accuse a key first: the validators in an order that the key decides, then all others.
func (a *accuser) turn(accused []byte) time.Duration {
	rank := func(key []byte) []byte {
		h := sha256.Sum256(slices.Concat(accused, key))
		return h[:]
	}
	own, before := rank(a.n.key), 0
	for _, v := range a.n.chain.Validators().GetValidators() {
		if bytes.Equal(v.Key, accused) || bytes.Equal(v.Key, a.n.key) {
			continue
		}
		if !a.n.votes() || bytes.Compare(rank(v.Key), own) < 0 {
			before++
		}
	}
	return time.Duration(min(before, maxTurns)) * a.n.cfg.Heartbeat
}

// press looks what became of each accusation and makes the transactions that are due. Only this goroutine changes what is
// in a charge; no lock is held meanwhile.
func (a *accuser) press(ctx context.Context) {
	a.mu.Lock()
	list := slices.Clone(a.charges)
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, a.n.cfg.Heartbeat/2)
	defer cancel()
	list = slices.DeleteFunc(list, func(c *charge) bool { return !a.decided(ctx, c) })
	if len(list) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.charges = slices.DeleteFunc(a.charges, func(c *charge) bool { return slices.Contains(list, c) })
	a.save()
}

// decided reports whether an accusation is over.
func (a *accuser) decided(ctx context.Context, c *charge) bool {
	s := a.n.chain.State()
	if c.tx != (ledger.Hash{}) {
		o, err := a.n.chain.Find(c.tx)
		switch {
		case err == nil && final(o.Receipt.Code):
			a.over(c, o.Receipt)
			return true
		case err == nil || s.Height() >= c.until: // refused for another reason, or lost
			c.tx, c.next, c.rest = ledger.Hash{}, s.Height()+1+c.rest, min(2*c.rest, maxRest)
		default:
			return false
		}
	}
	if a.punished(c.accused) {
		a.over(c, &ledgerv1.Receipt{Code: ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN})
		return true
	}
	if s.Height()+1 < c.next || time.Now().Before(c.due) || ctx.Err() != nil {
		return false
	}
	if own, _ := s.Account(a.n.key); own.Balance < s.Params().Fee {
		if !c.poor {
			a.n.log.Warn("no money for the fee of an accusation", "balance", own.Balance, "fee", s.Params().Fee)
		}
		c.poor = true
		return false
	}
	tx, verdict, err := a.trial(c.evidence)
	switch {
	case err != nil:
		a.n.log.Error("accusation dropped", "error", err)
		return true
	case final(verdict.Code) && verdict.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		a.over(c, verdict)
		return true
	case verdict.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		return false
	}
	if _, err := a.n.Submit(ctx, tx.Encoded()); err != nil {
		a.n.log.Debug("accusation not submitted", "error", err)
		return false // at the next tick
	}
	c.tx, c.until = tx.ID(), tx.Body().ValidUntil
	return false
}

// final reports whether a receipt ends an accusation: the accused is punished, or nothing will get it punished for this.
func final(code ledgerv1.ReceiptCode) bool {
	switch code {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OK, ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN,
		ledgerv1.ReceiptCode_RECEIPT_CODE_OLD_EVIDENCE, ledgerv1.ReceiptCode_RECEIPT_CODE_BAD_EVIDENCE,
		ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_ALLOWED:
		return true
	}
	return false
}

func (a *accuser) over(c *charge, r *ledgerv1.Receipt) {
	a.n.log.Info("accusation is over", "key", fmt.Sprintf("%x", c.accused), "code", r.Code, "detail", r.Detail)
}

// save leaves the accusations on disk. A disk that fails keeps nobody from accusing. The lock is held.
func (a *accuser) save() {
	list := make([]*ledgerv1.Equivocation, len(a.charges))
	for i, c := range a.charges {
		list[i] = c.evidence
	}
	if err := writeDocket(a.path, list); err != nil {
		a.n.log.Error("accusations not saved", "file", a.path, "error", err)
	}
}

func (a *accuser) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.charges)
}
