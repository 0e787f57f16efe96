package light

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func keyOf(n int) ed25519.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n)+1)
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func setOf(version uint64, first, n int) *ledgerv1.ValidatorSet {
	set := &ledgerv1.ValidatorSet{Version: version}
	for i := range n {
		set.Validators = append(set.Validators, &ledgerv1.Validator{Key: public(keyOf(first + i))})
	}
	return set
}

// block is a header over a state, signed by some keys.
func block(t interface{ Fatal(...any) }, chain string, height, version uint64, state trie.Hash, signers ...int) ([]byte, *ledgerv1.Certificate) {
	zero := make([]byte, 32)
	header, err := proto.Marshal(&ledgerv1.Header{
		ChainId: chain, Height: height, Parent: zero, Transactions: zero, Results: zero, State: state[:], ValidatorsVersion: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	hash := seal.HeaderHash(header)
	c := &ledgerv1.Certificate{Height: height, Block: hash[:], View: 3, Metadata: []byte("meta")}
	vote := seal.VoteOf(c, version)
	for _, n := range signers {
		c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{Validator: public(keyOf(n)), Signature: seal.SignVote(chain, vote, keyOf(n))})
	}
	return header, c
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQuorum(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 10: 7, 13: 9, 31: 21} {
		if got := Quorum(n); got != want {
			t.Errorf("quorum of %d is %d, want %d", n, got, want)
		}
	}
	for n := 1; n <= MaxValidators; n++ {
		if q, f := Quorum(n), Faults(n); 2*q-n <= f || q > n-f {
			t.Errorf("n=%d: quorums of %d share only liars, or cannot be reached without %d liars", n, q, f)
		}
	}
}

// TestOnlyAQuorumCounts signs with any keys, members or not, twice or not, rightly or not.
func TestOnlyAQuorumCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10).Draw(t, "n")
		set := setOf(5, 0, n)
		signers := rapid.SliceOfN(rapid.IntRange(0, n+3), 0, 2*n).Draw(t, "signers")
		header, c := block(t, "chain", 9, 5, trie.Hash{}, signers...)
		valid := map[int]bool{}
		for i, s := range signers {
			if rapid.IntRange(0, 3).Draw(t, "spoil") == 0 {
				c.Signatures[i].Signature[rapid.IntRange(0, 63).Draw(t, "byte")] ^= 1
			} else if s < n {
				valid[s] = true
			}
		}
		err := VerifyCertificate(header, set, c)
		if want := len(valid) >= Quorum(n); want != (err == nil) {
			t.Fatalf("%d of %d valid: %v", len(valid), n, err)
		}
	})
}

