package ledger

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestDefaults(t *testing.T) {
	if err := ValidateParams(DefaultParams()); err != nil {
		t.Error(err)
	}
}

func TestSpoiltParams(t *testing.T) {
	for name, spoil := range map[string]func(*ledgerv1.Params){
		"no window":               func(p *ledgerv1.Params) { p.WindowBlocks = 0 },
		"endless window":          func(p *ledgerv1.Params) { p.WindowBlocks = 1 << 33 },
		"no appeal":               func(p *ledgerv1.Params) { p.AppealBlocks = 0 },
		"slash of more than all":  func(p *ledgerv1.Params) { p.SlashWrongPpm = million + 1 },
		"all to the treasury and": func(p *ledgerv1.Params) { p.TreasuryPpm = million + 1 },
		"bonus without bound":     func(p *ledgerv1.Params) { p.StakeBonusPpm = maxBonus + 1 },
		"bonus without half":      func(p *ledgerv1.Params) { p.StakeHalf = 0 },
		"factor without bound":    func(p *ledgerv1.Params) { p.CorrelationFactor = maxFactor + 1 },
		"fee of more than all":    func(p *ledgerv1.Params) { p.Fee = 1 << 63 },
		"free before evidence":    func(p *ledgerv1.Params) { p.UnbondingBlocks = p.EvidenceBlocks },
		"claim after memory":      func(p *ledgerv1.Params) { p.ClaimBlocks = p.EvidenceBlocks },
	} {
		p := DefaultParams()
		spoil(p)
		if err := ValidateParams(p); !errors.Is(err, ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpoiltGenesis(t *testing.T) {
	for name, spoil := range map[string]func(*ledgerv1.Genesis){
		"no name":             func(g *ledgerv1.Genesis) { g.ChainId = "" },
		"capital name":        func(g *ledgerv1.Genesis) { g.ChainId = "Chain" },
		"long name":           func(g *ledgerv1.Genesis) { g.ChainId = strings.Repeat("a", 33) },
		"before time":         func(g *ledgerv1.Genesis) { g.TimeUs = -1 },
		"no params":           func(g *ledgerv1.Genesis) { g.Params = nil },
		"no money":            func(g *ledgerv1.Genesis) { g.Endowments = nil },
		"too much money":      func(g *ledgerv1.Genesis) { g.Endowments[0].Balance = MaxSupply },
		"too much by far":     func(g *ledgerv1.Genesis) { g.Endowments[0].Stake = 1<<64 - 1 },
		"endowed twice":       func(g *ledgerv1.Genesis) { g.Endowments[1].Key = g.Endowments[0].Key },
		"key of 31 bytes":     func(g *ledgerv1.Genesis) { g.Endowments[0].Key = g.Endowments[0].Key[1:] },
		"no validator":        func(g *ledgerv1.Genesis) { g.Validators = nil },
		"three validators":    func(g *ledgerv1.Genesis) { g.Validators = g.Validators[:3] },
		"one twice":           func(g *ledgerv1.Genesis) { g.Validators[1].Key = g.Validators[0].Key },
		"peer twice":          func(g *ledgerv1.Genesis) { g.Validators[1].Peer = g.Validators[0].Peer },
		"poor validator":      func(g *ledgerv1.Genesis) { g.Endowments[0].Stake = 5 },
		"unendowed validator": func(g *ledgerv1.Genesis) { g.Validators[0].Key = pub(stranger) },
		"newer field":         func(g *ledgerv1.Genesis) { g.ProtoReflect().SetUnknown(unknownField()) },
	} {
		g := genesisOf(shortParams())
		spoil(g)
		if _, _, err := Genesis(encode(g)); !errors.Is(err, ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseGenesis(make([]byte, MaxGenesisBytes+1)); !errors.Is(err, ErrGenesis) {
		t.Errorf("too large: %v", err)
	}
	if _, err := ParseGenesis([]byte{1}); !errors.Is(err, ErrGenesis) {
		t.Errorf("no message: %v", err)
	}
	g := genesisOf(shortParams())
	g.Validators = g.Validators[2:3]
	if _, _, err := Genesis(encode(g)); err != nil {
		t.Errorf("one validator: %v", err)
	}
}

// TestGenesisIsItsBytes holds that other bytes make another chain, even where they lead to the same state.
func TestGenesisIsItsBytes(t *testing.T) {
	g := genesisOf(shortParams())
	a, ha, err := Genesis(encode(g))
	if err != nil {
		t.Fatal(err)
	}
	g.Validators[0], g.Validators[1] = g.Validators[1], g.Validators[0]
	b, hb, err := Genesis(encode(g))
	if err != nil {
		t.Fatal(err)
	}
	if a.Root() != b.Root() || bytes.Equal(ha, hb) || a.Head() == b.Head() {
		t.Error("two genesis files, one chain")
	}
}

func FuzzGenesis(f *testing.F) {
	f.Add(encode(genesisOf(shortParams())))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := Genesis(b)
		if err != nil {
			return
		}
		if _, _, err := s.Execute(1, nil); err != nil {
			t.Error(err)
		}
	})
}
