package assignment

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Decide answers a command under rules version 1.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	if s.Job == "" {
		return actors.Decision{}, malformed("not a slot's id")
	}
	if cmd.AtUs < 0 || cmd.AtUs > math.MaxInt64/2 {
		return actors.Decision{}, malformed("at_us %d", cmd.AtUs)
	}
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_DispatchSlot:
		return s.dispatch(k.DispatchSlot, cmd.AtUs)
	case *eventv1.Command_AckTask:
		return s.ack(k.AckTask, cmd.AtUs)
	case *eventv1.Command_ReturnResult:
		return s.returned(k.ReturnResult, cmd.AtUs)
	case *eventv1.Command_ExpireAck:
		return s.expireAck(k.ExpireAck, cmd.AtUs)
	case *eventv1.Command_ExpireExecution:
		return s.expireExecution(k.ExpireExecution, cmd.AtUs)
	case *eventv1.Command_StripSlot:
		return s.strip(k.StripSlot)
	case *eventv1.Command_CancelSlot:
		return s.cancel(k.CancelSlot)
	case *eventv1.Command_AbandonSlot:
		return s.abandon(k.AbandonSlot)
	case *eventv1.Command_OpenSlot:
		return actors.Decision{Effects: s.open()}, nil
	default:
		return actors.Decision{}, fmt.Errorf("assignment: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
}

func (s State) dispatch(c *eventv1.DispatchSlot, atUs int64) (actors.Decision, error) {
	if Done(s) {
		return actors.Decision{}, ErrClosed
	}
	if s.Phase != Waiting {
		return actors.Decision{}, ErrNotWaiting
	}
	if err := checkDispatch(c); err != nil {
		return actors.Decision{}, err
	}
	attempt := s.Attempt + 1
	return fact(&eventv1.AssignmentDispatched{
		Attempt: attempt, Worker: c.Worker, Group: c.Group, Token: Token(c.Seed, attempt),
		AckDeadlineUs: atUs + int64(c.AckTimeoutMs)*1000, ExecutionTimeoutMs: c.ExecutionTimeoutMs,
		MaxAttempts: c.MaxAttempts, Candidates: c.Candidates, Seed: c.Seed, Head: c.Head,
	}), nil
}

func checkDispatch(c *eventv1.DispatchSlot) error {
	switch {
	case len(c.Worker) != ed25519.PublicKeySize:
		return malformed("worker: want %d bytes, got %d", ed25519.PublicKeySize, len(c.Worker))
	case len(c.Group) > MaxGroup || !utf8.ValidString(c.Group):
		return malformed("group: want at most %d bytes of UTF-8", MaxGroup)
	case c.AckTimeoutMs == 0 || c.AckTimeoutMs > policy.MaxTimeoutMs:
		return malformed("ack_timeout_ms %d: want 1 to %d", c.AckTimeoutMs, policy.MaxTimeoutMs)
	case c.ExecutionTimeoutMs == 0 || c.ExecutionTimeoutMs > policy.MaxTimeoutMs:
		return malformed("execution_timeout_ms %d: want 1 to %d", c.ExecutionTimeoutMs, policy.MaxTimeoutMs)
	case c.MaxAttempts == 0 || c.MaxAttempts > policy.MaxAttempts:
		return malformed("max_attempts %d: want 1 to %d", c.MaxAttempts, policy.MaxAttempts)
	case len(c.Seed) != SeedSize:
		return malformed("seed: want %d bytes, got %d", SeedSize, len(c.Seed))
	case len(c.Candidates) > MaxCandidates:
		return malformed("candidates: want at most %d, got %d", MaxCandidates, len(c.Candidates))
	}
	for _, k := range c.Candidates {
		if len(k) != CandidateSize {
			return malformed("candidates: want %d bytes each, got %d", CandidateSize, len(k))
		}
	}
	return nil
}

// Token derives an attempt's fencing token from the dice of its dispatch: the first eight bytes of
// SHA-256(seed, attempt as four bytes, big endian), and never 0.
func Token(seed []byte, attempt uint32) uint64 {
	var b [SeedSize + 4]byte
	n := copy(b[:SeedSize], seed)
	binary.BigEndian.PutUint32(b[n:], attempt)
	sum := sha256.Sum256(b[:n+4])
	return max(binary.BigEndian.Uint64(sum[:8]), 1)
}

func (s State) ack(c *eventv1.AckTask, atUs int64) (actors.Decision, error) {
	if err := s.admit(c.Token); err != nil {
		return actors.Decision{}, err
	}
	if s.Phase == Running {
		return actors.Decision{}, nil
	}
	return fact(&eventv1.TaskAcked{
		Attempt: s.Attempt, ExecutionDeadlineUs: atUs + int64(s.ExecutionTimeoutMs)*1000,
	}), nil
}

// admit refuses a worker that does not hold the slot.
func (s *State) admit(token uint64) error {
	switch {
	case s.Phase == Returned && token == s.Token:
		return ErrDuplicate
	case Done(*s):
		return ErrClosed
	case s.Phase == Waiting || token != s.Token:
		return ErrStaleToken
	}
	return nil
}

