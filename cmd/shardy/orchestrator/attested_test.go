package orchestrator

import (
	"crypto/ed25519"
	"testing"

	"github.com/shardy-network/orchestrator/actors/proof"
)

// TestAttested: what is remembered of one attestation says nothing about any other.
func TestAttested(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	worker := []byte(key.Public().(ed25519.PublicKey))
	s := proof.Statement{Job: "job", Slot: 1, Token: 2, Fuel: 3}
	signature := s.Sign(key)
	a := new(attested)
	for range 2 {
		if !a.Verify(s, worker, signature) {
			t.Fatal("a good attestation is refused")
		}
	}
	other := s
	other.Fuel++
	forged := append([]byte(nil), signature...)
	forged[0] ^= 1
	for name, bad := range map[string]bool{
		"another result":    a.Verify(other, worker, signature),
		"another signature": a.Verify(s, worker, forged),
		"no signature":      a.Verify(s, worker, nil),
		"another worker":    a.Verify(s, make([]byte, ed25519.PublicKeySize), signature),
		"no worker":         a.Verify(s, nil, signature),
	} {
		if bad {
			t.Errorf("%s passes", name)
		}
	}
}

// TestAttestedIsBounded: of many, the oldest are forgotten, and are verified again.
func TestAttestedIsBounded(t *testing.T) {
	a := new(attested)
	for i := range 3 * attestedLimit {
		a.learn([32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1})
	}
	if n := len(a.young) + len(a.old); n > 2*attestedLimit {
		t.Errorf("%d are remembered", n)
	}
	if a.knows([32]byte{0, 0, 0, 1}) {
		t.Error("the first is still remembered")
	}
	if !a.knows([32]byte{0xff, 0x7f, 0x01, 1}) {
		t.Error("the last is forgotten")
	}
}
