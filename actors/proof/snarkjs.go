package proof

import (
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// Bounds of the JSON documents.
const (
	maxKeyBytes   = 512 << 10
	maxProofBytes = 64 << 10
	maxSignals    = 512
	maxDigits     = 77 // of a number below the modulus
)

type (
	jsonG1 []string   // x, y, z
	jsonG2 [][]string // x, y, z, each a pair
)

type jsonKey struct {
	Protocol string   `json:"protocol"`
	Curve    string   `json:"curve"`
	Public   int      `json:"nPublic"`
	Alpha    jsonG1   `json:"vk_alpha_1"`
	Beta     jsonG2   `json:"vk_beta_2"`
	Gamma    jsonG2   `json:"vk_gamma_2"`
	Delta    jsonG2   `json:"vk_delta_2"`
	IC       []jsonG1 `json:"IC"`
}

type jsonProof struct {
	Protocol string `json:"protocol"`
	Curve    string `json:"curve"`
	A        jsonG1 `json:"pi_a"`
	B        jsonG2 `json:"pi_b"`
	C        jsonG1 `json:"pi_c"`
}

func newInt() *big.Int { return new(big.Int) }

// decodeKey reads verification_key.json. The points of a key must be proper ones, except that a signal which the circuit
// does not use has infinity in IC.
func decodeKey(b []byte) (key groth16Key, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrKey, err)
		}
	}()
	var j jsonKey
	if err := decodeJSON(b, maxKeyBytes, &j); err != nil {
		return key, err
	}
	if err := checkSystem(j.Protocol, j.Curve); err != nil {
		return key, err
	}
	if j.Public < 0 || j.Public > maxSignals || len(j.IC) != j.Public+1 {
		return key, fmt.Errorf("%d public signals, %d points", j.Public, len(j.IC))
	}
	if key.alpha, err = decodeG1(j.Alpha, false); err != nil {
		return key, fmt.Errorf("alpha: %w", err)
	}
	for _, p := range []struct {
		name string
		from jsonG2
		to   *bn254.G2Affine
	}{{"beta", j.Beta, &key.beta}, {"gamma", j.Gamma, &key.gamma}, {"delta", j.Delta, &key.delta}} {
		if *p.to, err = decodeG2(p.from); err != nil {
			return key, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	key.ic = make([]bn254.G1Affine, len(j.IC))
	for i := range j.IC {
		if key.ic[i], err = decodeG1(j.IC[i], true); err != nil {
			return key, fmt.Errorf("IC %d: %w", i, err)
		}
	}
	return key, nil
}

// decodeClaim reads public.json and proof.json, or both from one document.
func decodeClaim(output, proof []byte) (p groth16Claim, signals []fr.Element, err error) {
	if len(proof) == 0 {
		var both struct {
			Proof   json.RawMessage `json:"proof"`
			Signals json.RawMessage `json:"publicSignals"`
		}
		if err := decodeJSON(output, maxProofBytes, &both); err != nil {
			return p, nil, fmt.Errorf("output: %w", err)
		}
		output, proof = both.Signals, both.Proof
	}
	if signals, err = decodeSignals(output); err != nil {
		return p, nil, fmt.Errorf("public signals: %w", err)
	}
	var j jsonProof
	if err := decodeJSON(proof, maxProofBytes, &j); err != nil {
		return p, nil, fmt.Errorf("proof: %w", err)
	}
	if err := checkSystem(j.Protocol, j.Curve); err != nil {
		return p, nil, err
	}
	if p.a, err = decodeG1(j.A, false); err != nil {
		return p, nil, fmt.Errorf("pi_a: %w", err)
	}
	if p.b, err = decodeG2(j.B); err != nil {
		return p, nil, fmt.Errorf("pi_b: %w", err)
	}
	if p.c, err = decodeG1(j.C, false); err != nil {
		return p, nil, fmt.Errorf("pi_c: %w", err)
	}
	return p, signals, nil
}

// decodeSignals reads an array of field elements.
func decodeSignals(b []byte) ([]fr.Element, error) {
	var texts []string
	if err := decodeJSON(b, maxProofBytes, &texts); err != nil {
		return nil, err
	}
	if len(texts) > maxSignals {
		return nil, fmt.Errorf("%w: %d signals, limit %d", ErrMalformed, len(texts), maxSignals)
	}
	signals := make([]fr.Element, len(texts))
	for i, text := range texts {
		v, err := decodeNumber(text, fr.Modulus())
		if err != nil {
			return nil, fmt.Errorf("signal %d: %w", i, err)
		}
		signals[i].SetBigInt(v)
	}
	return signals, nil
}

func decodeJSON(b []byte, limit int, to any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes of JSON, limit %d", ErrMalformed, len(b), limit)
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// checkSystem accepts both names of the curve; snarkjs says bn128.
func checkSystem(protocol, curve string) error {
	if protocol != "groth16" || curve != "bn128" && curve != "bn254" {
		return fmt.Errorf("%w: protocol %.20q over %.20q", ErrMalformed, protocol, curve)
	}
	return nil
}

// decodeNumber reads the one decimal form of a number below the modulus.
func decodeNumber(text string, modulus *big.Int) (*big.Int, error) {
	canonical := text != "" && len(text) <= maxDigits && (text[0] != '0' || text == "0")
	for _, digit := range []byte(text[:min(len(text), maxDigits)]) {
		canonical = canonical && digit >= '0' && digit <= '9'
	}
	if !canonical {
		return nil, fmt.Errorf("%w: %.80q is no decimal number", ErrMalformed, text)
	}
	v, _ := newInt().SetString(text, 10)
	if v.Cmp(modulus) >= 0 {
		return nil, fmt.Errorf("%w: %s is not below the modulus", ErrMalformed, text)
	}
	return v, nil
}

func decodeCoordinate(text string, to *fp.Element) error {
	v, err := decodeNumber(text, fp.Modulus())
	if err == nil {
		to.SetBigInt(v)
	}
	return err
}

// decodeG1 reads a point that snarkjs writes with z = 1, or (0, 1, 0) for infinity. The group has no smaller subgroup.
func decodeG1(j jsonG1, infinity bool) (p bn254.G1Affine, err error) {
	if len(j) != 3 {
		return p, fmt.Errorf("%w: point of %d coordinates", ErrMalformed, len(j))
	}
	if infinity && j[0] == "0" && j[1] == "1" && j[2] == "0" {
		return p, nil
	}
	if err := decodeCoordinate(j[0], &p.X); err != nil {
		return p, err
	}
	if err := decodeCoordinate(j[1], &p.Y); err != nil {
		return p, err
	}
	if j[2] != "1" || p.IsInfinity() || !p.IsOnCurve() {
		return p, fmt.Errorf("%w: point is not on the curve", ErrMalformed)
	}
	return p, nil
}

// decodeG2 reads a point of the twisted curve, whose right subgroup has to be checked.
func decodeG2(j jsonG2) (p bn254.G2Affine, err error) {
	if len(j) != 3 || len(j[0]) != 2 || len(j[1]) != 2 || len(j[2]) != 2 {
		return p, fmt.Errorf("%w: not three pairs of coordinates", ErrMalformed)
	}
	for i, to := range []*fp.Element{&p.X.A0, &p.X.A1, &p.Y.A0, &p.Y.A1} {
		if err := decodeCoordinate(j[i/2][i%2], to); err != nil {
			return p, err
		}
	}
	if j[2][0] != "1" || j[2][1] != "0" || p.IsInfinity() || !p.IsOnCurve() || !p.IsInSubGroup() {
		return p, fmt.Errorf("%w: point is not in the group", ErrMalformed)
	}
	return p, nil
}
