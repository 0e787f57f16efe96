package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// body is a good transaction to spoil.
func body(actions ...*ledgerv1.Action) *ledgerv1.Transaction {
	return &ledgerv1.Transaction{
		ChainId: chain, Sender: pub(client), Salt: make([]byte, 16), ValidUntil: 5, Actions: actions,
	}
}

func TestCheck(t *testing.T) {
	good := Sign(body(transfer(stranger, 1)), keyOf(client))
	c, err := Check(chain, good)
	if err != nil || !bytes.Equal(c.Encoded(), good) || c.Body().ValidUntil != 5 || c.ID() == (Hash{}) {
		t.Fatalf("%v", err)
	}
	for name, f := range map[string]struct {
		want  error
		spoil func(*ledgerv1.Transaction)
	}{
		"another chain":   {ErrChain, func(b *ledgerv1.Transaction) { b.ChainId = "test-2" }},
		"no chain":        {ErrChain, func(b *ledgerv1.Transaction) { b.ChainId = "" }},
		"another sender":  {ErrSignature, func(b *ledgerv1.Transaction) { b.Sender = pub(stranger) }},
		"short sender":    {ErrMalformed, func(b *ledgerv1.Transaction) { b.Sender = b.Sender[1:] }},
		"short salt":      {ErrMalformed, func(b *ledgerv1.Transaction) { b.Salt = b.Salt[1:] }},
		"no end":          {ErrMalformed, func(b *ledgerv1.Transaction) { b.ValidUntil = 0 }},
		"endless":         {ErrMalformed, func(b *ledgerv1.Transaction) { b.ValidUntil = 1<<64 - 1 }},
		"no action":       {ErrMalformed, func(b *ledgerv1.Transaction) { b.Actions = nil }},
		"too many":        {ErrMalformed, func(b *ledgerv1.Transaction) { b.Actions = make([]*ledgerv1.Action, 65) }},
		"unknown action":  {ErrMalformed, func(b *ledgerv1.Transaction) { b.Actions[0].Kind = nil }},
		"too large":       {ErrTooLarge, func(b *ledgerv1.Transaction) { b.Salt = make([]byte, MaxTransactionBytes) }},
		"newer field":     {ErrMalformed, func(b *ledgerv1.Transaction) { b.ProtoReflect().SetUnknown(unknownField()) }},
		"newer parameter": {ErrMalformed, func(b *ledgerv1.Transaction) { b.Actions[0].GetTransfer().ProtoReflect().SetUnknown(unknownField()) }},
	} {
		b := body(transfer(stranger, 1))
		f.spoil(b)
		if b.Actions != nil && b.Actions[0] == nil {
			for i := range b.Actions {
				b.Actions[i] = transfer(stranger, 1)
			}
		}
		if _, err := Check(chain, Sign(b, keyOf(client))); !errors.Is(err, f.want) {
			t.Errorf("%s: %v, want %v", name, err, f.want)
		}
	}
	for i := range good { // no bit can be changed
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := Check(chain, bad); err == nil {
			t.Fatalf("byte %d changed, accepted", i)
		}
	}
}

func unknownField() []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
}

