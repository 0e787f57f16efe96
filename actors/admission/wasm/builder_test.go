package wasm

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sections of a module under test, by identifier; a job unless changed.
type sections map[byte]string

func job() sections {
	return sections{
		sectionType:     vec("\x60\x01\x7f\x01\x7f", "\x60\x02\x7f\x7f\x01\x7e", "\x60\x00\x00"),
		sectionFunction: "\x02\x00\x01",
		sectionMemory:   "\x01\x01\x02\x02",
		sectionExport:   vec(named("memory")+"\x02\x00", named("shardy_alloc")+"\x00\x00", named("shardy_run")+"\x00\x01"),
		sectionCode:     vec(named("\x00\x41\x80\x08\x0b"), named("\x00\x42\x00\x0b")),
	}
}

// with returns a job with some sections replaced; an empty text removes one.
func with(changes sections) sections {
	s := job()
	for id, data := range changes {
		if data == "" {
			delete(s, id)
			continue
		}
		s[id] = data
	}
	return s
}

// running returns a job whose shardy_run has the given locals and instructions before its result.
func running(locals, instructions string) sections {
	return with(sections{sectionCode: vec(named("\x00\x41\x80\x08\x0b"), named(locals+instructions+"\x42\x00\x0b"))})
}

func (s sections) bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	ids := slices.SortedFunc(maps.Keys(s), func(x, y byte) int { return rank[x] - rank[y] })
	for _, id := range ids {
		b = appendSection(b, id, []byte(s[id]))
	}
	return b
}

// vec is a vector of encoded items; named is a text behind its length.
func vec(items ...string) string {
	var b strings.Builder
	b.WriteString(string(appendU32(nil, uint32(len(items)))))
	for _, i := range items {
		b.WriteString(i)
	}
	return b.String()
}

func named(s string) string { return string(appendU32(nil, uint32(len(s)))) + s }

// shipped returns the modules that ship with the program.
func shipped(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../../cmd/shardy/examples/wasm/*.wasm")
	if err != nil || len(files) == 0 {
		t.Fatalf("no shipped modules: %v", err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = b
	}
	return all
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	var typed *Error
	if !errors.Is(err, kind) || !errors.As(err, &typed) {
		t.Errorf("got error %v, want %v", err, kind)
	}
}
