package operator

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Limits of what one call looks at.
const (
	maxBlocks     = 128
	defaultBlocks = 20
	maxBlockBytes = 16 << 20 // of blocks that are read
	maxRun        = 256      // blocks of an answer of GetBlocks
	maxRunBytes   = 4 << 20  // of such an answer, unless it is one block: what clients of gRPC take without being told to
	maxHashes     = 10_000   // last blocks that are found by their hash
	maxLearned    = 2000     // of them that one call reads
	maxLearnBytes = 64 << 20 // the same, in bytes
)

// GetBlock returns a block with what became of its transactions.
func (a *API) GetBlock(ctx context.Context, req *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	var height uint64
	switch which := req.Which.(type) {
	case *operatorv1.GetBlockRequest_Height:
		height = which.Height
	case *operatorv1.GetBlockRequest_Hash:
		if height, err = a.heightOf(ctx, l, which.Hash); err != nil {
			return nil, err
		}
	default:
		return nil, refuse("which", "is missing")
	}
	b, err := a.readBlock(ctx, l, height)
	if err != nil {
		return nil, err
	}
	return answerOf(b), nil
}

func answerOf(b LedgerBlock) *operatorv1.GetBlockResponse {
	return &operatorv1.GetBlockResponse{Hash: b.Hash[:], Block: b.Block, Receipts: b.Receipts}
}

// readBlock reads a block when it is the caller's turn.
func (a *API) readBlock(ctx context.Context, l Ledger, height uint64) (LedgerBlock, error) {
	if err := a.scans.enter(ctx); err != nil {
		return LedgerBlock{}, err
	}
	defer a.scans.leave()
	b, err := l.Block(height)
	visitorOf(ctx).pay(proto.Size(b.Block) / bytesRead)
	return b, err
}

// GetBlocks returns blocks that follow each other, the oldest first.
func (a *API) GetBlocks(ctx context.Context, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	n := int(min(req.Limit, maxRun))
	if n == 0 {
		n = maxRun
	}
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	run, read, err := readRun(ctx, l, req.From, n)
	visitorOf(ctx).pay((len(run)+blocksRun-1)/blocksRun + read/bytesRead)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GetBlocksResponse{Blocks: run}, nil
}

// readRun reads blocks from a height on: at most n, and no more than an answer holds, but one in any case. Why a later one
// cannot be read is for whoever asks for it. read is how many bytes they have, with one that was too much.
func readRun(ctx context.Context, l Ledger, from uint64, n int) (run []*operatorv1.GetBlockResponse, read int, err error) {
	for size := 0; len(run) < n; {
		if ctx.Err() != nil {
			return run, read, context.Cause(ctx)
		}
		b, err := l.Block(from + uint64(len(run)))
		switch {
		case err != nil && len(run) > 0:
			return run, read, nil
		case err != nil:
			return nil, read, err
		}
		next := answerOf(b)
		bytes := proto.Size(next)
		field := 1 + protowire.SizeBytes(bytes) // of the answer
		read += bytes
		if size+field > maxRunBytes && len(run) > 0 {
			return run, read, nil
		}
		run, size = append(run, next), size+field
		if size+field > maxRunBytes { // another one like it: do not even read it
			return run, read, nil
		}
	}
	return run, read, nil
}

// heightOf finds one of the last blocks, or genesis.
func (a *API) heightOf(ctx context.Context, l Ledger, hash []byte) (uint64, error) {
	if len(hash) != len(ledger.Hash{}) {
		return 0, refuse("hash", "32 bytes")
	}
	want := ledger.Hash(hash)
	switch s := l.State(); want {
	case l.Standing().Genesis:
		return 0, nil
	case s.Head():
		return s.Height(), nil
	}
	return a.hashes.find(ctx, l, want)
}

// hashIndex knows the heights of the last blocks by their hashes. It fills when it is asked, each block once, and a part of
// them at a time: as it has one turn, whoever has it fill waits for nobody and keeps nobody else from reading blocks.
type hashIndex struct {
	turn turns                  // one: all below is its
	at   map[ledger.Hash]uint64 // of the blocks from lo until before hi
	hash map[uint64]ledger.Hash
	lo   uint64
	hi   uint64
	keep uint64 // blocks
	left learning
}

// learning is what one call may still read.
type learning struct{ blocks, bytes int }

func newHashIndex(keep uint64) *hashIndex { return &hashIndex{turn: make(turns, 1), keep: keep} }

