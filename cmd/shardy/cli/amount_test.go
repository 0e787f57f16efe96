package cli

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestAmounts(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1": 1_000_000, "12.5": 12_500_000, "0.000001": 1, "00.10": 100_000, "4611686018427.387903": ledger.MaxSupply,
	} {
		if got, err := parseAmount("amount", text); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ".", "1.", ".5", "-1", "+1", "1e6", "1,5", " 1", "0x10", "1.0000001", "1_000", "4611686018427.387904", "4611686018428",
		"99999999999999999999999999", "18446744073709.551616", "∞", "1.-5",
	} {
		if got, err := parseAmount("amount", text); exitCode(err) != exitUsage {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
}

// TestAmountsAsTheyArePrinted can be typed in again.
func TestAmountsAsTheyArePrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, ledger.MaxSupply).Draw(t, "n")
		if got, err := parseAmount("amount", unitsText(n)); err != nil || got != n {
			t.Fatalf("%d is printed as %s, which is %d, %v", n, unitsText(n), got, err)
		}
	})
}

func TestParts(t *testing.T) {
	for ppm, want := range map[uint64]string{0: "0 %", 10_000: "1 %", 500_000: "50 %", 1_000_000: "100 %", 12_300: "1.23 %", 15_000: "1.5 %", 484_375: "48.44 %"} {
		if got := partText(ppm); got != want {
			t.Errorf("%d is %s, want %s", ppm, got, want)
		}
	}
}

func TestRulesByName(t *testing.T) {
	p := ledger.DefaultParams()
	for _, text := range []string{"fee=7", "slash_on_quorum=true", "unbonding_blocks=1000"} {
		if err := setParam(p, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if p.Fee != 7 || !p.SlashOnQuorum || p.UnbondingBlocks != 1000 {
		t.Errorf("%v", p)
	}
	for _, text := range []string{"fee", "fee=", "fee=-1", "fee=1.5", "none=1", "slash_on_quorum=perhaps", "=1", ""} {
		if err := setParam(new(ledgerv1.Params), text); exitCode(err) != exitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
}
