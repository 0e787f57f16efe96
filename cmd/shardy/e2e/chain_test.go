package e2e

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// look asks how the ledger stands; nil: no answer in time.
func (o *member) look() *operatorv1.GetLedgerResponse {
	ctx, cancel := context.WithTimeout(o.Context(), patience(2*time.Second))
	defer cancel()
	res, err := o.ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
	if err != nil {
		return nil
	}
	return res
}

func (o *member) height() uint64 { return o.look().GetHeight() }

// reaches waits for a height.
func (o *member) reaches(height uint64) {
	o.Helper()
	o.poll(fmt.Sprintf("%s has block %d", o.name, height), func() bool { return o.height() >= height })
}

// leader is who leads by the word of one that votes.
func (f *federation) leader(ask ...*member) *member {
	f.Helper()
	var found *member
	ask[0].poll("somebody leads", func() bool {
		for _, o := range ask {
			leader := o.look().GetConsensus().GetLeader()
			for _, l := range f.operators {
				if bytes.Equal(l.public(), leader) {
					found = l
					return true
				}
			}
		}
		return false
	})
	return found
}

// headers are the blocks that an operator has, from the first one that it keeps up to a height. Their links are right.
func (o *member) headers(top uint64) map[uint64]*operatorv1.BlockSummary {
	o.Helper()
	all := map[uint64]*operatorv1.BlockSummary{}
	for before := top + 1; before > 0; {
		res, err := o.ledger.ListBlocks(o.Context(), &operatorv1.ListBlocksRequest{Before: before, PageSize: 128})
		o.must(err)
		for _, b := range res.Blocks {
			h := b.Header
			if above := all[h.Height+1]; above != nil && !bytes.Equal(above.Header.Parent, b.Hash) {
				o.Fatalf("%s: block %d does not follow block %d", o.name, h.Height+1, h.Height)
			}
			all[h.Height] = b
		}
		before = res.NextBefore
	}
	if len(all) == 0 {
		o.Fatalf("%s lists no blocks up to %d", o.name, top)
	}
	return all
}

// agree waits until all have the highest block that one of them has, and holds them against each other: no fork at any
// height, all the money where it should be, and every one's word proven to a client that knows the genesis alone.
func (f *federation) agree(all ...*member) uint64 {
	f.Helper()
	var top uint64
	for _, o := range all {
		o.poll(o.name+" answers", func() bool { return o.look() != nil })
		top = max(top, o.height())
	}
	known := map[uint64][]byte{}
	compared := 0
	for _, o := range all {
		o.reaches(top)
		for h, b := range o.headers(top) {
			if known[h] == nil {
				known[h] = b.Hash
				continue
			}
			compared++
			if !bytes.Equal(known[h], b.Hash) {
				f.Fatalf("fork: block %d of %s is %x, of another %x", h, o.name, b.Hash, known[h])
			}
		}
	}
	for _, o := range all {
		o.proves()
	}
	f.Logf("all %d agree on %d blocks (%d comparisons)", len(all), top, compared)
	return top
}

// reader is a light client that knows the genesis, and has followed the validators by an operator's proofs.
func (o *member) reader() *light.Client {
	o.Helper()
	begin, header, err := ledger.Genesis(o.fed.genesis)
	o.must(err)
	c := &light.Client{Chain: o.fed.chain, Validators: begin.Validators(), Genesis: seal.HeaderHash(header)}
	for more := true; more; {
		res, err := o.ledger.ListValidatorChanges(o.Context(), &operatorv1.ListValidatorChangesRequest{AfterVersion: c.Validators.Version})
		o.must(err)
		for _, p := range res.Changes {
			o.must(c.Follow(p))
		}
		more = res.More
	}
	return c
}

