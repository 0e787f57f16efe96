package proof

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
)

// vector is a proof made by snarkjs; see testdata/groth16/README.md.
func vector(t testing.TB) Evidence {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile("testdata/groth16/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return Evidence{Input: []byte(`["7"]`), Output: read("public"), Proof: read("proof"), Key: read("verification_key")}
}

func TestGroth16AcceptsWhatSnarkjsProved(t *testing.T) {
	e := vector(t)
	if err := (Groth16{}).Verify(e); err != nil {
		t.Error(err)
	}
	e.Output, e.Proof = []byte(`{"proof":`+string(e.Proof)+`,"publicSignals":`+string(e.Output)+`}`), nil
	if err := (Groth16{}).Verify(e); err != nil {
		t.Errorf("in one document: %v", err)
	}
	e.Input = []byte(`[]`)
	if err := (Groth16{}).Verify(e); err != nil {
		t.Errorf("circuit without public inputs of the job: %v", err)
	}
}

func TestGroth16ChecksKeysAlone(t *testing.T) {
	e := vector(t)
	if err := (Groth16{}).CheckKey(e.Key); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, []byte("{}"), e.Proof, e.Key[:len(e.Key)/2]} {
		if err := (Groth16{}).CheckKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestGroth16RefutesFalseStatements(t *testing.T) {
	for name, change := range map[string]func(e *Evidence){
		"another output": func(e *Evidence) { e.Output = []byte(`["1066793176","7"]`) },
		"another input":  func(e *Evidence) { e.Output, e.Input = []byte(`["1066793175","8"]`), []byte(`["8"]`) },
		"another chunk":  func(e *Evidence) { e.Input = []byte(`["8"]`) },
		"swapped points": func(e *Evidence) { e.Proof = swapPoints(t, e.Proof) },
	} {
		e := vector(t)
		change(&e)
		if err := (Groth16{}).Verify(e); !errors.Is(err, ErrRefuted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func swapPoints(t *testing.T, proof []byte) []byte {
	t.Helper()
	var j map[string]any
	if err := json.Unmarshal(proof, &j); err != nil {
		t.Fatal(err)
	}
	j["pi_a"], j["pi_c"] = j["pi_c"], j["pi_a"]
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGroth16RefusesMalformedEvidence(t *testing.T) {
	scalarModulus := "21888242871839275222246405745257275088548364400416034343698204186575808495617"
	replace := func(from, to string) func(b []byte) []byte {
		return func(b []byte) []byte {
			if !strings.Contains(string(b), from) {
				t.Fatalf("no %q to replace", from)
			}
			return []byte(strings.ReplaceAll(string(b), from, to))
		}
	}
	constant := func(text string) func([]byte) []byte { return func([]byte) []byte { return []byte(text) } }
	for _, c := range []struct {
		name string
		part func(e *Evidence) *[]byte
		with func([]byte) []byte
		kind error
	}{
		{"no key", keyPart, constant(""), ErrKey},
		{"key of another system", keyPart, replace(`"groth16"`, `"plonk"`), ErrKey},
		{"key of another curve", keyPart, replace(`"bn128"`, `"bls12381"`), ErrKey},
		{"key with fewer points", keyPart, replace(`"nPublic": 2`, `"nPublic": 3`), ErrKey},
		{"key beyond the limit", keyPart, constant(strings.Repeat(" ", maxKeyBytes+1)), ErrKey},
		{"key off the curve", keyPart, replace(`"21033476230764464287846194984960336842413871921161921905369824867119057481641"`, `"1"`), ErrKey},
		{"no proof", proofPart, constant(""), ErrMalformed},
		{"empty proof", proofPart, constant("{}"), ErrMalformed},
		{"proof at infinity", proofPart, replace(`"14899205941308618563464865518903847356774247693509174438312128838651154304845",
  "3423126224183259170408765819812531734656062714824657538728034387913866979455",
  "1"`, `"0","1","0"`), ErrMalformed},
		{"proof at the origin", proofPart, replace(`"14899205941308618563464865518903847356774247693509174438312128838651154304845",
  "3423126224183259170408765819812531734656062714824657538728034387913866979455"`, `"0","0"`), ErrMalformed},
		{"other z", proofPart, replace(`"1"`, `"2"`), ErrMalformed},
		{"long proof", proofPart, constant(strings.Repeat(" ", maxProofBytes+1)), ErrMalformed},
		{"no signals", outputPart, constant(""), ErrMalformed},
		{"one signal", outputPart, constant(`["7"]`), ErrMalformed},
		{"signal as number", outputPart, constant(`[1066793175,7]`), ErrMalformed},
		{"signal above the modulus", outputPart, constant(`["` + scalarModulus + `","7"]`), ErrMalformed},
		{"signal with zeroes", outputPart, constant(`["01066793175","7"]`), ErrMalformed},
		{"signal with a sign", outputPart, constant(`["-1","7"]`), ErrMalformed},
		{"signal of many digits", outputPart, constant(`["` + strings.Repeat("9", 1000) + `","7"]`), ErrMalformed},
		{"many signals", outputPart, constant(`[` + strings.Repeat(`"1",`, maxSignals) + `"1"]`), ErrMalformed},
		{"input that is no list", inputPart, constant(`raw bytes`), ErrMalformed},
		{"more inputs than signals", inputPart, constant(`["1","1066793175","7"]`), ErrMalformed},
	} {
		e := vector(t)
		part := c.part(&e)
		*part = c.with(*part)
		if err := (Groth16{}).Verify(e); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", c.name, err, c.kind)
		}
	}
}

func keyPart(e *Evidence) *[]byte    { return &e.Key }
func proofPart(e *Evidence) *[]byte  { return &e.Proof }
func outputPart(e *Evidence) *[]byte { return &e.Output }
func inputPart(e *Evidence) *[]byte  { return &e.Input }

// The twisted curve has points outside the group; a pairing with one of them proves nothing.
func TestGroth16RefusesPointsOutsideTheGroup(t *testing.T) {
	var p bn254.G2Affine
	for x := uint64(1); ; x++ {
		p.X.A0.SetUint64(x)
		p.X.A1.SetZero()
		right := p.X
		right.Square(&right).Mul(&right, &p.X)
		twist := bn254.G2Affine{}
		_, _, _, generator := bn254.Generators()
		twist.X.Square(&generator.X).Mul(&twist.X, &generator.X)
		twist.Y.Square(&generator.Y).Sub(&twist.Y, &twist.X) // b of the twisted curve
		right.Add(&right, &twist.Y)
		if right.Legendre() == 1 {
			p.Y.Sqrt(&right)
			break
		}
	}
	if !p.IsOnCurve() || p.IsInSubGroup() {
		t.Fatal("not the point this test needs")
	}
	text := func(e fp.Element) string { return e.String() }
	_, err := decodeG2(jsonG2{{text(p.X.A0), text(p.X.A1)}, {text(p.Y.A0), text(p.Y.A1)}, {"1", "0"}})
	if !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// FuzzGroth16 feeds all four documents: whatever they say, the answer is typed.
func FuzzGroth16(f *testing.F) {
	e := vector(f)
	f.Add(e.Key, e.Output, e.Proof, e.Input)
	f.Add([]byte(`{}`), []byte(`{"proof":{},"publicSignals":[]}`), []byte{}, []byte(`[]`))
	f.Fuzz(func(t *testing.T, key, output, proof, input []byte) {
		err := Groth16{}.Verify(Evidence{Key: key, Output: output, Proof: proof, Input: input})
		if err != nil && !errors.Is(err, ErrKey) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrRefuted) {
			t.Errorf("untyped error %v", err)
		}
	})
}

func BenchmarkGroth16(b *testing.B) {
	e := vector(b)
	for b.Loop() {
		if err := (Groth16{}).Verify(e); err != nil {
			b.Fatal(err)
		}
	}
}
