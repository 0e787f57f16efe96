package operator

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func transactionID(t *ledgerv1.SignedTransaction) ledger.Hash { return seal.TransactionID(t.Body) }

// transactionFilter narrows the list of transactions. Zero fields do not.
type transactionFilter struct {
	account []byte // whose money or name is in it: sender, receiver, paid, punished, owner of an escrow, accused
	job     string
}

func (f transactionFilter) check() error {
	if len(f.account) > 0 {
		if err := checkPublicKey("account", f.account); err != nil {
			return err
		}
	}
	if f.job != "" {
		return checkJobName("job", f.job)
	}
	return nil
}

// may passes over most transactions without decoding them: keys and names of jobs lie in the bytes as they are.
func (f transactionFilter) may(encoded []byte) bool {
	return bytes.Contains(encoded, f.account) && bytes.Contains(encoded, []byte(f.job))
}

// matches reports whether an action speaks of the job and of the account. The sender is of all of them.
func (f transactionFilter) matches(t *ledgerv1.Transaction) bool {
	sender := len(f.account) == 0 || bytes.Equal(t.Sender, f.account)
	if sender && f.job == "" {
		return true
	}
	for _, a := range t.Actions {
		job, people := about(a)
		if f.job != "" && job != f.job {
			continue
		}
		if sender {
			return true
		}
		for _, key := range people {
			if bytes.Equal(key, f.account) {
				return true
			}
		}
	}
	return false
}

// about says of which job, and of whom beside its sender, an action speaks.
func about(a *ledgerv1.Action) (job string, people [][]byte) {
	switch k := a.Kind.(type) {
	case *ledgerv1.Action_Transfer:
		return "", [][]byte{k.Transfer.GetTo()}
	case *ledgerv1.Action_JobEscrow:
		return k.JobEscrow.GetJob(), nil
	case *ledgerv1.Action_TaskVerified:
		d := k.TaskVerified.GetDecision()
		return d.GetJob(), workersOf(d)
	case *ledgerv1.Action_Refund:
		return k.Refund.GetJob(), nil
	case *ledgerv1.Action_ConsensusMismatch:
		d := k.ConsensusMismatch.GetDecision()
		return d.GetJob(), workersOf(d)
	case *ledgerv1.Action_Equivocation:
		return accused(k.Equivocation)
	case *ledgerv1.Action_ValidatorSet:
		return "", changed(k.ValidatorSet.GetBody())
	case *ledgerv1.Action_VoidSlash:
		b := new(ledgerv1.SlashVoidBody)
		if proto.Unmarshal(k.VoidSlash.GetBody(), b) != nil {
			return "", nil
		}
		return b.Job, [][]byte{b.Orchestrator, b.Worker}
	}
	return "", nil
}

// workersOf are those whom a decision pays or punishes.
func workersOf(d *ledgerv1.Decision) (keys [][]byte) {
	for _, r := range d.GetAgreeing() {
		keys = append(keys, r.GetWorker())
	}
	for _, r := range d.GetContradicted() {
		keys = append(keys, r.GetWorker())
	}
	return keys
}

func accused(e *ledgerv1.Equivocation) (job string, people [][]byte) {
	switch k := e.GetKind().(type) {
	case *ledgerv1.Equivocation_Votes:
		return "", [][]byte{k.Votes.GetValidator()}
	case *ledgerv1.Equivocation_Checkpoints:
		return "", [][]byte{k.Checkpoints.GetOrchestrator()}
	case *ledgerv1.Equivocation_Results:
		return k.Results.GetJob(), [][]byte{k.Results.GetFirst().GetWorker()}
	}
	return "", nil
}

// changed are the validators that a change of the set names.
func changed(body []byte) (keys [][]byte) {
	b := new(ledgerv1.ValidatorChangeBody)
	if proto.Unmarshal(body, b) != nil {
		return nil
	}
	for _, v := range b.Add {
		keys = append(keys, v.GetKey())
	}
	return append(keys, b.Remove...)
}
