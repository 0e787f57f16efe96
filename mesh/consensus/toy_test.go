package consensus

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const toyChain = "toy"

// A toy transaction is "t" and anything, "s" and a signed body (key, signature, body), or "v" and an encoded set of
// validators that replaces the present one. The state is a hash over all that was executed.

func toyTx(i int) []byte { return fmt.Appendf(nil, "t%08d-of-the-toy-ledger", i) }

func signedTx(i int, key ed25519.PrivateKey) []byte {
	body := fmt.Appendf(nil, "%08d", i)
	b := append([]byte("s"), key.Public().(ed25519.PublicKey)...)
	return append(append(b, ed25519.Sign(key, body)...), body...)
}

func validatorsTx(set *ledgerv1.ValidatorSet) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		panic(err)
	}
	return append([]byte("v"), b...)
}

// toy is a ledger in a file.
type toy struct {
	self Key

	mu      sync.Mutex
	file    *os.File
	blocks  []*ledgerv1.CertifiedBlock // of heights 1 and on
	headers []*ledgerv1.Header
	states  []toyState        // after block i; [0] is genesis
	count   map[string]int    // how often a transaction was committed
	checked map[txID]struct{} // signed transactions that passed
	changed chan struct{}     // closed and replaced at each commit

	spoil func(h *ledgerv1.Header) // a liar's change of what it proposes
	full  error                    // what the disk says
}

type toyState struct {
	root [32]byte
	set  *ledgerv1.ValidatorSet
}

func openToy(dir string, self Key, genesis *ledgerv1.ValidatorSet) (*toy, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "blocks"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	t := &toy{
		self: self, file: f, count: map[string]int{}, checked: map[txID]struct{}{}, changed: make(chan struct{}),
		states: []toyState{{sha256.Sum256([]byte("genesis")), genesis}},
	}
	all, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	for len(all) >= 4 && uint32(len(all)-4) >= binary.BigEndian.Uint32(all) {
		n := binary.BigEndian.Uint32(all)
		b := new(ledgerv1.CertifiedBlock)
		if err := proto.Unmarshal(all[4:4+n], b); err != nil {
			return nil, err
		}
		if err := t.take(b); err != nil {
			return nil, err
		}
		all = all[4+n:]
	}
	return t, nil
}

func (t *toy) Check(tx []byte) error {
	switch {
	case len(tx) > 1 && tx[0] == 't', len(tx) > 1 && tx[0] == 'v':
		return nil
	case len(tx) > 97 && tx[0] == 's':
		id := sha256.Sum256(tx)
		t.mu.Lock()
		_, ok := t.checked[id]
		t.mu.Unlock()
		if ok {
			return nil
		}
		if !ed25519.Verify(tx[1:33], tx[97:], tx[33:97]) {
			return errors.New("toy: bad signature")
		}
		t.mu.Lock()
		t.checked[id] = struct{}{}
		t.mu.Unlock()
		return nil
	}
	return errors.New("toy: no transaction")
}

func (s toyState) execute(txs [][]byte) toyState {
	h := sha256.New()
	h.Write(s.root[:])
	for _, tx := range txs {
		h.Write(tx)
		if tx[0] != 'v' {
			continue
		}
		set := new(ledgerv1.ValidatorSet)
		if proto.Unmarshal(tx[1:], set) == nil && set.Version == s.set.Version+1 {
			s.set = set
		}
	}
	h.Sum(s.root[:0])
	return s
}

func (t *toy) tipHash() []byte {
	if len(t.blocks) == 0 {
		h := sha256.Sum256([]byte("genesis"))
		return h[:]
	}
	h := seal.HeaderHash(t.blocks[len(t.blocks)-1].Block.Header)
	return h[:]
}

func (t *toy) header(at Place, txs [][]byte, us int64) *ledgerv1.Header {
	s := t.states[len(t.states)-1]
	root, results, state := seal.Root(txs), sha256.Sum256(nil), s.execute(txs).root
	return &ledgerv1.Header{
		ChainId: toyChain, Height: at.Height, Parent: t.tipHash(), Transactions: root[:], Results: results[:], State: state[:],
		TimeUs: us, Proposer: at.Proposer[:], ValidatorsVersion: at.ValidatorsVersion,
	}
}

