package consensus

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// ErrValidators says that no engine can run with a set of validators.
var ErrValidators = errors.New("unusable set of validators")

// members is a set of validators as the library sees it: by number. It does not change.
type members struct {
	set    *ledgerv1.ValidatorSet
	nodes  []uint64 // ascending; the leader of view v is nodes[v % n]
	keys   map[uint64]Key
	quorum int
}

// nodeOf is the number of a validator, the same whatever the set. Two keys with one number take 2^64 tries to find.
func nodeOf(k Key) uint64 {
	h := sha256.Sum256(append([]byte("shardy/node/v1\x00"), k[:]...))
	return max(binary.BigEndian.Uint64(h[:]), 1)
}

func newMembers(set *ledgerv1.ValidatorSet) (*members, error) {
	n := len(set.GetValidators())
	if n == 0 || n > light.MaxValidators {
		return nil, fmt.Errorf("%w: %d validators", ErrValidators, n)
	}
	m := &members{set: set, keys: make(map[uint64]Key, n), quorum: light.Quorum(n)}
	for _, v := range set.Validators {
		k, ok := KeyOf(v.GetKey())
		if !ok {
			return nil, fmt.Errorf("%w: a key has %d bytes", ErrValidators, len(v.GetKey()))
		}
		node := nodeOf(k)
		if _, taken := m.keys[node]; taken {
			return nil, fmt.Errorf("%w: twice %s", ErrValidators, k)
		}
		m.keys[node] = k
		m.nodes = append(m.nodes, node)
	}
	slices.Sort(m.nodes)
	return m, nil
}

func (m *members) leader(view uint64) uint64 { return m.nodes[view%uint64(len(m.nodes))] }

func (m *members) has(k Key) bool { return m.keys[nodeOf(k)] == k }
