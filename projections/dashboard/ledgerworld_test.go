package dashboard

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const testChain = "demo-1"

// mint is a chain in memory: the real state machine, and blocks that its validators sign. It answers what the screens ask.
type mint struct {
	t       testing.TB
	keys    []ed25519.PrivateKey // of validators; the first is this orchestrator's
	genesis []byte
	salt    uint64
	at      int64
	absent  int // validator who signs nothing; 0: all sign

	mu     sync.Mutex
	state  ledger.State
	blocks []minted
	news   chan struct{}
	status *operatorv1.SettlementStatus
	role   string
}

type minted struct {
	hash     []byte
	block    *ledgerv1.CertifiedBlock
	receipts []*ledgerv1.Receipt
}

func seedKey(n int) ed25519.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n)+1)
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(key ed25519.PrivateKey) []byte { return key.Public().(ed25519.PublicKey) }

// newMint begins a chain of five validators. Workers get some money, and stakes that differ.
func newMint(t testing.TB, at int64, workers []ed25519.PrivateKey, change func(*ledgerv1.Genesis)) *mint {
	t.Helper()
	m := &mint{t: t, at: at, news: make(chan struct{}), role: "validator"}
	params := ledger.DefaultParams()
	params.WindowBlocks, params.UnbondingBlocks, params.EvidenceBlocks, params.ClaimBlocks, params.AppealBlocks = 600, 12_000, 10_000, 300, 400
	g := &ledgerv1.Genesis{ChainId: testChain, TimeUs: at, Params: params}
	for i, name := range []string{"north", "east", "south", "west", "mallory"} {
		key := seedKey(i)
		m.keys = append(m.keys, key)
		g.Validators = append(g.Validators, &ledgerv1.Validator{
			Key: public(key), Name: name, Peer: []byte{byte(i)}, Addresses: []string{"/ip4/192.0.2." + strconv.Itoa(i+1) + "/tcp/7430"},
		})
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: public(key), Balance: 60_000_000_000, Stake: 20_000_000_000})
	}
	for i, w := range workers {
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: public(w), Balance: uint64(i+1) * 1_000_000, Stake: uint64(i) * 700_000_000})
	}
	if change != nil {
		change(g)
	}
	var err error
	if m.genesis, err = (proto.MarshalOptions{Deterministic: true}).Marshal(g); err != nil {
		t.Fatal(err)
	}
	state, header, err := ledger.Genesis(m.genesis)
	if err != nil {
		t.Fatal(err)
	}
	m.state = state
	m.blocks = []minted{{hash: headerHash(header), block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: header}}}}
	return m
}

// tx makes a signed transaction.
func (m *mint) tx(sender ed25519.PrivateKey, actions ...*ledgerv1.Action) ledger.Checked {
	m.t.Helper()
	m.salt++
	c, err := ledger.Check(testChain, ledger.Sign(&ledgerv1.Transaction{
		ChainId: testChain, Sender: public(sender), Salt: binary.BigEndian.AppendUint64(make([]byte, 8), m.salt), ValidUntil: m.Height() + 100, Actions: actions,
	}, sender))
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// add makes a block, in which the transactions may fail.
func (m *mint) add(txs ...ledger.Checked) []*ledgerv1.Receipt {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at += 1_000_000
	set := m.state.Validators()
	next, err := m.state.Propose(m.at, set.Validators[int(m.state.Height())%len(set.Validators)].Key, txs)
	if err != nil {
		m.t.Fatal(err)
	}
	hash := seal.HeaderHash(next.Header)
	cert := &ledgerv1.Certificate{Height: next.State.Height(), Block: hash[:], View: 3, Metadata: []byte("view")}
	vote := seal.VoteOf(cert, set.Version)
	for i, key := range m.keys {
		if light.Member(set, public(key)) && (m.absent == 0 || i != m.absent) {
			cert.Signatures = append(cert.Signatures, &ledgerv1.ValidatorSignature{Validator: public(key), Signature: seal.SignVote(testChain, vote, key)})
		}
	}
	block := &ledgerv1.Block{Header: next.Header}
	for _, t := range txs {
		block.Transactions = append(block.Transactions, t.Encoded())
	}
	m.blocks = append(m.blocks, minted{hash[:], &ledgerv1.CertifiedBlock{Block: block, Certificate: cert}, next.Receipts})
	m.state = next.State
	close(m.news)
	m.news = make(chan struct{})
	return next.Receipts
}

// must adds a block with one transaction that works, and returns its id.
func (m *mint) must(sender ed25519.PrivateKey, actions ...*ledgerv1.Action) []byte {
	m.t.Helper()
	t := m.tx(sender, actions...)
	if r := m.add(t)[0]; r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		m.t.Fatalf("%v: %s", r.Code, r.Detail)
	}
	id := t.ID()
	return id[:]
}

