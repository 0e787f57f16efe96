package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// slashed pays three workers for a job and slashes the fourth, Key(7), who said something else.
func (d *desk) slashed(job string) {
	d.t.Helper()
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	act := func(actions ...*ledgerv1.Action) {
		d.w.grow(d.w.m.Transaction(chaintest.Key(0), actions...))
		if r := d.w.m.Receipts[len(d.w.m.Receipts)-1][0]; r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			d.t.Fatal(r)
		}
	}
	agreeing := decision(job, 0, chaintest.Key(4), chaintest.Key(5), chaintest.Key(6))
	act(&ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: job, Amount: 1_000_000}}},
		&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: agreeing, Price: 7}}})
	wrong := decision(job, 0, chaintest.Key(4), chaintest.Key(5), chaintest.Key(6))
	wrong.Contradicted = []*ledgerv1.Result{resultOf(job, chaintest.Key(7), 0, other)}
	act(&ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: wrong}}})
}

// TestAPenaltyIsVoided: it is proven, approved to be given back, and gone.
func TestAPenaltyIsVoided(t *testing.T) {
	d := newDesk(t)
	d.slashed("job-1")
	orchestrator, worker := hexID(chaintest.Public(chaintest.Key(0))), hexID(chaintest.Public(chaintest.Key(7)))
	proof, file := filepath.Join(d.dir, "penalty"), filepath.Join(d.dir, "void")
	place := orchestrator[:12] + "/" + worker[:12] + "/job-1" // short keys are completed
	out, _ := d.want(exitOK, "ledger", "proof", "--penalty", place, "-o", proof)
	if !strings.Contains(out, "amount:       100 (100000000 micro-units)") {
		t.Error(out)
	}
	d.want(exitOK, "ledger", "proof", "--settled", orchestrator+"/job-1", "-o", proof)
	out, _ = d.want(exitOK, "ledger", "proof", "--check", proof, "--genesis", d.genesis)
	if !strings.Contains(out, "settled at:   1") {
		t.Error(out)
	}
	out, _ = d.want(exitOK, "ledger", "txs", "--job", "job-1")
	if !strings.Contains(out, "slash 1 for job-1") || !strings.Contains(out, "1 lock, 1 pay") {
		t.Error(out)
	}

	d.want(exitOK, "ledger", "void", "propose", "--orchestrator", orchestrator, "--worker", worker, "--job", "job-1", "-o", file)
	for n := range 3 {
		_, errOut := d.want(exitOK, "ledger", "void", "approve", file, "--key", d.key(n), "--yes")
		if want := "void the penalty of " + worker + " for job job-1 of " + orchestrator; !strings.Contains(errOut, want) {
			t.Errorf("%s is asked to approve without %q", errOut, want)
		}
	}
	d.want(exitOK, "ledger", "void", "submit", file, "--key", d.key(1000))
	out, _ = d.want(exitOK, "ledger", "proof", "--penalty", place, "-o", proof, "--genesis", d.genesis)
	if !strings.Contains(out, "there is no such thing") {
		t.Error(out)
	}
	out, _ = d.want(exitOK, "ledger", "balance", worker, "--genesis", d.genesis)
	if !strings.Contains(out, "stake:       10000 ") || !strings.Contains(out, "0 contradicted") {
		t.Error(out)
	}
	out, _ = d.want(exitOK, "ledger", "verify", "--genesis", d.genesis, "--json")
	// 3 transactions, 3 certificates of 3 signatures, 3 + 4 attestations, 3 approvals.
	if !strings.Contains(out, `"signatures":22`) {
		t.Error(out)
	}
}
