package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Genesis makes the state that a chain begins with, and the encoded header of block 0.
func Genesis(encoded []byte) (State, []byte, error) {
	g, err := ParseGenesis(encoded)
	if err != nil {
		return State{}, nil, err
	}
	s := State{
		chain: g.ChainId, timeUs: g.TimeUs, params: g.Params, supply: new(ledgerv1.Supply),
		validators: &ledgerv1.ValidatorSet{Version: 1, Validators: sortedByKey(g.Validators)},
	}
	changes := make([]trie.Change, 0, len(g.Endowments)+3)
	for _, e := range g.Endowments {
		a := newAccount(e.Key)
		a.Balance, a.Stake = e.Balance, e.Stake
		s.supply.Balances += e.Balance
		s.supply.Stakes += e.Stake
		changes = append(changes, trie.Change{Key: seal.AccountKey(e.Key), Value: encode(a)})
	}
	s.people = uint64(len(g.Endowments))
	s.supply.Total = s.supply.Balances + s.supply.Stakes
	changes = append(changes,
		trie.Change{Key: seal.ParamsKey(), Value: encode(s.params)},
		trie.Change{Key: seal.SupplyKey(), Value: encode(s.supply)},
		trie.Change{Key: seal.ValidatorsKey(), Value: encode(s.validators)})
	s.trie = s.trie.Update(changes)
	parent, root, none := sha256.Sum256(encoded), s.Root(), seal.Root(nil)
	header := encode(&ledgerv1.Header{
		ChainId: s.chain, Parent: parent[:], Transactions: none[:], Results: none[:], State: root[:], TimeUs: s.timeUs,
		ValidatorsVersion: s.validators.Version,
	})
	s.head = seal.HeaderHash(header)
	return s, header, nil
}

// ParseGenesis reads the bytes of a genesis and refuses those that make no chain.
func ParseGenesis(encoded []byte) (*ledgerv1.Genesis, error) {
	if len(encoded) > MaxGenesisBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrGenesis, len(encoded), MaxGenesisBytes)
	}
	g := new(ledgerv1.Genesis)
	if err := unmarshal(encoded, g); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	if !known(g.ProtoReflect()) {
		return nil, fmt.Errorf("%w: it is for a newer version", ErrGenesis)
	}
	return g, ValidateGenesis(g)
}

// ValidateGenesis refuses what makes no chain.
func ValidateGenesis(g *ledgerv1.Genesis) error {
	if !chainID(g.GetChainId()) {
		return fmt.Errorf("%w: chain id %q, want 1 to 32 of a-z, 0-9 and dashes", ErrGenesis, g.GetChainId())
	}
	if g.TimeUs < 0 {
		return fmt.Errorf("%w: time before 1970", ErrGenesis)
	}
	if err := ValidateParams(g.Params); err != nil {
		return fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	stakes, err := endowed(g.Endowments)
	if err != nil {
		return err
	}
	if why := unfitSet(g.Validators); why != "" {
		return fmt.Errorf("%w: %s", ErrGenesis, why)
	}
	for _, v := range g.Validators {
		if stakes[string(v.Key)] < g.Params.MinValidatorStake {
			return fmt.Errorf("%w: validator %x has a stake of %d, want %d", ErrGenesis, v.Key, stakes[string(v.Key)], g.Params.MinValidatorStake)
		}
	}
	return nil
}

// endowed adds up what a genesis gives out and returns the stakes by key.
func endowed(endowments []*ledgerv1.Endowment) (map[string]uint64, error) {
	stakes := make(map[string]uint64, len(endowments))
	var total uint64
	for _, e := range endowments {
		switch _, twice := stakes[string(e.GetKey())]; {
		case len(e.GetKey()) != ed25519.PublicKeySize:
			return nil, fmt.Errorf("%w: endowment of a key of %d bytes", ErrGenesis, len(e.GetKey()))
		case twice:
			return nil, fmt.Errorf("%w: %x is endowed twice", ErrGenesis, e.Key)
		case e.Balance > MaxSupply || e.Stake > MaxSupply || total+e.Balance+e.Stake > MaxSupply: // three such numbers fit
			return nil, fmt.Errorf("%w: more money than %d", ErrGenesis, uint64(MaxSupply))
		}
		stakes[string(e.Key)] = e.Stake
		total += e.Balance + e.Stake
	}
	if total == 0 {
		return nil, fmt.Errorf("%w: it gives out no money", ErrGenesis)
	}
	return stakes, nil
}

func chainID(id string) bool {
	if len(id) < 1 || len(id) > 32 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// unfitSet says why these cannot be the validators of a chain; nothing if they can.
func unfitSet(set []*ledgerv1.Validator) string {
	if n := len(set); n != 1 && n < 4 || n > light.MaxValidators {
		return fmt.Sprintf("%d validators, want 1 or 4 to %d", n, light.MaxValidators)
	}
	keys, peers := map[string]bool{}, map[string]bool{}
	for _, v := range set {
		if why := unfitValidator(v); why != "" {
			return why
		}
		if keys[string(v.Key)] || len(v.Peer) > 0 && peers[string(v.Peer)] {
			return fmt.Sprintf("validator %x or its peer id is there twice", v.Key)
		}
		keys[string(v.Key)], peers[string(v.Peer)] = true, true
	}
	return ""
}

// unfitValidator says what is wrong with the form of a validator.
func unfitValidator(v *ledgerv1.Validator) string {
	switch {
	case len(v.GetKey()) != ed25519.PublicKeySize:
		return fmt.Sprintf("validator with a key of %d bytes", len(v.GetKey()))
	case utf8.RuneCountInString(v.Name) > 64:
		return "name of a validator is longer than 64 characters"
	case len(v.Peer) > 128:
		return "peer id of a validator is longer than 128 bytes"
	case len(v.Addresses) > 8 || slices.ContainsFunc(v.Addresses, func(a string) bool { return len(a) > 256 }):
		return "a validator has at most 8 addresses of 256 bytes"
	}
	return ""
}

func sortedByKey(set []*ledgerv1.Validator) []*ledgerv1.Validator {
	sorted := make([]*ledgerv1.Validator, len(set))
	for i, v := range set {
		sorted[i] = proto.CloneOf(v)
	}
	slices.SortFunc(sorted, func(a, b *ledgerv1.Validator) int { return bytes.Compare(a.Key, b.Key) })
	return sorted
}
