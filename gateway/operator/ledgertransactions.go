package operator

import (
	"context"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Limits of the list of transactions.
const (
	maxTransactions     = 256
	defaultTransactions = 20
	maxScanned          = 256     // blocks that one call looks at
	maxPageBytes        = 4 << 20 // of the transactions on a page
)

// GetTransaction returns one of the last transactions and what became of it.
func (a *API) GetTransaction(ctx context.Context, req *operatorv1.GetTransactionRequest) (*operatorv1.GetTransactionResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	if len(req.Id) != len(ledger.Hash{}) {
		return nil, refuse("id", "32 bytes")
	}
	at, err := l.Find(ledger.Hash(req.Id))
	if err != nil {
		return nil, err
	}
	visitorOf(ctx).pay(unitsFound)
	b, err := a.readBlock(ctx, l, at.Height)
	if err != nil {
		return nil, err
	}
	view, err := viewOf(at.Height, b, at.Index)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GetTransactionResponse{Transaction: view}, nil
}

// viewOf shows a transaction of a block.
func viewOf(height uint64, b LedgerBlock, index int) (*operatorv1.TransactionView, error) {
	h, signed, body := new(ledgerv1.Header), new(ledgerv1.SignedTransaction), new(ledgerv1.Transaction)
	txs := b.Block.GetBlock().GetTransactions()
	if index < 0 || index >= len(txs) {
		return nil, fmt.Errorf("block %d has no transaction %d", height, index)
	}
	err := proto.Unmarshal(b.Block.Block.Header, h)
	if err == nil {
		err = proto.Unmarshal(txs[index], signed)
	}
	if err == nil {
		err = proto.Unmarshal(signed.Body, body)
	}
	if err != nil {
		return nil, fmt.Errorf("transaction %d of block %d: %w", index, height, err)
	}
	id := transactionID(signed)
	v := &operatorv1.TransactionView{
		Id: id[:], Encoded: txs[index], Body: body, Height: height, Index: uint32(index), TimeUs: h.TimeUs,
	}
	if index < len(b.Receipts) {
		v.Receipt = b.Receipts[index]
	}
	return v, nil
}

// transactionPlace is the first transaction that a page looks at: those of the blocks below, and in the block those up to
// the index, are left.
type transactionPlace struct {
	height uint64
	index  uint32
}

func (p transactionPlace) token() string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, p.height), p.index))
}

func readTransactionPlace(s string) (p transactionPlace, err error) {
	if len(s) != 12 {
		return p, ErrPage
	}
	p = transactionPlace{binary.BigEndian.Uint64([]byte(s)), binary.BigEndian.Uint32([]byte(s[8:]))}
	if p.height > ledger.MaxHeight || p.index >= ledger.MaxBlockTransactions {
		return p, ErrPage
	}
	return p, nil
}

// ListTransactions lists transactions, the newest first.
func (a *API) ListTransactions(ctx context.Context, req *operatorv1.ListTransactionsRequest) (*operatorv1.ListTransactionsResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	scan, cursor, err := openScan(req, l.State().Height())
	if err != nil {
		return nil, err
	}
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	next, read, err := eachBlock(ctx, l, scan.from.height+1, maxScanned, scan.block)
	visitorOf(ctx).pay(read / bytesRead)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.ListTransactionsResponse{Transactions: scan.found}
	switch {
	case scan.full:
		res.NextPageToken = cursor.token(scan.next.token())
	case next > 0:
		res.NextPageToken = cursor.token(transactionPlace{next - 1, ledger.MaxBlockTransactions - 1}.token())
	}
	return res, nil
}

// transactionScan collects the transactions of a page.
type transactionScan struct {
	want  transactionFilter
	from  transactionPlace
	limit int

	found []*operatorv1.TransactionView
	size  int // bytes of found
	full  bool
	next  transactionPlace // when it is full
}

func openScan(req *operatorv1.ListTransactionsRequest, top uint64) (*transactionScan, cursor, error) {
	s := &transactionScan{
		want: transactionFilter{req.Account, req.Job}, from: transactionPlace{top, ledger.MaxBlockTransactions - 1},
		limit: int(min(req.PageSize, maxTransactions)),
	}
	if s.limit == 0 {
		s.limit = defaultTransactions
	}
	if err := s.want.check(); err != nil {
		return nil, cursor{}, err
	}
	c, page, err := openPage(req.PageSize, req.PageToken, "transactions", req.Account, req.Job)
	if err != nil || page.After == "" {
		return s, c, err
	}
	at, err := readTransactionPlace(page.After)
	if err == nil && at.height <= top { // above the top only after a chain that was followed begins anew
		s.from = at
	}
	return s, c, err
}

// block takes what is wanted from a block.
func (s *transactionScan) block(height uint64, b LedgerBlock) (bool, error) {
	txs := b.Block.GetBlock().GetTransactions()
	last := len(txs) - 1
	if height == s.from.height {
		last = min(last, int(s.from.index))
	}
	for i := last; i >= 0; i-- {
		if !s.want.may(txs[i]) {
			continue
		}
		if len(s.found) >= s.limit || s.size >= maxPageBytes {
			s.full, s.next = true, transactionPlace{height, uint32(i)}
			return false, nil
		}
		v, err := viewOf(height, b, i)
		if err != nil {
			return false, err
		}
		if s.want.matches(v.Body) {
			s.found = append(s.found, v)
			s.size += 2 * len(v.Encoded)
		}
	}
	return true, nil
}
