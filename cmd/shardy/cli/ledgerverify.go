package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) ledgerVerify() *cobra.Command {
	var genesis string
	var from uint64
	var at []string
	c := &cobra.Command{
		Use: "verify", Short: "Fetch the whole ledger and verify it like a node does; or hold several orchestrators against each other", Args: cobra.NoArgs,
		Long: "Verify fetches every block and checks its link to the one before, the validators' signatures, the root and every\n" +
			"signature of its transactions, what comes out when they are executed, and the roots of results and state. Where the\n" +
			"first blocks are no longer kept, or with --from-height, it cannot execute: it then verifies links, certificates,\n" +
			"transactions and the root of the results, and says so.\n" +
			"With several --at it compares what orchestrators say of one height, and shows a fork with both certificates.",
		Example: "  shardy ledger verify --genesis lab.genesis\n  shardy ledger verify --at http://a.example:7420 --at http://b.example:7420",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			if len(at) > 0 {
				return a.compareLedgers(ctx, at, genesis)
			}
			return a.verifyLedger(ctx, genesis, from)
		}),
	}
	genesisFlag(c, &genesis)
	c.Flags().Uint64Var(&from, "from-height", 0, "begin with this block, without executing")
	c.Flags().StringArrayVar(&at, "at", nil, "API of an orchestrator to compare (twice or more)")
	return c
}

// chainReport is what ledger verify prints with --json.
type chainReport struct {
	ChainID      string    `json:"chain_id"`
	Genesis      string    `json:"genesis"`
	Trusted      bool      `json:"genesis_trusted"` // it was given, not taken from the orchestrator
	From         uint64    `json:"from"`
	Height       uint64    `json:"height"` // of the last block that is good
	Hash         string    `json:"hash"`   // of it
	State        string    `json:"state"`  // after it
	LowHeight    uint64    `json:"low_height"`
	Pruned       bool      `json:"pruned"`
	Executed     bool      `json:"executed"`
	Blocks       int       `json:"blocks"`
	Transactions int       `json:"transactions"`
	Failed       int       `json:"failed"`     // of them
	Signatures   int       `json:"signatures"` // of transactions, of the evidence in them, and of certificates
	Bytes        int       `json:"bytes"`
	Seconds      float64   `json:"seconds"`
	CPUSeconds   float64   `json:"cpu_seconds"`
	Bad          *badBlock `json:"bad,omitempty"`
}

// badBlock is the first block that does not hold.
type badBlock struct {
	Height uint64 `json:"height"`
	Hash   string `json:"hash"`
	Reason string `json:"reason"`
}

func (a *app) verifyLedger(ctx context.Context, genesis string, from uint64) error {
	api, err := a.dial()
	if err != nil {
		return err
	}
	stand, err := a.stand(ctx, api, genesis)
	if err != nil {
		return err
	}
	root, trusted, err := a.anyRoot(ctx, api, genesis)
	if err != nil {
		return err
	}
	r, err := verifyChain(ctx, api, root, stand, from)
	r.Trusted = trusted
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(r)
	} else {
		err = a.showChain(r)
	}
	if err == nil && r.Bad != nil {
		err = failed(exitFailed, "block %d is bad: %s", r.Bad.Height, r.Bad.Reason)
	}
	return err
}

func (a *app) showChain(r chainReport) error {
	verdict := "good: every block follows, is agreed on, and was executed again"
	switch {
	case r.Bad != nil:
		verdict = fmt.Sprintf("BAD from block %d %s: %s", r.Bad.Height, r.Bad.Hash, r.Bad.Reason)
	case r.Pruned && r.From == r.LowHeight:
		verdict = fmt.Sprintf("good from block %d: links, certificates, transactions and results; blocks before it are pruned, so nothing was executed", r.From)
	case !r.Executed:
		verdict = fmt.Sprintf("good from block %d: links, certificates, transactions and results; not executed", r.From)
	}
	genesis := r.Genesis
	if !r.Trusted {
		genesis += " (as the orchestrator says: --genesis names one that you trust)"
	}
	return a.facts("verdict", verdict, "chain", r.ChainID, "genesis", genesis,
		"blocks", fmt.Sprintf("%d, from %d to %d", r.Blocks, r.From, r.Height),
		"transactions", fmt.Sprintf("%d, %d of them failed", r.Transactions, r.Failed),
		"signatures", r.Signatures, "read", bytesText(uint64(r.Bytes)), "last block", r.Hash, "state", r.State,
		"took", fmt.Sprintf("%.2f s, %.2f s of processors", r.Seconds, r.CPUSeconds))
}

