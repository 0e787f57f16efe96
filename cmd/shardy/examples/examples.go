// Package examples holds the programs that ship with Shardy: their C sources, the compiled modules with a lock
// on their hashes, and the Go side that cuts work into chunks and assembles outputs.
//
// Limits: the modules here are the unmodified ones, a deployment runs what module admission makes of them; the
// data set is the first 2,000 test images of Fashion-MNIST.
package examples

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrOutput means that the outputs of a program do not fit together: wrong number or wrong size.
var ErrOutput = errors.New("examples: malformed output")

//go:embed wasm/*.wasm
var modules embed.FS

//go:embed modules.lock
var moduleLock string

//go:embed outputs.lock
var outputLock string

// Program is a piece of work for one module. Its chunks are independent; chunk i gives output i.
type Program interface {
	// Module is the name of the module to run; see Module.
	Module() string
	// Chunks cuts the work. The slices belong to the caller.
	Chunks() [][]byte
	// OutputSizes are the exact sizes of the outputs in bytes.
	OutputSizes() []int
	// Fuel is a limit that every chunk stays below, by a factor of about three.
	Fuel() uint64
	// Assemble joins all outputs in order; an error wraps ErrOutput.
	Assemble(outputs [][]byte) ([]byte, error)
	// Describe says in one line what an assembled output shows.
	Describe(assembled []byte) (string, error)
}

// Names of the modules, in the order in which they are shown.
func Names() []string { return []string{"raytrace", "cnn8", "primes", "mc", "xf", "matmul8"} }

// Module returns the unmodified WebAssembly module of that name, nil if there is none.
func Module(name string) []byte {
	b, err := modules.ReadFile("wasm/" + name + ".wasm")
	if err != nil {
		return nil
	}
	return b
}

// ModuleHash returns the SHA-256 that the lock file names for a module.
func ModuleHash(name string) ([32]byte, error) { return locked(moduleLock, name) }

// New returns the program of a module with its default or its quick parameters, nil for an unknown name. The
// quick ones need about a tenth of the time.
func New(module string, quick bool) Program {
	switch module {
	case "raytrace":
		return NewPicture(quick)
	case "cnn8":
		return NewCNN(quick)
	case "primes":
		return NewPrimes(quick)
	case "mc":
		return NewMonteCarlo(quick)
	case "xf":
		return NewTransformer(quick)
	case "matmul8":
		return NewMatMul(quick)
	}
	return nil
}

// Reference returns the committed SHA-256 of the assembled output of New(module, quick).
func Reference(module string, quick bool) ([32]byte, error) {
	return locked(outputLock, outputKey(module, quick))
}

func outputKey(module string, quick bool) string {
	if quick {
		return module + "/quick"
	}
	return module + "/default"
}

// locked finds a line "hash  name", as sha256sum prints it.
func locked(lock, name string) (sum [32]byte, err error) {
	for line := range strings.Lines(lock) {
		digits, key, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if key != name {
			continue
		}
		if n, err := hex.Decode(sum[:], []byte(digits)); err != nil || n != len(sum) {
			return sum, fmt.Errorf("lock entry %s: bad hash", name)
		}
		return sum, nil
	}
	return sum, fmt.Errorf("no lock entry %s", name)
}

// join checks sizes and concatenates.
func join(p Program, outputs [][]byte) ([]byte, error) {
	sizes := p.OutputSizes()
	if len(outputs) != len(sizes) {
		return nil, fmt.Errorf("%w: %d outputs, want %d", ErrOutput, len(outputs), len(sizes))
	}
	var all []byte
	for i, out := range outputs {
		if len(out) != sizes[i] {
			return nil, fmt.Errorf("%w: output %d has %d bytes, want %d", ErrOutput, i, len(out), sizes[i])
		}
		all = append(all, out...)
	}
	return all, nil
}

// repeated is a slice of n equal sizes.
func repeated(size, n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// Digest is the SHA-256 that Reference is compared with.
func Digest(assembled []byte) [32]byte { return sha256.Sum256(assembled) }
