package orchestrator

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/shardy-network/orchestrator/actors/proof"
)

// attestedLimit bounds one generation of what is remembered: some 80 bytes each, two generations.
const attestedLimit = 1 << 15

// attested remembers which attestations were verified, since the door sees each some seconds before the ledger does, and a
// signature is most of the work of both. It holds two generations: when the young one is full, the old one is forgotten.
type attested struct {
	mu         sync.Mutex
	young, old map[[32]byte]struct{}
}

// Verify answers as proof.Statement.Verify does.
func (a *attested) Verify(s proof.Statement, worker, signature []byte) bool {
	key := attestedKey(s, worker, signature)
	if a.knows(key) {
		return true
	}
	if !s.Verify(worker, signature) {
		return false
	}
	a.learn(key)
	return true
}

// attestedKey names what was signed, by whom and how: each part behind its length.
func attestedKey(s proof.Statement, worker, signature []byte) [32]byte {
	text := s.Bytes()
	b := make([]byte, 0, 12+len(worker)+len(signature)+len(text))
	for _, part := range [][]byte{worker, signature, text} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return sha256.Sum256(b)
}

func (a *attested) knows(key [32]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, young := a.young[key]
	_, old := a.old[key]
	return young || old
}

func (a *attested) learn(key [32]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.young == nil || len(a.young) >= attestedLimit {
		a.old, a.young = a.young, make(map[[32]byte]struct{}, attestedLimit/8)
	}
	a.young[key] = struct{}{}
}
