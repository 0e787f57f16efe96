package wasm

// Lint checks a module against the rules of a job and reports what it is. Its errors are of type *Error. It
// never panics, whatever the bytes.
func Lint(b []byte, limits Limits) (Info, error) {
	m, err := parse(b, limits.withDefaults())
	if err != nil {
		return Info{}, err
	}
	return m.lint(limits.withDefaults())
}

func (m *module) lint(limits Limits) (Info, error) {
	if !m.memory {
		return Info{}, refuse(ErrMemory, -1, "no memory")
	}
	if err := m.checkInterface(); err != nil {
		return Info{}, err
	}
	info := Info{Class: Integer, MemoryPages: m.pages, Functions: len(m.functions)}
	graph := newCallGraph(m)
	for i := range m.bodies {
		if err := m.lintBody(i, limits, &info, graph); err != nil {
			return Info{}, err
		}
	}
	depth, slots, err := graph.deepest()
	if err != nil {
		return Info{}, err
	}
	if depth > limits.CallDepth {
		return Info{}, refuse(ErrComplex, -1, "calls %d deep, limit %d", depth, limits.CallDepth)
	}
	if slots > limits.StackSlots {
		return Info{}, refuse(ErrComplex, -1, "%d locals on one chain of calls, limit %d", slots, limits.StackSlots)
	}
	info.CallDepth = depth
	return info, nil
}

// checkInterface looks for the three exports of the job interface, version 1.
func (m *module) checkInterface() error {
	memory, ok := m.exports["memory"]
	if !ok || memory.kind != 2 {
		return refuse(ErrExports, -1, "no memory called \"memory\"")
	}
	for _, f := range []struct {
		name, text string
		want       signature
	}{
		{"shardy_alloc", "(i32) -> i32", signature{"\x7f", "\x7f"}},
		{"shardy_run", "(i32, i32) -> i64", signature{"\x7f\x7f", "\x7e"}},
	} {
		e, ok := m.exports[f.name]
		if !ok || e.kind != 0 || m.types[m.functions[e.index]] != f.want {
			return refuse(ErrExports, -1, "no function %s%s", f.name, f.text)
		}
	}
	return nil
}

// lintBody walks one function.
func (m *module) lintBody(f int, limits Limits, info *Info, graph *callGraph) error {
	c, locals, err := m.openBody(f, limits)
	if err != nil {
		return err
	}
	graph.slots[f] = locals
	loops := 0
	for depth := 1; depth > 0; {
		i := m.next(c, locals)
		if !c.ok() {
			return c.err
		}
		info.Instructions++
		switch i.op {
		case opBlock, opIf, opLoop:
			depth++
			if i.op == opLoop {
				loops++
			}
		case opEnd:
			depth--
		case opCall:
			graph.call(f, i.arg)
		case opCallIndirect:
			graph.callIndirect(f, m.types[i.arg])
		case opRefFunc:
			m.taken[i.arg] = true
		}
		info.classify(i)
		if depth > limits.Nesting {
			return refuse(ErrComplex, m.bodies[f].at+i.at, "blocks %d deep, limit %d", depth, limits.Nesting)
		}
	}
	if !c.done() {
		return refuse(ErrMalformed, m.bodies[f].at+c.at, "function %d has bytes left over", f)
	}
	info.Loops += loops
	if loops > limits.LoopsPerFunction || info.Loops > limits.Loops {
		return refuse(ErrComplex, m.bodies[f].at, "%d loops in function %d, limit %d; %d in the module, limit %d",
			loops, f, limits.LoopsPerFunction, info.Loops, limits.Loops)
	}
	return nil
}

// openBody reads the declaration of locals and returns a cursor at the first instruction.
func (m *module) openBody(f int, limits Limits) (c *cursor, locals int, err error) {
	c = &cursor{b: m.bodies[f].code, base: m.bodies[f].at}
	total := uint64(len(m.types[m.functions[f]].params))
	for range c.count(limits.Locals, ErrComplex, "groups of locals") {
		total += uint64(c.u32())
		if t := c.byte(); c.ok() && !isValueType(t) {
			c.fail(ErrUnsupported, "local of %#x", t)
		}
		if total > uint64(limits.Locals) {
			c.fail(ErrComplex, "%d locals, limit %d", total, limits.Locals)
		}
	}
	return c, int(min(total, uint64(limits.Locals))), c.err
}

func (info *Info) classify(i instruction) {
	switch {
	case i.op == opVector:
		info.SIMD = true
		if isVectorFloat(i.sub) {
			info.Class = FloatVector
		}
	case isScalarFloat(i.op), i.op == opMisc && i.sub < miscMemoryInit:
		if info.Class == Integer {
			info.Class = Float
		}
	}
}