func (s State) returned(c *eventv1.ReturnResult, atUs int64) (actors.Decision, error) {
	if err := s.admit(c.Token); err != nil {
		return actors.Decision{}, err
	}
	if err := checkReturn(c); err != nil {
		return actors.Decision{}, err
	}
	if c.Reject != eventv1.RejectReason_REJECT_REASON_UNSPECIFIED {
		d := s.lose(&eventv1.ResultRejected{
			Attempt: s.Attempt, Reason: c.Reject, Detail: c.Detail, Status: c.Status, Output: c.Output, Fuel: c.Fuel,
			Attestation: c.Attestation,
		}, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED, "")
		d.Reply = ReturnReply{Reject: c.Reject}
		return d, nil
	}
	d := fact(&eventv1.ResultReturned{
		Attempt: s.Attempt, Status: c.Status, Output: c.Output, Fuel: c.Fuel, Attestation: c.Attestation,
		Proof: c.Proof, ProofSeed: c.ProofSeed, RunMs: s.runMs(atUs),
	})
	d.Reply = ReturnReply{Accepted: true}
	return d, nil
}

// runMs is how long ago the attempt was acknowledged; 0 when it never was.
func (s *State) runMs(atUs int64) uint32 {
	if s.Phase != Running {
		return 0
	}
	ackedUs := s.ExecutionDeadlineUs - int64(s.ExecutionTimeoutMs)*1000
	return uint32(min(max(atUs-ackedUs, 0)/1000, math.MaxUint32))
}

func (s State) expireAck(c *eventv1.ExpireAck, atUs int64) (actors.Decision, error) {
	if s.Phase != Dispatched || c.Attempt != s.Attempt {
		return actors.Decision{}, ErrStaleTimer
	}
	if atUs < s.AckDeadlineUs {
		return actors.Decision{Effects: []actors.Effect{s.deadline()}}, nil // the clock was set back
	}
	return s.lose(&eventv1.AckTimedOut{Attempt: s.Attempt}, eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT, ""), nil
}

func (s State) expireExecution(c *eventv1.ExpireExecution, atUs int64) (actors.Decision, error) {
	if s.Phase != Running || c.Attempt != s.Attempt {
		return actors.Decision{}, ErrStaleTimer
	}
	if atUs < s.ExecutionDeadlineUs {
		return actors.Decision{Effects: []actors.Effect{s.deadline()}}, nil // the clock was set back
	}
	return s.lose(
		&eventv1.ExecutionTimedOut{Attempt: s.Attempt}, eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT, "",
	), nil
}

func (s State) strip(c *eventv1.StripSlot) (actors.Decision, error) {
	if err := s.admit(c.Token); err != nil {
		return actors.Decision{}, err
	}
	switch c.Reason {
	case eventv1.StripReason_STRIP_REASON_UNSPECIFIED, eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT,
		eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED:
		return actors.Decision{}, malformed("strip reason %v is the slot's own", c.Reason)
	}
	if eventv1.StripReason_name[int32(c.Reason)] == "" {
		return actors.Decision{}, malformed("strip reason %d is unknown", c.Reason)
	}
	if len(c.Detail) > MaxDetail || !utf8.ValidString(c.Detail) {
		return actors.Decision{}, malformed("detail: want at most %d bytes of UTF-8", MaxDetail)
	}
	return s.lose(nil, c.Reason, c.Detail), nil
}

// lose takes the attempt away: the cause if there is one, the strip, and the dead letter when it was the last attempt.
func (s *State) lose(cause events.Fact, reason eventv1.StripReason, detail string) actors.Decision {
	facts := make([]events.Fact, 0, 3)
	if cause != nil {
		facts = append(facts, cause)
	}
	stripped := &eventv1.AssignmentStripped{
		Attempt: s.Attempt, Reason: reason, Counts: counts(reason) || s.Free >= MaxFreeAttempts, Detail: detail,
	}
	facts = append(facts, stripped)
	if stripped.Counts && s.Counted+1 >= s.MaxAttempts {
		facts = append(facts, &eventv1.AssignmentDeadLettered{
			Reason: eventv1.SlotFailure_SLOT_FAILURE_ATTEMPTS_EXHAUSTED, Attempts: s.Attempt,
		})
	}
	return actors.Decision{Facts: facts}
}

func (s State) cancel(c *eventv1.CancelSlot) (actors.Decision, error) {
	if s.Phase == Cancelled {
		return actors.Decision{}, nil
	}
	if Done(s) {
		return actors.Decision{}, ErrClosed
	}
	if len(c.Reason) > MaxDetail || !utf8.ValidString(c.Reason) {
		return actors.Decision{}, malformed("reason: want at most %d bytes of UTF-8", MaxDetail)
	}
	return fact(&eventv1.AssignmentCancelled{Reason: c.Reason}), nil
}

// abandon gives up a slot that waits. Whoever asks for it has made sure that the slot is not the job's only hope.
func (s State) abandon(c *eventv1.AbandonSlot) (actors.Decision, error) {
	switch {
	case c.Reason != eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER:
		return actors.Decision{}, malformed("slot failure %v is the slot's own, or unknown", c.Reason)
	case s.Phase == DeadLettered && s.Failure == c.Reason:
		return actors.Decision{}, nil
	case Done(s):
		return actors.Decision{}, ErrClosed
	case s.InFlight():
		return actors.Decision{}, ErrInFlight
	}
	return fact(&eventv1.AssignmentDeadLettered{Reason: c.Reason, Attempts: s.Attempt}), nil
}

func fact(f events.Fact) actors.Decision { return actors.Decision{Facts: []events.Fact{f}} }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