func (m *mint) Height() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Height()
}

func (m *mint) Await(ctx context.Context, height uint64) error {
	for {
		m.mu.Lock()
		there, news := m.state.Height() >= height, m.news
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *mint) GetLedger(context.Context, *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	head, root := m.state.Head(), m.state.Root()
	res := &operatorv1.GetLedgerResponse{
		ChainId: testChain, Genesis: m.blocks[0].hash, Height: m.state.Height(), Block: head[:], State: root[:], TimeUs: m.state.TimeUs(), LowHeight: 1,
		Params: m.state.Params(), Supply: m.state.Supply(), Validators: m.state.Validators(), Settlement: m.status,
		Consensus: &operatorv1.ConsensusStatus{Role: m.role, Leader: public(m.keys[1]), Key: public(m.keys[0]), Pending: 2},
	}
	for range m.state.Accounts() {
		res.Accounts++
	}
	return res, nil
}

func (m *mint) GetProof(_ context.Context, req *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error) {
	var place ledger.Hash
	switch p := req.Place.(type) {
	case *operatorv1.GetProofRequest_Account:
		place = seal.AccountKey(p.Account)
	case *operatorv1.GetProofRequest_Supply:
		place = seal.SupplyKey()
	case *operatorv1.GetProofRequest_Settled:
		place = seal.SettledKey(p.Settled.Orchestrator, p.Settled.Job)
	case *operatorv1.GetProofRequest_Escrow:
		place = seal.EscrowKey(p.Escrow.Orchestrator, p.Escrow.Job)
	case *operatorv1.GetProofRequest_Penalty:
		place = seal.PenaltyKey(p.Penalty.Orchestrator, p.Penalty.Worker, p.Penalty.Job)
	default:
		m.t.Errorf("a place that no screen needs: %v", req)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.blocks[len(m.blocks)-1].block
	cert, err := proto.Marshal(last.GetCertificate())
	return &operatorv1.GetProofResponse{Header: last.Block.Header, Certificate: cert, Proof: m.state.Prove(place)}, err
}

func (m *mint) ListAccounts(_ context.Context, req *operatorv1.ListAccountsRequest) (*operatorv1.ListAccountsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := int(req.GetPageSize())
	if size == 0 || size > 500 {
		m.t.Errorf("a page of %d accounts", size)
	}
	res := &operatorv1.ListAccountsResponse{Height: m.state.Height()}
	found := req.GetPageToken() == ""
	for a := range m.state.Accounts() {
		if found && len(res.Accounts) == size {
			res.NextPageToken = hex.EncodeToString(res.Accounts[size-1].Key)
			break
		}
		if found {
			res.Accounts = append(res.Accounts, a)
		}
		found = found || hex.EncodeToString(a.Key) == req.GetPageToken()
	}
	if !found {
		return nil, &Refusal{Code: "PAGE_TOKEN", Text: "The page token is not one of this list."}
	}
	return res, nil
}

func (m *mint) view(height, index int) *operatorv1.TransactionView {
	b := m.blocks[height]
	v, err := viewOf(b.block.Block.Transactions[index])
	if err != nil {
		m.t.Fatal(err)
	}
	v.Height, v.Index, v.Receipt = uint64(height), uint32(index), b.receipts[index]
	h, err := light.ParseHeader(testChain, b.block.Block.Header)
	if err != nil {
		m.t.Fatal(err)
	}
	v.TimeUs = h.TimeUs
	return v
}

func (m *mint) GetBlock(_ context.Context, req *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, b := range m.blocks {
		if req.GetHash() == nil && uint64(i) == req.GetHeight() || bytes.Equal(b.hash, req.GetHash()) {
			return &operatorv1.GetBlockResponse{Hash: b.hash, Block: b.block, Receipts: b.receipts}, nil
		}
	}
	return nil, ErrNotFound
}

func (m *mint) ListBlocks(_ context.Context, req *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	res := &operatorv1.ListBlocksResponse{}
	from := uint64(len(m.blocks))
	if req.GetBefore() > 0 {
		from = min(from, req.GetBefore())
	}
	for h := int(from) - 1; h >= 0; h-- {
		if len(res.Blocks) == int(req.GetPageSize()) {
			res.NextBefore = uint64(h) + 1
			break
		}
		b := m.blocks[h]
		header, err := light.ParseHeader(testChain, b.block.Block.Header)
		if err != nil {
			return nil, err
		}
		s := &operatorv1.BlockSummary{
			Hash: b.hash, Header: header, Transactions: uint32(len(b.receipts)), Signatures: uint32(len(b.block.GetCertificate().GetSignatures())),
			Bytes: uint64(proto.Size(b.block)),
		}
		for _, r := range b.receipts {
			if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
				s.Failed++
			}
		}
		res.Blocks = append(res.Blocks, s)
	}
	return res, nil
}

func (m *mint) GetTransaction(_ context.Context, req *operatorv1.GetTransactionRequest) (*operatorv1.GetTransactionResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for h, b := range m.blocks {
		for i := range b.receipts {
			if v := m.view(h, i); bytes.Equal(v.Id, req.GetId()) {
				return &operatorv1.GetTransactionResponse{Transaction: v}, nil
			}
		}
	}
	return nil, ErrNotFound
}

// ListTransactions finds what names an account or a job anywhere, which is more than the real one does.
func (m *mint) ListTransactions(_ context.Context, req *operatorv1.ListTransactionsRequest) (*operatorv1.ListTransactionsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	res, skip := &operatorv1.ListTransactionsResponse{}, 0
	if req.GetPageToken() != "" {
		var err error
		if skip, err = strconv.Atoi(req.GetPageToken()); err != nil {
			return nil, &Refusal{Code: "PAGE_TOKEN", Text: "The page token is not one of this list."}
		}
	}
	seen := 0
	for h, b := range slices.Backward(m.blocks) {
		for i, encoded := range slices.Backward(b.block.Block.Transactions) {
			if !bytes.Contains(encoded, req.GetAccount()) || !bytes.Contains(encoded, []byte(req.GetJob())) {
				continue
			}
			if seen++; seen <= skip {
				continue
			}
			if len(res.Transactions) == int(req.GetPageSize()) {
				res.NextPageToken = strconv.Itoa(seen - 1)
				return res, nil
			}
			res.Transactions = append(res.Transactions, m.view(h, i))
		}
	}
	return res, nil
}

var testModule, testInput = sha256.Sum256([]byte("module")), sha256.Sum256([]byte("input"))

// signedResult is a worker's signed answer. Those with the same fuel agree.
func signedResult(job string, worker ed25519.PrivateKey, slot uint32, fuel uint64) *ledgerv1.Result {
	output := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	s := proof.Statement{
		Job: job, Slot: slot, Token: uint64(slot) + 100, Module: testModule, Input: testInput, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: output,
	}
	return &ledgerv1.Result{Worker: public(worker), Slot: slot, Token: s.Token, Status: s.Status, Fuel: fuel, Output: output[:], Attestation: s.Sign(worker)}
}

// decided is what a job's orchestrator decided, with the results it decided from.
func decided(job string, good []ed25519.PrivateKey, bad ...ed25519.PrivateKey) *ledgerv1.Decision {
	d := &ledgerv1.Decision{
		Job: job, Module: testModule[:], Input: testInput[:], Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, Referee: true, PolicyVersion: 4, LogSize: 8_120,
	}
	for i, w := range good {
		d.Agreeing = append(d.Agreeing, signedResult(job, w, uint32(i), 512_000))
	}
	for i, w := range bad {
		d.Contradicted = append(d.Contradicted, signedResult(job, w, uint32(len(good)+i), 498_123))
	}
	sum := checksumOf(d.Agreeing[0])
	d.Checksum = sum[:]
	return d
}

func sendTo(to []byte, amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: to, Amount: amount}}}
}

func lock(job string, amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: job, Amount: amount}}}
}

func payFor(d *ledgerv1.Decision, price uint64) *ledgerv1.Action {
	d = proto.CloneOf(d)
	d.Contradicted = nil
	return &ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: d, Price: price}}}
}

func punish(d *ledgerv1.Decision) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: d}}}
}

func accuse(e *ledgerv1.Equivocation) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: e}}
}

func twoVotes(key ed25519.PrivateKey, height uint64) *ledgerv1.Action {
	vote := func(block string) *ledgerv1.Vote {
		b := sha256.Sum256([]byte(block))
		v := &ledgerv1.Vote{Height: height, View: 1, Block: b[:], Metadata: b[:], ValidatorsVersion: 1}
		v.Signature = seal.SignVote(testChain, v, key)
		return v
	}
	return accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: &ledgerv1.VotePair{Validator: public(key), First: vote("one"), Second: vote("other")}}})
}
