package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestRootIsRFC6962 holds the root against the definition, and against the empty tree of the RFC.
func TestRootIsRFC6962(t *testing.T) {
	var define func(entries [][]byte) Hash
	define = func(entries [][]byte) Hash {
		switch len(entries) {
		case 0:
			return sha256.Sum256(nil)
		case 1:
			return sha256.Sum256(append([]byte{0}, entries[0]...))
		}
		k := 1
		for 2*k < len(entries) {
			k *= 2
		}
		l, r := define(entries[:k]), define(entries[k:])
		return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
	}
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 0, 40).Draw(t, "entries")
		if got, want := Root(entries), define(entries); got != want {
			t.Fatalf("root of %d entries is %x, want %x", len(entries), got, want)
		}
	})
}

// TestVoteText pins the bytes that are signed: other implementations depend on them.
func TestVoteText(t *testing.T) {
	v := &ledgerv1.Vote{
		Height: 1, View: 2, Block: bytes.Repeat([]byte{0xaa}, 32), Metadata: bytes.Repeat([]byte{0xbb}, 32), ValidatorsVersion: 3,
	}
	want := "7368617264792f766f74652f763100" + "0002" + "6331" + "0000000000000001" + "0000000000000002" +
		hex.EncodeToString(v.Block) + hex.EncodeToString(v.Metadata) + "0000000000000003"
	if got := hex.EncodeToString(VoteText("c1", v)); got != want {
		t.Fatalf("text is\n%s, want\n%s", got, want)
	}
	v.Block = v.Block[:31]
	if VoteText("c1", v) != nil || SignVote("c1", v, ed25519.NewKeyFromSeed(make([]byte, 32))) != nil || VerifyVote("c1", v, nil, nil) {
		t.Fatal("a vote for something that is no hash has a text")
	}
}

// TestTextsDiffer holds that no text of one kind can be taken for one of another, and none for another chain's.
func TestTextsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringN(0, 8, 8).Draw(t, "a"), rapid.StringN(0, 8, 8).Draw(t, "b")
		x, y := rapid.SliceOf(rapid.Byte()).Draw(t, "x"), rapid.SliceOf(rapid.Byte()).Draw(t, "y")
		texts := [][]byte{TransactionText(x), ValidatorsText(a, x), VoidText(a, x)}
		others := [][]byte{TransactionText(y), ValidatorsText(b, y), VoidText(b, y)}
		same := []bool{bytes.Equal(x, y), a == b && bytes.Equal(x, y), a == b && bytes.Equal(x, y)}
		for i := range texts {
			for j := range others {
				if bytes.Equal(texts[i], others[j]) != (i == j && same[i]) {
					t.Fatalf("texts %d and %d: %x and %x", i, j, texts[i], others[j])
				}
			}
		}
	})
}

func TestPlacesDiffer(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	seen := map[Hash]string{}
	for name, k := range map[string]Hash{
		"account": AccountKey(key), "escrow": EscrowKey(key, "j"), "escrow of nobody": EscrowKey(nil, "j"), "anchor": AnchorKey(key),
		"penalty": PenaltyKey(key, key, "j"), "evidence": EvidenceKey(Hash(key)), "transaction": TransactionKey(Hash(key)),
		"validators": ValidatorsKey(), "supply": SupplyKey(), "params": ParamsKey(),
		"settled": SettledKey(key, "j"), "due": DueKey(1), "second page": DuePageKey(1, 1), "next height": DueKey(2), "cursor": DueCursorKey(), "shifted": EscrowKey(key[:31], "\x01j"),
	} {
		if other, ok := seen[k]; ok {
			t.Errorf("%s lies where %s lies", name, other)
		}
		seen[k] = name
	}
}

func TestSignatures(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	pub := key.Public().(ed25519.PublicKey)
	tx := SignTransaction([]byte("body"), key)
	if !Verify(pub, TransactionText(tx.Body), tx.Signature) || Verify(pub, tx.Body, tx.Signature) || Verify(pub[:31], nil, nil) || Verify(nil, nil, tx.Signature) {
		t.Fatal("a signature is taken for what it is not")
	}
}
