package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// ledgerWorld serves a real ledger in memory: every transaction becomes a block, signed by all the keys it holds. It lies
// when it is told to.
type ledgerWorld struct {
	op.UnimplementedLedgerServiceHandler
	op.UnimplementedMeshServiceHandler
	url  string
	keys []ed25519.PrivateKey // of all that ever validate

	mu      sync.Mutex
	m       *chaintest.Maker
	root    *chainRoot
	changes []*ledgerv1.ValidatorsProof
	low     uint64                            // first block kept
	silent  bool                              // transactions stay where they are
	spoil   func(*operatorv1.GetBlockResponse) // what it does to the blocks it hands out
	lie     func(*operatorv1.GetProofResponse)
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
	mux := http.NewServeMux()
	mux.Handle(op.NewLedgerServiceHandler(w))
	mux.Handle(op.NewMeshServiceHandler(w))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	w.url = s.URL
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

func (w *ledgerWorld) GetLedger(context.Context, *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.m.State
	head, root := s.Head(), s.Root()
	accounts := uint64(0)
	for range s.Accounts() {
		accounts++
	}
	return &operatorv1.GetLedgerResponse{
		ChainId: s.Chain(), Genesis: w.root.hash[:], Height: s.Height(), Block: head[:], State: root[:], TimeUs: s.TimeUs(), LowHeight: w.low,
		Params: s.Params(), Supply: s.Supply(), Validators: s.Validators(), Accounts: accounts,
		Consensus: &operatorv1.ConsensusStatus{Role: "validator", Key: publicHalf(w.keys[0])},
	}, nil
}

func (w *ledgerWorld) GetGenesis(context.Context, *operatorv1.GetGenesisRequest) (*operatorv1.GetGenesisResponse, error) {
	return &operatorv1.GetGenesisResponse{Genesis: w.root.encoded}, nil
}

func (w *ledgerWorld) GetProof(_ context.Context, r *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	place, _, err := placeOf(r)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	res := &operatorv1.GetProofResponse{Header: w.root.header, Proof: w.m.State.Prove(place)}
	if n := len(w.m.Blocks); n > 0 {
		last := w.m.Blocks[n-1]
		res.Header = last.Block.Header
		if res.Certificate, err = proto.Marshal(last.Certificate); err != nil {
			return nil, err
		}
	}
	if w.lie != nil {
		w.lie(res)
	}
	return res, nil
}

func (w *ledgerWorld) ListAccounts(_ context.Context, r *operatorv1.ListAccountsRequest) (*operatorv1.ListAccountsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	res := &operatorv1.ListAccountsResponse{Height: w.m.State.Height()}
	at := 0
	if r.PageToken != "" {
		at = int(r.PageToken[0])
	}
	i := 0
	for a := range w.m.State.Accounts() {
		if i++; i <= at {
			continue
		}
		if len(res.Accounts) == int(r.PageSize) {
			res.NextPageToken = string(rune(i - 1))
			break
		}
		res.Accounts = append(res.Accounts, a)
	}
	return res, nil
}

func (w *ledgerWorld) find(r *operatorv1.GetBlockRequest) int {
	return slices.IndexFunc(w.m.Blocks, func(b *ledgerv1.CertifiedBlock) bool {
		hash := seal.HeaderHash(b.Block.Header)
		return b.Certificate.Height == r.GetHeight() || bytes.Equal(hash[:], r.GetHash())
	})
}

func (w *ledgerWorld) GetBlock(_ context.Context, r *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(r.GetHash()) == 0 && r.GetHeight() == 0 {
		return &operatorv1.GetBlockResponse{
			Hash: w.root.hash[:], Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: w.root.header}},
		}, nil
	}
	i := w.find(r)
	if i < 0 || uint64(i)+1 < w.low {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such block"))
	}
	hash := seal.HeaderHash(w.m.Blocks[i].Block.Header)
	res := &operatorv1.GetBlockResponse{Hash: hash[:], Block: proto.CloneOf(w.m.Blocks[i])}
	for _, t := range w.m.Receipts[i] {
		res.Receipts = append(res.Receipts, proto.CloneOf(t))
	}
	if w.spoil != nil {
		w.spoil(res)
	}
	return res, nil
}

