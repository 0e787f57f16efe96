package cli

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ledgerWorld is a real ledger in memory behind a real API: every transaction becomes a block, signed by all the keys that
// it holds. It lies when it is told to.
type ledgerWorld struct {
	url  string
	keys []ed25519.PrivateKey // of all that ever validate
	root *chainRoot

	mu      sync.Mutex
	m       *chaintest.Maker
	changes []*ledgerv1.ValidatorsProof
	low     uint64                                       // first block kept
	silent  bool                                         // transactions stay where they are
	spoil   func(height uint64, b *operator.LedgerBlock) // what it does to the blocks it hands out
	lie     func(p *ledgerv1.TrieProof)                  // what it does to proofs
}

// serveLedger serves a chain that begins with a genesis. Its id must be that of chaintest.
func serveLedger(t *testing.T, genesis []byte, keys ...ed25519.PrivateKey) *ledgerWorld {
	t.Helper()
	root, err := readRoot(genesis)
	if err != nil {
		t.Fatal(err)
	}
	w := &ledgerWorld{m: &chaintest.Maker{T: t, Genesis: genesis, State: root.state}, root: root, keys: keys, low: 1}
	w.gather()
	w.url = operatortest.StartWith(t, scriptConfig(), func(d *operator.Deps) { d.Ledger, d.Mesh = w, w.mesh }).URL
	return w
}

// gather takes the keys of the present validators.
func (w *ledgerWorld) gather() {
	w.m.Validators = nil
	for _, k := range w.keys {
		if light.Member(w.m.State.Validators(), publicHalf(k)) {
			w.m.Validators = append(w.m.Validators, k)
		}
	}
}

// grow makes a block. w.mu is held.
func (w *ledgerWorld) grow(txs ...[]byte) {
	before := w.m.State.Validators().Version
	b := w.m.Next(txs...)
	if w.m.State.Validators().Version == before {
		return
	}
	certificate, err := proto.Marshal(b.Certificate)
	if err != nil {
		w.m.T.Error(err)
	}
	w.changes = append(w.changes, &ledgerv1.ValidatorsProof{
		Header: b.Block.Header, Certificate: certificate, Proof: w.m.State.Prove(seal.ValidatorsKey()),
	})
	w.gather()
}

// spoils, lies and misbehave change what it does, also while it is still asked: a command that has ended may have read ahead.
func (w *ledgerWorld) spoils(f func(height uint64, b *operator.LedgerBlock)) {
	w.misbehave(func() { w.spoil = f })
}

func (w *ledgerWorld) lies(f func(p *ledgerv1.TrieProof)) { w.misbehave(func() { w.lie = f }) }

func (w *ledgerWorld) misbehave(how func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how()
}

// State implements operator.Ledger, like all below.
func (w *ledgerWorld) State() ledger.State { w.mu.Lock(); defer w.mu.Unlock(); return w.m.State }

func (w *ledgerWorld) Block(height uint64) (b operator.LedgerBlock, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case height == 0:
		return operator.LedgerBlock{Hash: w.root.hash, Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: w.root.header}}}, nil
	case height > uint64(len(w.m.Blocks)):
		return b, operator.ErrNotOnLedger
	case height < w.low:
		return b, fmt.Errorf("%w: block %d", operator.ErrLedgerPruned, height)
	}
	b.Block = proto.CloneOf(w.m.Blocks[height-1])
	for _, r := range w.m.Receipts[height-1] {
		b.Receipts = append(b.Receipts, proto.CloneOf(r))
	}
	if w.spoil != nil {
		w.spoil(height, &b)
	}
	b.Hash = seal.HeaderHash(b.Block.Block.Header)
	return b, nil
}

func (w *ledgerWorld) Prove(place ledger.Hash) (header, certificate []byte, p *ledgerv1.TrieProof, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	header, p = w.root.header, w.m.State.Prove(place)
	if n := len(w.m.Blocks); n > 0 {
		header = w.m.Blocks[n-1].Block.Header
		certificate, err = proto.Marshal(w.m.Blocks[n-1].Certificate)
	}
	if w.lie != nil {
		p = proto.CloneOf(p)
		w.lie(p)
	}
	return header, certificate, p, err
}

func (w *ledgerWorld) Changes(after uint64, limit int) ([]*ledgerv1.ValidatorsProof, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.changes[min(max(int(after), 1)-1, len(w.changes)):] // no change here makes two versions
	return rest[:min(limit, len(rest))], len(rest) > limit, nil
}

func (w *ledgerWorld) Check(encoded []byte) (ledger.Checked, error) {
	return ledger.Check(w.root.state.Chain(), encoded)
}

func (w *ledgerWorld) Submit(_ context.Context, encoded []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.silent {
		w.grow(encoded)
	}
	return nil
}

func (w *ledgerWorld) Find(id ledger.Hash) (at operator.LedgerOutcome, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, receipts := range w.m.Receipts {
		for n, r := range receipts {
			if string(r.Transaction) == string(id[:]) {
				return operator.LedgerOutcome{Height: uint64(i) + 1, Index: n, Transaction: w.m.Blocks[i].Block.Transactions[n], Receipt: r}, nil
			}
		}
	}
	return at, operator.ErrNotOnLedger
}

func (w *ledgerWorld) Await(ctx context.Context, id ledger.Hash) (operator.LedgerOutcome, error) {
	at, err := w.Find(id)
	if err != nil {
		<-ctx.Done()
		err = context.Cause(ctx)
	}
	return at, err
}

func (w *ledgerWorld) Genesis() ([]byte, error) { return w.root.encoded, nil }

func (w *ledgerWorld) Standing() operator.LedgerStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return operator.LedgerStatus{
		Genesis: w.root.hash, Low: w.low, Consensus: &operatorv1.ConsensusStatus{Role: "validator", Key: publicHalf(w.keys[0])},
	}
}

func (w *ledgerWorld) mesh(context.Context) (*operatorv1.GetMeshResponse, error) {
	return &operatorv1.GetMeshResponse{
		Peer: "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", ChainId: w.root.state.Chain(), Node: "anna", Version: "v1", SinceUs: 1_700_000_000_000_000,
		Validator: true, Height: 7, Listen: []string{"/ip4/127.0.0.1/tcp/7430/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"},
		Peers: []*operatorv1.MeshPeer{{
			Peer: "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu", Node: "bert\x1b[2J", Validator: true, Direction: "outbound", LatencyUs: 12_340,
			Score: 1.5, Height: 6, BytesIn: 2048, BytesOut: 1,
		}},
		Topics: []*operatorv1.MeshTopic{{Name: "shardy.presence.v1", Peers: 1, Accepted: 5, Published: 6, Bytes: 700, Throttled: 1, NotSent: 1}},
		Orchestrators: []*operatorv1.MeshOrchestrator{{
			Peer: "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu", Key: publicHalf(w.keys[0]), Validator: true, Node: "bert", Idle: []uint32{1, 2, 3},
			FreeCredits: 9, SeenUs: 1_700_000_000_000_000,
		}},
		Validators: 4, ValidatorsReached: 1, Routes: 1, Known: 2,
	}, nil
}
