package dashboard

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// kindOfAction names what an action is.
func kindOfAction(a *ledgerv1.Action) string {
	switch k := a.GetKind().(type) {
	case *ledgerv1.Action_Transfer:
		return "Transfer"
	case *ledgerv1.Action_StakeSet:
		return "Stake"
	case *ledgerv1.Action_Unstake:
		return "Unstake"
	case *ledgerv1.Action_Unjail:
		return "Unjail"
	case *ledgerv1.Action_JobEscrow:
		return "Escrow"
	case *ledgerv1.Action_TaskVerified:
		return "Settlement"
	case *ledgerv1.Action_Refund:
		return "Refund"
	case *ledgerv1.Action_ConsensusMismatch:
		return "Slash"
	case *ledgerv1.Action_Equivocation:
		return "Equivocation"
	case *ledgerv1.Action_LogAnchor:
		return "Log anchor"
	case *ledgerv1.Action_ValidatorSet:
		return "Validators"
	case *ledgerv1.Action_VoidSlash:
		return "Void"
	case nil:
		return "Nothing"
	default:
		return fmt.Sprintf("%T", k)
	}
}

// tellAction says in words what an action does, for a list.
func tellAction(a *ledgerv1.Action, n nicknames) saying {
	return teller{names: n, job: func(id string) word { return word{Text: shortID(id)} }}.tell(a)
}

// teller tells what transactions do. It knows what accounts are called, and which jobs the viewer can look at.
type teller struct {
	names nicknames
	job   func(id string) word
}

// tell says what an action does, without the full stop.
func (t teller) tell(a *ledgerv1.Action) saying {
	switch k := a.GetKind().(type) {
	case *ledgerv1.Action_Transfer:
		return saying{say("Sends %s to ", money(k.Transfer.GetAmount())), sayAccount(k.Transfer.GetTo(), t.names)}
	case *ledgerv1.Action_StakeSet:
		return saying{say("Binds a stake of %s", money(k.StakeSet.GetStake()))}
	case *ledgerv1.Action_Unstake:
		return saying{say("Takes %s out of its stake", money(k.Unstake.GetAmount()))}
	case *ledgerv1.Action_Unjail:
		return saying{say("Asks to be let out of jail")}
	case *ledgerv1.Action_JobEscrow:
		return saying{say("Locks %s for job ", money(k.JobEscrow.GetAmount())), t.job(k.JobEscrow.GetJob())}
	case *ledgerv1.Action_TaskVerified:
		d := k.TaskVerified.GetDecision()
		return saying{say("Pays %s for job ", plural(len(d.GetAgreeing()), "worker")), t.job(d.GetJob())}
	case *ledgerv1.Action_Refund:
		return saying{say("Takes the escrow back of job "), t.job(k.Refund.GetJob()), say(", a dead letter: %s", enumText(k.Refund.GetReason()))}
	case *ledgerv1.Action_ConsensusMismatch:
		d := k.ConsensusMismatch.GetDecision()
		return saying{say("Punishes %s for wrong results of job ", plural(len(d.GetContradicted()), "worker")), t.job(d.GetJob())}
	case *ledgerv1.Action_Equivocation:
		return t.tellEquivocation(k.Equivocation)
	case *ledgerv1.Action_LogAnchor:
		h, err := checkpoint.Read(k.LogAnchor.GetCheckpoint())
		if err != nil {
			return saying{say("Anchors a checkpoint that cannot be read")}
		}
		return saying{say("Anchors its log at a size of %s", thousands(h.Size))}
	case *ledgerv1.Action_ValidatorSet:
		return t.tellValidators(k.ValidatorSet)
	case *ledgerv1.Action_VoidSlash:
		b := &ledgerv1.SlashVoidBody{}
		if proto.Unmarshal(k.VoidSlash.GetBody(), b) != nil {
			return saying{say("Voids a penalty that cannot be read")}
		}
		return saying{say("Gives "), sayAccount(b.GetWorker(), t.names), say(" its penalty back for job "), t.job(b.GetJob())}
	}
	return saying{say("Does what this version does not know")}
}

func (t teller) tellEquivocation(e *ledgerv1.Equivocation) saying {
	switch k := e.GetKind().(type) {
	case *ledgerv1.Equivocation_Votes:
		v := k.Votes
		return saying{say("Shows that validator "), sayAccount(v.GetValidator(), t.names), say(" has voted for two blocks of height %s", thousands(v.GetFirst().GetHeight()))}
	case *ledgerv1.Equivocation_Checkpoints:
		return saying{say("Shows that orchestrator "), sayAccount(k.Checkpoints.GetOrchestrator(), t.names), say(" has signed two logs of one size")}
	case *ledgerv1.Equivocation_Results:
		return saying{
			say("Shows that worker "), sayAccount(k.Results.GetFirst().GetWorker(), t.names),
			say(" has signed two results of one task of job "), t.job(k.Results.GetJob()),
		}
	}
	return saying{say("Shows a contradiction that this version does not know")}
}

func (t teller) tellValidators(c *ledgerv1.ValidatorChange) saying {
	b := &ledgerv1.ValidatorChangeBody{}
	if proto.Unmarshal(c.GetBody(), b) != nil {
		return saying{say("Changes the validators in a way that cannot be read")}
	}
	s := saying{say("Makes version %s of the validators", thousands(b.GetVersion()))}
	for i, v := range b.GetAdd() {
		if i == 0 {
			s = append(s, say(": with "))
		}
		s = append(s, separated(i, len(b.GetAdd())), word{clip(plain(or(v.GetName(), shortHex(v.GetKey()))), 40), linkAccount(v.GetKey())})
	}
	for i, key := range b.GetRemove() {
		if i == 0 {
			s = append(s, say(": without "))
		}
		s = append(s, separated(i, len(b.GetRemove())), sayAccount(key, t.names))
	}
	return s
}

func separated(i, of int) word {
	switch {
	case i == 0:
		return word{}
	case i == of-1:
		return word{Text: " and "}
	}
	return word{Text: ", "}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// maxTransactionJSON bounds the JSON of a transaction on its page.
const maxTransactionJSON = 128 << 10

// transactionJSON is all of a transaction, for who wants to look closely.
func transactionJSON(t *operatorv1.TransactionView) string {
	b, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(t.GetBody())
	if err != nil {
		return ""
	}
	var lines []string
	size := 0
	for line := range strings.Lines(string(b)) {
		if size += len(line); size > maxTransactionJSON {
			return strings.Join(append(lines, "…"), "\n")
		}
		lines = append(lines, plain(strings.TrimRight(line, "\n")))
	}
	return strings.Join(lines, "\n")
}
