package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// reason is the typed reason of a refusal.
func reason(err error) string {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ""
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return info.Reason
			}
		}
	}
	return ce.Code().String()
}

func someHash(what string) []byte { sum := sha256.Sum256([]byte(what)); return sum[:] }

// hostile makes transactions that ought to fail.
type hostile struct {
	fed    *federation
	height uint64
	key    ed25519.PrivateKey // has money, and is nobody
}

func (h hostile) tx(actions ...*ledgerv1.Action) *ledgerv1.Transaction {
	t := &ledgerv1.Transaction{ChainId: h.fed.chain, Sender: public(h.key), Salt: someHash(time.Now().String())[:16], ValidUntil: h.height + 100, Actions: actions}
	if len(actions) == 0 {
		t.Actions = []*ledgerv1.Action{transfer(public(h.fed.clients[0]), 1)}
	}
	return t
}

func transfer(to []byte, amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: to, Amount: amount}}}
}

// altered signs a transaction after a change.
func (h hostile) altered(change func(t *ledgerv1.Transaction)) []byte {
	t := h.tx()
	change(t)
	return ledger.Sign(t, h.key)
}

func (h hostile) signed(actions ...*ledgerv1.Action) []byte {
	return ledger.Sign(h.tx(actions...), h.key)
}

// forgedSignature is a payment of another client's money.
func (h hostile) forgedSignature() []byte {
	t := h.tx()
	t.Sender = public(h.fed.clients[0])
	return ledger.Sign(t, h.key)
}

// votes accuses a validator of two votes, signed by some key.
func (h hostile) votes(validator []byte, key ed25519.PrivateKey) *ledgerv1.Action {
	pair := &ledgerv1.VotePair{Validator: validator}
	for i, block := range []string{"one", "another"} {
		v := &ledgerv1.Vote{Height: h.height, View: 1, Block: someHash(block), Metadata: someHash("metadata"), ValidatorsVersion: 1}
		v.Signature = seal.SignVote(h.fed.chain, v, key)
		if i == 0 {
			pair.First = v
		} else {
			pair.Second = v
		}
	}
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: &ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: pair}}}}
}

// slash accuses a hand of a lie by the word of results that nobody signed.
func (h hostile) slash(worker []byte) *ledgerv1.Action {
	result := func(worker []byte, output string) *ledgerv1.Result {
		return &ledgerv1.Result{
			Worker: worker, Token: 1, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 1, Output: someHash(output),
			Attestation: make([]byte, ed25519.SignatureSize),
		}
	}
	return &ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: &ledgerv1.Decision{
		Job: "none", Module: someHash("module"), Input: someHash("input"), Checksum: someHash("checksum"),
		Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, Referee: true,
		Agreeing: []*ledgerv1.Result{result(public(h.key), "right")}, Contradicted: []*ledgerv1.Result{result(worker, "wrong")},
	}}}}
}

// seize gives the rogue's key a seat, by approvals that validators did not sign.
func (h hostile) seize(by ...*member) *ledgerv1.Action {
	body := &ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{{Key: public(h.key)}}}
	for _, o := range h.fed.operators[:3] {
		body.Remove = append(body.Remove, o.public())
	}
	a := h.fed.change(body, by...)
	if len(by) == 0 {
		c := a.GetValidatorSet()
		for _, o := range h.fed.operators {
			c.Approvals = append(c.Approvals, &ledgerv1.ValidatorSignature{
				Validator: o.public(), Signature: ed25519.Sign(h.key, seal.ValidatorsText(h.fed.chain, c.Body)),
			})
		}
	}
	return a
}

