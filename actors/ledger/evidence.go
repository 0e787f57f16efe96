package ledger

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// checkEvidence verifies every signature in an action whose form is right. What the signed texts mean together is for
// Execute to judge, so that the refusal stands in a block.
func checkEvidence(chain string, sender []byte, a *ledgerv1.Action, attested proof.Attested) error {
	switch k := a.Kind.(type) {
	case *ledgerv1.Action_TaskVerified:
		return decisionSigned(k.TaskVerified.Decision, attested)
	case *ledgerv1.Action_ConsensusMismatch:
		return decisionSigned(k.ConsensusMismatch.Decision, attested)
	case *ledgerv1.Action_Equivocation:
		return pairSigned(chain, k.Equivocation)
	case *ledgerv1.Action_LogAnchor:
		return noteSigned(k.LogAnchor.Checkpoint, sender)
	case *ledgerv1.Action_ValidatorSet:
		return approvalsSigned(seal.ValidatorsText(chain, k.ValidatorSet.Body), k.ValidatorSet.Approvals)
	case *ledgerv1.Action_VoidSlash:
		return approvalsSigned(seal.VoidText(chain, k.VoidSlash.Body), k.VoidSlash.Approvals)
	}
	return nil
}

func decisionSigned(d *ledgerv1.Decision, attested proof.Attested) error {
	for _, list := range [][]*ledgerv1.Result{d.Agreeing, d.Contradicted} {
		for _, r := range list {
			if !attested(statement(d.Job, d.Module, d.Input, r), r.Worker, r.Attestation) {
				return fmt.Errorf("%w: attestation of %x for slot %d", ErrEvidence, r.Worker, r.Slot)
			}
		}
	}
	return nil
}

// statement is what the worker of a result has signed.
func statement(job string, module, input []byte, r *ledgerv1.Result) proof.Statement {
	return proof.Statement{
		Job: job, Slot: r.Slot, Token: r.Token, Module: Hash(module), Input: Hash(input),
		Status: r.Status, Fuel: r.Fuel, Output: Hash(r.Output),
	}
}

// checksum is what replicas are compared by.
func checksum(r *ledgerv1.Result) Hash { return proof.Checksum(r.Status, r.Fuel, Hash(r.Output)) }

func pairSigned(chain string, e *ledgerv1.Equivocation) error {
	switch k := e.Kind.(type) {
	case *ledgerv1.Equivocation_Votes:
		for _, v := range []*ledgerv1.Vote{k.Votes.First, k.Votes.Second} {
			if !seal.VerifyVote(chain, v, k.Votes.Validator, v.Signature) {
				return fmt.Errorf("%w: vote of %x", ErrEvidence, k.Votes.Validator)
			}
		}
	case *ledgerv1.Equivocation_Checkpoints:
		for _, note := range [][]byte{k.Checkpoints.First, k.Checkpoints.Second} {
			if err := noteSigned(note, k.Checkpoints.Orchestrator); err != nil {
				return err
			}
		}
	case *ledgerv1.Equivocation_Results:
		for _, r := range []*ledgerv1.Result{k.Results.First, k.Results.Second} {
			if !statement(k.Results.Job, k.Results.Module, k.Results.Input, r).Verify(r.Worker, r.Attestation) {
				return fmt.Errorf("%w: attestation of %x", ErrEvidence, r.Worker)
			}
		}
	}
	return nil
}

func noteSigned(note, key []byte) error {
	if _, err := checkpoint.Open(note, key); err != nil {
		return fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	return nil
}

func approvalsSigned(text []byte, approvals []*ledgerv1.ValidatorSignature) error {
	for _, s := range approvals {
		if !seal.Verify(s.Validator, text, s.Signature) {
			return fmt.Errorf("%w: approval of %x", ErrEvidence, s.Validator)
		}
	}
	return nil
}
