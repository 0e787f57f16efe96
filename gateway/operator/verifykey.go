package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// MaxKeyBytes bounds a verification key: a circuit of some 300 public signals.
const MaxKeyBytes = 64 << 10

// errKey refuses a job whose results nobody could verify.
var errKey = errors.New("the verification key is not usable")

// goodKeys remembers keys that were found usable lately: decoding one costs as much as all else that is checked of a
// job. Content does not change, so that a key stays good.
type goodKeys struct {
	mu   sync.Mutex // guards sums
	sums map[[32]byte]uint64
}

// maxGoodKeys bounds the memory; when it is full, all are forgotten.
const maxGoodKeys = 1024

func (k *goodKeys) has(sum [32]byte, size uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.sums[sum]
	return ok && known == size
}

func (k *goodKeys) add(sum [32]byte, size uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sums == nil || len(k.sums) >= maxGoodKeys {
		k.sums = make(map[[32]byte]uint64)
	}
	k.sums[sum] = size
}

// checkKey refuses a proof whose verification key is not in the store or no key: its results would be unverifiable,
// whoever computed them. checkProof was there before, so that whoever has a key needs one.
func (a *API) checkKey(ctx context.Context, p *eventv1.ProofSpec) error {
	ref := p.GetVerificationKey()
	if ref == nil {
		return nil
	}
	const field = "proof.verification_key"
	if err := checkRef(field, ref, MaxKeyBytes); err != nil {
		return err
	}
	if a.keys.has([32]byte(ref.Sha256), ref.Size) {
		return nil
	}
	if err := a.checkContent(ctx, field, ref, MaxKeyBytes); err != nil {
		return err
	}
	content, _, err := a.deps.Blobs.Open(ctx, [32]byte(ref.Sha256))
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer content.Close()
	key, err := io.ReadAll(io.LimitReader(content, MaxKeyBytes+1)) // to the end, where the hash is held against the name
	if err != nil {
		return fmt.Errorf("%s: %w: %w", field, events.ErrUnavailable, err)
	}
	if err := (proof.Groth16{}).CheckKey(key); err != nil {
		return fmt.Errorf("%w: %w", errKey, err)
	}
	a.keys.add([32]byte(ref.Sha256), ref.Size)
	return nil
}
