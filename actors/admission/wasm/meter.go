package wasm

// An edit is something to insert into a body.
type edit struct {
	at   int // before the byte at this offset
	kind editKind
	cost int64 // of editCharge, known once the body has been read
}

type editKind byte

const (
	editCharge     editKind = iota // take cost from the counter
	editChargeBulk                 // take the length on the stack / 64 from the counter
	editF32                        // make the f32 on the stack canonical
	editF64
	editVectorF32 // make the f32x4 on the stack canonical
	editVectorF64
)

// editor rewrites one body. It adds locals of its own behind those of the function.
type editor struct {
	counter uint32 // global
	left    uint32 // local i64: new value of the counter
	bulk    uint32 // local i32
	f32     uint32
	f64     uint32
	vector  uint32
}

func (m *module) rewriteBody(f int, options Options, limits Limits) ([]byte, error) {
	c, locals, err := m.openBody(f, limits)
	if err != nil {
		return nil, err
	}
	begin := c.at
	edits, vectors, err := m.plan(c, locals, options.CanonicalNaN)
	if err != nil {
		return nil, err
	}
	groups := []byte{1, typeI64, 1, typeI32}
	if options.CanonicalNaN {
		groups = append(groups, 1, typeF32, 1, typeF64)
		if vectors {
			groups = append(groups, 1, typeV128)
		}
	}
	base := uint32(locals)
	e := editor{uint32(m.globals), base, base + 1, base + 2, base + 3, base + 4}

	code := m.bodies[f].code
	head := &cursor{b: code[:begin]}
	count := head.u32()
	out := make([]byte, 0, len(code)+len(groups)+20*len(edits))
	out = appendU32(out, count+uint32(len(groups)/2))
	out = append(append(out, head.b[head.at:]...), groups...)
	at := begin
	for _, edit := range edits {
		out = append(out, code[at:edit.at]...)
		out = e.apply(out, edit)
		at = edit.at
	}
	return append(out, code[at:]...), nil
}

// plan walks the instructions and lists the edits in order. Every instruction is charged to the region it stands
// in: a region begins at the entry of the function or at the head of a loop, and goes on behind inner loops.
func (m *module) plan(c *cursor, locals int, canonical bool) (edits []edit, vectors bool, err error) {
	edits = append(edits, edit{at: c.at, kind: editCharge, cost: 1})
	regions := []int{0} // index of the charge, for every open block
	for len(regions) > 0 {
		region := regions[len(regions)-1]
		i := m.next(c, locals)
		if !c.ok() {
			return nil, false, c.err
		}
		edits[region].cost++
		vectors = vectors || i.op == opVector
		if canonical {
			edits = planNaN(edits, c, i)
		}
		switch {
		case i.op == opLoop:
			regions = append(regions, len(edits))
			edits = append(edits, edit{at: i.end, kind: editCharge, cost: 1})
		case i.op == opBlock, i.op == opIf:
			regions = append(regions, region)
		case i.op == opEnd:
			regions = regions[:len(regions)-1]
		case i.op == opMisc && isBulk(i.sub):
			edits = append(edits, edit{at: i.at, kind: editChargeBulk})
		}
	}
	return edits, vectors, nil
}

// isBulk reports whether an operation takes a length from the top of the stack.
func isBulk(sub uint32) bool {
	switch sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill, miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return true
	}
	return false
}

func (e editor) apply(b []byte, t edit) []byte {
	switch t.kind {
	case editCharge:
		b = appendU32(append(b, opGlobalGet), e.counter)
		b = appendSigned(append(b, opI64Const), t.cost)
		return e.settle(append(b, opI64Sub))
	case editChargeBulk:
		b = appendU32(append(b, opLocalTee), e.bulk)
		b = appendU32(append(b, opGlobalGet), e.counter)
		b = appendU32(append(b, opLocalGet), e.bulk)
		return e.settle(append(b, opI64ExtendU, opI64Const, 6, opI64ShrU, opI64Sub))
	case editF32:
		return scalarNaN(b, e.f32, []byte{opF32Const, 0, 0, 0xc0, 0x7f}, opF32Equal)
	case editF64:
		return scalarNaN(b, e.f64, []byte{opF64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, opF64Equal)
	case editVectorF32:
		return vectorNaN(b, e.vector, []byte{0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0x7f}, vecF32Equal)
	}
	return vectorNaN(b, e.vector, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, vecF64Equal)
}

// settle stores the new value of the counter, which is on the stack, and traps when it is negative.
func (e editor) settle(b []byte) []byte {
	b = appendU32(append(b, opLocalTee), e.left)
	b = appendU32(append(b, opGlobalSet), e.counter)
	b = appendU32(append(b, opLocalGet), e.left)
	return append(b, opI64Const, 0, opI64LessS, opIf, 0x40, opUnreachable, opEnd)
}