// TestOneEncoding holds that a signed body has one form: nobody can make a second transaction of one id.
func TestOneEncoding(t *testing.T) {
	good := Sign(body(transfer(stranger, 1)), keyOf(client))
	var s ledgerv1.SignedTransaction
	if err := proto.Unmarshal(good, &s); err != nil {
		t.Fatal(err)
	}
	field := func(n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
	}
	one, two := field(1, s.Body), field(2, s.Signature)
	if !bytes.Equal(good, append(bytes.Clone(one), two...)) {
		t.Fatal("the one form is another")
	}
	padded := append([]byte{0x0a}, binary.AppendUvarint(nil, uint64(len(s.Body)))...)
	padded[len(padded)-1] |= 0x80
	padded = append(padded, 0)
	for name, bad := range map[string][]byte{
		"swapped": append(bytes.Clone(two), one...), "body twice": bytes.Join([][]byte{one, one, two}, nil),
		"unknown field": append(bytes.Clone(good), unknownField()...), "padded length": bytes.Join([][]byte{padded, s.Body, two}, nil),
		"padded tag": append([]byte{0x8a, 0}, good[1:]...), "nothing": nil, "no signature": one,
	} {
		if _, err := Check(chain, bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForgedEvidence spoils every kind of evidence in every part that is signed.
func TestForgedEvidence(t *testing.T) {
	d := decision("j", trio, worker2)
	change := change(&ledgerv1.ValidatorChangeBody{Version: 2}, val0, val1, val2)
	for name, f := range map[string]struct {
		action *ledgerv1.Action
		spoil  func(*ledgerv1.Action)
	}{
		"attestation":             {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[1].Attestation[3] ^= 1 }},
		"of another job":          {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Job = "k" }},
		"of another module":       {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Module[0] ^= 1 }},
		"of another input":        {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Input[0] ^= 1 }},
		"of another worker":       {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Worker = pub(client) }},
		"of another slot":         {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Slot++ }},
		"of another token":        {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Token++ }},
		"of another output":       {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Output[0] ^= 1 }},
		"of another status":       {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Status++ }},
		"of more fuel":            {settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Fuel++ }},
		"contradicted":            {slashFor(d), func(a *ledgerv1.Action) { a.GetConsensusMismatch().Decision.Contradicted[0].Fuel++ }},
		"vote for another block":  {votes(1, vote(1, 1, 1, "a"), vote(1, 1, 1, "b")), func(a *ledgerv1.Action) { a.GetEquivocation().GetVotes().Second.Block[0] ^= 1 }},
		"vote of another":         {votes(1, vote(1, 1, 1, "a"), vote(2, 1, 1, "b")), func(*ledgerv1.Action) {}},
		"vote of another version": {votes(1, vote(1, 1, 1, "a"), vote(1, 1, 1, "b")), func(a *ledgerv1.Action) { a.GetEquivocation().GetVotes().First.ValidatorsVersion++ }},
		"checkpoint of another":   {checkpoints(1, head(1, "log", 5, 1), head(2, "log", 5, 2)), func(*ledgerv1.Action) {}},
		"no checkpoint":           {checkpoints(1, head(1, "log", 5, 1), []byte("log\n5\n")), func(*ledgerv1.Action) {}},
		"answer":                  {answers("j", result("j", 1, 1), result("j", 1, 2)), func(a *ledgerv1.Action) { a.GetEquivocation().GetResults().Second.Fuel++ }},
		"answer to another job":   {answers("k", result("j", 1, 1), result("j", 1, 2)), func(*ledgerv1.Action) {}},
		"anchor of another":       {anchorOf(head(val0, "log", 1, 1)), func(*ledgerv1.Action) {}},
		"approval":                {change, func(a *ledgerv1.Action) { a.GetValidatorSet().Approvals[2].Signature[0] ^= 1 }},
		"approval of another":     {change, func(a *ledgerv1.Action) { a.GetValidatorSet().Body = encode(&ledgerv1.ValidatorChangeBody{Version: 3}) }},
		"void approved as change": {voidFor(0, 1, "j", val0), func(a *ledgerv1.Action) {
			v := a.GetVoidSlash()
			v.Approvals = approve(seal.ValidatorsText(chain, v.Body), val0)
		}},
	} {
		a := proto.CloneOf(f.action)
		f.spoil(a)
		if _, err := Check(chain, Sign(body(a), keyOf(client))); !errors.Is(err, ErrEvidence) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Votes, approvals and attestations of another chain.
	b := body(votes(1, vote(1, 1, 1, "a"), vote(1, 1, 1, "b")))
	b.ChainId = "test-2"
	if _, err := Check("test-2", Sign(b, keyOf(client))); !errors.Is(err, ErrEvidence) {
		t.Errorf("votes on another chain: %v", err)
	}
}

