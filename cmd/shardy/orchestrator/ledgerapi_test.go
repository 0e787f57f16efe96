package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/node"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// alone is an API over a node that is the only validator of its chain.
type alone struct {
	op.LedgerServiceClient
	mesh  op.MeshServiceClient
	api   *operator.API
	node  *node.Node
	maker *chaintest.Maker // its keys; its state is that of genesis
}

func startAlone(t *testing.T) *alone {
	t.Helper()
	m, dir := chaintest.New(t, 1, 4), t.TempDir()
	n, err := node.Open(t.Context(), node.Config{
		Key: chaintest.Key(0), Genesis: m.Genesis, Dir: dir, FreshLog: true, Meet: time.Millisecond,
		Mesh: mesh.Config{Node: "alone", NoDHT: true}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := n.Chain().At(0)
	if err != nil {
		t.Fatal(err)
	}
	l := ledgerAPI{chain: n.Chain(), first: first.Hash, node: n, key: n.Key(), genesis: filepath.Join(dir, "chain", "genesis")}
	w := operatortest.StartWith(t, operator.Config{}, func(d *operator.Deps) { d.Ledger, d.Mesh = l, meshAPI(n.Mesh()) })
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c := operatortest.Client("")
	return &alone{op.NewLedgerServiceClient(c, w.URL), op.NewMeshServiceClient(c, w.URL), w.API, n, m}
}

// TestLedgerOfARealChain: what is submitted over the wire is ordered by a real engine, lies on disk, and is proven.
func TestLedgerOfARealChain(t *testing.T) {
	s := startAlone(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tx := s.maker.Transfer(chaintest.Key(1000), chaintest.Key(2000), 41)
	sent, err := s.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: 60_000})
	if err != nil || sent.Receipt.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		t.Fatal(sent, err)
	}
	again, err := s.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: tx})
	if err != nil || !proto.Equal(sent, again) {
		t.Error("sent twice:", again, err)
	}
	if err := (ledgerAPI{chain: s.node.Chain(), node: s.node}).Submit(ctx, tx); err != nil {
		t.Error("what is in a block is submitted:", err)
	}
	genesis, err := s.GetGenesis(ctx, &operatorv1.GetGenesisRequest{})
	if err != nil || !bytes.Equal(genesis.Genesis, s.maker.Genesis) {
		t.Fatal(err)
	}
	client := &light.Client{Chain: chaintest.ChainID, Validators: s.maker.State.Validators()}
	key := chaintest.Public(chaintest.Key(2000))
	proof, err := s.GetProof(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}})
	if err != nil {
		t.Fatal(err)
	}
	value, h, err := client.Held(proof.Header, proof.Certificate, proof.Proof, seal.AccountKey(key))
	a := new(ledgerv1.Account)
	if err != nil || proto.Unmarshal(value, a) != nil || a.Balance != 41 || h.Height < sent.Height {
		t.Fatal(a, h, err)
	}
	now, err := s.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
	if err != nil || now.Consensus.Role != "validator" || !bytes.Equal(now.Consensus.Key, s.node.Key()) || now.Accounts != 10 || now.Height < sent.Height {
		t.Error(now, err)
	}
	zero, err := s.GetBlock(ctx, &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: now.Genesis}})
	if err != nil || zero.Block.Certificate != nil || seal.HeaderHash(zero.Block.Block.Header) != ledger.Hash(now.Genesis) {
		t.Error("the block that the chain begins with:", zero, err)
	}
	list, err := s.ListTransactions(ctx, &operatorv1.ListTransactionsRequest{Account: key})
	if err != nil || len(list.Transactions) != 1 || list.Transactions[0].Height != sent.Height || list.NextPageToken != "" {
		t.Error(list, err)
	}
	changes, err := s.ListValidatorChanges(ctx, &operatorv1.ListValidatorChangesRequest{AfterVersion: 1})
	if err != nil || len(changes.Changes) != 0 || changes.More {
		t.Error(changes, err)
	}
	seen, err := s.mesh.GetMesh(ctx, &operatorv1.GetMeshRequest{})
	if err != nil || seen.Node != "alone" || seen.ChainId != chaintest.ChainID || !seen.Validator || seen.Peer != s.node.Mesh().PeerID() {
		t.Error(seen, err)
	}
	if err := s.node.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: s.maker.Transfer(chaintest.Key(1000), chaintest.Key(1), 1), WaitMs: 1})
	if connect.CodeOf(err) != connect.CodeUnavailable {
		t.Error("after the node was closed:", err)
	}
}

