package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/cmd/shardy/demo"
)

// TestTheDemoOfSeveralOperators runs it as a newcomer does and holds its last line against what it promises: one chain,
// every job paid for by its operator, the liar poorer and nobody else.
func TestTheDemoOfSeveralOperators(t *testing.T) {
	long(t)
	if slow {
		t.Skip("a minute of what the other tests look for races in")
	}
	dir := filepath.Join(t.TempDir(), "demo")
	r := command(t, nil, "demo", "--orchestrators", "4", "--quick", "--json", "--data-dir", dir)
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	var sum demo.FederationSummary
	r.json(t, &sum)
	t.Logf("%d jobs, %d blocks, %.1f s", sum.Jobs, sum.Height, sum.Seconds)
	if sum.Orchestrators != 4 || sum.Jobs < 50 || sum.Verified != sum.Jobs || sum.Paid != uint64(sum.Jobs) || sum.Refused != 0 ||
		sum.WrongResults+sum.DeadLettered+sum.Divergences != 0 || sum.Mismatches == 0 || sum.Height == 0 || len(sum.StateRoot) != 64 {
		t.Errorf("%s", r.out)
	}
	kinds := map[string]int{}
	var results, spent, earned uint64
	for _, h := range sum.Accounts {
		kinds[h.Kind]++
		results += h.Settled
		earned += h.Earned
		if h.Kind == "orchestrator" {
			spent += 50_000*unit - h.Balance
		}
		if liar := h.Kind == "liar"; liar != (h.Slashed > 0) || liar != (h.Contradicted > 0) {
			t.Errorf("%s, %s: %+v", h.Name, h.Kind, h)
		}
		if worked := h.Kind == "honest"; worked != (h.Settled > 0) || worked != (h.Earned > 0) {
			t.Errorf("%s, %s: %+v", h.Name, h.Kind, h)
		}
		if h.Signatures < 3 || h.ProvenAt == 0 {
			t.Errorf("%s: proven at %d with %d signatures", h.Name, h.ProvenAt, h.Signatures)
		}
	}
	if kinds["orchestrator"] != 4 || kinds["liar"] != 1 || kinds["honest"] < 8 {
		t.Errorf("the accounts are of %v", kinds)
	}
	if results < 2*uint64(sum.Jobs) { // two agreeing replicas of every job at least
		t.Errorf("%d results of %d jobs were paid for", results, sum.Jobs)
	}
	if earned == 0 || spent <= earned { // the treasury has a part of it
		t.Errorf("orchestrators spent %d, workers earned %d", spent, earned)
	}
	again := command(t, nil, "demo", "--orchestrators", "4", "--quick", "--data-dir", dir)
	if again.code != 2 || !strings.Contains(again.errOut, "holds a demo already") || again.out != "" {
		t.Errorf("again on the same folder: exit %d\n%s%s", again.code, again.out, again.errOut)
	}
}

func TestAnImpossibleFederationIsRefused(t *testing.T) {
	long(t)
	for _, args := range []string{"2", "3", "0", "-4", "8", "many", "4 --liars 2", "4 --workers 9", "4 --log server"} {
		dir := filepath.Join(t.TempDir(), "demo")
		r := command(t, nil, append([]string{"demo", "--data-dir", dir, "--orchestrators"}, strings.Fields(args)...)...)
		if r.code != 2 || r.errOut == "" || r.out != "" {
			t.Errorf("demo --orchestrators %s: exit %d\n%s%s", args, r.code, r.out, r.errOut)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("demo --orchestrators %s: left a folder", args)
		}
	}
}
