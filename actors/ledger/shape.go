package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

var (
	errKind     = errors.New("no action that this version knows")
	errKey      = errors.New("a key has 32 bytes")
	errAmount   = errors.New("an amount is at least 1")
	errJob      = fmt.Errorf("the id of a job has 1 to %d bytes", MaxJobBytes)
	errDigest   = errors.New("a digest has 32 bytes")
	errResult   = errors.New("a result has a worker, a status from 1 to 4, an output digest and an attestation of 64 bytes")
	errResults  = fmt.Errorf("a decision has 1 to %d results of a kind", MaxResults)
	errReason   = errors.New("no known reason")
	errNote     = fmt.Errorf("a signed checkpoint has 1 to %d bytes", MaxNoteBytes)
	errApproval = fmt.Errorf("an approved text has 1 to %d approvals, of a key and 64 bytes each", light.MaxValidators)
	errBody     = errors.New("the approved text does not parse")
	errVote     = errors.New("a vote is for a block of 32 bytes, with metadata of 32 and a signature of 64")
	errSlashing = errors.New("contradicted results belong to a slash, and only to one")
)

// checkShape looks at the form and bounds of one action.
func checkShape(a *ledgerv1.Action) error {
	switch k := a.GetKind().(type) {
	case *ledgerv1.Action_Transfer:
		return first(keyed(k.Transfer.GetTo()), paid(k.Transfer.GetAmount()))
	case *ledgerv1.Action_StakeSet:
		return paid(k.StakeSet.GetStake())
	case *ledgerv1.Action_Unstake:
		return paid(k.Unstake.GetAmount())
	case *ledgerv1.Action_Unjail:
		return nil
	case *ledgerv1.Action_JobEscrow:
		return first(named(k.JobEscrow.GetJob()), paid(k.JobEscrow.GetAmount()))
	case *ledgerv1.Action_TaskVerified:
		d := k.TaskVerified.GetDecision()
		return first(paid(k.TaskVerified.GetPrice()), decided(d), when(len(d.GetContradicted()) > 0, errSlashing))
	case *ledgerv1.Action_Refund:
		_, ok := eventv1.DeadLetterReason_name[int32(k.Refund.GetReason())]
		return first(named(k.Refund.GetJob()), when(!ok || k.Refund.GetReason() == 0, errReason))
	case *ledgerv1.Action_ConsensusMismatch:
		d := k.ConsensusMismatch.GetDecision()
		return first(decided(d), when(len(d.GetContradicted()) == 0, errSlashing))
	case *ledgerv1.Action_Equivocation:
		return pairShape(k.Equivocation)
	case *ledgerv1.Action_LogAnchor:
		return noted(k.LogAnchor.GetCheckpoint())
	case *ledgerv1.Action_ValidatorSet:
		_, err := changeOf(k.ValidatorSet)
		return first(approved(k.ValidatorSet.GetApprovals()), err)
	case *ledgerv1.Action_VoidSlash:
		_, err := voidOf(k.VoidSlash)
		return first(approved(k.VoidSlash.GetApprovals()), err)
	}
	return errKind
}

// decided looks at the form of a decision.
func decided(d *ledgerv1.Decision) error {
	err := first(named(d.GetJob()), digest(d.GetModule()), digest(d.GetInput()), digest(d.GetChecksum()),
		when(len(d.GetAgreeing()) == 0 || len(d.GetAgreeing()) > MaxResults || len(d.GetContradicted()) > MaxResults, errResults))
	for _, r := range d.GetAgreeing() {
		err = first(err, replied(r))
	}
	for _, r := range d.GetContradicted() {
		err = first(err, replied(r))
	}
	return err
}

// replied looks at the form of a result. Its status is signed as one byte, so a larger one could be taken for another.
func replied(r *ledgerv1.Result) error {
	known := r.GetStatus() >= eventv1.ResultStatus_RESULT_STATUS_OK && r.GetStatus() <= eventv1.ResultStatus_RESULT_STATUS_BAD_OUTPUT
	return when(!known || len(r.GetWorker()) != ed25519.PublicKeySize || len(r.GetOutput()) != sha256.Size ||
		len(r.GetAttestation()) != ed25519.SignatureSize, errResult)
}

// pairShape looks at the form of two statements that are said to contradict each other.
func pairShape(e *ledgerv1.Equivocation) error {
	switch k := e.GetKind().(type) {
	case *ledgerv1.Equivocation_Votes:
		return first(keyed(k.Votes.GetValidator()), votedFor(k.Votes.GetFirst()), votedFor(k.Votes.GetSecond()))
	case *ledgerv1.Equivocation_Checkpoints:
		return first(keyed(k.Checkpoints.GetOrchestrator()), noted(k.Checkpoints.GetFirst()), noted(k.Checkpoints.GetSecond()))
	case *ledgerv1.Equivocation_Results:
		r := k.Results
		return first(named(r.GetJob()), digest(r.GetModule()), digest(r.GetInput()), replied(r.GetFirst()), replied(r.GetSecond()))
	}
	return errKind
}

// changeOf reads what validators approved as a change of their set.
func changeOf(c *ledgerv1.ValidatorChange) (*ledgerv1.ValidatorChangeBody, error) {
	b := new(ledgerv1.ValidatorChangeBody)
	if unmarshal(c.GetBody(), b) != nil || !known(b.ProtoReflect()) || len(b.Add) > light.MaxValidators || len(b.Remove) > light.MaxValidators {
		return nil, errBody
	}
	for _, v := range b.Add {
		if why := unfitValidator(v); why != "" {
			return nil, fmt.Errorf("%w: %s", errBody, why)
		}
	}
	for _, key := range b.Remove {
		if keyed(key) != nil {
			return nil, errKey
		}
	}
	return b, nil
}

// voidOf reads what validators approved as the end of a penalty.
func voidOf(v *ledgerv1.SlashVoid) (*ledgerv1.SlashVoidBody, error) {
	b := new(ledgerv1.SlashVoidBody)
	if unmarshal(v.GetBody(), b) != nil || !known(b.ProtoReflect()) {
		return nil, errBody
	}
	return b, first(keyed(b.Orchestrator), keyed(b.Worker), named(b.Job))
}

func approved(signatures []*ledgerv1.ValidatorSignature) error {
	if len(signatures) < 1 || len(signatures) > light.MaxValidators {
		return errApproval
	}
	for _, s := range signatures {
		if len(s.GetValidator()) != ed25519.PublicKeySize || len(s.GetSignature()) != ed25519.SignatureSize {
			return errApproval
		}
	}
	return nil
}

func votedFor(v *ledgerv1.Vote) error {
	return when(len(v.GetBlock()) != sha256.Size || len(v.GetMetadata()) != sha256.Size || len(v.GetSignature()) != ed25519.SignatureSize, errVote)
}

func keyed(b []byte) error    { return when(len(b) != ed25519.PublicKeySize, errKey) }
func digest(b []byte) error   { return when(len(b) != sha256.Size, errDigest) }
func paid(n uint64) error     { return when(n == 0, errAmount) }
func named(job string) error  { return when(len(job) < 1 || len(job) > MaxJobBytes, errJob) }
func noted(note []byte) error { return when(len(note) < 1 || len(note) > MaxNoteBytes, errNote) }

func when(wrong bool, err error) error {
	if wrong {
		return err
	}
	return nil
}

// first is the first error of several.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