func TestCertificatesOfOtherThings(t *testing.T) {
	set := setOf(1, 0, 4)
	header, c := block(t, "chain", 9, 1, trie.Hash{1}, 0, 1, 2)
	other, _ := block(t, "chain", 9, 1, trie.Hash{2}, 0, 1, 2)
	foreign, fc := block(t, "chian", 9, 1, trie.Hash{1}, 0, 1, 2)
	edit := func(f func(*ledgerv1.Certificate)) *ledgerv1.Certificate {
		e := proto.CloneOf(c)
		f(e)
		return e
	}
	for name, tt := range map[string]struct {
		header []byte
		set    *ledgerv1.ValidatorSet
		c      *ledgerv1.Certificate
		want   error
	}{
		"as it is":       {header, set, c, nil},
		"another block":  {other, set, c, ErrCertificate},
		"another height": {header, set, edit(func(c *ledgerv1.Certificate) { c.Height++ }), ErrCertificate},
		"another view":   {header, set, edit(func(c *ledgerv1.Certificate) { c.View++ }), ErrQuorum},
		"other metadata": {header, set, edit(func(c *ledgerv1.Certificate) { c.Metadata = []byte("x") }), ErrQuorum},
		"other set":      {header, setOf(2, 0, 4), c, ErrValidators},
		"strangers":      {header, setOf(1, 7, 4), c, ErrQuorum},
		"empty set":      {header, &ledgerv1.ValidatorSet{Version: 1}, c, ErrQuorum},
		"garbage":        {[]byte{0xff}, set, c, ErrMalformed},
		"nothing":        {nil, set, nil, ErrMalformed},
	} {
		if err := VerifyCertificate(tt.header, tt.set, tt.c); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	client := &Client{Chain: "chain", Validators: set}
	if _, err := client.Block(foreign, fc); !errors.Is(err, ErrChain) {
		t.Errorf("another chain: %v", err)
	}
}

// TestFollowsTheValidators moves through changes of the set, and reads an account after the last.
func TestFollowsTheValidators(t *testing.T) {
	account := public(keyOf(99))
	sets := []*ledgerv1.ValidatorSet{setOf(1, 0, 1), setOf(2, 0, 4), setOf(4, 2, 4)} // the last block changed them twice
	client := &Client{Chain: "chain", Validators: sets[0]}
	for i, next := range sets[1:] {
		state := trie.Trie{}.Update([]trie.Change{{Key: seal.ValidatorsKey(), Value: encoded(t, next)}})
		signers := []int{0, 1, 2}
		header, c := block(t, "chain", uint64(i+1), sets[i].Version, state.Root(), signers...)
		proof := state.Prove(seal.ValidatorsKey())
		if err := client.Change(header, encoded(t, c), state.Prove(seal.SupplyKey())); !errors.Is(err, ErrProof) {
			t.Fatalf("proof of something else: %v", err)
		}
		p := &ledgerv1.ValidatorsProof{Header: header, Certificate: encoded(t, c), Proof: proof}
		if err := client.Follow(p); err != nil {
			t.Fatal(err)
		}
		if err := client.Follow(p); !errors.Is(err, ErrValidators) {
			t.Fatalf("the same change again: %v", err)
		}
		header, c = block(t, "chain", uint64(i+1), next.Version, state.Root(), 0, 1, 2, 3, 4, 5)
		p = &ledgerv1.ValidatorsProof{Header: header, Certificate: encoded(t, c), Proof: proof}
		if err := client.Change(p.Header, p.Certificate, p.Proof); err != nil {
			t.Fatal(err)
		}
		if err := client.Follow(p); !errors.Is(err, ErrValidators) || client.Validators.Version != next.Version {
			t.Fatalf("what changes nothing: %v", err)
		}
		old := trie.Trie{}.Update([]trie.Change{{Key: seal.ValidatorsKey(), Value: encoded(t, sets[i])}})
		header, c = block(t, "chain", uint64(i+1), next.Version, old.Root(), 0, 1, 2, 3, 4, 5)
		if err := client.Change(header, encoded(t, c), old.Prove(seal.ValidatorsKey())); !errors.Is(err, ErrValidators) {
			t.Fatalf("back: %v", err)
		}
	}
	state := trie.Trie{}.Update([]trie.Change{{Key: seal.AccountKey(account), Value: encoded(t, &ledgerv1.Account{Balance: 7})}})
	header, c := block(t, "chain", 3, 4, state.Root(), 3, 4, 5)
	p := &ledgerv1.AccountProof{Header: header, Certificate: encoded(t, c), Account: account, Proof: state.Prove(seal.AccountKey(account))}
	a, h, err := client.Account(p)
	if err != nil || a.GetBalance() != 7 || h.GetHeight() != 3 || client.Height != 3 {
		t.Fatalf("account %v at %v, client at %d: %v", a, h.GetHeight(), client.Height, err)
	}
	p.Account = public(keyOf(98))
	if _, _, err := client.Account(p); !errors.Is(err, ErrProof) {
		t.Fatalf("another account's proof: %v", err)
	}
	p.Proof = state.Prove(seal.AccountKey(p.Account))
	if a, _, err := client.Account(p); err != nil || a != nil {
		t.Fatalf("no account: %v, %v", a, err)
	}
	header, c = block(t, "chain", 4, 2, state.Root(), 0, 1, 2)
	p.Header, p.Certificate = header, encoded(t, c)
	if _, _, err := client.Account(p); !errors.Is(err, ErrValidators) {
		t.Fatalf("validators of yesterday: %v", err)
	}
}

// changesOf are the proofs that lead through sets of validators, each agreed on by the four of the one before.
func changesOf(t *testing.T, sets ...*ledgerv1.ValidatorSet) (changes []*ledgerv1.ValidatorsProof) {
	t.Helper()
	for i, next := range sets[1:] {
		state := trie.Trie{}.Update([]trie.Change{{Key: seal.ValidatorsKey(), Value: encoded(t, next)}})
		header, c := block(t, "chain", uint64(i+1), sets[i].Version, state.Root(), 0, 1, 2)
		changes = append(changes, &ledgerv1.ValidatorsProof{Header: header, Certificate: encoded(t, c), Proof: state.Prove(seal.ValidatorsKey())})
	}
	return changes
}

func TestFollowTo(t *testing.T) {
	changes := changesOf(t, setOf(1, 0, 4), setOf(2, 0, 4), setOf(4, 0, 3), setOf(5, 0, 4)) // two were expelled in one block
	for name, tt := range map[string]struct {
		changes []*ledgerv1.ValidatorsProof
		version uint64
		want    error
	}{
		"to the last":    {changes, 5, nil},
		"not further":    {changes, 4, nil},
		"nowhere":        {nil, 1, nil},
		"never was":      {changes, 3, ErrValidators},
		"too few":        {changes[:1], 4, ErrValidators},
		"one is missing": {changes[1:], 4, ErrValidators},
		"another order":  {[]*ledgerv1.ValidatorsProof{changes[1], changes[0]}, 4, ErrValidators},
		"no change":      {changesOf(t, setOf(1, 0, 4), setOf(1, 0, 4)), 2, ErrValidators},
		"empty":          {[]*ledgerv1.ValidatorsProof{nil}, 2, ErrMalformed},
	} {
		c := &Client{Chain: "chain", Validators: setOf(1, 0, 4)}
		if err := c.FollowTo(tt.version, tt.changes); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		} else if err == nil && c.Validators.Version != tt.version {
			t.Errorf("%s: version %d", name, c.Validators.Version)
		}
	}
}

