package blocksync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// triesOfOne is how often one peer may fail before a pull does without it.
const triesOfOne = 3

// errAccept wraps what whoever takes the blocks says: it is no fault of the peer.
var errAccept = errors.New("block not taken")

// Pull fetches the blocks from..to and hands them over in order, each once, until accept refuses one. Blocks that do not
// follow each other, or whose certificate is not one when the chain is at the block before them, are not handed over, and
// their sender is left for another one. ErrNobody: nobody has the next block.
func (c *Client) Pull(ctx context.Context, from, to uint64, accept func(*ledgerv1.CertifiedBlock) error) error {
	if from == 0 || to < from {
		return nil
	}
	return c.walk(ctx, &link{c: c, next: from}, to, func(ctx context.Context, id peer.ID, l *link, to uint64) error {
		return c.fetch(ctx, id, l.next, min(MaxRange, to-l.next+1), func(b *ledgerv1.CertifiedBlock) error {
			if err := l.check(b); err != nil {
				return fmt.Errorf("%w: %w", ErrLiar, err)
			}
			if err := accept(b); err != nil {
				return fmt.Errorf("%w: %w", errAccept, err)
			}
			l.take(b)
			return nil
		})
	})
}

// walk asks one peer after the other, the best first, until link has reached a height.
func (c *Client) walk(ctx context.Context, l *link, to uint64, step func(context.Context, peer.ID, *link, uint64) error) error {
	failures := map[peer.ID]int{}
	var last error
	for l.next <= to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		id, ok := c.best(failures)
		if !ok {
			return errors.Join(fmt.Errorf("%w: block %d", ErrNobody, l.next), last)
		}
		before := l.next
		err := step(ctx, id, l, to)
		if errors.Is(err, errAccept) {
			return err
		}
		c.judge(ctx, id, err)
		if err != nil {
			last = fmt.Errorf("%s: %w", id, err)
		}
		if l.next > before {
			failures[id] = 0
			continue
		}
		failures[id]++
		if errors.Is(err, ErrNotThere) {
			failures[id] = triesOfOne
		}
		rest(ctx, err, failures[id])
	}
	return nil
}

// best returns whom to ask next.
func (c *Client) best(failures map[peer.ID]int) (peer.ID, bool) {
	var best peer.ID
	least := triesOfOne
	for _, id := range c.ranks.sort(c.everybody(), time.Now()) {
		if failures[id] < least {
			best, least = id, failures[id]
		}
	}
	return best, least < triesOfOne
}

// fetch asks a peer for a range and hands over each block as it comes, until take fails. What was handed over before an
// error counts.
func (c *Client) fetch(ctx context.Context, id peer.ID, from, count uint64, take func(*ledgerv1.CertifiedBlock) error) error {
	q := &ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Range{
		Range: &ledgerv1.RangeRequest{From: from, Count: uint32(count), MaxBytes: MaxRangeBytes},
	}}
	began := time.Now()
	call, hang, err := ask(ctx, c.host, id, blocksProtocol, c.cfg.Patience, maxResponse, q)
	if err != nil {
		return err
	}
	defer hang()
	size := 0
	for got := uint64(0); ; got++ {
		var r ledgerv1.BlockResponse
		if err := call.next(&r); err != nil {
			if got > 0 && errors.Is(err, io.EOF) {
				return fmt.Errorf("answer without an end: %w", err)
			}
			return err
		}
		if b := r.GetBlock(); b != nil {
			if size += proto.Size(b); got == count || got > 0 && size > MaxRangeBytes {
				return fmt.Errorf("%w: more than was asked for", ErrLiar)
			}
			if err := take(b); err != nil {
				return err
			}
			continue
		}
		if r.GetEnd() == ledgerv1.SyncCode_SYNC_CODE_OK && got > 0 {
			c.ranks.answered(id, size, time.Since(began), time.Now())
			return nil
		}
		if r.GetEnd() == ledgerv1.SyncCode_SYNC_CODE_OK {
			return fmt.Errorf("%w: an empty range", ErrNotThere)
		}
		return refusal(r.Kind, r.GetEnd())
	}
}

// link holds blocks against what is known before they are executed: their height, their parent, their certificate.
type link struct {
	c      *Client
	next   uint64
	parent []byte // hash of the header before; nil: not known
}

// check refuses a block that cannot be the next one.
func (l *link) check(b *ledgerv1.CertifiedBlock) error {
	header := b.GetBlock().GetHeader()
	h, err := light.ParseHeader(l.c.chain.ID(), header)
	if err != nil {
		return err
	}
	s := l.c.chain.State()
	parent := l.parent
	if s.Height()+1 == l.next {
		head := s.Head()
		parent = head[:]
	}
	if h.Height != l.next || parent != nil && !bytes.Equal(h.Parent, parent) {
		return fmt.Errorf("block %d with parent %x, want %d after %x", h.Height, h.Parent, l.next, parent)
	}
	if root := seal.Root(b.Block.Transactions); !bytes.Equal(root[:], h.Transactions) {
		return fmt.Errorf("block %d does not hold the transactions of its header", h.Height)
	}
	if s.Height()+1 == l.next || s.Validators().GetVersion() == h.ValidatorsVersion {
		return light.VerifyCertificate(header, s.Validators(), b.Certificate)
	}
	return nil
}

func (l *link) take(b *ledgerv1.CertifiedBlock) {
	hash := seal.HeaderHash(b.Block.Header)
	l.next++
	l.parent = hash[:]
}
