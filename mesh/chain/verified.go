package chain

import (
	"crypto/sha256"
	"sync"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/proof"
)

// verified remembers which bytes are good transactions, as their signatures are most of the work on them. It holds two
// generations: what is asked for moves to the young one, and when that is full the old one is forgotten.
type verified struct {
	limit    int // bytes of one generation
	attested proof.Attested

	mu         sync.Mutex
	young, old map[ledgerHash]ledger.Checked
	size       int // of young
}

func newVerified(limit int, attested proof.Attested) *verified {
	return &verified{limit: limit / 2, attested: attested, young: map[ledgerHash]ledger.Checked{}}
}

// check is ledger.Check, which it calls once for the same bytes if they are asked for often enough.
func (v *verified) check(chain string, encoded []byte) (ledger.Checked, error) {
	if len(encoded) > ledger.MaxTransactionBytes {
		return ledger.CheckWith(chain, encoded, v.attested)
	}
	key := sha256.Sum256(encoded)
	if c, ok := v.get(key); ok {
		return c, nil
	}
	c, err := ledger.CheckWith(chain, encoded, v.attested)
	if err != nil {
		return c, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(key, c)
	return c, nil
}

func (v *verified) get(key ledgerHash) (ledger.Checked, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c, ok := v.young[key]; ok {
		return c, true
	}
	c, ok := v.old[key]
	if ok {
		v.put(key, c)
	}
	return c, ok
}

// put counts what is decoded as three times its bytes, and something for the map.
func (v *verified) put(key ledgerHash, c ledger.Checked) {
	if v.size += 3*len(c.Encoded()) + 512; v.size > v.limit {
		v.old, v.young, v.size = v.young, map[ledgerHash]ledger.Checked{}, 3*len(c.Encoded())+512
	}
	v.young[key] = c
}