// TestShapes spoils the form of every kind of action.
func TestShapes(t *testing.T) {
	spoilt := func(a *ledgerv1.Action, spoil func(*ledgerv1.Action)) *ledgerv1.Action {
		a = proto.CloneOf(a)
		spoil(a)
		return a
	}
	d := decision("j", trio, worker2)
	many := decision("j", trio)
	for len(many.Agreeing) <= MaxResults {
		many.Agreeing = append(many.Agreeing, many.Agreeing[0])
	}
	long := strings.Repeat("j", MaxJobBytes+1)
	for name, a := range map[string]*ledgerv1.Action{
		"transfer of nothing":     transfer(1, 0),
		"transfer to nobody":      spoilt(transfer(1, 1), func(a *ledgerv1.Action) { a.GetTransfer().To = nil }),
		"stake of nothing":        stakeSet(0),
		"unstake of nothing":      unstake(0),
		"escrow of nothing":       escrow("j", 0),
		"escrow of no job":        escrow("", 1),
		"escrow of a long job":    escrow(long, 1),
		"refund of no job":        refund(""),
		"refund without reason":   spoilt(refund("j"), func(a *ledgerv1.Action) { a.GetRefund().Reason = 0 }),
		"refund of odd reason":    spoilt(refund("j"), func(a *ledgerv1.Action) { a.GetRefund().Reason = 99 }),
		"settled for nothing":     settle(0, d),
		"settled and slashed":     spoilt(settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Contradicted = d.Contradicted }),
		"settled with nobody":     settle(1, decision("j", nil)),
		"settled with too many":   settle(1, many),
		"settled nothing":         {Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Price: 1}}},
		"no checksum":             spoilt(settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Checksum = nil }),
		"status in two bytes":     spoilt(settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Status = 256 + 1 }),
		"status of none":          spoilt(settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Status = eventv1.ResultStatus(0) }),
		"no attestation":          spoilt(settle(1, d), func(a *ledgerv1.Action) { a.GetTaskVerified().Decision.Agreeing[0].Attestation = nil }),
		"slash of nobody":         slashFor(decision("j", trio)),
		"equivocation of nothing": equivocationOf(&ledgerv1.Equivocation{}),
		"one vote":                votes(1, vote(1, 1, 1, "a"), nil),
		"one answer":              answers("j", result("j", 1, 1), nil),
		"long checkpoint":         anchorOf(make([]byte, MaxNoteBytes+1)),
		"no checkpoint":           anchorOf(nil),
		"unapproved":              change(&ledgerv1.ValidatorChangeBody{Version: 2}),
		"odd change":              spoilt(change(&ledgerv1.ValidatorChangeBody{}, 0), func(a *ledgerv1.Action) { a.GetValidatorSet().Body = []byte{1} }),
		"newer change":            spoilt(change(&ledgerv1.ValidatorChangeBody{}, 0), func(a *ledgerv1.Action) { a.GetValidatorSet().Body = unknownField() }),
		"joining without key":     change(&ledgerv1.ValidatorChangeBody{Add: []*ledgerv1.Validator{{}}}, 0),
		"long name":               change(&ledgerv1.ValidatorChangeBody{Add: []*ledgerv1.Validator{{Key: pub(1), Name: long}}}, 0),
		"long address":            change(&ledgerv1.ValidatorChangeBody{Add: []*ledgerv1.Validator{{Key: pub(1), Addresses: []string{long + long + long}}}}, 0),
		"long peer id":            change(&ledgerv1.ValidatorChangeBody{Add: []*ledgerv1.Validator{{Key: pub(1), Peer: []byte(long)}}}, 0),
		"leaving without key":     change(&ledgerv1.ValidatorChangeBody{Remove: [][]byte{{1}}}, 0),
		"void of no job":          voidFor(0, 1, "", 0),
	} {
		if _, err := Check(chain, Sign(body(a), keyOf(client))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzCheck throws bytes at the door, as they are and signed by somebody.
func FuzzCheck(f *testing.F) {
	for _, a := range everyAction() {
		b := body(a)
		f.Add(Sign(b, keyOf(client)))
		f.Add(encode(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Check(chain, b); err == nil && !bytes.Equal(c.Encoded(), b) {
			t.Error("other bytes")
		}
		w := new(ledgerv1.Transaction)
		if proto.Unmarshal(b, w) != nil {
			return
		}
		w.ChainId, w.Sender = chain, pub(client)
		if c, err := Check(chain, Sign(w, keyOf(client))); err == nil && !ed25519.Verify(pub(client), seal.TransactionText(encode(w)), c.Encoded()[len(c.Encoded())-64:]) {
			t.Error("unsigned, accepted")
		}
	})
}

// everyAction is one good action of each kind.
func everyAction() []*ledgerv1.Action {
	d := decision("j", trio, worker2)
	return []*ledgerv1.Action{
		transfer(1, 2), stakeSet(3), unstake(4), unjail(), escrow("j", 100), settle(3, d), refund("k"), slashFor(d),
		votes(1, vote(1, 1, 1, "a"), vote(1, 1, 1, "b")),
		checkpoints(2, head(2, "log", 5, 1), head(2, "log", 5, 2)),
		answers("j", resultFor("j", worker3, 1, 2, right), resultFor("j", worker3, 1, 2, wrong)),
		anchorOf(head(client, "log", 5, 1)),
		change(&ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{{Key: pub(client)}}}, val0, val1, val2),
		voidFor(0, worker2, "j", val0, val1, val2),
	}
}

// FuzzExecute executes any transaction that decodes, whoever would have signed it, over a chain that has seen everything.
func FuzzExecute(f *testing.F) {
	base := newWorld(f, shortParams())
	base.must(val0, escrow("j", 10_000), settle(1, decision("j", trio)), slashFor(decision("j", trio, worker2)), unstake(5), refundable())
	base.must(client, escrow("j", 10_000), stakeSet(1_000_000))
	for _, a := range everyAction() {
		f.Add(encode(body(a)), uint8(val0))
	}
	f.Fuzz(func(t *testing.T, b []byte, sender uint8) {
		w := new(ledgerv1.Transaction)
		if proto.Unmarshal(b, w) != nil || len(w.Actions) > MaxActions {
			return
		}
		w.ChainId, w.Sender, w.ValidUntil = chain, pub(int(sender)%64), base.State.Height()+1
		for _, a := range w.Actions {
			if checkShape(a) != nil {
				return
			}
		}
		c := Checked{id: seal.TransactionID(b), encoded: b, body: w}
		s, receipts, err := base.State.Execute(base.State.Height()+1, []Checked{c})
		if err != nil {
			t.Fatal(err)
		}
		for range 30 { // all that is due
			if s, _, err = s.Execute(s.Height()+1, nil); err != nil {
				t.Fatal(err)
			}
		}
		if receipts[0].Code == 0 {
			t.Error("no code")
		}
	})
}

func refundable() *ledgerv1.Action { return escrow("k", 50) }