// refused are transactions that the door takes from nobody, with the reason that it gives.
func (h hostile) refused() map[string]struct {
	tx     []byte
	reason string
} {
	stranger := ed25519.NewKeyFromSeed(someHash("stranger"))
	poor := h.tx()
	poor.Sender = public(stranger)
	big := h.tx()
	big.Actions = make([]*ledgerv1.Action, 0, 3000)
	for range 3000 {
		big.Actions = append(big.Actions, transfer(public(h.key), 1))
	}
	return map[string]struct {
		tx     []byte
		reason string
	}{
		"nothing":           {nil, "TRANSACTION_MALFORMED"},
		"noise":             {[]byte("\xff\xffthis is no transaction"), "TRANSACTION_MALFORMED"},
		"no actions":        {h.altered(func(t *ledgerv1.Transaction) { t.Actions = nil }), "TRANSACTION_MALFORMED"},
		"no salt":           {h.altered(func(t *ledgerv1.Transaction) { t.Salt = nil }), "TRANSACTION_MALFORMED"},
		"nothing paid":      {h.signed(transfer(public(h.key), 0)), "TRANSACTION_MALFORMED"},
		"too large":         {ledger.Sign(big, h.key), "TRANSACTION_TOO_LARGE"},
		"forged":            {h.forgedSignature(), "TRANSACTION_SIGNATURE"},
		"another chain":     {h.altered(func(t *ledgerv1.Transaction) { t.ChainId = "another" }), "TRANSACTION_CHAIN"},
		"far future":        {h.altered(func(t *ledgerv1.Transaction) { t.ValidUntil = h.height + 100_000 }), "TRANSACTION_OUT_OF_RANGE"},
		"expired":           {h.altered(func(t *ledgerv1.Transaction) { t.ValidUntil = 1 }), "TRANSACTION_EXPIRED"},
		"a poor sender":     {ledger.Sign(poor, stranger), "TRANSACTION_INSUFFICIENT_BALANCE"},
		"forged votes":      {h.signed(h.votes(h.fed.operators[1].public(), h.key)), "TRANSACTION_EVIDENCE"},
		"forged results":    {h.signed(h.slash(h.fed.operators[1].hands[0].public())), "TRANSACTION_EVIDENCE"},
		"forged approvals":  {h.signed(h.seize()), "TRANSACTION_EVIDENCE"},
		"one of two forged": {h.signed(transfer(public(h.key), 1), h.seize()), "TRANSACTION_EVIDENCE"},
	}
}

// recorded are transactions that are well formed and signed, and fail in their block.
func (h hostile) recorded() map[string]struct {
	action *ledgerv1.Action
	code   ledgerv1.ReceiptCode
} {
	return map[string]struct {
		action *ledgerv1.Action
		code   ledgerv1.ReceiptCode
	}{
		"more than there is":       {transfer(public(h.fed.clients[0]), purse), ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE},
		"more than any":            {transfer(public(h.fed.clients[0]), 1<<63), ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE},
		"a seat by one's own word": {h.seize(h.fed.operators[0]), ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_APPROVED},
		"refund of nothing": {&ledgerv1.Action{Kind: &ledgerv1.Action_Refund{Refund: &ledgerv1.Refund{
			Job: "none", Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED,
		}}}, ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW},
	}
}

// TestHostileClientsAndPeers has somebody with money and no scruples send everything that is wrong through the API and by
// gossip, and floods. Every refusal is typed; the orchestrators stay up and agree; jobs are verified and paid for as if
// nothing was; honest clients are served.
func TestHostileClientsAndPeers(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, hands: 2, clients: 6})
	d := dice(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
	defer cancel()
	key := f.clients[len(f.clients)-1]
	f.clients = f.clients[:len(f.clients)-1] // honest ones
	tr := f.traffic(100*time.Millisecond, f.operators...)
	f.operators[0].reaches(5)
	work := f.orders(ctx, d, 15, f.operators[:2]...)
	h := hostile{f, f.operators[0].height(), key}

	for name, c := range h.refused() {
		res, err := f.operators[1].ledger.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: c.tx})
		if got := reason(err); got != c.reason {
			t.Errorf("%s: answered %v, %v: %s, want %s", name, res, err, got, c.reason)
		}
	}
	for name, c := range h.recorded() {
		if r := f.does(f.operators[2], key, c.action); r.GetCode() != c.code {
			t.Errorf("%s: %v, want %s", name, r, c.code)
		}
	}
	_, err := f.operators[0].ledger.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: h.signed(), WaitMs: 1 << 31})
	if reason(err) != "INVALID" {
		t.Errorf("a month of waiting: %v", err)
	}
	f.rudeRequests()
	f.twins(h)
	r := f.intruder(key, f.operators...)
	f.hostilePeer(r, h, d)
	f.verified(work)
	tr.settle(f.operators...)
	f.running(f.operators...)
	for _, w := range work {
		w.of.quiet()
	}
	f.agree(f.operators...)
	f.paidOnce(work)
	if n := len(f.operators[0].look().GetValidators().GetValidators()); n != 4 {
		t.Errorf("%d validators are left", n)
	}
	f.judged(work)
}

