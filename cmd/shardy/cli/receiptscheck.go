package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/claim"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// What the ledger may say of a recorded result.
const (
	verdictCheated = "cheated"
	verdictSlashed = "slashed"
	verdictOpen    = "open"
	verdictUnknown = "unknown"
)

var verdicts = map[claim.Fate]string{
	claim.Paid: "paid", claim.LeftOut: verdictCheated, claim.Contradicted: "contradicted", claim.Unattested: "unattested",
	claim.EarlierRound: "earlier_round", claim.Crowded: "crowded",
}

// jobOf is a job as the ledger knows it: two orchestrators may use one name.
type jobOf struct{ orchestrator, job string } // key as raw bytes

// heldBlock is a block that was verified.
type heldBlock struct {
	claim.Evidence // of Index and Action none yet
	header         *ledgerv1.Header
	hash           ledger.Hash
	settled        map[jobOf]settledAt
}

// settledAt is a settlement that was carried out.
type settledAt struct {
	index, action int
	id            ledger.Hash
	settlement    *ledgerv1.Settlement
}

// examiner holds receipts against the ledger. Nothing that an orchestrator says is believed without a quorum's signatures.
type examiner struct {
	api    *api
	root   *chainRoot
	blocks map[uint64]*heldBlock // nil: not kept
	claims []*ledgerv1.Claim     // of the cheated, in the order of their rows
}

// checkReceipts answers what became of every recorded result.
func (a *app) checkReceipts(ctx context.Context, f receiptFlags, rows []*receiptRow) error {
	api, err := a.dial()
	if err != nil {
		return err
	}
	root, trusted, err := a.anyRoot(ctx, api, f.genesis)
	if err != nil {
		return err
	}
	if !trusted {
		a.say("the genesis %x is what the orchestrator says: name one that you trust with --genesis", root.hash)
	}
	x := &examiner{api: api, root: root, blocks: map[uint64]*heldBlock{}}
	if err := x.examine(ctx, rows); err != nil {
		return lightError(err)
	}
	if f.to != "" {
		return a.exportClaim(f, x, rows)
	}
	if err := a.printReceipts(rows, true); err != nil {
		return err
	}
	if n := len(x.claims); n > 0 {
		return failed(exitFailed, "%d recorded results were settled without this worker: --export FILE --job JOB writes the proof", n)
	}
	return nil
}

func (x *examiner) examine(ctx context.Context, rows []*receiptRow) error {
	var open []*receiptRow
	for _, r := range rows {
		if r.Kind != "recorded" {
			continue
		}
		at, err := x.find(ctx, r)
		if err != nil {
			return err
		}
		if at == 0 {
			open = append(open, r)
			continue
		}
		if err := x.judge(ctx, r, at); err != nil {
			return err
		}
	}
	return x.search(ctx, open)
}

// find asks the state in which block a job was settled, and fills in what that alone says. 0: the ledger does not know, or
// no longer.
func (x *examiner) find(ctx context.Context, r *receiptRow) (height uint64, err error) {
	h, err := patient(ctx, func() (holding, error) {
		return x.api.held(ctx, x.root, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{
			Settled: &operatorv1.JobPlace{Orchestrator: r.kept.Orchestrator, Job: r.Job},
		}})
	})
	if err != nil {
		return 0, err
	}
	r.Check = &receiptResult{Verdict: verdictOpen, AsOf: h.header.Height}
	settled, _ := h.value.(*ledgerv1.Settled)
	if settled == nil { // what was settled long ago is forgotten
		r.Check.Proven = h.header.Height <= x.root.state.Params().EvidenceBlocks
		return 0, nil
	}
	r.Check.Proven = true
	r.Check.Height, r.Check.Checksum, r.Check.Verdict = settled.Height, hexID(settled.Checksum), verdictUnknown
	return settled.Height, nil
}

