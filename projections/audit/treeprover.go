package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/transparency"
)

// TreeProver proves records with the log's tree. A tree that was opened with the server's key signs a checkpoint when
// the records are newer than the last one; one that was opened to be read answers transparency.ErrBeyond.
type TreeProver struct {
	Tree *transparency.Tree
	Key  ed25519.PublicKey // of the server
	// Await returns when the tree has taken in everything up to a position. Nil: it is not waited for.
	Await func(ctx context.Context, pos events.Position) error
}

// Prove finds the records' leaves and proves them against the last checkpoint.
func (p TreeProver) Prove(ctx context.Context, records []events.Record) (Anchor, error) {
	if len(records) == 0 {
		return Anchor{}, errors.New("no records to prove")
	}
	last := records[len(records)-1].Pos
	if p.Await != nil {
		if err := p.Await(ctx, last); err != nil {
			return Anchor{}, err
		}
	}
	if err := p.cover(ctx, last); err != nil {
		return Anchor{}, err
	}
	a := Anchor{Key: p.Key}
	var err error
	if a.Checkpoint, err = p.Tree.Latest(); err != nil {
		return Anchor{}, err
	}
	c, err := transparency.OpenCheckpoint(a.Checkpoint, p.Key)
	if err != nil {
		return Anchor{}, err
	}
	for i := range records {
		r := &records[i]
		index, err := p.Tree.IndexOf(ctx, r.Pos)
		if err != nil {
			return Anchor{}, fmt.Errorf("%s revision %d: %w", r.Stream, r.Rev, err)
		}
		proof, err := p.Tree.ProveAt(ctx, index, c.Size)
		if err != nil {
			return Anchor{}, fmt.Errorf("%s revision %d: %w", r.Stream, r.Rev, err)
		}
		if err := transparency.CheckInclusion(c, transparency.LeafHash(*r), proof); err != nil {
			return Anchor{}, fmt.Errorf("%s revision %d is not what was signed: %w", r.Stream, r.Rev, err)
		}
		a.Proofs = append(a.Proofs, proof)
	}
	return a, nil
}

// cover sees to it that the last checkpoint covers a position.
func (p TreeProver) cover(ctx context.Context, pos events.Position) error {
	_, err := p.Tree.IndexOf(ctx, pos)
	if !errors.Is(err, transparency.ErrBeyond) && !errors.Is(err, transparency.ErrNone) {
		return err
	}
	if _, serr := p.Tree.Sign(ctx); serr != nil && !errors.Is(serr, transparency.ErrReadOnly) {
		return serr
	}
	_, err = p.Tree.IndexOf(ctx, pos)
	return err
}
