package wasm

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// The exact bytes of a metered function: a change here is a new RewriterVersion.
func TestMeteredBytes(t *testing.T) {
	in := running("\x00", "\x03\x40\x01\x0b") // a loop around one nop
	got, err := Rewrite(in.bytes(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	charge := func(local, cost string) string {
		return "\x23\x00\x42" + cost + "\x7d\x22" + local + "\x24\x00\x20" + local + "\x42\x00\x53\x04\x40\x00\x0b"
	}
	want := with(sections{
		sectionGlobal: vec("\x7e\x01\x42\x00\x0b"),
		sectionExport: vec(named("memory")+"\x02\x00", named("shardy_alloc")+"\x00\x00", named("shardy_run")+"\x00\x01",
			named(FuelGlobal)+"\x03\x00"),
		sectionCode: vec(
			named("\x02\x01\x7e\x01\x7f"+charge("\x01", "\x03")+"\x41\x80\x08\x0b"),
			named("\x02\x01\x7e\x01\x7f"+charge("\x02", "\x04")+"\x03\x40"+charge("\x02", "\x03")+"\x01\x0b\x42\x00\x0b"),
		),
	}).bytes()
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%x, want\n%x", got, want)
	}
}

func TestNaNEdits(t *testing.T) {
	add, mul, promote, equal := "\xfd\xe4\x01", "\xfd\xe6\x01", "\xfd\x5f", "\xfd\x47"
	for _, c := range []struct {
		name, body string
		edits      int
	}{
		{"sum on its own", add, 1},
		{"sum into product", add + mul, 1},
		{"sum as number of the other type", add + equal, 1},
		{"sum into widening", add + promote, 1},
		{"widening as the same type", promote + equal, 0},
		{"sum whose bits are taken", add + "\xfd\x51", 1},
		{"sign only", "\xfd\xe1\x01", 0},
		{"store", "\x38\x02\x00", 1},
		{"copysign", "\x98", 1},
		{"reinterpretation", "\xbd", 1},
		{"scalar sum", "\x92", 0},
		{"splat", "\xfd\x13", 1},
	} {
		m := &module{}
		cur := &cursor{b: []byte(c.body + "\x0b")}
		edits, _, err := m.plan(cur, 0, true)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n := len(edits) - 1; n != c.edits {
			t.Errorf("%s: %d edits, want %d", c.name, n, c.edits)
		}
	}
}

func TestRewriteIsDeterministicAndOnce(t *testing.T) {
	for name, b := range shipped(t) {
		for _, canonical := range []bool{false, true} {
			first, err := Rewrite(b, Options{CanonicalNaN: canonical})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			second, _ := Rewrite(bytes.Clone(b), Options{CanonicalNaN: canonical})
			if Name(first) != Name(second) {
				t.Errorf("%s: two results", name)
			}
			_, err = Rewrite(first, Options{})
			wantKind(t, err, ErrReserved)
			if canonical == (Name(first) == Name(must(Rewrite(b, Options{})))) && strings.HasPrefix(name, "ray") {
				t.Errorf("%s: canonical NaNs change nothing", name)
			}
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestRewrittenSizeIsBounded(t *testing.T) {
	m := running("\x00", strings.Repeat("\xfd\xe4\x01\x01", 60_000))
	_, err := Rewrite(m.bytes(), Options{CanonicalNaN: true, Limits: Limits{RewrittenBytes: 1 << 20}})
	wantKind(t, err, ErrTooLarge)
}

func addSeeds(f *testing.F) {
	for _, b := range shipped(f) {
		f.Add(b)
	}
	f.Add(job().bytes())
	f.Add(withTable("\x06\x00\x41\x00\x0b\x70\x01\xd2\x00\x0b").bytes())
	f.Add(running("\x01\x02\x7f", "\x41\x00\x41\x00\x41\x00\xfc\x0b\x00").bytes())
	f.Add(tableGrow().bytes())
}

// FuzzLint: any bytes are either described or refused with a typed error.
func FuzzLint(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Lint(b, Limits{})
		var typed *Error
		if err != nil && !errors.As(err, &typed) {
			t.Errorf("untyped error %v", err)
		}
		if err == nil && (info.MemoryPages > 8192 || info.Functions < 2 || info.Instructions < 2) {
			t.Errorf("%+v", info)
		}
	})
}

// FuzzRewrite: what passes the lint can be rewritten, twice alike, into something that parses and keeps its shape.
func FuzzRewrite(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Lint(b, Limits{})
		if err != nil {
			return
		}
		for _, canonical := range []bool{false, true} {
			out, err := Rewrite(b, Options{CanonicalNaN: canonical})
			if errors.Is(err, ErrTooLarge) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := Rewrite(b, Options{CanonicalNaN: canonical}); !bytes.Equal(out, again) {
				t.Fatal("two results")
			}
			checkShape(t, out, info)
		}
	})
}

// checkShape undoes the reserved export name and lints the metered module.
func checkShape(t *testing.T, out []byte, before Info) {
	t.Helper()
	at := 1 + bytes.Index(out, []byte("\x0d"+FuelGlobal+"\x03"))
	if at == 0 {
		t.Fatal("no counter")
	}
	renamed := bytes.Clone(out)
	copy(renamed[at:], "fuel_for_test")
	wide := Limits{ModuleBytes: 8 << 20, BodyBytes: 8 << 20, Locals: 2000, Globals: 2000, Nesting: 600, StackSlots: 1 << 20, Exports: 200}
	after, err := Lint(renamed, wide)
	if err != nil {
		t.Fatalf("metered module: %v", err)
	}
	if after.Loops != before.Loops || after.Functions != before.Functions || after.MemoryPages != before.MemoryPages {
		t.Fatalf("shape changed from %+v to %+v", before, after)
	}
}