// judge says what the settlement of a block means for a receipt.
func (x *examiner) judge(ctx context.Context, r *receiptRow, height uint64) error {
	b, err := x.block(ctx, height)
	if err != nil {
		return err
	}
	c := r.Check
	if b == nil {
		c.Detail = "the block is no longer kept here: ask another orchestrator"
		if c.Checksum != "" && c.Checksum != r.Checksum {
			c.Verdict = verdicts[claim.Contradicted]
		}
		return nil
	}
	at, ok := b.settled[jobOf{string(r.kept.Orchestrator), r.Job}]
	if !ok {
		return fmt.Errorf("%w: block %d does not settle job %s, though the state says so", ledger.ErrBlock, height, r.Job)
	}
	fate := claim.Judge(r.kept.Worker, r.result, at.settlement.Decision)
	c.Verdict, c.Height, c.Block, c.TimeUs = verdicts[fate], height, hexID(b.hash[:]), b.header.TimeUs
	c.Transaction, c.Checksum = hexID(at.id[:]), hexID(at.settlement.Decision.Checksum)
	switch fate {
	case claim.LeftOut:
		return x.accuse(r, b, at)
	case claim.Contradicted:
		return x.slashed(ctx, r, height)
	}
	return nil
}

// accuse makes the proof, and checks it as everybody else would.
func (x *examiner) accuse(r *receiptRow, b *heldBlock, at settledAt) error {
	e := b.Evidence
	e.Orchestrator, e.Receipts, e.Result = r.kept.Orchestrator, r.kept.GetRecorded(), r.index
	e.Index, e.Action = at.index, at.action
	c, err := claim.Make(e)
	if err != nil {
		return err
	}
	v, err := claim.Check(c, *x.root.client())
	if err != nil {
		return err
	}
	r.Check.Detail = v.String()
	x.claims = append(x.claims, c)
	return nil
}

// block fetches a block and verifies it. Nil: it is no longer kept.
func (x *examiner) block(ctx context.Context, height uint64) (*heldBlock, error) {
	if b, ok := x.blocks[height]; ok {
		return b, nil
	}
	res, err := patient(ctx, func() (*operatorv1.GetBlockResponse, error) {
		return x.api.GetBlock(ctx, &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: height}})
	})
	if connect.CodeOf(err) == connect.CodeNotFound {
		x.blocks[height] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := x.verify(ctx, height, res)
	if err == nil {
		x.blocks[height] = b
	}
	return b, err
}

func (x *examiner) verify(ctx context.Context, height uint64, res *operatorv1.GetBlockResponse) (*heldBlock, error) {
	inner := res.GetBlock().GetBlock()
	h, err := light.ParseHeader(x.root.state.Chain(), inner.GetHeader())
	if err != nil {
		return nil, err
	}
	client := x.root.client()
	changes, err := x.api.follow(ctx, client, h.ValidatorsVersion)
	if err != nil {
		return nil, err
	}
	if err := light.VerifyCertificate(inner.Header, client.Validators, res.Block.GetCertificate()); err != nil {
		return nil, err
	}
	txs, results := seal.Root(inner.GetTransactions()), seal.Root(ledger.EncodeReceipts(res.GetReceipts()))
	if h.Height != height || len(res.Receipts) != len(inner.Transactions) || !bytes.Equal(txs[:], h.Transactions) || !bytes.Equal(results[:], h.Results) {
		return nil, fmt.Errorf("%w: block %d holds something else than its header says", ledger.ErrBlock, height)
	}
	b := &heldBlock{header: h, hash: seal.HeaderHash(inner.Header), settled: map[jobOf]settledAt{}}
	b.Block, b.Results, b.Changes = res.Block, res.Receipts, changes
	for i, encoded := range inner.Transactions {
		t, err := openTransaction(encoded)
		if err != nil {
			return nil, err
		}
		if res.Receipts[i].GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			continue
		}
		for j, action := range t.body.Actions {
			if s := action.GetTaskVerified(); s != nil {
				b.settled[jobOf{string(t.body.Sender), s.GetDecision().GetJob()}] = settledAt{i, j, t.id, s}
			}
		}
	}
	return b, nil
}

