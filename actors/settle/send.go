package settle

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// room is what a transaction has for actions: what else it holds, and its signature, take less than the rest.
const room = ledger.MaxTransactionBytes - 1<<10

// Seal makes transactions of what waits, as many as may be on their way at once, and returns the bodies of the new ones.
// They MUST be stored with Encode before one of them is signed (seal.SignTransaction) and submitted.
func (s *Settler) Seal() [][]byte {
	if s.state.Checkpoint != nil {
		s.queue(&ledgerv1.Deed{Kind: ledgerv1.DeedKind_DEED_KIND_ANCHOR, Checkpoint: s.state.Checkpoint})
		s.state.Checkpoint = nil
	}
	var bodies [][]byte
	for len(s.state.Sent) < MaxSent {
		deeds, acts := s.next()
		if len(deeds) == 0 {
			break
		}
		until := s.until()
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&ledgerv1.Transaction{
			ChainId: s.config.Chain, Sender: s.config.Sender, Salt: s.salt(deeds), ValidUntil: until, Actions: acts,
		})
		if err != nil { // a text that is not UTF-8: no block could hold it
			s.state.Refused += uint64(len(deeds))
			continue
		}
		s.state.Sent = append(s.state.Sent, &ledgerv1.SentDeeds{Body: body, ValidUntil: until, Deeds: deeds})
		bodies = append(bodies, body)
	}
	return bodies
}

// Sent are the bodies of all transactions on their way.
func (s *Settler) Sent() [][]byte {
	out := make([][]byte, len(s.state.Sent))
	for i, t := range s.state.Sent {
		out[i] = t.Body
	}
	return out
}

// until is the last height of a new transaction: the end of the next half life. Steps make it likely that one that is
// made again after a crash is the same one.
func (s *Settler) until() uint64 {
	half := s.config.Life / 2
	return (s.state.Height/half + 2) * half
}

// next takes deeds out of the queue that fit into one transaction.
func (s *Settler) next() (deeds []*ledgerv1.Deed, acts []*ledgerv1.Action) {
	size, full := 0, false
	s.state.Queue = slices.DeleteFunc(s.state.Queue, func(d *ledgerv1.Deed) bool {
		if full || d.NotBefore > s.state.Height {
			return false
		}
		more := actions(d)
		n := 0
		for _, a := range more {
			n += proto.Size(a) + 8
		}
		if full = len(acts)+len(more) > ledger.MaxActions || size+n > room && len(acts) > 0; full {
			return false
		}
		size += n
		deeds, acts = append(deeds, d), append(acts, more...)
		return true
	})
	return deeds, acts
}

// salt names what a transaction does, so that the same deeds make the same transaction.
func (s *Settler) salt(deeds []*ledgerv1.Deed) []byte {
	h := sha256.New()
	h.Write([]byte("shardy/salt/v1\x00"))
	name := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	name([]byte(s.config.Chain))
	name(s.config.Sender)
	for _, d := range deeds {
		name([]byte(d.Job))
		name(d.Checkpoint)
		b := binary.BigEndian.AppendUint32(nil, uint32(d.Kind))
		b = binary.BigEndian.AppendUint32(b, d.Round)
		h.Write(binary.BigEndian.AppendUint32(b, d.Tries))
	}
	return h.Sum(nil)[:16]
}

// Refusal is a deed that the ledger will never do.
type Refusal struct {
	Kind   ledgerv1.DeedKind
	Job    string
	Code   ledgerv1.ReceiptCode
	Detail string
}

// Committed takes in the receipts of a block. Blocks MUST be heard in order; one that was heard before changes nothing,
// and of one that is left out (the node began anew with a snapshot) it is found out later what it did: the ledger refuses
// what was done. It returns what has failed for good.
func (s *Settler) Committed(height uint64, receipts []*ledgerv1.Receipt) []Refusal {
	if height <= s.state.Height {
		return nil
	}
	s.state.Height = height
	var refused []Refusal
	for _, r := range receipts {
		i := slices.IndexFunc(s.state.Sent, func(t *ledgerv1.SentDeeds) bool {
			id := seal.TransactionID(t.Body)
			return string(id[:]) == string(r.GetTransaction())
		})
		if i < 0 || r.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED {
			continue
		}
		t := s.state.Sent[i]
		s.state.Sent = slices.Delete(s.state.Sent, i, i+1)
		refused = append(refused, s.answered(t, r)...)
	}
	s.expire()
	return refused
}

// Unheard says that receipts up to the present height were not heard, and which transactions the ledger has executed. What
// those of ours did is found out by sending their deeds anew: the ledger refuses what was done.
func (s *Settler) Unheard(executed func(ledger.Hash) bool) {
	s.takeBack(func(t *ledgerv1.SentDeeds) bool { return executed(seal.TransactionID(t.Body)) })
}

// expire makes those transactions wait anew that no further block can hold.
func (s *Settler) expire() {
	s.takeBack(func(t *ledgerv1.SentDeeds) bool { return t.ValidUntil <= s.state.Height })
}

// takeBack makes the deeds of some transactions wait anew.
func (s *Settler) takeBack(which func(*ledgerv1.SentDeeds) bool) {
	var late []*ledgerv1.Deed
	s.state.Sent = slices.DeleteFunc(s.state.Sent, func(t *ledgerv1.SentDeeds) bool {
		if !which(t) {
			return false
		}
		late = append(late, t.Deeds...)
		return true
	})
	s.again(late)
}

