package proof

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// Groth16 checks zero-knowledge proofs over BN254 (Groth 2016) in the JSON of snarkjs.
//
// Key: verification_key.json. Output: public.json, the public signals, with the proof in Proof; or, when Proof is empty,
// {"proof": ..., "publicSignals": ...} as snarkjs.groth16.fullProve returns it. Input: a JSON array of the public inputs,
// which must equal the last of the public signals (circuits put their outputs first), so that a proof of another
// statement is no proof for this chunk.
//
// A verification key is as trustworthy as its ceremony, and a Groth16 proof can be turned into another valid proof of
// the same statement by anybody: count statements, not proofs.
type Groth16 struct{}

// Verify runs the pairing check after the range, curve and subgroup checks of every point.
func (Groth16) Verify(e Evidence) error {
	key, err := decodeKey(e.Key)
	if err != nil {
		return err
	}
	claim, signals, err := decodeClaim(e.Output, e.Proof)
	if err != nil {
		return err
	}
	if len(signals)+1 != len(key.ic) {
		return fmt.Errorf("%w: %d public signals, the key has %d", ErrMalformed, len(signals), len(key.ic)-1)
	}
	inputs, err := decodeSignals(e.Input)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	if len(inputs) > len(signals) {
		return fmt.Errorf("%w: %d inputs, %d public signals", ErrMalformed, len(inputs), len(signals))
	}
	for i, want := range inputs {
		if signals[len(signals)-len(inputs)+i] != want {
			return fmt.Errorf("%w: the proof is about another input", ErrRefuted)
		}
	}
	return claim.check(key, signals)
}

// CheckKey refuses with ErrKey what Verify could not use as a verification key.
func (Groth16) CheckKey(key []byte) error {
	_, err := decodeKey(key)
	return err
}

// groth16Key is a decoded verification key.
type groth16Key struct {
	alpha              bn254.G1Affine
	beta, gamma, delta bn254.G2Affine
	ic                 []bn254.G1Affine // one more than there are public signals
}

// groth16Claim is a decoded proof.
type groth16Claim struct {
	a, c bn254.G1Affine
	b    bn254.G2Affine
}

// check tests e(a, b) = e(alpha, beta) e(statement, gamma) e(c, delta).
func (p groth16Claim) check(key groth16Key, signals []fr.Element) error {
	statement := key.ic[0]
	for i := range signals {
		var term bn254.G1Affine
		term.ScalarMultiplication(&key.ic[i+1], signals[i].BigInt(newInt()))
		statement.Add(&statement, &term)
	}
	var minusA bn254.G1Affine
	minusA.Neg(&p.a)
	ok, err := bn254.PairingCheck(
		[]bn254.G1Affine{minusA, key.alpha, statement, p.c},
		[]bn254.G2Affine{p.b, key.beta, key.gamma, key.delta},
	)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !ok {
		return fmt.Errorf("%w: pairings differ", ErrRefuted)
	}
	return nil
}