// search looks through the transactions of orchestrators for settlements that the state no longer remembers. A settlement
// comes after its results were recorded, so it need not look further back than the oldest receipt.
func (x *examiner) search(ctx context.Context, open []*receiptRow) error {
	wanted := map[jobOf][]*receiptRow{}
	oldest := map[string]int64{}
	for _, r := range open {
		who := string(r.kept.Orchestrator)
		wanted[jobOf{who, r.Job}] = append(wanted[jobOf{who, r.Job}], r)
		if t, ok := oldest[who]; !ok || r.AtUs < t {
			oldest[who] = r.AtUs
		}
	}
	for who, since := range oldest {
		req := &operatorv1.ListTransactionsRequest{Account: []byte(who)}
		err := x.transactions(ctx, req, func(v *operatorv1.TransactionView) (bool, error) {
			for _, action := range v.GetBody().GetActions() {
				if action.GetTaskVerified() == nil {
					continue
				}
				at := jobOf{who, action.GetTaskVerified().GetDecision().GetJob()}
				if err := x.judgeAll(ctx, wanted[at], at, v.Height); err != nil {
					return false, err
				}
			}
			return v.TimeUs > since-clockSkew.Microseconds(), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// judgeAll judges receipts by a block that is said to settle their job. Whether it was carried out, the block says.
func (x *examiner) judgeAll(ctx context.Context, rows []*receiptRow, at jobOf, height uint64) error {
	if len(rows) == 0 {
		return nil
	}
	b, err := x.block(ctx, height)
	if err != nil {
		return err
	}
	if b == nil {
		return nil
	}
	if _, ok := b.settled[at]; !ok {
		return nil
	}
	for _, r := range rows {
		r.Check.Proven = true
		if err := x.judge(ctx, r, height); err != nil {
			return err
		}
	}
	return nil
}

// clockSkew is how far the clocks of orchestrators and validators may be apart.
const clockSkew = time.Hour

// slashed looks for the punishment of a contradicted worker.
func (x *examiner) slashed(ctx context.Context, r *receiptRow, settled uint64) error {
	req := &operatorv1.ListTransactionsRequest{Account: r.kept.Worker, Job: r.Job}
	return x.transactions(ctx, req, func(v *operatorv1.TransactionView) (bool, error) {
		if !r.punishedBy(v.GetBody()) {
			return v.Height > settled, nil
		}
		b, err := x.block(ctx, v.Height)
		if err != nil || b == nil {
			return true, err
		}
		txs := b.Block.GetBlock().GetTransactions() // the view says what it likes; the block is signed
		if int(v.Index) >= len(txs) || b.Results[v.Index].GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			return v.Height > settled, nil
		}
		t, err := openTransaction(txs[v.Index])
		if err != nil || !r.punishedBy(t.body) {
			return v.Height > settled, err
		}
		r.Check.Verdict, r.Check.Slash = verdictSlashed, hexID(t.id[:])
		return false, nil
	})
}

// punishedBy reports whether a transaction of the receipt's orchestrator punishes its worker for its job.
func (r *receiptRow) punishedBy(t *ledgerv1.Transaction) bool {
	return bytes.Equal(t.GetSender(), r.kept.Orchestrator) && slices.ContainsFunc(t.GetActions(), func(action *ledgerv1.Action) bool {
		d := action.GetConsensusMismatch().GetDecision()
		return d.GetJob() == r.Job && slices.ContainsFunc(d.GetContradicted(), func(c *ledgerv1.Result) bool {
			return bytes.Equal(c.GetWorker(), r.kept.Worker)
		})
	})
}

// transactions calls do for transactions, the newest first, until do has seen enough.
func (x *examiner) transactions(ctx context.Context, req *operatorv1.ListTransactionsRequest, do func(*operatorv1.TransactionView) (more bool, err error)) error {
	req.PageSize = 256
	for {
		res, err := patient(ctx, func() (*operatorv1.ListTransactionsResponse, error) { return x.api.ListTransactions(ctx, req) })
		if err != nil {
			return err
		}
		for _, v := range res.Transactions {
			if more, err := do(v); err != nil || !more {
				return err
			}
		}
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			return nil
		}
	}
}

// patient repeats a question that an orchestrator has no time for: its ledger is open to everybody, at a rate.
func patient[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		answer, err := ask()
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(pause):
		}
	}
}