func encodeHeader(h *ledgerv1.Header) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(h)
	if err != nil {
		panic(err)
	}
	return b
}

func (t *toy) Propose(at Place, txs [][]byte, now time.Time) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at.Height != uint64(len(t.blocks))+1 {
		return nil, fmt.Errorf("toy: propose %d after %d", at.Height, len(t.blocks))
	}
	h := t.header(at, txs, now.UnixMicro())
	if t.spoil != nil {
		t.spoil(h)
	}
	return encodeHeader(h), nil
}

func (t *toy) Verify(at Place, b *ledgerv1.Block) error {
	for _, tx := range b.Transactions {
		if err := t.Check(tx); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	h := new(ledgerv1.Header)
	if err := proto.Unmarshal(b.Header, h); err != nil {
		return err
	}
	if at.Height != uint64(len(t.blocks))+1 || !bytes.Equal(encodeHeader(t.header(at, b.Transactions, h.TimeUs)), b.Header) {
		return fmt.Errorf("toy: header of height %d is not what it leads to", at.Height)
	}
	return nil
}

func (t *toy) take(b *ledgerv1.CertifiedBlock) error {
	h := new(ledgerv1.Header)
	if err := proto.Unmarshal(b.Block.Header, h); err != nil {
		return err
	}
	s := t.states[len(t.states)-1].execute(b.Block.Transactions)
	if h.Height != uint64(len(t.blocks))+1 || !bytes.Equal(h.Parent, t.tipHash()) || !bytes.Equal(h.State, s.root[:]) {
		return fmt.Errorf("toy: block %d does not lead on from %d", h.Height, len(t.blocks))
	}
	t.blocks, t.headers, t.states = append(t.blocks, b), append(t.headers, h), append(t.states, s)
	for _, tx := range b.Block.Transactions {
		t.count[string(tx)]++
	}
	return nil
}

func (t *toy) Commit(block *ledgerv1.Block, c *ledgerv1.Certificate) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full != nil {
		return t.full
	}
	if c.Height <= uint64(len(t.blocks)) {
		return nil
	}
	b := &ledgerv1.CertifiedBlock{Block: block, Certificate: c}
	if err := t.take(b); err != nil {
		return err
	}
	raw, err := proto.Marshal(b)
	if err != nil {
		return err
	}
	if _, err := t.file.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...)); err != nil {
		return err
	}
	close(t.changed)
	t.changed = make(chan struct{})
	return nil
}

func (t *toy) Height() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(len(t.blocks))
}

func (t *toy) Block(h uint64) (*ledgerv1.CertifiedBlock, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h == 0 || h > uint64(len(t.blocks)) {
		return nil, fmt.Errorf("toy: no block %d", h)
	}
	return t.blocks[h-1], nil
}

func (t *toy) Validators() (*ledgerv1.ValidatorSet, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.states[len(t.states)-1].set, nil
}

func (t *toy) setBefore(h uint64) *ledgerv1.ValidatorSet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.states[h-1].set
}

// await returns when a condition holds, which is looked at after every commit.
func (t *toy) await(ctx context.Context, ok func() bool) error {
	for {
		t.mu.Lock()
		done, changed := ok(), t.changed
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("height %d: %w", t.Height(), ctx.Err())
		}
	}
}

// toyPuller reads from the ledgers of other nodes of the test.
type toyPuller struct {
	net  *testNet
	self Key
}

func (p *toyPuller) Target(context.Context) (uint64, error) {
	var heights []uint64
	for _, n := range p.net.reachable(p.self) {
		heights = append(heights, n.ledger.Height())
	}
	return nthHighest(heights, p.net.faults()), nil
}

func (p *toyPuller) Pull(ctx context.Context, from, to uint64, accept func(*ledgerv1.CertifiedBlock) error) error {
	for _, n := range p.net.reachable(p.self) {
		for ; from <= to && ctx.Err() == nil; from++ {
			b, err := n.ledger.Block(from)
			if err != nil {
				break
			}
			if n.lies != nil {
				b = n.lies(b)
			}
			if err := accept(b); err != nil {
				break
			}
		}
	}
	if from <= to {
		return fmt.Errorf("toy: pulled to %d of %d", from-1, to)
	}
	return nil
}
