package examples

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

// recipes are the arguments of build.sh for every module: the memory in bytes and further flags.
var recipes = map[string][]string{
	"raytrace": {"16777216"},
	"cnn8":     {"16777216", "-msimd128"},
	"primes":   {"1048576"},
	"mc":       {"1048576"},
	"xf":       {"67108864", "-msimd128"},
	"matmul8":  {"67108864", "-msimd128"},
}

// build compiles a source and returns the module; it skips the test where the compiler is missing.
func build(t *testing.T, source string, recipe []string) []byte {
	t.Helper()
	for _, tool := range []string{"clang-19", "wasm-ld-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not built: %s is missing (Debian: clang-19 lld-19)", tool)
		}
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	args := append([]string{recipe[0], source, out}, recipe[1:]...)
	if text, err := exec.CommandContext(t.Context(), "./build.sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The committed modules are what the lock says and what the sources give. With -rewrite the test writes both.
func TestModulesMatchTheirSourcesAndTheLock(t *testing.T) {
	var lines []string
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			want, err := ModuleHash(name)
			if !*rewrite && (err != nil || sha256.Sum256(Module(name)) != want) {
				t.Errorf("%v: module is %x, lock says %x", err, sha256.Sum256(Module(name)), want)
			}
			b := build(t, "c/"+name+".c", recipes[name])
			if *rewrite {
				lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name))
				if err := os.WriteFile("wasm/"+name+".wasm", b, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(b, Module(name)) {
				t.Error("the source gives another module: rebuild with -rewrite, or use clang-19 of Debian")
			}
		})
	}
	if *rewrite && len(lines) == len(Names()) {
		if err := os.WriteFile("modules.lock", []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The template that strangers start from is admissible and does what it says.
func TestTemplate(t *testing.T) {
	code, err := wasm.Rewrite(build(t, "template/template.c", []string{"1048576"}), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	box := newSandbox(t)
	if err := box.Load(t.Context(), wasm.Name(code), code); err != nil {
		t.Fatal(err)
	}
	chunk := binary.LittleEndian.AppendUint64(nil, 2) // blocks of two bytes
	chunk = append(chunk, 10, 20, 7)
	r, err := box.Run(t.Context(), sandbox.Task{Module: wasm.Name(code), Input: chunk, FuelLimit: 10_000})
	if err != nil || r.Status != sandbox.OK {
		t.Fatalf("%v: %s %s", err, r.Status, r.Detail)
	}
	var want []byte
	for _, v := range []uint32{15 << 16, 20, 7 << 16, 7} {
		want = binary.LittleEndian.AppendUint32(want, v)
	}
	if !bytes.Equal(r.Output, want) {
		t.Errorf("got %v, want %v", r.Output, want)
	}
	r, err = box.Run(t.Context(), sandbox.Task{Module: wasm.Name(code), Input: chunk[:5], FuelLimit: 10_000})
	if err != nil || r.Status != sandbox.Trap {
		t.Errorf("short chunk: %v, %s", err, r.Status)
	}
}
