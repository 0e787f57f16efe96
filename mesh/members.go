package mesh

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// members are the validators of the present set, by peer id.
type members struct {
	now func() *ledgerv1.ValidatorSet // nil: there are none

	mu      sync.Mutex
	set     *ledgerv1.ValidatorSet // that ids are of
	ids     map[peer.ID]bool
	ordered []peer.ID
}

// refresh must be called with the lock held.
func (m *members) refresh(set *ledgerv1.ValidatorSet) {
	if set == m.set || set.GetVersion() == m.set.GetVersion() && len(set.GetValidators()) == len(m.ordered) {
		return
	}
	m.set, m.ids, m.ordered = set, map[peer.ID]bool{}, nil
	for _, v := range set.GetValidators() {
		if id, err := PeerOf(v.GetKey()); err == nil && !m.ids[id] {
			m.ids[id] = true
			m.ordered = append(m.ordered, id)
		}
	}
}

func (m *members) has(id peer.ID) bool {
	if m.now == nil {
		return false
	}
	set := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh(set)
	return m.ids[id]
}

func (m *members) all() []peer.ID {
	if m.now == nil {
		return nil
	}
	set := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh(set)
	return m.ordered
}

// IsValidator reports whether a peer is in the present set.
func (m *Mesh) IsValidator(id peer.ID) bool { return m.members.has(id) }

// ForValidators is a handler that resets the streams of all others: for consensus.
func (m *Mesh) ForValidators(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if !m.members.has(s.Conn().RemotePeer()) {
			m.gate.refused.Add(1)
			_ = s.ResetWithError(network.StreamGated)
			return
		}
		handle(s)
	}
}
