package operator

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestWhomATransactionIsAbout has one of every kind, and names each key that has a part in it and each that has not.
func TestWhomATransactionIsAbout(t *testing.T) {
	key := func(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	decided := &ledgerv1.Decision{
		Job: "job", Module: key('m'), Input: key('i'), Checksum: key('c'),
		Agreeing:     []*ledgerv1.Result{{Worker: key('a'), Output: key('o')}, {Worker: key('b')}},
		Contradicted: []*ledgerv1.Result{{Worker: key('x')}},
	}
	for name, c := range map[string]struct {
		action *ledgerv1.Action
		people string // beside the sender
		job    bool
	}{
		"transfer":  {&ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: key('r')}}}, "r", false},
		"stake":     {&ledgerv1.Action{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: 1}}}, "", false},
		"unstake":   {&ledgerv1.Action{Kind: &ledgerv1.Action_Unstake{Unstake: &ledgerv1.Unstake{Amount: 1}}}, "", false},
		"unjail":    {&ledgerv1.Action{Kind: &ledgerv1.Action_Unjail{Unjail: &ledgerv1.Unjail{}}}, "", false},
		"escrow":    {&ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: "job"}}}, "", true},
		"payment":   {&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: decided}}}, "abx", true},
		"refund":    {&ledgerv1.Action{Kind: &ledgerv1.Action_Refund{Refund: &ledgerv1.Refund{Job: "job"}}}, "", true},
		"slash":     {&ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: decided}}}, "abx", true},
		"anchor":    {&ledgerv1.Action{Kind: &ledgerv1.Action_LogAnchor{LogAnchor: &ledgerv1.LogAnchor{Checkpoint: key('n')}}}, "", false},
		"two votes": {accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: &ledgerv1.VotePair{Validator: key('v')}}}), "v", false},
		"two heads": {accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Checkpoints{
			Checkpoints: &ledgerv1.CheckpointPair{Orchestrator: key('w')},
		}}), "w", false},
		"two results": {accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Results{
			Results: &ledgerv1.ResultPair{Job: "job", First: &ledgerv1.Result{Worker: key('y')}},
		}}), "y", true},
		"validators": {&ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: &ledgerv1.ValidatorChange{
			Body: encode(&ledgerv1.ValidatorChangeBody{Add: []*ledgerv1.Validator{{Key: key('p')}}, Remove: [][]byte{key('q')}}),
		}}}, "pq", false},
		"void": {&ledgerv1.Action{Kind: &ledgerv1.Action_VoidSlash{VoidSlash: &ledgerv1.SlashVoid{
			Body: encode(&ledgerv1.SlashVoidBody{Orchestrator: key('s'), Job: "job", Worker: key('z')}),
		}}}, "sz", true},
		"broken": {&ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: &ledgerv1.ValidatorChange{Body: []byte{255}}}}, "", false},
		"empty":  {&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{}}, "", false},
		"none":   {&ledgerv1.Action{}, "", false},
	} {
		tx := &ledgerv1.Transaction{ChainId: "c", Sender: key('S'), Actions: []*ledgerv1.Action{c.action}}
		encoded := encode(&ledgerv1.SignedTransaction{Body: encode(tx)})
		for k := byte('A'); k <= 'z'; k++ {
			part := k == 'S' || bytes.IndexByte([]byte(c.people), k) >= 0
			for job, want := range map[string]bool{"": part, "job": part && c.job, "other": false} {
				f := transactionFilter{key(k), job}
				if got := f.matches(tx); got != want {
					t.Errorf("%s: account %c, job %q: %v", name, k, job, got)
				}
				if want && !f.may(encoded) {
					t.Errorf("%s: account %c, job %q: passed over", name, k, job)
				}
			}
		}
		if f := (transactionFilter{nil, "job"}); f.matches(tx) != c.job {
			t.Errorf("%s: the job alone", name)
		}
		if f := (transactionFilter{}); !f.matches(tx) || !f.may(encoded) {
			t.Errorf("%s: no filter", name)
		}
	}
}

func accuse(e *ledgerv1.Equivocation) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: e}}
}

// TestJobAndAccountAreOfOneAction: two actions of one transaction are not taken together.
func TestJobAndAccountAreOfOneAction(t *testing.T) {
	to := bytes.Repeat([]byte{1}, 32)
	tx := &ledgerv1.Transaction{Sender: bytes.Repeat([]byte{2}, 32), Actions: []*ledgerv1.Action{
		{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: to}}},
		{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: "j"}}},
	}}
	if (transactionFilter{to, "j"}).matches(tx) || !(transactionFilter{tx.Sender, "j"}).matches(tx) || !(transactionFilter{to, ""}).matches(tx) {
		t.Error("the receiver of a transfer is not of the job that another action speaks of")
	}
}
