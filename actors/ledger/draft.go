package ledger

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// draft is a block while it is executed: what it has changed so far, and what the transaction at hand has changed on top.
// The maps are only looked things up in; order says what was written, so that no result depends on the order of a map.
type draft struct {
	base   State
	height uint64
	params *ledgerv1.Params

	block, open layer
}

// layer is a set of changes.
type layer struct {
	accounts   map[Hash]*ledgerv1.Account
	values     map[Hash][]byte // of all other kinds; nil: taken out
	order      []Hash          // of accounts and values, as they were first written
	pots       pots
	validators *ledgerv1.ValidatorSet
	dues       []due
	born       uint64 // accounts that were not there before
}

// pots are the places where money can be, see ledgerv1.Supply.
type pots struct {
	balances, stakes, escrows, penalties, treasury, burned uint64
	inWindow                                               uint64 // slashed
}

// due is what is to happen at a later height.
type due struct {
	height uint64
	what   *ledgerv1.Due
}

func newLayer(p pots, v *ledgerv1.ValidatorSet) layer {
	return layer{accounts: map[Hash]*ledgerv1.Account{}, values: map[Hash][]byte{}, pots: p, validators: v}
}

func newDraft(s State, height uint64) *draft {
	p := pots{
		s.supply.Balances, s.supply.Stakes, s.supply.Escrows, s.supply.Penalties, s.supply.Treasury, s.supply.Burned,
		s.supply.SlashedInWindow,
	}
	return &draft{base: s, height: height, params: s.params, block: newLayer(p, s.validators), open: newLayer(p, s.validators)}
}

// account returns an account that the transaction at hand may change.
func (d *draft) account(key []byte) *ledgerv1.Account {
	place := seal.AccountKey(key)
	if a := d.open.accounts[place]; a != nil {
		return a
	}
	a := d.find(place)
	if a == nil {
		a = newAccount(key)
		d.open.born++
	} else {
		a = cloneAccount(a)
	}
	d.open.accounts[place] = a
	d.open.order = append(d.open.order, place)
	return a
}

// exists reports whether anybody ever gave anything to this key.
func (d *draft) exists(key []byte) bool {
	place := seal.AccountKey(key)
	return d.open.accounts[place] != nil || d.find(place) != nil
}

// find returns an account as it was before the transaction at hand; nil if there was none.
func (d *draft) find(place Hash) *ledgerv1.Account {
	if a := d.block.accounts[place]; a != nil {
		return a
	}
	return held[ledgerv1.Account](d.base, place)
}

// get returns what lies at a place that is not an account's.
func (d *draft) get(place Hash) []byte {
	if v, ok := d.open.values[place]; ok {
		return v
	}
	if v, ok := d.block.values[place]; ok {
		return v
	}
	return d.base.trie.Get(place)
}

// set puts something at a place that is not an account's; nil takes it out.
func (d *draft) set(place Hash, value []byte) {
	if _, again := d.open.values[place]; !again {
		d.open.order = append(d.open.order, place)
	}
	d.open.values[place] = value
}

// at orders that something happens at a later height.
func (d *draft) at(height uint64, what *ledgerv1.Due) {
	d.open.dues = append(d.open.dues, due{height, what})
}

// keep makes what the transaction at hand has changed a part of the block.
func (d *draft) keep() {
	for _, place := range d.open.order {
		_, account := d.block.accounts[place]
		_, value := d.block.values[place]
		if !account && !value {
			d.block.order = append(d.block.order, place)
		}
		if a := d.open.accounts[place]; a != nil {
			d.block.accounts[place] = a
		} else {
			d.block.values[place] = d.open.values[place]
		}
	}
	d.block.dues = append(d.block.dues, d.open.dues...)
	d.block.born += d.open.born
	d.block.pots, d.block.validators = d.open.pots, d.open.validators
	d.drop()
}

// drop forgets what the transaction at hand has changed.
func (d *draft) drop() {
	clear(d.open.accounts)
	clear(d.open.values)
	d.open.order, d.open.dues, d.open.born = d.open.order[:0], d.open.dues[:0], 0
	d.open.pots, d.open.validators = d.block.pots, d.block.validators
}

// close makes the state after the block.
func (d *draft) close() (State, error) {
	d.fileDues()
	changes := make([]trie.Change, 0, len(d.block.order)+2)
	for _, place := range d.block.order {
		value := d.block.values[place]
		if a := d.block.accounts[place]; a != nil {
			value = encode(a)
		}
		changes = append(changes, trie.Change{Key: place, Value: value})
	}
	s, p := d.base, d.block.pots
	s.height = d.height
	s.people += d.block.born
	s.supply = &ledgerv1.Supply{
		Total: s.supply.Total, Balances: p.balances, Stakes: p.stakes, Escrows: p.escrows, Penalties: p.penalties,
		Treasury: p.treasury, Burned: p.burned, SlashedInWindow: p.inWindow,
	}
	if sum(s.supply) != s.supply.Total {
		return State{}, fmt.Errorf("%w: money was made or lost at height %d", ErrBlock, d.height)
	}
	changes = append(changes, trie.Change{Key: seal.SupplyKey(), Value: encode(s.supply)})
	if d.block.validators != s.validators {
		s.validators = d.block.validators
		changes = append(changes, trie.Change{Key: seal.ValidatorsKey(), Value: encode(s.validators)})
	}
	s.trie = s.trie.Update(changes)
	return s, nil
}

// sum is all the money there is. Each pot is at most MaxSupply, so four can be added, and the rest as well while the
// promise holds.
func sum(s *ledgerv1.Supply) uint64 {
	return s.Balances + s.Stakes + s.Escrows + s.Penalties + s.Treasury + s.Burned
}
