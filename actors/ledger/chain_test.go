package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// everything executes one good action of each kind.
func everything(w *world) {
	w.must(val0, escrow("j", 10_000), escrow("k", 10_000), settle(100, decision("j", trio)), slashFor(decision("j", trio, worker2)), refund("k"))
	w.must(val0, anchorOf(head(val0, "log", 5, 1)))
	w.must(client, stakeSet(1_000_000), unstake(1), transfer(stranger, 5_000), stakeSet(1_000_000))
	w.must(client, change(&ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{{Key: pub(client), Name: "c"}}}, val0, val1, val2))
	w.must(client, votes(val3, vote(val3, 1, 1, "a"), vote(val3, 1, 1, "b")))
	w.do(stranger, transfer(client, 1<<60))
}

// TestGolden pins a state: whoever changes how things are encoded, or what they come to, makes another chain.
func TestGolden(t *testing.T) {
	w := newWorld(t, shortParams())
	genesis := w.State.Head()
	everything(w)
	root := w.State.Root()
	head := w.State.Head()
	for _, g := range []struct{ what, got, want string }{
		{"header of genesis", hex.EncodeToString(genesis[:8]), "ea6bd06e5502fd45"},
		{"state", hex.EncodeToString(root[:8]), "d7e56dc96b179dbd"},
		{"last header", hex.EncodeToString(head[:8]), "abb466b58a455b9b"},
	} {
		if g.got != g.want {
			t.Errorf("%s is %s, want %s", g.what, g.got, g.want)
		}
	}
}

// TestReplay holds that the same blocks lead to the same state, also for who begins with a snapshot in between.
func TestReplay(t *testing.T) {
	w := newWorld(t, shortParams())
	everything(w)
	w.skip(8)
	for cut := range len(w.all) {
		s := newWorld(t, shortParams()).State
		var header []byte
		for i, txs := range w.all {
			if i == cut && header != nil {
				s = imported(t, header, s)
			}
			next, err := s.Propose(int64(i), s.Validators().Validators[0].Key, txs)
			if err != nil {
				t.Fatal(err)
			}
			s, header = next.State, next.Header
		}
		if s.Root() != w.State.Root() || s.Head() != w.State.Head() || s.Height() != w.State.Height() || s.TimeUs() != w.State.TimeUs() {
			t.Fatalf("with a snapshot after %d blocks the state is another one", cut)
		}
	}
}

// imported is what comes out of a snapshot of the state, as it travels.
func imported(t failer, header []byte, s State) State {
	t.Helper()
	i, err := NewImport(chain, header)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for c := range s.Chunks() {
		b := encode(c)
		if len(b) > MaxChunkBytes {
			t.Fatalf("chunk of %d bytes", len(b))
		}
		got := new(ledgerv1.SnapshotChunk)
		if err := proto.Unmarshal(b, got); err != nil {
			t.Fatalf("%v", err)
		}
		if err := i.Add(got); err != nil {
			t.Fatalf("%v", err)
		}
	}
	out, err := i.Finish()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if out.CountAccounts() != s.CountAccounts() {
		t.Fatalf("%d accounts came out of %d", out.CountAccounts(), s.CountAccounts())
	}
	return out
}

