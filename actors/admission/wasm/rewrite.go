package wasm

// Options for Rewrite.
type Options struct {
	// CanonicalNaN makes every NaN that could leave the floating-point world, by a store, a reinterpretation, a
	// sign copy or a vector, the same one. Needed for every module with floating point whose author is not
	// trusted; without effect on class I.
	CanonicalNaN bool
	Limits       Limits
}

// Rewrite lints a module and returns its metered form. Charges are taken at the entry of every function and of
// every turn of a loop, one unit for each instruction up to the next charge, both arms of an if counted; bulk
// operations on memories and tables cost one unit more for every 64 bytes or elements. Custom sections are
// dropped. The same bytes and options always give the same result.
//
// The counter cannot be reached by the module itself: Lint has checked that it names only globals and locals of
// its own.
func Rewrite(b []byte, options Options) ([]byte, error) {
	limits := options.Limits.withDefaults()
	m, err := parse(b, limits)
	if err != nil {
		return nil, err
	}
	if _, err := m.lint(limits); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(b)*2), b[:8]...)
	counted := false
	for _, s := range m.sections {
		if !counted && rank[s.id] > rank[sectionGlobal] {
			out = appendSection(out, sectionGlobal, appendCounter([]byte{1}))
			counted = true
		}
		data := s.data
		switch s.id {
		case sectionGlobal:
			data = appendCounter(oneMore(data))
			counted = true
		case sectionExport:
			data = appendExport(oneMore(data), uint32(m.globals))
		case sectionCode:
			if data, err = m.rewriteCode(options, limits); err != nil {
				return nil, err
			}
		}
		out = appendSection(out, s.id, data)
	}
	if len(out) > limits.RewrittenBytes {
		return nil, refuse(ErrTooLarge, -1, "rewritten module of %d bytes, limit %d", len(out), limits.RewrittenBytes)
	}
	return out, nil
}

func appendSection(b []byte, id byte, data []byte) []byte {
	return append(appendU32(append(b, id), uint32(len(data))), data...)
}

// oneMore returns a vector with its length raised by one.
func oneMore(data []byte) []byte {
	c := &cursor{b: data}
	n := c.u32()
	return append(appendU32(nil, n+1), data[c.at:]...)
}

// appendCounter adds a mutable i64, initially zero.
func appendCounter(b []byte) []byte { return append(b, typeI64, 1, opI64Const, 0, opEnd) }

func appendExport(b []byte, global uint32) []byte {
	b = append(appendU32(b, uint32(len(FuelGlobal))), FuelGlobal...)
	return appendU32(append(b, 3), global)
}

func (m *module) rewriteCode(options Options, limits Limits) ([]byte, error) {
	out := appendU32(nil, uint32(len(m.bodies)))
	for f := range m.bodies {
		code, err := m.rewriteBody(f, options, limits)
		if err != nil {
			return nil, err
		}
		out = append(appendU32(out, uint32(len(code))), code...)
		if len(out) > limits.RewrittenBytes {
			return nil, refuse(ErrTooLarge, -1, "rewritten code above %d bytes", limits.RewrittenBytes)
		}
	}
	return out, nil
}
