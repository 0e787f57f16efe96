package wasm

// Which bits a NaN has depends on the machine and even on how hot the code is; that a value is a NaN does not.
// Scalars are made canonical where their bits could be seen: before a store, a reinterpretation, the sign
// operand of a copysign, and on the way into a vector. Vectors have no type of lane, so there every result of
// arithmetic is made canonical at once, unless the very next instruction takes it as a number of the same type.

func planNaN(edits []edit, c *cursor, i instruction) []edit {
	switch i.op {
	case opF32Store, opI32Reinterp, opF32Copysign:
		return append(edits, edit{at: i.at, kind: editF32})
	case opF64Store, opI64Reinterp, opF64Copysign:
		return append(edits, edit{at: i.at, kind: editF64})
	case opVector:
		return planVectorNaN(edits, c, i)
	}
	return edits
}

func planVectorNaN(edits []edit, c *cursor, i instruction) []edit {
	switch i.sub {
	case vecF32Splat, vecF32Replace:
		return append(edits, edit{at: i.at, kind: editF32})
	case vecF64Splat, vecF64Replace:
		return append(edits, edit{at: i.at, kind: editF64})
	}
	made := nanResult(i.sub)
	if made == 0 || made == wantedNext(c) {
		return edits
	}
	kind := editVectorF32
	if made == typeF64 {
		kind = editVectorF64
	}
	return append(edits, edit{at: i.end, kind: kind})
}

// wantedNext returns the type as which the next instruction takes the top of the stack without showing the bits
// of a NaN, or 0.
func wantedNext(c *cursor) byte {
	ahead := cursor{b: c.b, at: c.at}
	if ahead.byte() != opVector {
		return 0
	}
	sub := ahead.u32()
	if !ahead.ok() {
		return 0
	}
	return nanBlind(sub)
}

// scalarNaN replaces the value x on the stack: x == x ? x : NaN.
func scalarNaN(b []byte, local uint32, nan []byte, equal byte) []byte {
	b = appendU32(append(b, opLocalTee), local)
	b = append(b, nan...)
	b = appendU32(append(b, opLocalGet), local)
	b = appendU32(append(b, opLocalGet), local)
	return append(b, equal, opSelect)
}

// vectorNaN does the same for every lane; nan is one half of the vector constant.
func vectorNaN(b []byte, local uint32, nan []byte, equal byte) []byte {
	b = appendU32(append(b, opLocalTee), local)
	b = append(append(append(b, opVector, vecConst), nan...), nan...)
	b = appendU32(append(b, opLocalGet), local)
	b = appendU32(append(b, opLocalGet), local)
	return append(b, opVector, equal, opVector, vecBitselect)
}
