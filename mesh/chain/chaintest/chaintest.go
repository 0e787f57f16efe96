// Package chaintest makes blocks for tests: a genesis, transactions, and blocks with the certificates of validators whose
// keys it holds.
//
// It promises that the same calls make the same bytes. It keeps nothing on disk and is for tests only.
package chaintest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// ChainID is that of all chains made here.
const ChainID = "test-1"

const money = 1_000_000_000_000

// Maker makes a chain in memory. It is not safe for concurrent use.
type Maker struct {
	T          testing.TB
	Genesis    []byte
	Validators []ed25519.PrivateKey // of the present set
	State      ledger.State         // after the last block
	Blocks     []*ledgerv1.CertifiedBlock
	Receipts   [][]*ledgerv1.Receipt // of Blocks

	salt uint64
}

// Key returns the n-th key: of validators from 0 on, of accounts from 1000 on.
func Key(n int) ed25519.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("chaintest"), uint64(n)))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Public is the public half.
func Public(key ed25519.PrivateKey) []byte { return key.Public().(ed25519.PublicKey) }

// New begins a chain of validators and of accounts with money (Key(1000) and on).
func New(t testing.TB, validators, accounts int) *Maker {
	t.Helper()
	params := ledger.DefaultParams()
	g := &ledgerv1.Genesis{ChainId: ChainID, TimeUs: 1_000_000, Params: params}
	m := &Maker{T: t}
	for i := range validators + 4 {
		k := Key(i)
		if i < validators {
			m.Validators = append(m.Validators, k)
			g.Validators = append(g.Validators, &ledgerv1.Validator{Key: Public(k)})
		}
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: Public(k), Balance: money, Stake: params.MinValidatorStake})
	}
	for i := range accounts {
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: Public(Key(1000 + i)), Balance: money})
	}
	var err error
	if m.Genesis, err = (proto.MarshalOptions{Deterministic: true}).Marshal(g); err != nil {
		t.Fatal(err)
	}
	if m.State, _, err = ledger.Genesis(m.Genesis); err != nil {
		t.Fatal(err)
	}
	return m
}

// Transfer makes a transaction that moves money between two keys.
func (m *Maker) Transfer(from, to ed25519.PrivateKey, amount uint64) []byte {
	return m.Transaction(from, &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{
		Transfer: &ledgerv1.Transfer{To: Public(to), Amount: amount},
	}})
}

// TransferAt is Transfer for a chain that goes on without the maker and is at a height.
func (m *Maker) TransferAt(height uint64, from, to ed25519.PrivateKey, amount uint64) []byte {
	return m.transaction(height, from, &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{
		Transfer: &ledgerv1.Transfer{To: Public(to), Amount: amount},
	}})
}

// Transaction makes a signed transaction that is valid for the next hundred blocks.
func (m *Maker) Transaction(sender ed25519.PrivateKey, actions ...*ledgerv1.Action) []byte {
	return m.transaction(m.State.Height(), sender, actions...)
}

func (m *Maker) transaction(height uint64, sender ed25519.PrivateKey, actions ...*ledgerv1.Action) []byte {
	m.salt++
	salt := make([]byte, 16)
	binary.BigEndian.PutUint64(salt, m.salt)
	return ledger.Sign(&ledgerv1.Transaction{
		ChainId: ChainID, Sender: Public(sender), Salt: salt, ValidUntil: height + 100, Actions: actions,
	}, sender)
}

// Next makes the next block and goes on from it.
func (m *Maker) Next(txs ...[]byte) *ledgerv1.CertifiedBlock {
	m.T.Helper()
	checked := make([]ledger.Checked, len(txs))
	for i, tx := range txs {
		var err error
		if checked[i], err = ledger.Check(ChainID, tx); err != nil {
			m.T.Fatal(err)
		}
	}
	next, err := m.State.Propose(m.State.TimeUs()+1000, Public(m.Validators[0]), checked)
	if err != nil {
		m.T.Fatal(err)
	}
	b := &ledgerv1.CertifiedBlock{
		Block:       &ledgerv1.Block{Header: next.Header, Transactions: txs},
		Certificate: m.Certify(next.Header),
	}
	m.Blocks, m.Receipts, m.State = append(m.Blocks, b), append(m.Receipts, next.Receipts), next.State
	return b
}

