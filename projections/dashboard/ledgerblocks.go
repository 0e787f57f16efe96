package dashboard

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// blockPages: the list follows the chain; a block stays what it is.
func (d *Dashboard) blockPages() []page {
	return []page{
		{name: "blocks", route: "/ledger/blocks", title: "Blocks", nav: "blocks", chain: true, view: d.blocks},
		{name: "block", route: "/ledger/blocks/{which}", title: "Block", nav: "blocks", view: d.block},
	}
}

const (
	blocksPage            = 50
	blockTransactionsPage = 100
)

type blocksView struct {
	Blocks table
	Pager  pager
}

func (d *Dashboard) blocks(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	before, err := placeOf(q)
	if err != nil {
		return nil, err
	}
	res, err := d.deps.Ledger.ListBlocks(ctx, &operatorv1.ListBlocksRequest{Before: before, PageSize: blocksPage})
	if err != nil {
		return nil, err
	}
	v := &blocksView{Blocks: blockTable(res.GetBlocks(), now)}
	next := ""
	if n := res.GetNextBefore(); n > 0 {
		next = strconv.FormatUint(n, 10)
	}
	v.Pager = pagerOf(q, next)
	return v, nil
}

func blockTable(all []*operatorv1.BlockSummary, now *operatorv1.GetLedgerResponse) table {
	n, set := nicknamesOf(now), now.GetValidators()
	t := table{
		Caption: "Blocks", Compact: true, Columns: columns("Block", "Hash~", "Transactions#", "Signed by#~", "Proposer~", "Size#~", "When"),
		Empty: empty{Title: "No block here", Text: "Blocks this old are not kept here."},
	}
	for _, b := range all {
		h := b.GetHeader()
		txs := tally(uint64(b.GetTransactions()))
		if b.GetFailed() > 0 {
			txs = txs.with(thousands(b.GetFailed()) + " refused")
		}
		signed := count(b.GetSignatures())
		if h.GetValidatorsVersion() == set.GetVersion() && h.GetHeight() > 0 {
			signed.Text += " of " + thousands(len(set.GetValidators()))
		}
		at := linkBlock(h.GetHeight())
		t.add(strconv.FormatUint(h.GetHeight(), 10), cell{Text: thousands(h.GetHeight()), Href: at}, hexCell(b.GetHash(), at), txs, signed,
			whose(h.GetProposer(), n), bytesCell(b.GetBytes()), microsCell(h.GetTimeUs()))
	}
	return t
}

type blockView struct {
	Height       uint64
	Hash         string
	Said         saying
	Tone         tone
	Before       string // link to the parent
	Behind       string // link to the next one
	Facts        []fact
	Signers      []signer
	Signed       string
	Checked      badge
	Transactions table
	Kinds        string // how many actions of each kind
	Pager        pager
}

// PageTitle names the block.
func (v *blockView) PageTitle() string { return "Block " + thousands(v.Height) }

// signer is a validator, and whether it has signed a block.
type signer struct {
	Who    string
	Href   string
	Signed bool
	Part   string
}

func (d *Dashboard) block(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	req, err := whichBlock(q.Path["which"])
	if err != nil {
		return nil, err
	}
	b, err := d.readBlock(ctx, req, now)
	if err != nil {
		return nil, err
	}
	from, err := placeOf(q)
	if err != nil {
		return nil, err
	}
	names := nicknamesOf(now)
	h := b.header
	v := &blockView{Height: h.GetHeight(), Hash: hex.EncodeToString(b.hash), Facts: blockFacts(b, names)}
	v.Said, v.Tone = blockSaying(b)
	if parent := h.GetHeight() - 1; h.GetHeight() > 0 && (parent == 0 || parent >= now.GetLowHeight()) {
		v.Before = linkBlock(parent)
	}
	if h.GetHeight() < now.GetHeight() {
		v.Behind = linkBlock(h.GetHeight() + 1)
	}
	v.Signed = signaturesText(h, b.certificate, now.GetValidators())
	v.Signers, v.Checked = signersOf(b, now, names)
	v.Kinds = kindsText(b.txs)
	part, next := b.txs[min(from, uint64(len(b.txs))):], ""
	if len(part) > blockTransactionsPage {
		part, next = part[:blockTransactionsPage], strconv.FormatUint(from+blockTransactionsPage, 10)
	}
	v.Transactions = transactionTable(part, names, true)
	v.Transactions.Empty = empty{Title: "No transaction", Text: "The block holds none: it shows that the validators live, and lets what is due happen."}
	v.Pager = pagerOf(q, next)
	return v, nil
}

// whichBlock reads a height or a hash.
func whichBlock(text string) (*operatorv1.GetBlockRequest, error) {
	if hash, err := hex.DecodeString(text); err == nil && len(hash) == 32 {
		return &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: hash}}, nil
	}
	height, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, errNotFound
	}
	return &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: height}}, nil
}