// verifyChain verifies all blocks up to the height at which the ledger stood. It returns an error only when it cannot go
// on; a bad block is in the report.
func verifyChain(ctx context.Context, api *api, root *chainRoot, stand *operatorv1.GetLedgerResponse, from uint64) (chainReport, error) {
	begin, used := time.Now(), cpuTime()
	r := chainReport{
		ChainID: root.state.Chain(), Genesis: hexID(root.hash[:]), From: max(from, 1), LowHeight: stand.LowHeight, Pruned: stand.LowHeight > 1,
	}
	r.From = max(r.From, stand.LowHeight)
	var check checker = &executing{state: root.state}
	if r.Executed = r.From == 1; !r.Executed {
		check = &linking{ctx: ctx, api: api, client: root.client()}
	}
	if !bytes.Equal(stand.Genesis, root.hash[:]) {
		return r, failed(exitRefused, "the orchestrator's ledger begins with %x, not with %x", stand.Genesis, root.hash)
	}
	r.Hash, r.State = hexID(root.hash[:]), hexRoot(root.state.Root())
	err := api.eachBlock(ctx, r.From, stand.Height, func(height uint64, res *operatorv1.GetBlockResponse) error {
		txs, err := check.block(height, res)
		if bad, ok := errors.AsType[*badError](err); ok {
			r.Bad = &badBlock{Height: height, Hash: hexID(res.GetHash()), Reason: bad.Error()}
			return errEnough
		}
		if err == nil {
			r.count(height, res, txs)
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && r.Bad == nil && stand.Height >= r.From && (r.Hash != hexID(stand.Block) || r.State != hexID(stand.State)) {
		r.Bad = &badBlock{Height: stand.Height, Hash: hexID(stand.Block), Reason: "it is not the last block that the orchestrator named before"}
	}
	r.Seconds, r.CPUSeconds = time.Since(begin).Seconds(), (cpuTime() - used).Seconds()
	return r, err
}

func hexRoot(h ledger.Hash) string { return hexID(h[:]) }

// count adds a good block to the report.
func (r *chainReport) count(height uint64, res *operatorv1.GetBlockResponse, txs []ledger.Checked) {
	b := res.GetBlock()
	r.Height, r.Blocks, r.Transactions = height, r.Blocks+1, r.Transactions+len(txs)
	r.Signatures += len(b.GetCertificate().GetSignatures())
	for _, t := range txs {
		r.Signatures += signaturesOf(t.Body())
	}
	r.Bytes += proto.Size(b)
	for _, t := range res.GetReceipts() {
		if t.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			r.Failed++
		}
	}
	hash := seal.HeaderHash(b.GetBlock().GetHeader())
	r.Hash = hexID(hash[:])
	if h, err := light.ParseHeader("", b.GetBlock().GetHeader()); err == nil { // it was verified
		r.State = hexID(h.State)
	}
}

// signaturesOf is how many signatures a transaction holds: its own, and those of its evidence.
func signaturesOf(t *ledgerv1.Transaction) int {
	n := 1
	for _, a := range t.GetActions() {
		switch k := a.GetKind().(type) {
		case *ledgerv1.Action_TaskVerified:
			n += len(k.TaskVerified.GetDecision().GetAgreeing())
		case *ledgerv1.Action_ConsensusMismatch:
			n += len(k.ConsensusMismatch.GetDecision().GetAgreeing()) + len(k.ConsensusMismatch.GetDecision().GetContradicted())
		case *ledgerv1.Action_Equivocation:
			n += 2
		case *ledgerv1.Action_LogAnchor:
			n++
		case *ledgerv1.Action_ValidatorSet:
			n += len(k.ValidatorSet.GetApprovals())
		case *ledgerv1.Action_VoidSlash:
			n += len(k.VoidSlash.GetApprovals())
		}
	}
	return n
}

var errEnough = errors.New("a bad block was found")

// badError is what is wrong with a block.
type badError struct{ error }

func (e *badError) Unwrap() error { return e.error }

func bad(format string, args ...any) error { return &badError{fmt.Errorf(format, args...)} }

// checker verifies blocks in order, and returns their transactions.
type checker interface {
	block(height uint64, res *operatorv1.GetBlockResponse) ([]ledger.Checked, error)
}

// executing verifies like a node: it has the state before each block.
type executing struct{ state ledger.State }

func (e *executing) block(height uint64, res *operatorv1.GetBlockResponse) ([]ledger.Checked, error) {
	b := res.GetBlock().GetBlock()
	if err := light.VerifyCertificate(b.GetHeader(), e.state.Validators(), res.GetBlock().GetCertificate()); err != nil {
		return nil, bad("certificate: %w", err)
	}
	txs, err := checkAll(e.state.Chain(), b.GetTransactions())
	if err != nil {
		return nil, err
	}
	next, err := e.state.Verify(b.GetHeader(), txs)
	if err != nil {
		return nil, &badError{err}
	}
	if next.State.Height() != height {
		return nil, bad("it is block %d", next.State.Height())
	}
	if err := sameReceipts(next.Receipts, res.GetReceipts()); err != nil {
		return nil, err
	}
	e.state = next.State
	return txs, nil
}

// sameReceipts holds the receipts that came with a block against those that come out.
func sameReceipts(want, got []*ledgerv1.Receipt) error {
	if len(got) != len(want) {
		return bad("the orchestrator has %d receipts for %d transactions", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(want[i], got[i]) {
			return bad("the orchestrator's receipt of transaction %d says %s, what comes out is %s", i, name(got[i].GetCode()), name(want[i].GetCode()))
		}
	}
	return nil
}

// linking verifies without a state: it follows the validators alone.
type linking struct {
	ctx    context.Context
	api    *api
	client *light.Client
	last   []byte // header of the block before; nil at first
}

func (l *linking) block(height uint64, res *operatorv1.GetBlockResponse) ([]ledger.Checked, error) {
	b := res.GetBlock().GetBlock()
	h, err := light.ParseHeader(l.client.Chain, b.GetHeader())
	switch {
	case err != nil:
		return nil, &badError{err}
	case h.Height != height:
		return nil, bad("it is block %d", h.Height)
	}
	if parent := seal.HeaderHash(l.last); l.last != nil && !bytes.Equal(parent[:], h.Parent) {
		return nil, bad("its parent is %x, not %x", h.Parent, parent)
	}
	if h.ValidatorsVersion > l.client.Validators.Version {
		if _, err := l.api.follow(l.ctx, l.client, h.ValidatorsVersion); err != nil {
			return nil, err
		}
	}
	if _, err := l.client.Block(b.GetHeader(), res.GetBlock().GetCertificate()); err != nil {
		return nil, bad("certificate: %w", err)
	}
	txs, err := checkAll(l.client.Chain, b.GetTransactions())
	if err != nil {
		return nil, err
	}
	if got := seal.Root(b.GetTransactions()); !bytes.Equal(got[:], h.Transactions) {
		return nil, bad("root of transactions is %x, want %x", h.Transactions, got)
	}
	if got := seal.Root(ledger.EncodeReceipts(res.GetReceipts())); len(res.GetReceipts()) > 0 && !bytes.Equal(got[:], h.Results) {
		return nil, bad("root of results is %x, want %x", h.Results, got)
	}
	l.last = b.GetHeader()
	return txs, nil
}

// checkAll checks the transactions of a block, on all processors.
func checkAll(chain string, encoded [][]byte) ([]ledger.Checked, error) {
	out := make([]ledger.Checked, len(encoded))
	var next atomic.Int64
	var g errgroup.Group
	for range min(runtime.GOMAXPROCS(0), len(encoded)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(encoded) {
					return nil
				}
				var err error
				if out[i], err = ledger.Check(chain, encoded[i]); err != nil {
					return bad("transaction %d: %w", i, err)
				}
			}
		})
	}
	return out, g.Wait()
}