func TestSpoiltSnapshots(t *testing.T) {
	w := newWorld(t, shortParams())
	everything(w)
	next, err := w.State.Propose(9, pub(val0), nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := slices.Collect(next.State.Chunks())[0]
	for name, spoil := range map[string]func(*ledgerv1.SnapshotChunk){
		"nothing missing": func(*ledgerv1.SnapshotChunk) {},
		"entry missing":   func(c *ledgerv1.SnapshotChunk) { c.Entries = c.Entries[1:] },
		"entry changed":   func(c *ledgerv1.SnapshotChunk) { c.Entries[3].Value[0] ^= 1 },
		"entry empty":     func(c *ledgerv1.SnapshotChunk) { c.Entries[3].Value = nil },
		"entry too large": func(c *ledgerv1.SnapshotChunk) { c.Entries[3].Value = make([]byte, MaxEntryBytes+1) },
		"key too short":   func(c *ledgerv1.SnapshotChunk) { c.Entries[3].Key = c.Entries[3].Key[1:] },
		"entry twice":     func(c *ledgerv1.SnapshotChunk) { c.Entries[3] = c.Entries[2] },
		"not in order":    func(c *ledgerv1.SnapshotChunk) { c.Entries[3], c.Entries[2] = c.Entries[2], c.Entries[3] },
		"another chunk":   func(c *ledgerv1.SnapshotChunk) { c.Chunk = 1 },
		"no entries":      func(c *ledgerv1.SnapshotChunk) { c.Entries = nil },
	} {
		i, err := NewImport(chain, next.Header)
		if err != nil {
			t.Fatal(err)
		}
		c := proto.CloneOf(whole)
		spoil(c)
		err = i.Add(c)
		if err == nil {
			_, err = i.Finish()
		}
		if bad := name != "nothing missing"; bad != errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewImport("test-2", next.Header); !errors.Is(err, ErrSnapshot) {
		t.Errorf("header of another chain: %v", err)
	}
	// A state that is no ledger, though its root is the header's.
	for name, entries := range map[string][]trie.Change{
		"nothing": nil,
		"no money": {
			{Key: seal.ParamsKey(), Value: encode(shortParams())},
			{Key: seal.ValidatorsKey(), Value: encode(w.State.Validators())},
			{Key: seal.SupplyKey(), Value: encode(&ledgerv1.Supply{Total: 5, Balances: 4})},
		},
		"no validators": {
			{Key: seal.ParamsKey(), Value: encode(shortParams())}, {Key: seal.SupplyKey(), Value: encode(&ledgerv1.Supply{Total: 5, Balances: 5})},
		},
	} {
		h := new(ledgerv1.Header)
		if err := proto.Unmarshal(next.Header, h); err != nil {
			t.Fatal(err)
		}
		forged := State{chain: chain, trie: trie.Trie{}.Update(entries)}
		root := forged.Root()
		h.State = root[:]
		i, err := NewImport(chain, encode(h))
		if err != nil {
			t.Fatal(err)
		}
		for c := range forged.Chunks() {
			if err := i.Add(c); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := i.Finish(); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSpoiltBlocks holds that a header is refused if any of it is not what comes out.
func TestSpoiltBlocks(t *testing.T) {
	w := newWorld(t, shortParams())
	w.block()
	txs := []Checked{w.tx(client, transfer(stranger, 5)), w.tx(client, transfer(stranger, 1<<60))}
	next, err := w.State.Propose(77, pub(val2), txs)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte) { b[5] ^= 1 }
	for name, spoil := range map[string]func(*ledgerv1.Header){
		"chain":        func(h *ledgerv1.Header) { h.ChainId = "test-2" },
		"height":       func(h *ledgerv1.Header) { h.Height++ },
		"parent":       func(h *ledgerv1.Header) { flip(h.Parent) },
		"transactions": func(h *ledgerv1.Header) { flip(h.Transactions) },
		"results":      func(h *ledgerv1.Header) { flip(h.Results) },
		"state":        func(h *ledgerv1.Header) { flip(h.State) },
		"time":         func(h *ledgerv1.Header) { h.TimeUs = w.State.TimeUs() - 1 },
		"proposer":     func(h *ledgerv1.Header) { h.Proposer = pub(client) },
		"version":      func(h *ledgerv1.Header) { h.ValidatorsVersion++ },
		"more":         func(h *ledgerv1.Header) { h.ProtoReflect().SetUnknown(unknownField()) },
	} {
		h := new(ledgerv1.Header)
		if err := proto.Unmarshal(next.Header, h); err != nil {
			t.Fatal(err)
		}
		spoil(h)
		if _, err := w.State.Verify(encode(h), txs); !errors.Is(err, ErrBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.State.Verify(next.Header, txs[:1]); !errors.Is(err, ErrBlock) {
		t.Errorf("a transaction is missing: %v", err)
	}
	if _, err := w.State.Verify([]byte("header"), txs); !errors.Is(err, ErrBlock) {
		t.Errorf("no header: %v", err)
	}
	if _, err := w.State.Propose(1, pub(client), nil); !errors.Is(err, ErrBlock) {
		t.Errorf("proposed by a client: %v", err)
	}
	for name, txs := range map[string][]Checked{
		"unchecked": {{}}, "too many": make([]Checked, MaxBlockTransactions+1),
		"too large": slices.Repeat([]Checked{{encoded: make([]byte, MaxBlockBytes/2+1), body: txs[0].body}}, 2),
	} {
		if _, _, err := w.State.Execute(w.State.Height()+1, txs); !errors.Is(err, ErrBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := w.State.Execute(w.State.Height()+2, nil); !errors.Is(err, ErrBlock) {
		t.Errorf("a height is left out: %v", err)
	}
	if late, err := w.State.Propose(-5, pub(val0), nil); err != nil || late.State.TimeUs() != w.State.TimeUs() {
		t.Errorf("time runs backwards: %d, %v", late.State.TimeUs(), err)
	}
}

// TestLightClient has somebody who holds only the genesis believe what the ledger proves.
func TestLightClient(t *testing.T) {
	w := newWorld(t, shortParams())
	c := light.Client{Chain: chain, Validators: w.State.Validators()}
	next, err := w.State.Propose(5, pub(val1), []Checked{w.tx(client, transfer(stranger, 500))})
	if err != nil {
		t.Fatal(err)
	}
	hash := seal.HeaderHash(next.Header)
	cert := &ledgerv1.Certificate{Height: 1, Block: hash[:]}
	for n := val0; n <= val2; n++ {
		cert.Signatures = append(cert.Signatures, &ledgerv1.ValidatorSignature{
			Validator: pub(n), Signature: seal.SignVote(chain, seal.VoteOf(cert, 1), keyOf(n)),
		})
	}
	for n, want := range map[int]uint64{client: 5_000_000 - 510, stranger: 500, 31: 0} {
		a, _, err := c.Account(&ledgerv1.AccountProof{
			Header: next.Header, Certificate: encode(cert), Account: pub(n), Proof: next.State.Prove(seal.AccountKey(pub(n))),
		})
		if err != nil || a.GetBalance() != want {
			t.Errorf("account %d: %v, %v", n, a, err)
		}
	}
	for name, place := range map[string]Hash{"supply": seal.SupplyKey(), "params": seal.ParamsKey(), "validators": seal.ValidatorsKey()} {
		if v, err := trie.Verify(next.State.Root(), next.State.Prove(place)); err != nil || v == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFailureChangesNothing holds that of a transaction that fails only the fee and the memory of it stay.
func TestFailureChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, shortParams())
		w.must(val0, escrow("j", 10_000), settle(1, decision("j", trio)), escrow("k", 500))
		sender := rapid.SampledFrom([]int{val0, val1, client}).Draw(t, "sender")
		actions := []*ledgerv1.Action{
			transfer(worker0, 5), stakeSet(2_500_000), unstake(1), escrow("l", 50), refund("k"), slashFor(decision("j", trio, worker2)),
			votes(worker1, vote(worker1, 9, 1, "a"), vote(worker1, 9, 1, "b")), anchorOf(head(sender, "log", 1, 1)),
		}
		drawn := rapid.SliceOfN(rapid.SampledFrom(actions), 0, 6).Draw(t, "actions")
		with := w.tx(sender, append(drawn, transfer(worker0, 1<<62))...)
		w.salt-- // the same salt and length of life: only the actions differ
		without := w.tx(sender, transfer(worker0, 1<<62))
		a, ra, err := w.State.Execute(w.State.Height()+1, []Checked{with})
		if err != nil || ra[0].Code == ok {
			t.Fatalf("%v, %v", ra, err)
		}
		b, _, err := w.State.Execute(w.State.Height()+1, []Checked{without})
		if err != nil {
			t.Fatal(err)
		}
		rename := func(s State, c Checked) trie.Trie { // all but what is remembered of its id
			return s.trie.Update([]trie.Change{{Key: seal.TransactionKey(c.ID())}, {Key: seal.DueKey(c.body.ValidUntil + 1)}})
		}
		if rename(a, with).Root() != rename(b, without).Root() {
			t.Fatal("a failure left something behind")
		}
	})
}

// TestPermutation holds that transactions of different senders that touch different accounts may come in any order.
func TestPermutation(t *testing.T) {
	w := newWorld(t, shortParams())
	txs := []Checked{
		w.tx(client, transfer(stranger, 50)), w.tx(val0, escrow("j", 100)), w.tx(val1, escrow("j", 100)), w.tx(worker0, unstake(5)),
		w.tx(worker1, stakeSet(500_100)), w.tx(val2, anchorOf(head(val2, "log", 5, 1))),
	}
	places := []Hash{seal.SupplyKey(), seal.EscrowKey(pub(val0), "j"), seal.AnchorKey(pub(val2))}
	for _, n := range everybody {
		places = append(places, seal.AccountKey(pub(n)))
	}
	want, _, err := w.State.Execute(1, txs)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		got, _, err := w.State.Execute(1, rapid.Permutation(txs).Draw(t, "order"))
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range places {
			if !bytes.Equal(got.trie.Get(place), want.trie.Get(place)) {
				t.Fatalf("%x depends on the order", place)
			}
		}
	})
}

// TestManyDues aims more at one height than a block does, and more than a page holds.
func TestManyDues(t *testing.T) {
	w := newWorld(t, shortParams())
	const many = MaxDuePages*duesPerPage + 1_000
	d := newDraft(w.State, 1)
	for i := range many {
		place := Hash{byte(i), byte(i >> 8), byte(i >> 16), 1}
		d.set(place, seen)
		d.at(5, &ledgerv1.Due{Kind: &ledgerv1.Due_Forget{Forget: place[:]}})
		if i%777 == 0 { // over several blocks
			d.keep()
			s, err := d.close()
			if err != nil {
				t.Fatal(err)
			}
			d = newDraft(s, 1)
		}
	}
	d.keep()
	s, err := d.close()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range s.trie.All(Hash{}) {
		if len(v) > 64<<10 {
			t.Fatalf("an entry of %d bytes", len(v))
		}
	}
	before := newWorld(t, shortParams()).State.Len()
	for range 3 {
		if s, _, err = s.Execute(s.Height()+1, nil); err != nil {
			t.Fatal(err)
		}
	}
	full := s.Len()
	if s, _, err = s.Execute(5, nil); err != nil {
		t.Fatal(err)
	}
	if left := full - s.Len(); left < MaxDuePages*duesPerPage {
		t.Errorf("block 5 did only %d", left)
	}
	if s.Len() == before {
		t.Error("block 5 did all of it")
	}
	if s, _, err = s.Execute(6, nil); err != nil {
		t.Fatal(err)
	}
	if s.Len() != before {
		t.Errorf("%d entries are left, want %d", s.Len(), before)
	}
}

func TestMoney(t *testing.T) {
	extremes := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.SampledFrom([]uint64{math.MaxUint64, math.MaxUint64 - 1, MaxSupply, 1 << 63, million}))
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := extremes.Draw(t, "a"), extremes.Draw(t, "b"), extremes.Draw(t, "c")
		got, fits := scale(a, b, c)
		if c > 0 {
			if want := ratio(a, b, c); fits != want.IsUint64() || fits && got != want.Uint64() {
				t.Fatalf("%d*%d/%d is %d, %t", a, b, c, got, fits)
			}
		} else if fits {
			t.Fatal("divided by nothing")
		}
		from, to := a, b
		if move(&from, &to, c) {
			if from != a-c || to < b || to-b != c {
				t.Fatal("moved wrongly")
			}
		} else if from != a || to != b {
			t.Fatal("refused, yet moved")
		}
		stake, half := min(b, MaxSupply), min(c, MaxSupply)
		if r, fits := reward(a, stake, maxBonus, max(half, 1)); fits && (r < a || new(big.Int).SetUint64(r).Cmp(ratio(a, million+maxBonus, million)) > 0) {
			t.Fatalf("reward %d for price %d", r, a)
		}
		if cost := penalty(stake, million/100, maxFactor, b, c); cost > stake || cost < part(stake, million/100) {
			t.Fatalf("penalty %d of a stake of %d", cost, stake)
		}
		if rep := min(a, million); judged(rep, true) > million || judged(rep, true) < rep || judged(rep, false) > rep {
			t.Fatal("reputation out of range")
		}
	})
}

// TestClone holds that a copy of an account has all of it.
func TestClone(t *testing.T) {
	a := new(ledgerv1.Account)
	fields := a.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch f.Kind() {
		case protoreflect.Uint64Kind:
			a.ProtoReflect().Set(f, protoreflect.ValueOfUint64(uint64(i)+1))
		case protoreflect.BoolKind:
			a.ProtoReflect().Set(f, protoreflect.ValueOfBool(true))
		case protoreflect.BytesKind:
			a.ProtoReflect().Set(f, protoreflect.ValueOfBytes([]byte{1}))
		}
	}
	a.Unbonding = []*ledgerv1.Unbonding{{Amount: 1, Release: 2}}
	if c := cloneAccount(a); !proto.Equal(a, c) {
		t.Errorf("%v became %v", a, c)
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t, shortParams())
	everything(w)
	n := 0
	for a := range w.State.Accounts() {
		if got, known := w.State.Account(a.Key); !known || !proto.Equal(got, a) {
			t.Errorf("%v is not the account of its key", a)
		}
		n++
	}
	if n != len(everybody) || w.State.CountAccounts() != uint64(n) {
		t.Errorf("%d accounts, counted %d, want %d", n, w.State.CountAccounts(), len(everybody))
	}
	for range w.State.Accounts() {
		break
	}
}