// TestLedgerOnTheScreens has refusals in the words of the screens.
func TestLedgerOnTheScreens(t *testing.T) {
	s := startAlone(t)
	screens := ledgerScreens{s.api, s.node.Chain()}
	_, err := screens.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: 1 << 40}})
	if !errors.Is(err, dashboard.ErrNotFound) {
		t.Error(err)
	}
	_, err = screens.GetTransaction(t.Context(), &operatorv1.GetTransactionRequest{Id: []byte{1}})
	if r, ok := errors.AsType[*dashboard.Refusal](err); !ok || r.Code != "INVALID" {
		t.Error(err)
	}
	if res, err := screens.GetLedger(t.Context(), &operatorv1.GetLedgerRequest{}); err != nil || res.Height != screens.Height() {
		t.Error(res, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := screens.Await(gone, 0); err != nil {
		t.Error("a block that is there:", err)
	}
	if err := screens.Await(gone, 1<<40); !errors.Is(err, context.Canceled) {
		t.Error("a block of the future:", err)
	}
	if _, err := s.node.Submit(t.Context(), s.maker.Transfer(chaintest.Key(1000), chaintest.Key(2000), 1)); err != nil {
		t.Fatal(err)
	}
	if err := screens.Await(t.Context(), 1); err != nil || screens.Height() < 1 {
		t.Error(err)
	}
}

// TestWordsOfTheLedger: every refusal of a chain and a node has one of the API's.
func TestWordsOfTheLedger(t *testing.T) {
	for theirs, ours := range map[error]error{
		chain.ErrNotFound: operator.ErrNotOnLedger, chain.ErrPruned: operator.ErrLedgerPruned, chain.ErrClosed: operator.ErrLedgerDown,
		chain.ErrFailed: operator.ErrLedgerDown, node.ErrClosed: operator.ErrLedgerDown, node.ErrFailed: operator.ErrLedgerDown,
		node.ErrFull: operator.ErrLedgerFull, ledger.ErrEvidence: ledger.ErrEvidence,
	} {
		if err := onLedger(fmt.Errorf("somewhere: %w", theirs)); !errors.Is(err, ours) || !errors.Is(err, theirs) {
			t.Errorf("%v became %v", theirs, err)
		}
	}
	if onLedger(nil) != nil {
		t.Error("success became a failure")
	}
	refusing := ledgerAPI{node: refuser{&node.Refusal{Code: ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED, Detail: "late"}}}
	if r, ok := errors.AsType[*operator.LedgerRefusal](refusing.Submit(t.Context(), nil)); !ok || r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED || r.Detail != "late" {
		t.Error(r)
	}
	failed := ledgerAPI{node: refuser{errors.New("on fire")}, settled: func() *operatorv1.SettlementStatus { return &operatorv1.SettlementStatus{Paid: 3} }}
	if s := failed.Standing(); s.Consensus.Failure != "on fire" || s.Settlement.Paid != 3 {
		t.Error(s)
	}
}

type refuser struct{ err error }

func (r refuser) Submit(context.Context, []byte) (ledger.Hash, error) { return ledger.Hash{}, r.err }

func (r refuser) Status() node.Status { return node.Status{Failure: r.err} }

// TestGenesisOfAnotherChain is not handed out.
func TestGenesisOfAnotherChain(t *testing.T) {
	m, other := chaintest.New(t, 1, 1), chaintest.New(t, 1, 2)
	dir := t.TempDir()
	c, err := chain.Open(chain.Config{Dir: dir, Genesis: m.Genesis})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file := filepath.Join(t.TempDir(), "genesis")
	l := ledgerAPI{chain: c, genesis: file}
	if _, err := l.Genesis(); err == nil {
		t.Error("a genesis that is not there")
	}
	for _, g := range [][]byte{other.Genesis, m.Genesis} {
		if err := os.WriteFile(file, g, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Genesis(); (err == nil) != bytes.Equal(g, m.Genesis) || err == nil && !bytes.Equal(got, g) {
			t.Error(err)
		}
	}
}

// TestNothingOfTheMeshIsLeftOut: every field of the answer is filled in when there is something to say.
func TestNothingOfTheMeshIsLeftOut(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_000_000)
	topic := mesh.TopicStatus{Name: "t", Peers: 1, Counts: mesh.Counts{
		In: 2, Out: 3, Bytes: 4, Duplicates: 5, Rejected: 6, Ignored: 7, Throttled: 8, Overflowed: 9, NotSent: 10,
	}}
	out := meshStatus(mesh.Status{
		Peer: "p", Chain: "c", Node: "n", Version: "v", Since: at, Validator: true, Height: 1, Listen: []string{"l"},
		Peers: []mesh.PeerStatus{{
			Peer: "p", Node: "n", Validator: true, Addresses: []string{"a"}, Direction: "inbound", Since: at, Latency: time.Millisecond,
			Score: -1.5, Height: 2, Agent: "g", Protocols: []string{"x"}, In: 3, Out: 4,
		}},
		Topics: []mesh.TopicStatus{topic}, Bandwidth: mesh.Bandwidth{In: 5, Out: 6}, Orchestrators: 1, Validators: 4, Reached: 3,
		Routes: 7, Book: 8, Refused: 9, Cut: 10, Queued: 11,
	}, []mesh.Orchestrator{{
		Peer: "q", Key: []byte{1}, Validator: true, Node: "m", Version: "w", Height: 9,
		Capacity: mesh.Capacity{Idle: [3]uint32{1, 2, 3}, FreeCredits: 4}, Seen: at,
	}})
	for _, m := range []proto.Message{out, out.Peers[0], out.Topics[0], out.Orchestrators[0]} {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if !m.ProtoReflect().Has(fields.Get(i)) {
				t.Errorf("%s is empty", fields.Get(i).FullName())
			}
		}
	}
	if out.SinceUs != at.UnixMicro() || out.Peers[0].LatencyUs != 1000 || out.ValidatorsReached != 3 || out.Topics[0].NotSent != 10 || out.Orchestrators[0].Idle[2] != 3 {
		t.Error(out)
	}
	if none := meshStatus(mesh.Status{Refused: -1, Routes: -1}, nil); none.SinceUs != 0 || none.Refused != 0 || none.Routes != 0 {
		t.Error(none)
	}
}