// rudeRequests are no requests at all.
func (f *federation) rudeRequests() {
	f.Helper()
	base := f.operators[3].url() + "/shardy.operator.v1.LedgerService/"
	for _, c := range []struct {
		method, kind string
		body         []byte
	}{
		{"SubmitTransaction", "application/json", []byte(`{"transaction":`)},
		{"SubmitTransaction", "application/proto", bytes.Repeat([]byte{0xff}, 1<<10)},
		{"SubmitTransaction", "application/proto", make([]byte, 8<<20)},
		{"GetBlock", "application/json", []byte(`{"height":"18446744073709551615"}`)},
		{"GetBlocks", "application/json", []byte(`{"from":"18446744073709551615","limit":4294967295}`)},
		{"GetProof", "application/json", []byte(`{}`)},
		{"ListBlocks", "application/json", []byte(`{"before":-1}`)},
		{"ListTransactions", "application/json", []byte(`{"pageToken":"AAAA"}`)},
		{"ListValidatorChanges", "application/json", []byte(`{"afterVersion":"99"}`)},
		{"NoSuch", "application/json", []byte(`{}`)},
	} {
		res, err := http.Post(base+c.method, c.kind, bytes.NewReader(c.body))
		if err != nil {
			if !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe") { // it need not read it all
				f.Errorf("%s: %v", c.method, err)
			}
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode < 400 || res.StatusCode >= 500 {
			f.Errorf("%s of %d bytes: status %d", c.method, len(c.body), res.StatusCode)
		}
	}
}

// twins are transactions with one body and different bytes: a forged signature that comes first, and an encoding with
// something added. They neither keep the honest one out nor carry it out twice.
func (f *federation) twins(h hostile) {
	f.Helper()
	for range 4 {
		p := newPayment(&ledgerv1.Transaction{ChainId: f.chain, ValidUntil: h.height + 300}, f.clients[0], public(f.clients[1]), 3)
		forged := new(ledgerv1.SignedTransaction)
		f.must(proto.Unmarshal(p.tx, forged))
		forged.Signature[0] ^= 1
		twin, err := proto.Marshal(forged)
		f.must(err)
		padded := protowire.AppendBytes(protowire.AppendTag(bytes.Clone(p.tx), 15, protowire.BytesType), []byte("something"))
		for i, tx := range [][]byte{twin, padded, p.tx, p.tx} {
			_, err := f.operators[i].ledger.SubmitTransaction(f.Context(), &operatorv1.SubmitTransactionRequest{Transaction: tx})
			if (err == nil) != (i > 0) && (i != 1 || reason(err) != "TRANSACTION_MALFORMED") {
				f.Errorf("twin %d: %v", i, err)
			}
		}
		f.must(p.offer(f.operators[3], 2000))
		if p.height == 0 {
			f.Error("a payment whose twins were sent is in no block")
		}
		if n := f.operators[3].register(f.operators[3].height()).carried[p.id]; n != 1 {
			f.Errorf("a payment whose twins were sent was carried out %d times", n)
		}
	}
}

// hostilePeer has a peer gossip, announce and stream what is wrong, then flood.
func (f *federation) hostilePeer(r *intruder, h hostile, d *rand.Rand) {
	f.Helper()
	// It can speak: what is right is taken from it, too.
	p := newPayment(&ledgerv1.Transaction{ChainId: f.chain, ValidUntil: h.height + 300}, h.key, public(f.clients[0]), 1)
	f.operators[0].poll("the rogue's payment is in a block", func() bool {
		r.say(p.tx)
		_, err := f.operators[0].ledger.GetTransaction(f.Context(), &operatorv1.GetTransactionRequest{Id: p.id[:]})
		return err == nil
	})
	genesis, err := f.operators[0].ledger.GetBlock(f.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: 1}})
	f.must(err)
	header, certificate := genesis.Block.Block.Header, genesis.Block.Certificate
	certificate.Signatures = certificate.Signatures[:1]
	thin, err := proto.Marshal(certificate)
	f.must(err)
	_ = r.PublishAnnounce(f.Context(), header, thin) // its own peer may refuse it; the next does not
	r.stream(f.operators[0], "/meshsub/1.2.0", r.gossip(mesh.AnnounceTopic, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), header)))

	noise := make([]byte, 4<<10)
	for i := range noise {
		noise[i] = byte(d.Uint32())
	}
	huge := protowire.AppendVarint(nil, 1<<40)
	for _, protocol := range []string{"/meshsub/1.2.0", "/shardy/blocks/sync/1.0.0", "/shardy/state/snapshot/1.0.0", "/shardy/consensus/1.0.0", "/ipfs/id/push/1.0.0"} {
		for _, o := range f.operators {
			for _, data := range [][]byte{noise, huge, nil} {
				r.meet(o)
				r.stream(o, protocol, data)
			}
		}
	}
	f.flood(r, h)
	f.spam()
	f.rejected()

	// Somebody honest who comes by now is heard.
	guest := f.intruder(f.clients[1], f.operators[:2]...)
	p = newPayment(&ledgerv1.Transaction{ChainId: f.chain, ValidUntil: h.height + 400}, f.clients[1], public(f.clients[0]), 1)
	f.operators[3].poll("the guest's payment is in a block", func() bool {
		guest.say(p.tx)
		_, err := f.operators[3].ledger.GetTransaction(f.Context(), &operatorv1.GetTransactionRequest{Id: p.id[:]})
		return err == nil
	})
}