// eachBlock hands out blocks in order, and fetches the next ones meanwhile.
func (c *api) eachBlock(ctx context.Context, from, to uint64, do func(height uint64, res *operatorv1.GetBlockResponse) error) error {
	ctx, stop := context.WithCancel(ctx)
	var fetching errgroup.Group
	defer func() { stop(); _ = fetching.Wait() }()    // whoever has enough need not know how it ended
	runs := make(chan []*operatorv1.GetBlockResponse) // without room: one is looked at, and the next one waits here
	fetching.Go(func() error {
		defer close(runs)
		return c.fetchBlocks(ctx, from, to, runs)
	})
	height := from
	for run := range runs {
		for _, res := range run {
			if err := do(height, res); err != nil {
				return err
			}
			height++
		}
	}
	return fetching.Wait()
}

// maxRun is how many blocks are asked for at once. They come in fewer answers or more, as large as the orchestrator likes.
const maxRun = 256

// fetchBlocks sends blocks on in order, until it has all or the context ends.
func (c *api) fetchBlocks(ctx context.Context, from, to uint64, runs chan<- []*operatorv1.GetBlockResponse) error {
	for from <= to {
		limit := min(to-from+1, maxRun)
		res, err := c.GetBlocks(ctx, &operatorv1.GetBlocksRequest{From: from, Limit: uint32(limit)})
		if err != nil {
			return fmt.Errorf("block %d: %w", from, err)
		}
		n := uint64(len(res.Blocks))
		if n == 0 || n > limit {
			return failed(exitRefused, "the orchestrator answers %d blocks from %d on, want 1 to %d", n, from, limit)
		}
		select {
		case runs <- res.Blocks:
			from += n
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
