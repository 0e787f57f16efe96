package ledger

import (
	"bytes"
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Next is a block that follows a state, and what it leads to.
type Next struct {
	Header   []byte // encoded
	Receipts []*ledgerv1.Receipt
	State    State
}

// Propose makes the next block. Its time is nowUs, or the last block's if that is later. The proposer MUST be a validator.
func (s State) Propose(nowUs int64, proposer []byte, txs []Checked) (Next, error) {
	if !light.Member(s.validators, proposer) {
		return Next{}, fmt.Errorf("%w: proposer %x is not a validator", ErrBlock, proposer)
	}
	h, next, err := s.follow(max(nowUs, s.timeUs), proposer, txs)
	if err != nil {
		return Next{}, err
	}
	next.Header = encode(h)
	next.State.head = seal.HeaderHash(next.Header)
	return next, nil
}

// Verify executes a block that somebody proposed and refuses it if its header does not say what comes out. How far its
// time may run ahead of the clock is for the caller to say, and so is who had to agree on it.
func (s State) Verify(header []byte, txs []Checked) (Next, error) {
	h, err := light.ParseHeader(s.chain, header)
	if err != nil {
		return Next{}, fmt.Errorf("%w: %w", ErrBlock, err)
	}
	switch {
	case !known(h.ProtoReflect()):
		return Next{}, fmt.Errorf("%w: header has fields of a newer version", ErrBlock)
	case h.Height != s.height+1 || !bytes.Equal(h.Parent, s.head[:]):
		return Next{}, fmt.Errorf("%w: height %d with parent %x, after %d %x", ErrBlock, h.Height, h.Parent, s.height, s.head)
	case h.TimeUs < s.timeUs:
		return Next{}, fmt.Errorf("%w: its time is before its parent's", ErrBlock)
	case h.ValidatorsVersion != s.validators.Version:
		return Next{}, fmt.Errorf("%w: validators of version %d, want %d", ErrBlock, h.ValidatorsVersion, s.validators.Version)
	case !light.Member(s.validators, h.Proposer):
		return Next{}, fmt.Errorf("%w: proposer %x is not a validator", ErrBlock, h.Proposer)
	}
	want, next, err := s.follow(h.TimeUs, h.Proposer, txs)
	if err != nil {
		return Next{}, err
	}
	for _, root := range []struct {
		name      string
		got, want []byte
	}{{"transactions", h.Transactions, want.Transactions}, {"results", h.Results, want.Results}, {"state", h.State, want.State}} {
		if !bytes.Equal(root.got, root.want) {
			return Next{}, fmt.Errorf("%w: root of %s is %x, want %x", ErrBlock, root.name, root.got, root.want)
		}
	}
	next.Header = header
	next.State.head = seal.HeaderHash(header)
	return next, nil
}

// follow executes the next block and makes its header.
func (s State) follow(timeUs int64, proposer []byte, txs []Checked) (*ledgerv1.Header, Next, error) {
	state, receipts, err := s.Execute(s.height+1, txs)
	if err != nil {
		return nil, Next{}, err
	}
	state.timeUs = timeUs
	encoded := make([][]byte, len(txs))
	for i, t := range txs {
		encoded[i] = t.encoded
	}
	transactions, results, root := seal.Root(encoded), seal.Root(EncodeReceipts(receipts)), state.Root()
	return &ledgerv1.Header{
		ChainId: s.chain, Height: state.height, Parent: s.head[:], Transactions: transactions[:], Results: results[:],
		State: root[:], TimeUs: timeUs, Proposer: proposer, ValidatorsVersion: s.validators.Version,
	}, Next{Receipts: receipts, State: state}, nil
}

// EncodeReceipts are the leaves under the root of a block's results.
func EncodeReceipts(receipts []*ledgerv1.Receipt) [][]byte {
	out := make([][]byte, len(receipts))
	for i, r := range receipts {
		out[i] = encode(r)
	}
	return out
}
