package ledger

import (
	"fmt"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// million is one, in millionths.
const million = 1_000_000

// Bounds of parameters that have no other.
const (
	maxBlocks  = 1 << 32
	maxBonus   = 9 * million // ten times the base price at most
	maxFactor  = 1000
	unitOfCash = million // micro-units
)

// DefaultParams are the rules of a chain that makes a block a second at most and is used by operators who know each other.
func DefaultParams() *ledgerv1.Params {
	return &ledgerv1.Params{
		WindowBlocks:    600,     // ten busy minutes: longer than a leader change and a restart, short enough to remember
		UnbondingBlocks: 604_800, // a week: evidence is good for less, so nobody can leave before it is found
		EvidenceBlocks:  259_200, // three days: an operator's weekend
		ClaimBlocks:     3_600,   // an hour for a settlement that overlaps a dead letter
		AppealBlocks:    86_400,  // a day for validators to void a slash before the money is given away
		JailBlocks:      86_400,  // a day without bonus: a broken machine is repaired in it

		SlashWrongPpm:        10_000, // 1 %: a wrong result can be bad memory, many cannot (see the next two)
		SlashEquivocationPpm: 50_000, // 5 %: nobody signs two things by accident
		CorrelationFactor:    3,      // a third of all stake slashed in one window loses everything, as with Ethereum
		CorrelationBlocks:    86_400, // a day: colluders act together

		StakeBonusPpm: million,            // stake at most doubles the base price, or the rich would get richer
		StakeHalf:     1_000 * unitOfCash, // stake that earns half of it: concave, so splitting a stake gains little
		TreasuryPpm:   20_000,             // 2 % for what all use
		Fee:           100,                // a ten thousandth: what it costs others to remember a transaction
		SlashOnQuorum: false,              // two liars must not outvote an honest worker: the referee confirms

		MinValidatorStake: 10_000 * unitOfCash, // what an equivocation can cost must hurt
		ReputationJailPpm: 250_000,             // from the first 500,000: some 22 wrong results in a row
	}
}

// ValidateParams refuses rules under which promises of the package would not hold.
func ValidateParams(p *ledgerv1.Params) error {
	if p == nil {
		return fmt.Errorf("%w: none are given", ErrParams)
	}
	blocks := []struct {
		name string
		n    uint64
	}{
		{"window_blocks", p.WindowBlocks},
		{"unbonding_blocks", p.UnbondingBlocks},
		{"evidence_blocks", p.EvidenceBlocks},
		{"claim_blocks", p.ClaimBlocks},
		{"appeal_blocks", p.AppealBlocks},
		{"jail_blocks", p.JailBlocks},
		{"correlation_blocks", p.CorrelationBlocks},
	}
	for _, b := range blocks {
		if b.n < 1 || b.n > maxBlocks {
			return fmt.Errorf("%w: %s is %d, want 1 to %d", ErrParams, b.name, b.n, uint64(maxBlocks))
		}
	}
	most := []struct {
		name    string
		n, most uint64
	}{
		{"slash_wrong_ppm", p.SlashWrongPpm, million},
		{"slash_equivocation_ppm", p.SlashEquivocationPpm, million},
		{"treasury_ppm", p.TreasuryPpm, million},
		{"reputation_jail_ppm", p.ReputationJailPpm, million},
		{"stake_bonus_ppm", p.StakeBonusPpm, maxBonus},
		{"correlation_factor", p.CorrelationFactor, maxFactor},
		{"stake_half", p.StakeHalf, MaxSupply},
		{"min_validator_stake", p.MinValidatorStake, MaxSupply},
		{"fee", p.Fee, MaxSupply},
	}
	for _, m := range most {
		if m.n > m.most {
			return fmt.Errorf("%w: %s is %d, want %d at most", ErrParams, m.name, m.n, m.most)
		}
	}
	switch {
	case p.UnbondingBlocks <= p.EvidenceBlocks:
		return fmt.Errorf("%w: stake is free before the evidence against it is too old", ErrParams)
	case p.ClaimBlocks >= p.EvidenceBlocks:
		return fmt.Errorf("%w: a settled job is forgotten before its refund is due", ErrParams)
	case p.StakeBonusPpm > 0 && p.StakeHalf == 0:
		return fmt.Errorf("%w: a bonus needs a stake that earns half of it", ErrParams)
	}
	return nil
}
