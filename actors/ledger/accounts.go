package ledger

import (
	"crypto/ed25519"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// CountAccounts is how many accounts there are. It costs nothing: the state keeps count.
func (s State) CountAccounts() uint64 { return s.people }

// Accounts yields all accounts, in the order of their places. It walks the whole state.
func (s State) Accounts() func(yield func(*ledgerv1.Account) bool) {
	return func(yield func(*ledgerv1.Account) bool) {
		for place, v := range s.trie.All(Hash{}) {
			if isAccount(place, v) && !yield(decode(v, new(ledgerv1.Account))) {
				return
			}
		}
	}
}

// AccountsFrom returns accounts in the order of their places, from a place on: at most limit of them, found among the next
// look entries of the state, whatever these are. more says that the state goes on behind them, at next.
func (s State) AccountsFrom(from Hash, limit, look int) (accounts []*ledgerv1.Account, next Hash, more bool) {
	for place, v := range s.trie.All(from) {
		if len(accounts) >= limit || look <= 0 {
			return accounts, place, true
		}
		look--
		if isAccount(place, v) {
			accounts = append(accounts, decode(v, new(ledgerv1.Account)))
		}
	}
	return accounts, Hash{}, false
}

// accountEnd is how every account ends as it lies in the state: with the key, which leads to its place.
var accountEnd = protowire.AppendVarint(protowire.AppendTag(nil, 11, protowire.BytesType), ed25519.PublicKeySize)

// isAccount tells an account from all else in the state without decoding it.
func isAccount(place Hash, value []byte) bool {
	cut := len(value) - ed25519.PublicKeySize
	tag := cut - len(accountEnd)
	return tag >= 0 && string(value[tag:cut]) == string(accountEnd) && seal.AccountKey(value[cut:]) == place
}