// proves has an operator prove that no money was made or lost, and what the first client holds.
func (o *member) proves() {
	o.Helper()
	s := new(ledgerv1.Supply)
	o.must(proto.Unmarshal(o.proven(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Supply{Supply: true}}, seal.SupplyKey()), s))
	var total uint64
	g, err := ledger.ParseGenesis(o.fed.genesis)
	o.must(err)
	for _, e := range g.Endowments {
		total += e.Balance + e.Stake
	}
	if sum := s.Balances + s.Stakes + s.Escrows + s.Penalties + s.Treasury + s.Burned; sum != total || s.Total != total {
		o.Errorf("%s: the parts of the supply sum to %d of %d: %v", o.name, sum, total, s)
	}
	if len(o.fed.clients) > 0 {
		key := public(o.fed.clients[0])
		a := new(ledgerv1.Account)
		o.must(proto.Unmarshal(o.proven(accountPlace(key), seal.AccountKey(key)), a))
		if !bytes.Equal(a.Key, key) || a.Balance == 0 {
			o.Errorf("%s proves of a client: %v", o.name, a)
		}
	}
}

func accountPlace(key []byte) *operatorv1.GetProofRequest {
	return &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}}
}

// proven is what an operator proves to lie at a place of the last block's state.
func (o *member) proven(place *operatorv1.GetProofRequest, at ledger.Hash) []byte {
	o.Helper()
	p, err := o.ledger.GetProof(o.Context(), place)
	o.must(err)
	value, _, err := o.reader().Held(p.Header, p.Certificate, p.Proof, at)
	o.must(err)
	return value
}

// register is what the transactions of a chain did.
type register struct {
	held    map[ledger.Hash]int // times that a transaction is in a block
	carried map[ledger.Hash]int // times that it was carried out
	height  map[ledger.Hash]uint64
	paid    map[string]int // times that a job was paid for, by orchestrator and job
	slashed map[string]int
	accused int // of equivocation, with evidence that stood
	refused map[ledgerv1.ReceiptCode]int
	empty   int // blocks without a transaction
}

func deed(orchestrator []byte, job string) string { return fmt.Sprintf("%x/%s", orchestrator, job) }

// register reads all blocks from an operator that has kept them.
func (o *member) register(top uint64) *register {
	o.Helper()
	r := &register{
		held: map[ledger.Hash]int{}, carried: map[ledger.Hash]int{}, height: map[ledger.Hash]uint64{},
		paid: map[string]int{}, slashed: map[string]int{}, refused: map[ledgerv1.ReceiptCode]int{},
	}
	for h := uint64(1); h <= top; h++ {
		res, err := o.ledger.GetBlock(o.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: h}})
		o.must(err)
		txs := res.GetBlock().GetBlock().GetTransactions()
		if len(txs) != len(res.Receipts) {
			o.Fatalf("%s: block %d has %d transactions and %d receipts", o.name, h, len(txs), len(res.Receipts))
		}
		if len(txs) == 0 {
			r.empty++
		}
		for i, tx := range txs {
			o.must(r.add(h, tx, res.Receipts[i]))
		}
	}
	return r
}

func (r *register) add(height uint64, encoded []byte, receipt *ledgerv1.Receipt) error {
	signed, body := new(ledgerv1.SignedTransaction), new(ledgerv1.Transaction)
	if err := proto.Unmarshal(encoded, signed); err != nil {
		return err
	}
	if err := proto.Unmarshal(signed.Body, body); err != nil {
		return err
	}
	id := seal.TransactionID(signed.Body)
	if !bytes.Equal(id[:], receipt.Transaction) {
		return fmt.Errorf("block %d: a receipt is another transaction's", height)
	}
	r.held[id]++
	if receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		r.refused[receipt.Code]++
		return nil
	}
	r.carried[id]++
	r.height[id] = height
	for _, a := range body.Actions {
		if s := a.GetTaskVerified(); s != nil {
			r.paid[deed(body.Sender, s.Decision.Job)]++
		}
		if a.GetEquivocation() != nil {
			r.accused++
		}
		if s := a.GetConsensusMismatch(); s != nil {
			r.slashed[deed(body.Sender, s.Decision.Job)]++
		}
	}
	return nil
}
