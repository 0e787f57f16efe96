package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// payment is a transfer of a client. What an acknowledgement promises:
//
//	with a height       it is in that block, for good, whatever dies
//	without a height    it comes into one block, if the process that gave the word lives until then
//
// A client whose orchestrator died repeats the same bytes elsewhere: that never pays twice.
type payment struct {
	tx     []byte
	id     ledger.Hash
	by     *member // who gave the last word; nil: nobody
	life   int     // of that orchestrator: how often it had been killed before
	height uint64  // of the block, if it was told
}

// traffic is clients that pay each other through all orchestrators until they are told to end.
type traffic struct {
	fed  *federation
	stop chan struct{}
	work sync.WaitGroup

	mu   sync.Mutex
	sent []*payment // guarded by mu; each is complete when it is added
	turn int        // guarded by mu: whose purse is next
}

// traffic begins: one sender an operator, each with a pause between two payments. Every eighth waits for its block.
func (f *federation) traffic(pause time.Duration, by ...*member) *traffic {
	tr := &traffic{fed: f, stop: make(chan struct{})}
	for i := range by {
		tr.work.Go(func() { tr.send(by, i, pause) })
	}
	f.Cleanup(tr.end)
	return tr
}

// end may be called twice.
func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.work.Wait()
}

func (tr *traffic) send(by []*member, own int, pause time.Duration) {
	var height uint64
	for n := 0; ; n++ {
		if n%16 == 0 {
			for i := range by { // whoever answers
				if now := by[(own+i)%len(by)].look(); now != nil {
					height = max(height, now.Height)
					break
				}
			}
		}
		p := tr.payment(height)
		for i := own; p.by == nil; i++ {
			select {
			case <-tr.stop:
				return // nobody has given a word
			default:
			}
			wait := uint32(0)
			if n%8 == 0 {
				wait = 1000
			}
			if p.offer(by[i%len(by)], wait) != nil { // the next one is asked
				time.Sleep(10 * time.Millisecond)
			}
		}
		tr.mu.Lock()
		tr.sent = append(tr.sent, p)
		tr.mu.Unlock()
		select {
		case <-tr.stop:
			return
		case <-time.After(pause):
		}
	}
}

func (tr *traffic) payment(height uint64) *payment {
	tr.mu.Lock()
	tr.turn++
	from, to := tr.fed.clients[tr.turn%len(tr.fed.clients)], tr.fed.clients[(tr.turn+1)%len(tr.fed.clients)]
	tr.mu.Unlock()
	return newPayment(&ledgerv1.Transaction{ChainId: tr.fed.chain, ValidUntil: height + 400}, from, public(to), 7)
}

// newPayment completes a transaction.
func newPayment(t *ledgerv1.Transaction, from ed25519.PrivateKey, to []byte, amount uint64) *payment {
	t.Sender, t.Salt = public(from), make([]byte, 16)
	rand.Read(t.Salt) // never fails
	t.Actions = []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: to, Amount: amount}}}}
	p := &payment{tx: ledger.Sign(t, from)}
	if c, err := ledger.Check(t.ChainId, p.tx); err == nil {
		p.id = c.ID()
	}
	return p
}

// offer hands the payment to an orchestrator and notes its word.
func (p *payment) offer(to *member, waitMs uint32) error {
	life := to.lives()
	ctx, cancel := context.WithTimeout(to.Context(), patience(2*time.Second))
	defer cancel()
	res, err := to.ledger.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: p.tx, WaitMs: waitMs})
	if err == nil {
		p.by, p.life, p.height = to, life, res.Height
	}
	return err
}

// promised reports whether the payment has to be in a block in the end.
func (p *payment) promised() bool { return p.height > 0 || p.by.lives() == p.life }

// settle ends the traffic and holds the chain against every word that was given: nothing that was acknowledged is lost,
// nothing is carried out twice. Clients whose orchestrator died say it again.
func (tr *traffic) settle(ask ...*member) {
	f := tr.fed
	f.Helper()
	tr.end()
	if len(tr.sent) < 20 {
		f.Fatalf("only %d payments were sent", len(tr.sent))
	}
	r := ask[0].register(ask[0].height())
	orphans, lost, told := 0, 0, 0
	for _, p := range tr.sent {
		if p.height > 0 {
			told++
		}
		if !p.promised() {
			orphans++
			if r.held[p.id] == 0 {
				lost++
			}
			f.must(p.offer(ask[0], 0))
		}
	}
	missing := 0
	ask[0].poll("every payment is in a block", func() bool {
		r = ask[0].register(ask[0].height())
		missing = 0
		for _, p := range tr.sent {
			if r.carried[p.id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			time.Sleep(200 * time.Millisecond) // reading all blocks costs the orchestrator something
		}
		return missing == 0 || f.Context().Err() != nil
	})
	again := 0
	for _, p := range tr.sent {
		if r.held[p.id] > 1 {
			again++
		}
		if n := r.carried[p.id]; n != 1 {
			f.Errorf("payment %x was carried out %d times", p.id, n)
		}
		if p.height > 0 && p.height != r.height[p.id] {
			f.Errorf("payment %x: block %d was told, it is in block %d", p.id, p.height, r.height[p.id])
		}
	}
	if r.accused != f.villains {
		f.Errorf("%d were convicted of equivocation, of %d villains", r.accused, f.villains)
	}
	f.Logf("%d payments, each carried out once; of %d the block was told at once; %d lost their orchestrator and were repeated, %d of them needed it; %d are in a second block, where they do nothing; refused %v",
		len(tr.sent), told, orphans, lost, again, r.refused)
}
