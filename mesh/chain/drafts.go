package chain

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// drafts are blocks that may follow the last one, checked and executed already.
type drafts struct {
	mu   sync.Mutex
	next map[ledgerHash]draft // by hash of the header
}

// draft is what came out of a header and the transactions that it is the header of.
type draft struct {
	ledger.Next
	checked []ledger.Checked
}

// of reports whether a block of the same header holds the draft's transactions, byte by byte.
func (d draft) of(txs [][]byte) bool {
	return slices.EqualFunc(txs, d.checked, func(tx []byte, c ledger.Checked) bool { return bytes.Equal(tx, c.Encoded()) })
}

const maxDrafts = 8 // a leader proposes one, and another after a change of view

func (d *drafts) put(n ledger.Next, checked []ledger.Checked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == nil || len(d.next) >= maxDrafts {
		d.next = map[ledgerHash]draft{}
	}
	d.next[seal.HeaderHash(n.Header)] = draft{n, checked}
}

func (d *drafts) get(header []byte) (draft, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.next[seal.HeaderHash(header)]
	return n, ok
}

func (d *drafts) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = nil
}

// Place is where a proposed block belongs: what its proposer and those who judge it know beside its bytes.
type Place struct {
	Height            uint64
	Proposer          []byte // key of the validator who leads
	ValidatorsVersion uint64
}

// Check refuses what can be in no block. Its answer depends on the bytes alone.
func (c *Chain) Check(encoded []byte) (ledger.Checked, error) { return c.verified.check(c.id, encoded) }

// Propose makes the header of a block of these transactions after the last one.
func (c *Chain) Propose(at Place, txs [][]byte, now time.Time) ([]byte, error) {
	v := c.view.Load()
	if err := v.follows(at); err != nil {
		return nil, err
	}
	checked := make([]ledger.Checked, len(txs))
	n, err := c.firstBad(len(txs), func(i int) (err error) {
		checked[i], err = c.Check(txs[i])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: transaction %d: %w", ErrRefused, n, err)
	}
	next, err := v.state.Propose(now.UnixMicro(), at.Proposer, checked)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	c.drafts.put(next, checked)
	return next.Header, nil
}

// follows refuses a place that is not the one after the view.
func (v *view) follows(at Place) error {
	if at.Height != v.state.Height()+1 {
		return fmt.Errorf("%w: height %d after %d", ErrGap, at.Height, v.state.Height())
	}
	if version := v.state.Validators().GetVersion(); at.ValidatorsVersion != version {
		return fmt.Errorf("%w: validators of version %d, want %d", ErrRefused, at.ValidatorsVersion, version)
	}
	return nil
}

// Verify refuses a proposed block that no honest proposer at this place could have made after the last block. It changes
// nothing.
func (c *Chain) Verify(at Place, b *ledgerv1.Block) error {
	v := c.view.Load()
	if err := v.follows(at); err != nil {
		return err
	}
	h, err := light.ParseHeader(c.id, b.GetHeader())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if !bytes.Equal(h.Proposer, at.Proposer) || h.Height != at.Height || h.ValidatorsVersion != at.ValidatorsVersion {
		return fmt.Errorf("%w: header of %d by %x, version %d", ErrRefused, h.Height, h.Proposer, h.ValidatorsVersion)
	}
	if again, err := stable.Marshal(h); err != nil || !bytes.Equal(again, b.Header) {
		return fmt.Errorf("%w: header is not encoded as proposers do", ErrRefused)
	}
	if latest := c.cfg.Now().Add(c.cfg.ClockAhead).UnixMicro(); h.TimeUs > max(latest, v.state.TimeUs()) {
		return fmt.Errorf("%w: its time is %s ahead", ErrRefused, time.Duration(h.TimeUs-c.cfg.Now().UnixMicro())*time.Microsecond)
	}
	if d, ok := c.drafts.get(b.Header); ok && d.of(b.Transactions) {
		return nil
	}
	checked, err := c.checkAll([]*ledgerv1.CertifiedBlock{{Block: b}})
	if err != nil {
		return err
	}
	next, err := v.state.Verify(b.Header, checked[0])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	c.drafts.put(next, checked[0])
	return nil
}

// Commit makes a block the next one of the chain; it is on disk when Commit returns. A block that is committed already is
// left as it is.
func (c *Chain) Commit(b *ledgerv1.Block, certificate *ledgerv1.Certificate) error {
	c.commit.Lock()
	defer c.commit.Unlock()
	if c.failed != nil {
		return c.failed
	}
	blocks := []*ledgerv1.CertifiedBlock{{Block: b, Certificate: certificate}}
	if done, err := c.passOver(blocks); done > 0 || err != nil {
		return err
	}
	_, err := c.accept(blocks)
	return err
}
