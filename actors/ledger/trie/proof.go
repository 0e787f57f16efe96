package trie

import (
	"crypto/sha256"
	"errors"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// ErrProof refuses a proof that does not lead to the root.
var ErrProof = errors.New("proof does not lead to the root")

// maxDepth is the deepest that a leaf can lie.
const maxDepth = 8 * sha256.Size

// Prove returns the proof of what the trie holds under a key: its value, or nothing.
func (t Trie) Prove(key Hash) *ledgerv1.TrieProof {
	p := &ledgerv1.TrieProof{Key: key[:]}
	n := t.root
	for depth := 0; n != nil && !n.leaf(); depth++ {
		var off *node
		n, off = n.step(&key, depth)
		if off == nil {
			p.Siblings = append(p.Siblings, nil)
			continue
		}
		p.Siblings = append(p.Siblings, off.hash[:])
	}
	switch {
	case n == nil:
	case n.key == key:
		p.Value = n.value
	default:
		value := sha256.Sum256(n.value)
		p.OtherKey, p.OtherValueHash = n.key[:], value[:]
	}
	return p
}

// Verify returns the value that the proof shows to lie under its key, or nil when it shows that nothing does.
func Verify(root Hash, p *ledgerv1.TrieProof) (value []byte, err error) {
	if len(p.GetKey()) != sha256.Size || len(p.Siblings) > maxDepth {
		return nil, ErrProof
	}
	key := Hash(p.Key)
	h, err := end(&key, p)
	if err != nil {
		return nil, err
	}
	for depth := len(p.Siblings) - 1; depth >= 0; depth-- {
		var sibling Hash
		switch s := p.Siblings[depth]; len(s) {
		case 0:
		case sha256.Size:
			sibling = Hash(s)
		default:
			return nil, ErrProof
		}
		if bit(&key, depth) == 0 {
			h = innerHash(&h, &sibling)
		} else {
			h = innerHash(&sibling, &h)
		}
	}
	if h != root {
		return nil, ErrProof
	}
	return p.Value, nil
}

// end is the hash of what the proof says lies where the path of its key ends.
func end(key *Hash, p *ledgerv1.TrieProof) (Hash, error) {
	switch {
	case len(p.Value) > 0:
		if len(p.OtherKey) != 0 || len(p.OtherValueHash) != 0 {
			return Hash{}, ErrProof
		}
		return leafHash(key, sha256.Sum256(p.Value)), nil
	case len(p.OtherKey) == 0 && len(p.OtherValueHash) == 0:
		return Hash{}, nil
	case len(p.OtherKey) != sha256.Size || len(p.OtherValueHash) != sha256.Size:
		return Hash{}, ErrProof
	}
	other := Hash(p.OtherKey)
	if other == *key {
		return Hash{}, ErrProof
	}
	for depth := range p.Siblings {
		if bit(key, depth) != bit(&other, depth) {
			return Hash{}, ErrProof // it does not lie on this path
		}
	}
	return leafHash(&other, Hash(p.OtherValueHash)), nil
}
