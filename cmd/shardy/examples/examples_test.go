package examples

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"image/png"
	"testing"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

func TestProgramsAreWhole(t *testing.T) {
	for _, name := range Names() {
		for _, quick := range []bool{true, false} {
			p := New(name, quick)
			if p.Module() != name || Module(name) == nil {
				t.Errorf("%s: module %q", name, p.Module())
			}
			chunks, sizes := p.Chunks(), p.OutputSizes()
			if len(chunks) < 2 || len(chunks) != len(sizes) || p.Fuel() > 200_000_000_000 {
				t.Errorf("%s: %d chunks, %d sizes, fuel %d", name, len(chunks), len(sizes), p.Fuel())
			}
			seen := map[string]bool{}
			for _, c := range chunks {
				if len(c) > 16<<20 || seen[string(c)] {
					t.Errorf("%s: a chunk of %d bytes, or twice the same", name, len(c))
				}
				seen[string(c)] = true
			}
			outputs := make([][]byte, len(sizes))
			for i, n := range sizes {
				outputs[i] = make([]byte, n)
			}
			if _, err := p.Assemble(outputs); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := p.Assemble(outputs[1:]); !errors.Is(err, ErrOutput) {
				t.Errorf("%s, an output missing: %v", name, err)
			}
			outputs[1] = outputs[1][1:]
			if _, err := p.Assemble(outputs); !errors.Is(err, ErrOutput) {
				t.Errorf("%s, a byte missing: %v", name, err)
			}
		}
	}
	if New("nothing", true) != nil || Module("nothing") != nil {
		t.Error("an unknown name has a program")
	}
	if _, err := Reference("nothing", true); err == nil {
		t.Error("an unknown name has a reference")
	}
}

// Tiles at the edges are smaller, and every pixel comes from its own tile.
func TestPictureIsPutTogether(t *testing.T) {
	p := Picture{Width: 5, Height: 3, TileWidth: 2, TileHeight: 2, Samples: 1}
	var outputs [][]byte
	for i, n := range p.OutputSizes() {
		outputs = append(outputs, bytes.Repeat([]byte{byte(i)}, n))
	}
	pixels, err := p.Assemble(outputs)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []byte{0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5} {
		if pixels[3*i] != want || pixels[3*i+2] != want {
			t.Errorf("pixel %d is from tile %d, want %d", i, pixels[3*i], want)
		}
	}
	b, err := p.PNG(pixels)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil || img.Bounds().Dx() != 5 || img.Bounds().Dy() != 3 {
		t.Errorf("%v: %v", err, img.Bounds())
	}
	if _, err := p.PNG(pixels[1:]); !errors.Is(err, ErrOutput) {
		t.Errorf("cut pixels: %v", err)
	}
}

// What the rows of the product return can be checked without computing them again.
func TestProductsPassFreivalds(t *testing.T) {
	box := newSandbox(t)
	p := MatMul{Rows: 7, Inner: 13, Columns: 10, RowsPerChunk: 3, Seed: 1} // sizes that fill no vector
	code := Module(p.Module())
	name := sha256.Sum256(code)
	if err := box.Load(t.Context(), name, code); err != nil {
		t.Fatal(err)
	}
	for i, chunk := range p.Chunks() {
		r, err := box.Run(t.Context(), sandbox.Task{Module: name, Input: chunk, Unmetered: true})
		if err != nil || r.Status != sandbox.OK || len(r.Output) != p.OutputSizes()[i] {
			t.Fatalf("chunk %d: %v %s %s", i, err, r.Status, r.Detail)
		}
		evidence := proof.Evidence{Input: chunk, Output: r.Output, Seed: make([]byte, 32)}
		if err := (proof.FreivaldsI8{}).Verify(evidence); err != nil {
			t.Errorf("chunk %d: %v", i, err)
		}
		r.Output[0]++
		if err := (proof.FreivaldsI8{}).Verify(evidence); !errors.Is(err, proof.ErrRefuted) {
			t.Errorf("chunk %d, forged: %v", i, err)
		}
	}
}

// A module answers a malformed chunk with a trap, not with a guess.
func TestMalformedChunksTrap(t *testing.T) {
	box := newSandbox(t)
	for _, name := range Names() {
		code := Module(name)
		sum := sha256.Sum256(code)
		if err := box.Load(t.Context(), sum, code); err != nil {
			t.Fatal(err)
		}
		whole := New(name, true).Chunks()[0]
		for _, chunk := range [][]byte{nil, whole[:len(whole)-1], append(whole[:len(whole):len(whole)], 0), bytes.Repeat([]byte{255}, len(whole))} {
			r, err := box.Run(t.Context(), sandbox.Task{Module: sum, Input: chunk, Unmetered: true})
			if err != nil || r.Status != sandbox.Trap {
				t.Errorf("%s, chunk of %d bytes: %v, %s", name, len(chunk), err, r.Status)
			}
		}
	}
}
