package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// evidenceTypes are the facts that the second pass reads.
var evidenceTypes = []string{
	events.TypeOf(&eventv1.JobSubmitted{}), events.TypeOf(&eventv1.AssignmentDispatched{}),
	events.TypeOf(&eventv1.ResultReturned{}), events.TypeOf(&eventv1.ResultRejected{}),
	events.TypeOf(&eventv1.ReplicaReturned{}), events.TypeOf(&eventv1.TaskVerified{}),
	events.TypeOf(&eventv1.JobDeadLettered{}), events.TypeOf(&eventv1.JobCancelled{}),
}

// examine is the second pass: what decisions trusted without computing it is verified.
func examine(ctx context.Context, log Log, opts Options, found *findings) (Evidence, error) {
	begun := time.Now()
	examiners := make([]*examiner, opts.Workers)
	for i := range examiners {
		examiners[i] = newExaminer(log, opts)
	}
	var order findings // the first pass has named them
	if err := deal(ctx, log, events.Filter{Types: evidenceTypes}, examiners, &order); err != nil {
		return Evidence{}, err
	}
	var sum Evidence
	for _, x := range examiners {
		sum.Attestations += x.sum.Attestations
		sum.Unattested += x.sum.Unattested
		sum.Replicas += x.sum.Replicas
		sum.Checksums += x.sum.Checksums
		sum.Proofs += x.sum.Proofs
		sum.Placements += x.sum.Placements
		sum.Blobs += x.sum.Blobs
		found.merge(x.found)
	}
	sum.Seconds = time.Since(begun).Seconds()
	return sum, nil
}

// examiner verifies the evidence of the jobs that are dealt to it.
type examiner struct {
	log   Streams
	blobs Blobs
	cases *shelf[*exhibit]
	found findings
	sum   Evidence
	// partial: content that is missing is no fault.
	partial bool
}

// exhibit is what the evidence of one job is made of.
type exhibit struct {
	spec   *eventv1.JobSpec
	policy *eventv1.JobPolicy
	slots  map[uint32]*handed
}

// handed is the last attempt of one slot.
type handed struct {
	attempt *eventv1.AssignmentDispatched
	result  *eventv1.ResultReturned
}

func newExaminer(log Streams, opts Options) *examiner {
	x := &examiner{log: log, blobs: opts.Blobs, found: findings{max: opts.MaxFound}}
	never := func(*exhibit) bool { return false }
	x.cases = newShelf(max(1, opts.MaxOpen/opts.Workers), never, func(string, *exhibit) {})
	return x
}

func (x *examiner) end(context.Context) error { return nil }

func (x *examiner) take(ctx context.Context, r *events.Record) error {
	f, err := events.Decode(*r)
	if err != nil {
		return nil // the first pass has named it
	}
	job := family(r.Stream)
	switch {
	case r.Stream == jobPrefix+job:
		return x.job(ctx, r, job, f)
	case len(r.Stream) > len(assignmentPrefix) && r.Stream[:len(assignmentPrefix)] == assignmentPrefix:
		_, slot, err := actors.ParseSlotID(r.Stream[len(assignmentPrefix):])
		if err != nil {
			return nil
		}
		return x.slot(ctx, r, job, slot, f)
	}
	return nil
}

// exhibit returns what is known of a job, from memory or read again from the log.
func (x *examiner) exhibit(ctx context.Context, job string) (*exhibit, error) {
	if e, ok := x.cases.get(job); ok {
		return e, nil
	}
	e := &exhibit{slots: make(map[uint32]*handed)}
	x.cases.put(job, e)
	for f, err := range x.facts(ctx, jobPrefix+job, 1) {
		if err != nil {
			return nil, err
		}
		if f, ok := f.(*eventv1.JobSubmitted); ok {
			e.submitted(f)
		}
	}
	return e, nil
}

func (e *exhibit) submitted(f *eventv1.JobSubmitted) { e.spec, e.policy = f.GetSpec(), f.GetPolicy() }

// handed returns what is known of a job's slot up to a revision of its stream (0: to its end).
func (x *examiner) handed(ctx context.Context, e *exhibit, job string, slot uint32, before uint64) (*handed, error) {
	if h, ok := e.slots[slot]; ok {
		return h, nil
	}
	h := &handed{}
	e.slots[slot] = h
	for f, err := range x.facts(ctx, actors.SlotAddress(job, slot).Stream(), before) {
		if err != nil {
			return nil, err
		}
		switch f := f.(type) {
		case *eventv1.AssignmentDispatched:
			h.attempt, h.result = f, nil
		case *eventv1.ResultReturned:
			h.result = f
		}
	}
	return h, nil
}