// Grow makes blocks of transfers, a few in each, and returns the last one.
func (m *Maker) Grow(blocks, transactions int) *ledgerv1.CertifiedBlock {
	m.T.Helper()
	var last *ledgerv1.CertifiedBlock
	for range blocks {
		txs := make([][]byte, transactions)
		for i := range txs {
			txs[i] = m.Transfer(Key(1000), Key(2000+i%50), 1+m.salt)
		}
		last = m.Next(txs...)
	}
	return last
}

// Certify makes a certificate of all present validators for any header that can be read, right or wrong.
func (m *Maker) Certify(header []byte) *ledgerv1.Certificate {
	m.T.Helper()
	h, err := light.ParseHeader("", header)
	if err != nil {
		m.T.Fatal(err)
	}
	hash := seal.HeaderHash(header)
	c := &ledgerv1.Certificate{Height: h.Height, Block: hash[:], View: 1, Metadata: []byte("engine")}
	vote := seal.VoteOf(c, h.ValidatorsVersion)
	for _, k := range m.Validators[:light.Quorum(len(m.Validators))] {
		c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{
			Validator: Public(k), Signature: seal.SignVote(h.ChainId, vote, k),
		})
	}
	return c
}

// Swap replaces the last validator by a candidate (New gives stake to four keys after those of the validators), in a
// block of its own.
func (m *Maker) Swap(candidate ed25519.PrivateKey) *ledgerv1.CertifiedBlock {
	m.T.Helper()
	last := m.Validators[len(m.Validators)-1]
	body, err := proto.Marshal(&ledgerv1.ValidatorChangeBody{
		Version: m.State.Validators().Version + 1,
		Add:     []*ledgerv1.Validator{{Key: Public(candidate)}},
		Remove:  [][]byte{Public(last)},
	})
	if err != nil {
		m.T.Fatal(err)
	}
	change := &ledgerv1.ValidatorChange{Body: body}
	for _, k := range m.Validators {
		change.Approvals = append(change.Approvals, &ledgerv1.ValidatorSignature{
			Validator: Public(k), Signature: ed25519.Sign(k, seal.ValidatorsText(ChainID, body)),
		})
	}
	b := m.Next(m.Transaction(m.Validators[0], &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: change}}))
	if code := m.Receipts[len(m.Receipts)-1][0].Code; code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		m.T.Fatalf("change of validators: %v", code)
	}
	m.Validators = append(m.Validators[:len(m.Validators)-1:len(m.Validators)-1], candidate)
	return b
}

// Expel has validators caught who voted for two blocks of one height: they leave the set at once, all in one block.
func (m *Maker) Expel(caught ...ed25519.PrivateKey) *ledgerv1.CertifiedBlock {
	m.T.Helper()
	var actions []*ledgerv1.Action
	for _, k := range caught {
		actions = append(actions, &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: &ledgerv1.Equivocation{
			Kind: &ledgerv1.Equivocation_Votes{Votes: &ledgerv1.VotePair{
				Validator: Public(k), First: m.vote(k, "one"), Second: m.vote(k, "another"),
			}},
		}}})
	}
	b := m.Next(m.Transaction(Key(1000), actions...))
	if r := m.Receipts[len(m.Receipts)-1][0]; r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		m.T.Fatalf("equivocation: %v", r)
	}
	m.Validators = slices.DeleteFunc(slices.Clone(m.Validators), func(v ed25519.PrivateKey) bool {
		return slices.ContainsFunc(caught, func(k ed25519.PrivateKey) bool { return k.Equal(v) })
	})
	return b
}

func (m *Maker) vote(k ed25519.PrivateKey, block string) *ledgerv1.Vote {
	hash := sha256.Sum256([]byte(block))
	v := &ledgerv1.Vote{Height: m.State.Height(), View: 1, Block: hash[:], Metadata: hash[:], ValidatorsVersion: m.State.Validators().Version}
	v.Signature = seal.SignVote(ChainID, v, k)
	return v
}
