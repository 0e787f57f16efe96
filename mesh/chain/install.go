package chain

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Trusted names a block by the word of somebody whom the operator trusts. Without it a snapshot is taken only of the
// validators that the chain knows: those of genesis, or of its own last block.
type Trusted struct {
	Height uint64
	Hash   []byte // of the header
}

// Trusts refuses a certified block behind the chain from which it must not go on: one that no validators which are known
// here have signed, and that is not the trusted one.
func (c *Chain) Trusts(b *ledgerv1.CertifiedBlock) error {
	header := b.GetBlock().GetHeader()
	h, err := light.ParseHeader(c.id, header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.holds(b.Block); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	hash := seal.HeaderHash(header)
	if t := c.cfg.Trusted; t.Height != 0 && t.Height == h.Height {
		if !bytes.Equal(t.Hash, hash[:]) {
			return fmt.Errorf("%w: block %d is %x, and %x is trusted", ErrRefused, h.Height, hash, t.Hash)
		}
		return nil
	}
	for _, set := range []*ledgerv1.ValidatorSet{c.Validators(), c.first} {
		if set.GetVersion() == h.ValidatorsVersion {
			if err := light.VerifyCertificate(header, set, b.Certificate); err != nil {
				return fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: block %d is of validators of version %d", ErrTrust, h.Height, h.ValidatorsVersion)
}

// Install goes on from a snapshot that lies behind the last block. The chunks are read once, in order, and all is
// verified before anything is changed; the blocks before it are given up. It is on disk when Install returns. An error
// that wraps ledger.ErrSnapshot is the fault of who made the manifest: its chunks do not lead to its block.
func (c *Chain) Install(m *ledgerv1.SnapshotManifest, chunk func(n uint32) ([]byte, error)) error {
	if err := c.Trusts(m.GetBlock()); err != nil {
		return err
	}
	encoded, err := stable.Marshal(m)
	if err != nil || len(encoded) > MaxManifestBytes {
		return fmt.Errorf("%w: manifest of %d bytes", ErrRefused, len(encoded))
	}
	c.commit.Lock()
	defer c.commit.Unlock()
	if c.failed != nil {
		return c.failed
	}
	header, err := light.ParseHeader(c.id, m.Block.Block.Header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if header.Height <= c.Height() {
		return fmt.Errorf("%w: snapshot of %d, the chain is at %d", ErrGap, header.Height, c.Height())
	}
	temp := c.snapshots.path(header.Height) + ".installed" + fresh
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, 0o700)); err != nil {
		return err
	}
	state, err := assemble(c.id, m, func(n uint32) ([]byte, error) {
		b, err := chunk(n)
		if err != nil {
			return nil, err
		}
		return b, writeFile(filepath.Join(temp, chunkName(n)), b)
	})
	if err != nil {
		if errors.Is(err, ledger.ErrSnapshot) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := c.snapshots.finish(temp, header.Height, encoded); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := c.segments.restart(header.Height + 1); err != nil {
		c.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		return c.failed
	}
	c.publish(view{state: state, block: m.Block})
	return nil
}