// facts reads the first facts of a stream, as far as there are any that can be decoded.
func (x *examiner) facts(ctx context.Context, name string, limit uint64) func(func(events.Fact, error) bool) {
	return func(yield func(events.Fact, error) bool) {
		for r, err := range x.log.Read(ctx, name, events.Span{Limit: int(limit)}) {
			if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", name, err))
				return
			}
			f, err := events.Decode(r)
			if err != nil {
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

// slot takes a fact of an assignment.
func (x *examiner) slot(ctx context.Context, r *events.Record, job string, slot uint32, f events.Fact) error {
	e, err := x.exhibit(ctx, job)
	if err != nil {
		return err
	}
	if d, ok := f.(*eventv1.AssignmentDispatched); ok {
		e.slots[slot] = &handed{attempt: d}
		x.placement(r, job, slot, d)
		return nil
	}
	h, err := x.handed(ctx, e, job, slot, r.Rev)
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *eventv1.ResultReturned:
		h.result = f
		x.returned(r, e, h, job, slot)
		return x.further(ctx, r, e, f)
	case *eventv1.ResultRejected:
		x.rejected(r, e, h, job, slot, f)
	}
	return nil
}

// returned verifies the signature under a result.
func (x *examiner) returned(r *events.Record, e *exhibit, h *handed, job string, slot uint32) {
	f := h.result
	if len(f.GetAttestation()) == 0 {
		if e.policy.GetRequireAttestation() {
			x.found.add(r, Attestation, "the job's policy requires a signature and there is none")
			return
		}
		x.sum.Unattested++
		return
	}
	s, wrong := statement(e, h, job, slot, f.GetAttempt(), f.GetStatus(), f.GetFuel(), f.GetOutput())
	if wrong != "" {
		x.found.add(r, Attestation, "%s", wrong)
		return
	}
	x.sum.Attestations++
	if !s.Verify(h.attempt.GetWorker(), f.GetAttestation()) {
		x.found.add(r, Attestation, "the signature is not that of worker %x over this result", h.attempt.GetWorker())
	}
}

// rejected verifies that a signature that was refused does not fit.
func (x *examiner) rejected(r *events.Record, e *exhibit, h *handed, job string, slot uint32, f *eventv1.ResultRejected) {
	if f.GetReason() != eventv1.RejectReason_REJECT_REASON_SIGNATURE || len(f.GetAttestation()) == 0 {
		return
	}
	s, wrong := statement(e, h, job, slot, f.GetAttempt(), f.GetStatus(), f.GetFuel(), f.GetOutput())
	if wrong != "" {
		return // what cannot be stated cannot have been signed
	}
	x.sum.Attestations++
	if s.Verify(h.attempt.GetWorker(), f.GetAttestation()) {
		x.found.add(r, Attestation, "refused for its signature, which is that of worker %x", h.attempt.GetWorker())
	}
}

// statement is what the worker must have signed, made from the facts alone.
func statement(e *exhibit, h *handed, job string, slot, attempt uint32, status eventv1.ResultStatus, fuel uint64, out *eventv1.BlobRef) (proof.Statement, string) {
	s := proof.Statement{Job: job, Slot: slot, Token: h.attempt.GetToken(), Status: status, Fuel: fuel}
	switch {
	case e.spec == nil:
		return s, "a result of a job that was never submitted"
	case h.attempt == nil || h.attempt.GetAttempt() != attempt:
		return s, fmt.Sprintf("a result of attempt %d, which was never dispatched", attempt)
	case !fill(&s.Module, e.spec.GetModule()), !fill(&s.Input, e.spec.GetInput().GetSha256()):
		return s, "the job's module or input has no SHA-256"
	case out == nil && status != eventv1.ResultStatus_RESULT_STATUS_OK:
		s.Output = sha256.Sum256(nil) // a failed run has no output: the worker signs the digest of nothing
	case !fill(&s.Output, out.GetSha256()):
		return s, "the output has no SHA-256"
	}
	return s, ""
}

func fill(to *[32]byte, from []byte) bool {
	return copy(to[:], from) == len(to) && len(from) == len(to)
}

// job takes a fact of a job.
func (x *examiner) job(ctx context.Context, r *events.Record, job string, f events.Fact) error {
	if f, ok := f.(*eventv1.JobSubmitted); ok {
		e := &exhibit{slots: make(map[uint32]*handed)}
		e.submitted(f)
		x.cases.remove(job)
		x.cases.put(job, e)
		return x.blob(ctx, r, "input", f.GetSpec().GetInput())
	}
	e, err := x.exhibit(ctx, job)
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *eventv1.ReplicaReturned:
		h, err := x.handed(ctx, e, job, f.GetSlot(), 0)
		if err != nil {
			return err
		}
		x.replica(r, h, f)
	case *eventv1.TaskVerified:
		if err := x.verdict(ctx, r, e, job, f); err != nil {
			return err
		}
		x.cases.remove(job)
	case *eventv1.JobDeadLettered, *eventv1.JobCancelled:
		x.cases.remove(job)
	}
	return nil
}

// replica compares what a job counts with what the slot returned.
func (x *examiner) replica(r *events.Record, h *handed, f *eventv1.ReplicaReturned) {
	x.sum.Replicas++
	wrong := ""
	switch {
	case h.result == nil || h.attempt == nil || h.result.GetAttempt() != f.GetAttempt():
		wrong = fmt.Sprintf("slot %d returned nothing at attempt %d", f.GetSlot(), f.GetAttempt())
	case !bytes.Equal(h.attempt.GetWorker(), f.GetWorker()) || h.attempt.GetGroup() != f.GetGroup():
		wrong = fmt.Sprintf("slot %d was in the hands of another worker", f.GetSlot())
	case h.result.GetStatus() != f.GetStatus() || h.result.GetFuel() != f.GetFuel() ||
		!bytes.Equal(h.result.GetOutput().GetSha256(), f.GetOutput().GetSha256()):
		wrong = fmt.Sprintf("slot %d returned another result", f.GetSlot())
	}
	if wrong != "" {
		x.found.add(r, Replica, "%s", wrong)
	}
}

// verdict verifies a verdict's checksum, those of the replicas it names, and its output.
func (x *examiner) verdict(ctx context.Context, r *events.Record, e *exhibit, job string, f *eventv1.TaskVerified) error {
	x.sum.Checksums++
	sum, ok := checksum(eventv1.ResultStatus_RESULT_STATUS_OK, f.GetFuel(), f.GetOutput())
	if !ok || !bytes.Equal(sum[:], f.GetChecksum()) {
		x.found.add(r, Checksum, "the verdict's checksum is %x, its result's is %x", f.GetChecksum(), sum)
	}
	for _, slot := range slices.Concat(f.GetAgreeing(), f.GetContradicted()) {
		h, err := x.handed(ctx, e, job, slot, 0)
		if err != nil {
			return err
		}
		own, ok := checksum(h.result.GetStatus(), h.result.GetFuel(), h.result.GetOutput())
		agrees := ok && bytes.Equal(own[:], f.GetChecksum())
		if agrees != slices.Contains(f.GetAgreeing(), slot) {
			x.found.add(r, Checksum, "slot %d returned %x: it is counted on the wrong side", slot, own)
		}
	}
	return x.blob(ctx, r, "output", f.GetOutput())
}

func checksum(status eventv1.ResultStatus, fuel uint64, out *eventv1.BlobRef) (sum [32]byte, ok bool) {
	var digest [32]byte
	if !fill(&digest, out.GetSha256()) {
		return sum, false
	}
	return proof.Checksum(status, fuel, digest), true
}

// blob verifies that content is there and is what its name says.
func (x *examiner) blob(ctx context.Context, r *events.Record, what string, ref *eventv1.BlobRef) error {
	var sum [32]byte
	if x.blobs == nil || !fill(&sum, ref.GetSha256()) {
		return nil
	}
	x.sum.Blobs++
	data, err := x.blobs.Get(ctx, sum)
	switch {
	case errors.Is(err, events.ErrNotFound) && x.partial:
		x.sum.Blobs--
	case errors.Is(err, events.ErrNotFound):
		x.found.add(r, Blob, "%s %x is missing", what, sum)
	case err != nil:
		return fmt.Errorf("read %s %x: %w", what, sum, err)
	case sha256.Sum256(data) != sum || uint64(len(data)) != ref.GetSize():
		x.found.add(r, Blob, "%s %x is not what its name says", what, sum)
	}
	return nil
}
