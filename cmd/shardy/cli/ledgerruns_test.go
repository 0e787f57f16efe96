package cli

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/gateway/operator"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// crooked is an orchestrator that answers for runs of blocks in its own way.
type crooked struct {
	op.LedgerServiceClient // of an honest one
	runs                   func(ctx context.Context, honest op.LedgerServiceClient, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error)
}

func (c crooked) GetBlocks(ctx context.Context, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error) {
	return c.runs(ctx, c.LedgerServiceClient, req)
}

// bend puts a crooked orchestrator in front of the honest one, until the test ends.
func (d *desk) bend(t *testing.T, runs func(ctx context.Context, honest op.LedgerServiceClient, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error)) {
	honest := d.w.url
	mux := http.NewServeMux()
	mux.Handle(op.NewLedgerServiceHandler(crooked{op.NewLedgerServiceClient(http.DefaultClient, honest), runs}))
	s := httptest.NewServer(mux)
	t.Cleanup(func() { s.Close(); d.w.url = honest })
	d.w.url = s.URL
}

// TestRunsOfAnySize: an orchestrator may answer fewer blocks than it is asked for, but not none and not more.
func TestRunsOfAnySize(t *testing.T) {
	d := newDesk(t)
	d.grow(23, 1)
	for name, tt := range map[string]struct {
		code int
		said string
		bend func(res *operatorv1.GetBlocksResponse)
	}{
		"one at a time": {exitOK, "23, from 1 to 23", func(res *operatorv1.GetBlocksResponse) { res.Blocks = res.Blocks[:1] }},
		"some":          {exitOK, "23, from 1 to 23", func(res *operatorv1.GetBlocksResponse) { res.Blocks = res.Blocks[:(len(res.Blocks)+1)/2] }},
		"none":          {exitRefused, "answers 0 blocks from 1 on, want 1 to 23", func(res *operatorv1.GetBlocksResponse) { res.Blocks = nil }},
		"too many": {exitRefused, "answers 24 blocks from 1 on, want 1 to 23", func(res *operatorv1.GetBlocksResponse) {
			res.Blocks = append(res.Blocks, res.Blocks[0])
		}},
		"empty ones":  {exitFailed, "block 1 is bad", func(res *operatorv1.GetBlocksResponse) { res.Blocks[0] = &operatorv1.GetBlockResponse{} }},
		"turned over": {exitFailed, "block 1 is bad", func(res *operatorv1.GetBlocksResponse) { b := res.Blocks; b[0], b[1] = b[1], b[0] }},
	} {
		t.Run(name, func(t *testing.T) {
			d.bend(t, func(ctx context.Context, honest op.LedgerServiceClient, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error) {
				res, err := honest.GetBlocks(ctx, req)
				if err == nil {
					tt.bend(res)
				}
				return res, err
			})
			out, errOut := d.want(tt.code, "ledger", "verify", "--genesis", d.genesis)
			if !strings.Contains(out+errOut, tt.said) {
				t.Error(out, errOut)
			}
		})
	}
}

// TestVerifyAcrossRuns names a bad block far from the first, and does not wait for what it has asked for beyond it.
func TestVerifyAcrossRuns(t *testing.T) {
	d := newDesk(t)
	d.grow(600, 0)
	d.w.spoils(func(height uint64, b *operator.LedgerBlock) {
		if height == 300 {
			b.Block.Certificate = nil
		}
	})
	d.bend(t, func(ctx context.Context, honest op.LedgerServiceClient, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error) {
		if req.From <= 300 {
			return honest.GetBlocks(ctx, req)
		}
		<-ctx.Done() // there is no other end
		return nil, ctx.Err()
	})
	_, errOut := d.want(exitFailed, "ledger", "verify", "--genesis", d.genesis)
	if !strings.Contains(errOut, "block 300 is bad") {
		t.Error(errOut)
	}
}

// TestVerifyWhatCannotBeRead: where the reading ends, the command says at which block, and does not call the rest good.
func TestVerifyWhatCannotBeRead(t *testing.T) {
	d := newDesk(t)
	d.grow(600, 0)
	var asked atomic.Int64
	d.bend(t, func(ctx context.Context, honest op.LedgerServiceClient, req *operatorv1.GetBlocksRequest) (*operatorv1.GetBlocksResponse, error) {
		if asked.Add(1); req.From > 256 {
			return nil, connect.NewError(connect.CodeDataLoss, errors.New("the disk is gone"))
		}
		return honest.GetBlocks(ctx, req)
	})
	out, errOut := d.want(exitFailed, "ledger", "verify", "--genesis", d.genesis)
	if !strings.Contains(errOut, "block 257: ") || !strings.Contains(errOut, "the disk is gone") || strings.Contains(out, "good") || asked.Load() != 2 {
		t.Error(asked.Load(), out, errOut)
	}
}