// fullBlock is a block, decoded.
type fullBlock struct {
	hash        []byte
	encoded     []byte // header
	header      *ledgerv1.Header
	certificate *ledgerv1.Certificate
	txs         []*operatorv1.TransactionView
	failed      int
}

func (d *Dashboard) readBlock(ctx context.Context, req *operatorv1.GetBlockRequest, now *operatorv1.GetLedgerResponse) (fullBlock, error) {
	res, err := d.deps.Ledger.GetBlock(ctx, req)
	if err != nil {
		return fullBlock{}, err
	}
	b := fullBlock{encoded: res.GetBlock().GetBlock().GetHeader(), certificate: res.GetBlock().GetCertificate()}
	if b.header, err = light.ParseHeader(now.GetChainId(), b.encoded); err != nil {
		return fullBlock{}, err
	}
	b.hash = headerHash(b.encoded)
	for i, encoded := range res.GetBlock().GetBlock().GetTransactions() {
		v, err := viewOf(encoded)
		if err != nil {
			return fullBlock{}, err
		}
		v.Height, v.Index, v.TimeUs = b.header.GetHeight(), uint32(i), b.header.GetTimeUs()
		if i < len(res.GetReceipts()) {
			v.Receipt = res.Receipts[i]
			if v.Receipt.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
				b.failed++
			}
		}
		b.txs = append(b.txs, v)
	}
	return b, nil
}

// viewOf reads a transaction as it lies in a block.
func viewOf(encoded []byte) (*operatorv1.TransactionView, error) {
	signed, body := &ledgerv1.SignedTransaction{}, &ledgerv1.Transaction{}
	if err := proto.Unmarshal(encoded, signed); err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	if err := proto.Unmarshal(signed.GetBody(), body); err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	id := seal.TransactionID(signed.GetBody())
	return &operatorv1.TransactionView{Id: id[:], Encoded: encoded, Body: body}, nil
}

func blockSaying(b fullBlock) (saying, tone) {
	n := plural(len(b.txs), "transaction")
	switch {
	case b.header.GetHeight() == 0:
		return saying{say("Genesis: where the chain begins. Its parent is the hash of the genesis file.")}, toneQuiet
	case b.failed > 0:
		return saying{say("Agreed on with %s, of which %d changed nothing but the fee.", n, b.failed)}, toneVerified
	}
	return saying{say("Agreed on with %s.", n)}, toneVerified
}

func blockFacts(b fullBlock, n nicknames) []fact {
	h := b.header
	facts := []fact{
		{"Block time", exactly(h.GetTimeUs())},
		{"Proposer", accountCell(h.GetProposer(), n)},
		{"Parent", hexCell(h.GetParent(), "")},
		{"State root after it", hexCell(h.GetState(), "")},
		{"Transactions root", hexCell(h.GetTransactions(), "")},
		{"Results root", hexCell(h.GetResults(), "")},
		{"Validators", text("version " + thousands(h.GetValidatorsVersion()))},
	}
	if h.GetHeight() > 0 {
		facts = append(facts, fact{"View", count(b.certificate.GetView())})
	}
	return facts
}

// signersOf lists who has signed a block and who has not, as far as the validators of its time are known.
func signersOf(b fullBlock, now *operatorv1.GetLedgerResponse, n nicknames) ([]signer, badge) {
	if b.header.GetHeight() == 0 {
		return nil, badge{toneQuiet, "Nobody signs genesis"}
	}
	set := now.GetValidators()
	part := func(key []byte) string {
		if string(key) == string(b.header.GetProposer()) {
			return "proposed it"
		}
		return ""
	}
	var out []signer
	if b.header.GetValidatorsVersion() != set.GetVersion() {
		for _, s := range b.certificate.GetSignatures() {
			out = append(out, signer{n.of(s.GetValidator()), linkAccount(s.GetValidator()), true, part(s.GetValidator())})
		}
		return out, badge{toneQuiet, "Signed by validators of version " + thousands(b.header.GetValidatorsVersion())}
	}
	for _, v := range set.GetValidators() {
		out = append(out, signer{n.of(v.GetKey()), linkAccount(v.GetKey()), signedBy(b.certificate, v.GetKey()), part(v.GetKey())})
	}
	if light.VerifyCertificate(b.encoded, set, b.certificate) != nil {
		return out, badge{toneDead, "Certificate broken"}
	}
	return out, badge{toneVerified, "Quorum verified"}
}

// kindsText counts the actions of transactions by kind.
func kindsText(txs []*operatorv1.TransactionView) string {
	var all []*ledgerv1.Action
	for _, t := range txs {
		all = append(all, t.GetBody().GetActions()...)
	}
	return kindsOf(all)
}

func kindsOf(actions []*ledgerv1.Action) string {
	counts := map[string]int{}
	for _, a := range actions {
		counts[kindOfAction(a)]++
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		kinds = append(kinds, strconv.Itoa(counts[kind])+" × "+strings.ToLower(kind))
	}
	return strings.Join(kinds, ", ")
}