// TestGenesisNeedsNoCertificate: nobody signs block 0; it is believed when its hash is known, and no other block is.
func TestGenesisNeedsNoCertificate(t *testing.T) {
	state := trie.Trie{}.Update([]trie.Change{{Key: seal.SupplyKey(), Value: []byte{8, 7}}})
	header, _ := block(t, "chain", 0, 1, state.Root())
	later, _ := block(t, "chain", 1, 1, state.Root())
	proof := state.Prove(seal.SupplyKey())
	c := &Client{Chain: "chain", Validators: setOf(1, 0, 4)}
	if _, _, err := c.Held(header, nil, proof, seal.SupplyKey()); err == nil {
		t.Fatal("a genesis that is not known was believed")
	}
	c.Genesis = seal.HeaderHash(header)
	if v, h, err := c.Held(header, nil, proof, seal.SupplyKey()); err != nil || len(v) != 2 || h.Height != 0 {
		t.Fatalf("%x, %v", v, err)
	}
	if _, _, err := c.Held(later, nil, proof, seal.SupplyKey()); err == nil {
		t.Fatal("a block without a certificate was believed")
	}
}

func FuzzAccount(f *testing.F) {
	state := trie.Trie{}.Update([]trie.Change{{Key: seal.AccountKey(public(keyOf(9))), Value: []byte{8, 7}}})
	header, c := block(f, "chain", 3, 1, state.Root(), 0, 1, 2)
	cert, err := proto.Marshal(c)
	if err != nil {
		f.Fatal(err)
	}
	seed, err := proto.Marshal(&ledgerv1.AccountProof{
		Header: header, Certificate: cert, Account: public(keyOf(9)), Proof: state.Prove(seal.AccountKey(public(keyOf(9)))),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := new(ledgerv1.AccountProof)
		if proto.Unmarshal(b, p) != nil {
			return
		}
		client := &Client{Chain: "chain", Validators: setOf(1, 0, 4)}
		a, _, err := client.Account(p)
		if err == nil && a != nil && (a.GetBalance() != 7 || string(p.Account) != string(public(keyOf(9)))) {
			t.Fatalf("account %x has %v", p.Account, a)
		}
	})
}

func BenchmarkAccount(b *testing.B) {
	var all []trie.Change
	for i := range 100_000 {
		name := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		all = append(all, trie.Change{Key: seal.AccountKey(name[:]), Value: []byte{8, 7}})
	}
	state := trie.Trie{}.Update(all)
	key := sha256.Sum256(binary.BigEndian.AppendUint64(nil, 7))
	for b.Loop() {
		if v, err := trie.Verify(state.Root(), state.Prove(seal.AccountKey(key[:]))); err != nil || v == nil {
			b.Fatal(err)
		}
	}
}