func (x *hashIndex) find(ctx context.Context, l Ledger, want ledger.Hash) (uint64, error) {
	if err := x.turn.enter(ctx); err != nil {
		return 0, err
	}
	defer x.turn.leave()
	if height := x.at[want]; height != 0 {
		return height, nil
	}
	x.left = learning{maxLearned, maxLearnBytes}
	top := l.State().Height() + 1
	if err := x.rise(ctx, l, top); err != nil {
		return 0, err
	}
	for x.at[want] == 0 && x.lo > 1 && x.hi-x.lo < x.keep {
		err := x.learn(ctx, l, x.lo-1)
		if errors.Is(err, ErrLedgerPruned) {
			break
		}
		if err != nil {
			return 0, err
		}
		x.lo--
	}
	if height := x.at[want]; height != 0 {
		return height, nil
	}
	return 0, fmt.Errorf("%w: block %x, or it is none of the last %d", ErrNotOnLedger, want, x.keep)
}

// rise learns the blocks that are new, and forgets those that are too old for it.
func (x *hashIndex) rise(ctx context.Context, l Ledger, top uint64) error {
	if x.at == nil || top-x.hi > x.keep {
		x.at, x.hash, x.lo, x.hi = map[ledger.Hash]uint64{}, map[uint64]ledger.Hash{}, top, top
	}
	for ; x.hi < top; x.hi++ {
		err := x.learn(ctx, l, x.hi)
		if errors.Is(err, ErrLedgerPruned) { // the chain went on from a snapshot: begin anew above it
			x.at, x.hash, x.lo, x.hi = map[ledger.Hash]uint64{}, map[uint64]ledger.Hash{}, top, top
			return nil
		}
		if err != nil {
			return err
		}
	}
	for ; x.hi-x.lo > x.keep; x.lo++ {
		delete(x.at, x.hash[x.lo])
		delete(x.hash, x.lo)
	}
	return nil
}

func (x *hashIndex) learn(ctx context.Context, l Ledger, height uint64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if x.left.blocks <= 0 || x.left.bytes <= 0 {
		return errLearning
	}
	b, err := l.Block(height)
	if err == nil {
		x.at[b.Hash], x.hash[height] = height, b.Hash
		x.left = learning{x.left.blocks - 1, x.left.bytes - proto.Size(b.Block)}
	}
	return err
}

// ListBlocks lists blocks, the newest first. A page ends early when its blocks are large.
func (a *API) ListBlocks(ctx context.Context, req *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	n := int(min(req.PageSize, maxBlocks))
	if n == 0 {
		n = defaultBlocks
	}
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	before := l.State().Height() + 1
	if req.Before != 0 {
		before = min(before, req.Before)
	}
	res := &operatorv1.ListBlocksResponse{}
	before, read, err := eachBlock(ctx, l, before, n, func(_ uint64, b LedgerBlock) (bool, error) {
		row, err := summary(b)
		res.Blocks = append(res.Blocks, row)
		return err == nil, err
	})
	visitorOf(ctx).pay(read / bytesRead)
	res.NextBefore = before
	return res, err
}

// eachBlock looks at the blocks before a height, the newest first: at most n of them, or maxBlockBytes, or until see says
// that it is enough. next is the height that it did not come below; 0 when nothing is left.
func eachBlock(ctx context.Context, l Ledger, before uint64, n int, see func(height uint64, b LedgerBlock) (bool, error)) (next uint64, read int, err error) {
	for ; before > 0 && n > 0 && read < maxBlockBytes; n-- {
		if ctx.Err() != nil {
			return 0, read, context.Cause(ctx)
		}
		b, err := l.Block(before - 1)
		if errors.Is(err, ErrLedgerPruned) {
			return 0, read, nil
		}
		if err != nil {
			return 0, read, err
		}
		read += proto.Size(b.Block)
		more, err := see(before-1, b)
		if err != nil || !more {
			return before, read, err
		}
		before--
	}
	return before, read, nil
}

// summary is a block without its transactions.
func summary(b LedgerBlock) (*operatorv1.BlockSummary, error) {
	h := new(ledgerv1.Header)
	if err := proto.Unmarshal(b.Block.GetBlock().GetHeader(), h); err != nil {
		return nil, fmt.Errorf("header of block %x: %w", b.Hash, err)
	}
	s := &operatorv1.BlockSummary{
		Hash: b.Hash[:], Header: h, Transactions: uint32(len(b.Block.Block.Transactions)),
		Signatures: uint32(len(b.Block.GetCertificate().GetSignatures())), Bytes: uint64(proto.Size(b.Block)),
	}
	for _, r := range b.Receipts {
		if r.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			s.Failed++
		}
	}
	return s, nil
}
