package settle

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Types are the facts that Hear wants. It passes over all others.
var Types = []string{
	"JobSubmitted", "TaskVerified", "JobDeadLettered", "JobRequeued", "JobDiscarded", "JobCancelled",
	"AssignmentDispatched", "ResultReturned",
}

// Hear takes in a fact of the log. What it has heard before, by its position, it passes over.
func (s *Settler) Hear(at events.Position, stream string, fact events.Fact) {
	if uint64(at) <= s.state.Position {
		return
	}
	s.state.Position = uint64(at)
	if id, ok := strings.CutPrefix(stream, actors.JobRoom+"-"); ok {
		s.hearJob(id, fact)
		return
	}
	if id, ok := strings.CutPrefix(stream, actors.AssignmentRoom+"-"); ok {
		if job, slot, err := actors.ParseSlotID(id); err == nil && s.jobs[job] != nil {
			hearSlot(s.jobs[job], slot, fact)
		}
	}
}

// Skip says that the log holds nothing more of interest up to a position.
func (s *Settler) Skip(to events.Position) { s.state.Position = max(s.state.Position, uint64(to)) }

func (s *Settler) hearJob(id string, fact events.Fact) {
	if f, ok := fact.(*eventv1.JobSubmitted); ok {
		s.submitted(id, f)
		return
	}
	j := s.jobs[id]
	if j == nil {
		return // it pays nothing, or it was settled
	}
	switch f := fact.(type) {
	case *eventv1.TaskVerified:
		delete(s.jobs, id)
		s.verified(j, f)
	case *eventv1.JobDeadLettered:
		s.giveBack(j, f.Reason)
	case *eventv1.JobRequeued:
		j.Round, j.FirstSlot, j.Slots = f.Round, f.FirstSlot, nil
	case *eventv1.JobDiscarded, *eventv1.JobCancelled:
		delete(s.jobs, id)
		s.giveBack(j, eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM)
	}
}

// submitted opens the book of a job that pays: stress and lite_test do not.
func (s *Settler) submitted(id string, f *eventv1.JobSubmitted) {
	spec := f.GetSpec()
	pays := spec.GetKind() == eventv1.JobKind_JOB_KIND_UNSPECIFIED || spec.GetKind() == eventv1.JobKind_JOB_KIND_STANDARD
	if !pays || s.jobs[id] != nil || len(spec.GetModule()) != sha256.Size || len(spec.GetInput().GetSha256()) != sha256.Size {
		return
	}
	j := &ledgerv1.PendingJob{Id: id, Round: 1, Module: spec.Module, Input: spec.Input.Sha256, Escrowed: s.config.Ahead}
	s.jobs[id] = j
	if s.config.Ahead {
		replicas := max(f.GetPolicy().GetMaxReplicas(), f.GetPolicy().GetRedundancy(), 1)
		s.queue(&ledgerv1.Deed{
			Kind: ledgerv1.DeedKind_DEED_KIND_ESCROW, Job: id, Round: 1,
			Escrow: s.cover(s.config.Prices.Price(spec.FuelLimit), int(replicas)),
		})
	}
}

// giveBack asks for an escrow back, once.
func (s *Settler) giveBack(j *ledgerv1.PendingJob, why eventv1.DeadLetterReason) {
	if !j.Escrowed {
		return
	}
	j.Escrowed = false
	s.queue(&ledgerv1.Deed{Kind: ledgerv1.DeedKind_DEED_KIND_REFUND, Job: j.Id, Round: j.Round, Reason: max(why, 1)})
}

// hearSlot keeps what the worker of a slot has signed.
func hearSlot(j *ledgerv1.PendingJob, n uint32, fact events.Fact) {
	switch f := fact.(type) {
	case *eventv1.AssignmentDispatched:
		if len(f.Worker) == ed25519.PublicKeySize {
			put(j, &ledgerv1.PendingSlot{Attempt: f.Attempt, Result: &ledgerv1.Result{Worker: f.Worker, Slot: n, Token: f.Token}})
		}
	case *eventv1.ResultReturned:
		slot := find(j, n)
		if slot == nil || slot.Attempt != f.Attempt || len(f.GetOutput().GetSha256()) != sha256.Size {
			return
		}
		r := slot.Result
		r.Status, r.Fuel, r.Output, r.Attestation = f.Status, f.Fuel, f.Output.Sha256, f.Attestation
	}
}

// put replaces what is known of a slot. Slots are few and in order.
func put(j *ledgerv1.PendingJob, slot *ledgerv1.PendingSlot) {
	i, found := slices.BinarySearchFunc(j.Slots, slot.Result.Slot, bySlot)
	if found {
		j.Slots[i] = slot
		return
	}
	j.Slots = slices.Insert(j.Slots, i, slot)
}

func find(j *ledgerv1.PendingJob, n uint32) *ledgerv1.PendingSlot {
	if i, found := slices.BinarySearchFunc(j.Slots, n, bySlot); found {
		return j.Slots[i]
	}
	return nil
}

func bySlot(s *ledgerv1.PendingSlot, n uint32) int { return cmp.Compare(s.GetResult().GetSlot(), n) }

// sorted are the open jobs by id.
func (s *Settler) sorted() []*ledgerv1.PendingJob {
	ids := slices.Sorted(maps.Keys(s.jobs))
	out := make([]*ledgerv1.PendingJob, len(ids))
	for i, id := range ids {
		out[i] = s.jobs[id]
	}
	return out
}
