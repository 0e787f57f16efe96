package settle

import (
	"bytes"
	"crypto/ed25519"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func (s *Settler) queue(d *ledgerv1.Deed) { s.state.Queue = append(s.state.Queue, d) }

// cover is what must be locked to pay some replicas, whatever stake they have.
func (s *Settler) cover(price uint64, replicas int) uint64 {
	n := uint64(max(replicas, 1))
	each := ledger.MaxSupply / n
	if hi, lo := bits.Mul64(price, million+s.config.BonusPpm); hi < million {
		most, _ := bits.Div64(hi, lo, million)
		each = min(each, most)
	}
	return max(each*n, 1)
}

// verified orders what follows from a verdict: payment of those who agreed, punishment of those who did not.
func (s *Settler) verified(j *ledgerv1.PendingJob, f *eventv1.TaskVerified) {
	if f.Basis != eventv1.VerdictBasis_VERDICT_BASIS_QUORUM && f.Basis != eventv1.VerdictBasis_VERDICT_BASIS_REFEREE {
		s.unpaid(j)
		return
	}
	d := &ledgerv1.Decision{
		Job: j.Id, Module: j.Module, Input: j.Input, Checksum: f.Checksum, Basis: f.Basis,
		Referee: f.Basis == eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, FirstSlot: j.FirstSlot,
	}
	d.Agreeing = results(j, f.Agreeing, func(sum [32]byte) bool { return bytes.Equal(sum[:], f.Checksum) })
	if len(d.Agreeing) == 0 || !d.Referee && len(d.Agreeing) < 2 {
		s.unpaid(j)
		return
	}
	pay := &ledgerv1.Deed{Kind: ledgerv1.DeedKind_DEED_KIND_PAY, Job: j.Id, Round: j.Round, Decision: d, Price: s.config.Prices.Price(f.Fuel)}
	if !j.Escrowed {
		pay.Escrow = s.cover(pay.Price, len(d.Agreeing))
	}
	s.queue(pay)
	if slash := contradicted(j, f, d); slash != nil {
		s.punish(slash)
	}
}

// unpaid counts a verdict for which nobody can be paid on the ledger, and frees what was locked for it.
func (s *Settler) unpaid(j *ledgerv1.PendingJob) {
	s.state.Unpaid++
	s.giveBack(j, eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM)
}

// contradicted is the slash that a verdict leads to; nil if it leads to none.
func contradicted(j *ledgerv1.PendingJob, f *eventv1.TaskVerified, paid *ledgerv1.Decision) *ledgerv1.Deed {
	d := proto.CloneOf(paid)
	d.Contradicted = results(j, f.Contradicted, func(sum [32]byte) bool { return !bytes.Equal(sum[:], f.Checksum) })
	d.Contradicted = slices.DeleteFunc(d.Contradicted, func(r *ledgerv1.Result) bool {
		return slices.ContainsFunc(d.Agreeing, func(a *ledgerv1.Result) bool { return bytes.Equal(a.Worker, r.Worker) })
	})
	if len(d.Contradicted) == 0 || len(d.Agreeing)-largest(d.Contradicted) < 2 {
		return nil // the ledger punishes nobody for less
	}
	return &ledgerv1.Deed{Kind: ledgerv1.DeedKind_DEED_KIND_SLASH, Job: j.Id, Round: j.Round, Decision: d}
}

// punish sends a slash once the job is paid for, or has it wait for the referee.
func (s *Settler) punish(slash *ledgerv1.Deed) {
	if !slash.Decision.Referee && !s.config.SlashOnQuorum {
		if len(s.state.Doubts) >= MaxDoubts {
			s.state.Doubts = slices.Delete(s.state.Doubts, 0, 1)
		}
		s.state.Doubts = append(s.state.Doubts, slash)
		return
	}
	if pay := s.paying(slash.Job); pay != nil {
		pay.Then = slash
		return
	}
	s.queue(slash)
}

// paying is the payment for a job that is not yet in a block; nil if there is none.
func (s *Settler) paying(job string) *ledgerv1.Deed {
	is := func(d *ledgerv1.Deed) bool { return d.Kind == ledgerv1.DeedKind_DEED_KIND_PAY && d.Job == job }
	for _, deeds := range s.waiting() {
		if i := slices.IndexFunc(deeds, is); i >= 0 {
			return deeds[i]
		}
	}
	return nil
}

// locking reports whether the escrow of a job is not yet in a block.
func (s *Settler) locking(job string) bool {
	return slices.ContainsFunc(s.waiting(), func(deeds []*ledgerv1.Deed) bool {
		return slices.ContainsFunc(deeds, func(d *ledgerv1.Deed) bool {
			return d.Kind == ledgerv1.DeedKind_DEED_KIND_ESCROW && d.Job == job
		})
	})
}

// waiting are all deeds that are in no block, the youngest first.
func (s *Settler) waiting() [][]*ledgerv1.Deed {
	all := [][]*ledgerv1.Deed{s.state.Queue}
	for _, t := range slices.Backward(s.state.Sent) {
		all = append(all, t.Deeds)
	}
	return all
}

// results are the attested results of some slots, one a worker, as far as their checksum is a fitting one.
func results(j *ledgerv1.PendingJob, slots []uint32, fits func([32]byte) bool) (out []*ledgerv1.Result) {
	workers := map[string]bool{}
	for _, n := range slots {
		slot := find(j, n)
		if slot == nil || len(slot.Result.Attestation) != ed25519.SignatureSize || len(out) == ledger.MaxResults {
			continue
		}
		r := slot.Result
		if workers[string(r.Worker)] || !fits(proof.Checksum(r.Status, r.Fuel, [32]byte(r.Output))) {
			continue
		}
		workers[string(r.Worker)] = true
		out = append(out, r)
	}
	return out
}

// largest is how many results agree at most.
func largest(all []*ledgerv1.Result) (most int) {
	groups := map[[32]byte]int{}
	for _, r := range all {
		sum := proof.Checksum(r.Status, r.Fuel, [32]byte(r.Output))
		groups[sum]++
		most = max(most, groups[sum])
	}
	return most
}

// Doubt is a job whose contradicted workers are punished once the orchestrator itself has computed it.
type Doubt struct {
	Job      string
	Checksum [32]byte // that the verdict named
}

// Doubts are what waits for Confirm, the oldest first, at most n.
func (s *Settler) Doubts(n int) []Doubt {
	out := make([]Doubt, 0, min(n, len(s.state.Doubts)))
	for _, d := range s.state.Doubts[:min(n, len(s.state.Doubts))] {
		out = append(out, Doubt{d.Job, [32]byte(d.Decision.Checksum)})
	}
	return out
}

// Confirm says what the referee found. Only if it is what the verdict named somebody is punished.
func (s *Settler) Confirm(job string, checksum [32]byte) {
	for i, d := range s.state.Doubts {
		if d.Job != job {
			continue
		}
		s.state.Doubts = slices.Delete(s.state.Doubts, i, i+1)
		if bytes.Equal(d.Decision.Checksum, checksum[:]) {
			d.Decision.Referee = true
			s.punish(d)
		}
		return
	}
}

// Anchor has a signed checkpoint of the log anchored with the next transaction. Of several the last one counts.
func (s *Settler) Anchor(checkpoint []byte) {
	if len(checkpoint) <= ledger.MaxNoteBytes {
		s.state.Checkpoint = checkpoint
	}
}

// actions are what a deed puts into a transaction.
func actions(d *ledgerv1.Deed) []*ledgerv1.Action {
	lock := &ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: d.Job, Amount: d.Escrow}}}
	switch d.Kind {
	case ledgerv1.DeedKind_DEED_KIND_ESCROW:
		return []*ledgerv1.Action{lock}
	case ledgerv1.DeedKind_DEED_KIND_PAY:
		pay := &ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: d.Decision, Price: d.Price}}}
		if d.Escrow > 0 {
			return []*ledgerv1.Action{lock, pay}
		}
		return []*ledgerv1.Action{pay}
	case ledgerv1.DeedKind_DEED_KIND_SLASH:
		return []*ledgerv1.Action{{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: d.Decision}}}}
	case ledgerv1.DeedKind_DEED_KIND_REFUND:
		return []*ledgerv1.Action{{Kind: &ledgerv1.Action_Refund{Refund: &ledgerv1.Refund{Job: d.Job, Reason: d.Reason}}}}
	case ledgerv1.DeedKind_DEED_KIND_ANCHOR:
		return []*ledgerv1.Action{{Kind: &ledgerv1.Action_LogAnchor{LogAnchor: &ledgerv1.LogAnchor{Checkpoint: d.Checkpoint}}}}
	}
	return nil
}
