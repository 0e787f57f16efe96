package wasm

import (
	"strings"
	"testing"
)

func TestShippedModulesPass(t *testing.T) {
	for name, b := range shipped(t) {
		info, err := Lint(b, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if info.CallDepth < 1 || info.CallDepth > 5 || info.Loops == 0 || info.Functions < 2 || info.MemoryPages == 0 {
			t.Errorf("%s: %+v", name, info)
		}
	}
}

func TestWhatIsAccepted(t *testing.T) {
	for name, m := range map[string]sections{
		"plain":               job(),
		"multi-value":         with(sections{sectionType: vec("\x60\x01\x7f\x01\x7f", "\x60\x02\x7f\x7f\x01\x7e", "\x60\x00\x02\x7f\x7f")}),
		"block with a type":   running("\x00", "\x02\x7f\x41\x00\x0b\x1a"),
		"sign extension":      running("\x00", "\x41\x00\xc0\x1a"),
		"bulk memory":         running("\x00", "\x41\x00\x41\x00\x41\x00\xfc\x0b\x00"),
		"saturating":          running("\x00", "\x43\x00\x00\x00\x00\xfc\x00\x1a"),
		"vectors":             running("\x00", "\x41\x00\xfd\x0f\xfd\x15\x0f\x1a"),
		"null reference":      running("\x00", "\xd0\x70\xd1\x1a"),
		"passive data":        with(sections{sectionData: vec("\x01" + named("abc"))}),
		"data":                with(sections{sectionData: vec("\x00\x41\x80\x08\x0b" + named("abc"))}),
		"typed data":          with(sections{sectionData: vec("\x02\x00\x41\x00\x0b" + named("abc"))}),
		"elements 0":          withTable("\x00\x41\x00\x0b\x01\x00"),
		"elements 1":          withTable("\x01\x00\x01\x00"),
		"elements 2":          withTable("\x02\x00\x41\x00\x0b\x00\x01\x00"),
		"elements 3":          withTable("\x03\x00\x01\x00"),
		"elements 4":          withTable("\x04\x41\x00\x0b\x01\xd2\x00\x0b"),
		"elements 5":          withTable("\x05\x70\x01\xd0\x70\x0b"),
		"elements 6":          withTable("\x06\x00\x41\x00\x0b\x70\x01\xd2\x00\x0b"),
		"elements 7":          withTable("\x07\x70\x01\xd2\x00\x0b"),
		"globals of all kind": with(sections{sectionGlobal: vec("\x7f\x01\x41\x00\x0b", "\x7e\x00\x42\x00\x0b", "\x7d\x00\x43\x00\x00\x00\x00\x0b", "\x7c\x00\x44\x00\x00\x00\x00\x00\x00\x00\x00\x0b", "\x7b\x00\xfd\x0c"+strings.Repeat("\x00", 16)+"\x0b", "\x70\x00\xd2\x00\x0b", "\x6f\x00\xd0\x6f\x0b")}),
	} {
		if _, err := Lint(m.bytes(), Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Rewrite(m.bytes(), Options{CanonicalNaN: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func withTable(segment string) sections {
	return with(sections{sectionTable: "\x01\x70\x01\x02\x02", sectionElement: vec(segment)})
}

func TestWhatIsRefused(t *testing.T) {
	many := func(text string, n int) string { return strings.Repeat(text, n) }
	recursive := vec(named("\x00\x41\x00\x10\x00\x0b"), named("\x00\x42\x00\x0b"))
	indirect := running("\x00", "\x41\x00\x41\x00\x11\x00\x00\x1a")
	indirect[sectionTable] = "\x01\x70\x01\x02\x02"
	indirect[sectionElement] = vec("\x00\x41\x00\x0b\x01\x01")
	indirect[sectionCode] = vec(named("\x00\x41\x80\x08\x0b"), named("\x00\x41\x00\x41\x00\x41\x00\x11\x01\x00\x0b"))
	for _, c := range []struct {
		name string
		m    sections
		kind error
	}{
		{"import", with(sections{sectionImport: vec(named("env") + named("clock") + "\x00\x02")}), ErrImports},
		{"start", with(sections{sectionStart: "\x00"}), ErrStart},
		{"no memory", with(sections{sectionMemory: ""}), ErrMemory},
		{"two memories", with(sections{sectionMemory: "\x02\x01\x01\x01\x01\x01\x01"}), ErrMemory},
		{"unbounded memory", with(sections{sectionMemory: "\x01\x00\x01"}), ErrMemory},
		{"growing memory", with(sections{sectionMemory: "\x01\x01\x01\x02"}), ErrMemory},
		{"shared memory", with(sections{sectionMemory: "\x01\x03\x01\x01"}), ErrThreads},
		{"64-bit memory", with(sections{sectionMemory: "\x01\x05\x01\x01"}), ErrUnsupported},
		{"giant memory", with(sections{sectionMemory: "\x01\x01\x80\x80\x04\x80\x80\x04"}), ErrTooLarge},
		{"no exports", with(sections{sectionExport: vec()}), ErrExports},
		{"wrong signature", with(sections{sectionFunction: "\x02\x00\x00"}), ErrExports},
		{"no exported memory", with(sections{sectionExport: vec(named("shardy_alloc")+"\x00\x00", named("shardy_run")+"\x00\x01")}), ErrExports},
		{"reserved name", with(sections{sectionExport: vec(named(FuelGlobal) + "\x00\x00")}), ErrReserved},
		{"name twice", with(sections{sectionExport: vec(named("memory")+"\x02\x00", named("memory")+"\x02\x00")}), ErrMalformed},
		{"recursion", with(sections{sectionCode: recursive}), ErrRecursion},
		{"indirect recursion", indirect, ErrRecursion},
		{"atomics", running("\x00", "\xfe\x03\x00"), ErrThreads},
		{"relaxed SIMD", running("\x00", "\xfd\x80\x02"), ErrRelaxedSIMD},
		{"vector hole", running("\x00", "\xfd\x9a\x01"), ErrUnsupported},
		{"tail call", running("\x00", "\x12\x00"), ErrUnsupported},
		{"exceptions", running("\x00", "\x06\x40"), ErrUnsupported},
		{"tag section", with(sections{13: "\x00"}), ErrUnsupported},
		{"second memory", running("\x00", "\x41\x00\x28\x42\x01\x00\x1a"), ErrUnsupported},
		{"foreign local", running("\x00", "\x20\x02\x1a"), ErrMalformed},
		{"foreign global", running("\x00", "\x23\x00\x1a"), ErrMalformed},
		{"foreign function", running("\x00", "\x10\x07"), ErrMalformed},
		{"foreign data", running("\x00", "\xfc\x09\x00"), ErrMalformed},
		{"lane", running("\x00", "\xfd\x15\x10"), ErrMalformed},
		{"many locals", running("\x01\xe9\x07\x7f", ""), ErrComplex},
		{"4 billion locals", running("\x01\xff\xff\xff\xff\x0f\x7f", ""), ErrComplex},
		{"many loops", running("\x00", many("\x03\x40\x0b", 1001)), ErrComplex},
		{"deep blocks", running("\x00", many("\x02\x40", 501)+many("\x0b", 501)), ErrComplex},
		{"giant body", running("\x00", many("\x01", 256<<10)), ErrComplex},
		{"giant module", running("\x00", many("\x01", 1<<20)), ErrTooLarge},
		{"data outside", with(sections{sectionData: vec("\x00\x41\xfe\xff\x07\x0b" + named("abc"))}), ErrSegment},
		{"elements outside", withTable("\x00\x41\x02\x0b\x01\x00"), ErrSegment},
		{"global in a constant", with(sections{sectionGlobal: vec("\x7f\x00\x23\x00\x0b")}), ErrUnsupported},
		{"growing table", tableGrow(), ErrTable},
		{"data count", with(sections{sectionDataCount: "\x02", sectionData: vec("\x01" + named("abc"))}), ErrMalformed},
		{"bytes left over", with(sections{sectionFunction: "\x02\x00\x01\x00"}), ErrMalformed},
		{"missing body", with(sections{sectionCode: vec(named("\x00\x41\x00\x0b"))}), ErrMalformed},
		{"unended body", with(sections{sectionCode: vec(named("\x00\x41\x00"), named("\x00\x42\x00\x0b"))}), ErrMalformed},
		{"code behind the end", running("\x00", "\x42\x00\x0b"), ErrMalformed},
	} {
		_, err := Lint(c.m.bytes(), Limits{})
		t.Run(c.name, func(t *testing.T) { wantKind(t, err, c.kind) })
	}
	for _, junk := range []string{"", "\x00asm", "\x00asm\x02\x00\x00\x00", "\x00asm\x01\x00\x00\x00\x01\xff\xff\xff\xff\x0f", "hello, world"} {
		_, err := Lint([]byte(junk), Limits{})
		wantKind(t, err, ErrMalformed)
	}
}

func tableGrow() sections {
	m := running("\x00", "\xd0\x70\x41\x01\xfc\x0f\x00\x1a")
	m[sectionTable] = "\x01\x70\x01\x02\x03"
	return m
}

func TestChainsOfCallsAreBounded(t *testing.T) {
	chain := func(n int) []byte {
		m := job()
		functions, bodies := []string{"\x00", "\x01"}, []string{named("\x00\x41\x80\x08\x0b"), named("\x00\x10\x02\x42\x00\x0b")}
		for i := range n {
			functions = append(functions, "\x02")
			body := "\x01\x0a\x7f\x0b" // ten locals
			if i < n-1 {
				body = "\x01\x0a\x7f\x10" + string(appendU32(nil, uint32(i+3))) + "\x0b"
			}
			bodies = append(bodies, named(body))
		}
		m[sectionFunction], m[sectionCode] = vec(functions...), vec(bodies...)
		return m.bytes()
	}
	info, err := Lint(chain(127), Limits{})
	if err != nil || info.CallDepth != 128 {
		t.Errorf("%v, depth %d", err, info.CallDepth)
	}
	_, err = Lint(chain(128), Limits{})
	wantKind(t, err, ErrComplex)
	_, err = Lint(chain(100), Limits{StackSlots: 1000})
	wantKind(t, err, ErrComplex)
}

func TestClasses(t *testing.T) {
	for body, want := range map[string]Class{
		"\x41\x00\x1a":                         Integer,
		"\x41\x00\xfd\x0f\x1a":                 Integer,
		"\x43\x00\x00\x00\x00\x1a":             Float,
		"\x41\x00\x2a\x02\x00\x1a":             Float,
		"\x42\x00\xb9\x1a":                     Float,
		"\x41\x00\xfd\x0f\xfd\xe0\x01\x1a":     FloatVector,
		"\x43\x00\x00\x00\x00\xfd\x13\x1a":     FloatVector,
		"\x41\x00\xfd\x0f\xfd\x1f\x00\xa8\x1a": FloatVector,
	} {
		info, err := Lint(running("\x00", body).bytes(), Limits{})
		if err != nil || info.Class != want {
			t.Errorf("%x: %v, class %s, want %s", body, err, info.Class, want)
		}
	}
}