// flood gossips transactions with forged signatures as fast as it can.
func (f *federation) flood(r *intruder, h hostile) {
	f.Helper()
	begin, messages, bytes := time.Now(), 0, 0
	for time.Since(begin) < patience(3*time.Second) { // the flood is the fault
		var forged [][]byte
		for range mesh.MaxBatch {
			forged = append(forged, h.forgedSignature())
		}
		frames := []byte{}
		for range 64 {
			forged[0] = h.forgedSignature()
			data, err := proto.Marshal(&ledgerv1.TransactionBatch{Transactions: forged})
			f.must(err)
			frames = append(frames, r.gossip(mesh.TransactionsTopic, data)...)
			messages++
		}
		for _, o := range f.operators {
			r.meet(o)
			bytes += r.stream(o, "/meshsub/1.2.0", frames)
		}
	}
	f.Logf("%d forged messages of %d transactions for each orchestrator in %s, %d MiB were taken", messages, mesh.MaxBatch,
		time.Since(begin).Round(10*time.Millisecond), bytes>>20)
	if bytes == 0 {
		f.Error("nothing of the flood was taken: it tried nothing")
	}
}

// spam gossips well signed transactions of keys that have no money to pay for them, and what is in blocks already.
func (f *federation) spam() {
	f.Helper()
	height := f.operators[0].height()
	r := f.intruder(ed25519.NewKeyFromSeed(someHash("spammer")), f.operators...)
	begin, sent := time.Now(), 0
	for time.Since(begin) < patience(2*time.Second) { // the spam is the fault
		var txs [][]byte
		for range mesh.MaxBatch {
			key := ed25519.NewKeyFromSeed(someHash(fmt.Sprint("poor ", sent)))
			txs = append(txs, newPayment(&ledgerv1.Transaction{ChainId: f.chain, ValidUntil: height + 300}, key, public(key), 1).tx)
			sent++
		}
		r.say(txs...)
	}
	replayed := 0
	for h := uint64(1); h <= height; h++ {
		b, err := f.operators[0].ledger.GetBlock(f.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: h}})
		f.must(err)
		txs := b.Block.Block.Transactions
		r.say(txs...)
		replayed += len(txs)
	}
	f.Logf("%d transactions without money and %d old ones by gossip", sent, replayed)
}

// rejected checks that the orchestrators have noticed.
func (f *federation) rejected() {
	f.Helper()
	for _, o := range f.operators {
		m, err := o.meshes.GetMesh(f.Context(), &operatorv1.GetMeshRequest{})
		f.must(err)
		var rejected, throttled uint64
		for _, topic := range m.Topics {
			rejected += topic.Rejected
			throttled += topic.Throttled + topic.Ignored
		}
		f.Logf("%s: %d messages rejected, %d ignored, %d cut, %d connections and streams refused", o.name, rejected, throttled, m.Cut, m.Refused)
		if rejected+m.Cut == 0 {
			f.Errorf("%s has rejected nothing", o.name)
		}
		if m.ValidatorsReached != 3 {
			f.Errorf("%s reaches %d of 3 other validators", o.name, m.ValidatorsReached)
		}
	}
}