// again makes deeds wait before all others. An escrow that is not wanted any more is forgotten: nobody would free it.
func (s *Settler) again(deeds []*ledgerv1.Deed) {
	deeds = slices.DeleteFunc(deeds, func(d *ledgerv1.Deed) bool {
		d.Tries++
		j := s.jobs[d.Job]
		return d.Kind == ledgerv1.DeedKind_DEED_KIND_ESCROW && (j == nil || !j.Escrowed)
	})
	s.state.Queue = append(deeds, s.state.Queue...)
}

// answered says what becomes of the deeds of a transaction. If one of them failed, none was done.
func (s *Settler) answered(t *ledgerv1.SentDeeds, r *ledgerv1.Receipt) (refused []Refusal) {
	var again []*ledgerv1.Deed
	first := uint32(0)
	for _, d := range t.Deeds {
		last := first + uint32(len(actions(d)))
		guilty := r.Action >= first && r.Action < last
		first = last
		switch {
		case r.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
			s.done(d)
			continue
		case r.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE: // for a deed or for the fee: all wait
			if d.Kind == ledgerv1.DeedKind_DEED_KIND_ESCROW {
				continue // the payment locks what it needs
			}
			if guilty && d.Kind == ledgerv1.DeedKind_DEED_KIND_PAY && d.Escrow == 0 && d.Tries > maxTries {
				s.state.Refused++ // what was locked is too little, and stays so
				refused = append(refused, Refusal{d.Kind, d.Job, r.Code, r.Detail})
				continue
			}
			d.NotBefore = s.state.Height + min(uint64(1)<<min(d.Tries, 10), maxDelay)
		case guilty && r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED:
			switch s.judge(d, r.Code) {
			case over:
				continue
			case never:
				s.state.Refused++
				refused = append(refused, Refusal{d.Kind, d.Job, r.Code, r.Detail})
				continue
			}
		}
		again = append(again, d)
	}
	s.again(again)
	return refused
}

func (s *Settler) done(d *ledgerv1.Deed) {
	if d.Kind == ledgerv1.DeedKind_DEED_KIND_PAY {
		s.state.Paid++
	}
	if d.Then != nil {
		s.queue(d.Then)
	}
}

// fate is what a failed deed comes to.
type fate uint8

const (
	retry fate = iota
	over       // it was done before, or is not needed any more
	never
)

// judge says what a deed comes to that the ledger has refused.
func (s *Settler) judge(d *ledgerv1.Deed, code ledgerv1.ReceiptCode) fate {
	const (
		pay    = ledgerv1.DeedKind_DEED_KIND_PAY
		refund = ledgerv1.DeedKind_DEED_KIND_REFUND
		slash  = ledgerv1.DeedKind_DEED_KIND_SLASH
		anchor = ledgerv1.DeedKind_DEED_KIND_ANCHOR
	)
	switch code {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_ALREADY_SETTLED:
		if d.Kind == pay {
			s.done(d)
		}
		return over
	case ledgerv1.ReceiptCode_RECEIPT_CODE_ESCROW_EXISTS:
		if d.Kind == pay {
			d.Escrow = 0
			return retry
		}
		return over
	case ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW:
		if d.Kind == pay {
			d.Escrow = s.cover(d.Price, len(d.Decision.GetAgreeing()))
			return retry
		}
		if d.Kind == refund && s.locking(d.Job) {
			return retry
		}
		return over
	case ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN:
		if d.Kind == slash {
			return over
		}
	case ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_ALLOWED:
		if d.Kind == refund {
			return over // it was asked for
		}
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE:
		if d.Kind == anchor {
			return over // it is anchored, or a later one is
		}
	}
	return never
}

// Broken says that the ledger's Check refuses a transaction of ours. Those of its deeds go whose attestations are not
// their workers'; the others are sent anew.
func (s *Settler) Broken(body []byte) (refused []Refusal) {
	i := slices.IndexFunc(s.state.Sent, func(t *ledgerv1.SentDeeds) bool { return slices.Equal(t.Body, body) })
	if i < 0 {
		return nil
	}
	t := s.state.Sent[i]
	s.state.Sent = slices.Delete(s.state.Sent, i, i+1)
	var again []*ledgerv1.Deed
	for _, d := range t.Deeds {
		if len(t.Deeds) == 1 || !signed(d.Decision) {
			s.state.Refused++
			refused = append(refused, Refusal{d.Kind, d.Job, ledgerv1.ReceiptCode_RECEIPT_CODE_BAD_EVIDENCE, "its form or a signature is wrong"})
			continue
		}
		again = append(again, d)
	}
	s.again(again)
	return refused
}

// signed reports whether all results of a decision are their workers'.
func signed(d *ledgerv1.Decision) bool {
	return !slices.ContainsFunc(slices.Concat(d.GetAgreeing(), d.GetContradicted()), func(r *ledgerv1.Result) bool {
		return !proof.Statement{
			Job: d.Job, Slot: r.Slot, Token: r.Token, Module: [32]byte(d.Module), Input: [32]byte(d.Input),
			Status: r.Status, Fuel: r.Fuel, Output: [32]byte(r.Output),
		}.Verify(r.Worker, r.Attestation)
	})
}