func (w *ledgerWorld) ListBlocks(_ context.Context, r *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := r.Before
	if before == 0 {
		before = uint64(len(w.m.Blocks)) + 1
	}
	res := new(operatorv1.ListBlocksResponse)
	for h := before - 1; h >= w.low; h-- {
		if len(res.Blocks) == int(r.PageSize) {
			res.NextBefore = h + 1
			break
		}
		b := w.m.Blocks[h-1]
		header, err := light.ParseHeader("", b.Block.Header)
		if err != nil {
			return nil, err
		}
		hash := seal.HeaderHash(b.Block.Header)
		res.Blocks = append(res.Blocks, &operatorv1.BlockSummary{
			Hash: hash[:], Header: header, Transactions: uint32(len(b.Block.Transactions)), Signatures: uint32(len(b.Certificate.Signatures)),
			Bytes: uint64(proto.Size(b)),
		})
	}
	return res, nil
}

// views are all transactions, the newest first.
func (w *ledgerWorld) views() (out []*operatorv1.TransactionView) {
	for i, b := range slices.Backward(w.m.Blocks) {
		for j, tx := range b.Block.Transactions {
			t, err := openTransaction(tx)
			if err != nil {
				w.m.T.Error(err)
			}
			out = append(out, &operatorv1.TransactionView{
				Id: t.id[:], Encoded: tx, Body: t.body, Height: uint64(i) + 1, Index: uint32(j), Receipt: w.m.Receipts[i][j], TimeUs: w.m.State.TimeUs(),
			})
		}
	}
	return out
}

func (w *ledgerWorld) GetTransaction(_ context.Context, r *operatorv1.GetTransactionRequest) (*operatorv1.GetTransactionResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.views() {
		if bytes.Equal(v.Id, r.Id) {
			return &operatorv1.GetTransactionResponse{Transaction: v}, nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such transaction"))
}

func (w *ledgerWorld) ListTransactions(_ context.Context, r *operatorv1.ListTransactionsRequest) (*operatorv1.ListTransactionsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.DeleteFunc(w.views(), func(v *operatorv1.TransactionView) bool {
		return len(r.Account) > 0 && !bytes.Equal(v.Body.Sender, r.Account)
	})
	at := 0
	if r.PageToken != "" {
		at = int(binary.BigEndian.Uint16([]byte(r.PageToken)))
	}
	all = all[min(at, len(all)):]
	res := &operatorv1.ListTransactionsResponse{Transactions: all}
	if n := int(r.PageSize); len(all) > n {
		res.Transactions, res.NextPageToken = all[:n], string(binary.BigEndian.AppendUint16(nil, uint16(at+n)))
	}
	return res, nil
}

func (w *ledgerWorld) SubmitTransaction(_ context.Context, r *operatorv1.SubmitTransactionRequest) (*operatorv1.SubmitTransactionResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := ledger.Check(w.m.State.Chain(), r.Transaction)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	id := c.ID()
	res := &operatorv1.SubmitTransactionResponse{Id: id[:]}
	if w.silent {
		return res, nil
	}
	w.grow(r.Transaction)
	if n := len(w.m.Blocks); r.WaitMs > 0 {
		res.Height, res.Receipt = uint64(n), w.m.Receipts[n-1][0]
	}
	return res, nil
}

func (w *ledgerWorld) ListValidatorChanges(_ context.Context, r *operatorv1.ListValidatorChangesRequest) (*operatorv1.ListValidatorChangesResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := min(max(int(r.AfterVersion)-1, 0), len(w.changes)) // no change here makes two versions
	return &operatorv1.ListValidatorChangesResponse{Changes: w.changes[from:]}, nil
}

func (w *ledgerWorld) GetMesh(context.Context, *operatorv1.GetMeshRequest) (*operatorv1.GetMeshResponse, error) {
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
