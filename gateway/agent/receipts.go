package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/wire"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Receipt is what an orchestrator has signed about this worker's results: exactly one of Recorded, Refused and Rejected
// is set. Its signature is in order.
type Receipt struct {
	Orchestrator []byte // key
	Recorded     *workerv1.Receipts
	Results      *workerv1.ReceiptsBody // what Recorded says
	Strange      int                    // results of Recorded that this worker did not send, or not so

	Refused *workerv1.TaskSettled // one token
	Job     string                // of Refused
	Slot    uint32                // of Refused

	Rejected *workerv1.Rejected
}

// maxUnreceipted is how many results are remembered until their receipts come. A receipt comes within seconds: beyond
// this the oldest are forgotten, and what a receipt says of them can no longer be compared.
const maxUnreceipted = 16_384

// sent is a result on its way to its receipt.
type sent struct {
	job      string
	slot     uint32
	checksum [32]byte
	recorded bool // the orchestrator says so; its receipt is to come
}

// outbox remembers results from their sending to their receipts, across sessions. Its owner guards it.
type outbox struct {
	results map[uint64]*sent // by token
	order   []uint64         // oldest first, those that are gone included
	owed    int              // results that were recorded and have no receipt
	idle    chan struct{}    // closed when owed is 0; nil until asked for
}

func (o *outbox) put(token uint64, s sent) {
	if o.results == nil {
		o.results = make(map[uint64]*sent)
	}
	if _, ok := o.results[token]; !ok {
		o.order = append(o.order, token)
	}
	o.results[token] = &s
	for len(o.results) > maxUnreceipted || len(o.order) > 2*maxUnreceipted {
		o.take(o.order[0])
		o.order = o.order[1:]
	}
}

// take forgets a result and returns it, or nil.
func (o *outbox) take(token uint64) *sent {
	s := o.results[token]
	if s == nil {
		return nil
	}
	delete(o.results, token)
	if s.recorded {
		o.owed--
		o.announce()
	}
	return s
}

// recorded notes that the orchestrator owes a receipt.
func (o *outbox) recorded(token uint64) {
	if s := o.results[token]; s != nil && !s.recorded {
		s.recorded = true
		o.owed++
	}
}

// paid is closed when no receipt is owed.
func (o *outbox) paid() <-chan struct{} {
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	c := o.idle
	o.announce()
	return c
}

func (o *outbox) announce() {
	if o.idle != nil && o.owed == 0 {
		close(o.idle)
		o.idle = nil
	}
}

// receipts takes receipts for recorded results. What is not signed as it should be is of no use to anybody; what is
// signed, but speaks of something that was never sent so, is kept: it is proof that the orchestrator confuses results.
func (s *session) receipts(m *workerv1.Receipts) {
	a := s.agent
	body, err := proof.VerifyRecorded(s.serverKey, a.public, m)
	if err != nil {
		a.desk.forged()
		a.cfg.Log.Warn("the orchestrator's receipt proves nothing", "error", err, "orchestrator", hex.EncodeToString(s.serverKey))
		return
	}
	strange := a.desk.receipted(body.Results)
	if strange > 0 {
		a.cfg.Log.Warn("the orchestrator signs for results that were not sent so", "results", strange,
			"orchestrator", hex.EncodeToString(s.serverKey))
	}
	a.hand(Receipt{Orchestrator: s.serverKey, Recorded: m, Results: body, Strange: strange})
}

// forged counts a receipt that proves nothing.
func (d *desk) forged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Forged++
}

// receiptWait is how long a worker that is done waits for its last receipts. An orchestrator sends them at once to
// workers that drain.
const receiptWait = time.Second

// awaitReceipts waits until there is a receipt for every recorded result.
func (s *session) awaitReceipts(life context.Context) {
	s.agent.desk.mu.Lock()
	paid := s.agent.desk.outbox.paid()
	s.agent.desk.mu.Unlock()
	limit := time.NewTimer(receiptWait)
	defer limit.Stop()
	select {
	case <-paid:
	case <-limit.C:
	case <-life.Done():
	}
}

// receipted compares what an orchestrator says it has recorded with what was sent, and counts what does not agree.
func (d *desk) receipted(results []*workerv1.RecordedResult) (strange int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Receipted += uint64(len(results))
	for _, r := range results {
		was := d.outbox.take(r.GetToken())
		switch {
		case was == nil, was.job != r.GetJob(), was.slot != r.GetSlot(), string(was.checksum[:]) != string(r.GetChecksum()),
			r.GetAttested() == d.agent.cfg.Unsigned:
			strange++
		}
	}
	return strange
}

// refusal is the receipt of a rejected result, if it is one and its signature is in order. The caller holds mu.
func (d *desk) refusal(m *workerv1.TaskSettled, serverKey []byte) *Receipt {
	if m.GetOutcome() != workerv1.TaskOutcome_TASK_OUTCOME_REJECTED || len(m.GetTokens()) != 1 || d.agent.cfg.OnReceipt == nil {
		return nil
	}
	it := d.items[m.Tokens[0]]
	text := wire.RefusedText(d.agent.public, m.Tokens[0], m.GetReason(), m.GetAtUs())
	if it == nil || len(serverKey) != ed25519.PublicKeySize || !ed25519.Verify(serverKey, text, m.GetReceipt()) {
		return nil
	}
	return &Receipt{Orchestrator: serverKey, Refused: m, Job: it.assign.GetJob(), Slot: it.assign.GetSlot()}
}

// hand gives a receipt to whoever wants it.
func (a *Agent) hand(r Receipt) {
	if a.cfg.OnReceipt != nil {
		a.cfg.OnReceipt(r)
	}
}
