package wasm

// Opcodes that this package names.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opF32Load      = 0x2a
	opF64Load      = 0x2b
	opF32Store     = 0x38
	opF64Store     = 0x39
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI64LessS     = 0x53
	opF32Equal     = 0x5b
	opF64Equal     = 0x61
	opI64Sub       = 0x7d
	opI64ShrU      = 0x88
	opF32Copysign  = 0x98
	opF64Copysign  = 0xa6
	opI64ExtendU   = 0xad
	opI32Reinterp  = 0xbc
	opI64Reinterp  = 0xbd
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
	opAtomic       = 0xfe

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17

	vecLoad       = 0x00
	vecStore      = 0x0b
	vecConst      = 0x0c
	vecShuffle    = 0x0d
	vecF32Splat   = 0x13
	vecF64Splat   = 0x14
	vecF32Replace = 0x20
	vecF64Replace = 0x22
	vecF32Equal   = 0x41
	vecF64Equal   = 0x47
	vecBitselect  = 0x52
	vecF32Demote  = 0x5e
	vecF64Promote = 0x5f
	vecLast       = 0xff
)

// unusedVector are the holes in the table of vector opcodes.
var unusedVector = set(0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0,
	0xd2, 0xd3, 0xd4, 0xe2, 0xee)

func set(members ...uint32) (s [256]bool) {
	for _, m := range members {
		s[m] = true
	}
	return s
}

// lanes is the number of lanes of the vector opcodes 0x15 to 0x22, which extract or replace one.
var lanes = [...]byte{16, 16, 16, 8, 8, 8, 4, 4, 2, 2, 4, 4, 2, 2}

// isScalarFloat reports whether a one-byte opcode touches an f32 or f64.
func isScalarFloat(op byte) bool {
	switch {
	case op == opF32Load, op == opF64Load, op == opF32Store, op == opF64Store, op == opF32Const, op == opF64Const:
		return true
	case op >= opF32Equal && op <= 0x66, op >= 0x8b && op <= opF64Copysign:
		return true
	case op >= 0xa8 && op <= 0xab, op >= 0xae && op <= 0xbf:
		return true
	}
	return false
}

// isVectorFloat reports whether a vector opcode has lanes of f32 or f64.
func isVectorFloat(sub uint32) bool {
	switch {
	case sub == vecF32Splat, sub == vecF64Splat, sub >= 0x1f && sub <= vecF64Replace:
		return true
	case sub >= vecF32Equal && sub <= 0x4c, sub == vecF32Demote, sub == vecF64Promote:
		return true
	}
	return nanResult(sub) != 0 || sub >= 0xe0
}

// nanResult tells whether a vector operation may make a NaN whose bits depend on the machine, and of which type:
// typeF32, typeF64 or 0. Sign operations and pmin, pmax copy bits and are not among them.
func nanResult(sub uint32) byte {
	switch {
	case sub == vecF32Demote, sub >= 0x67 && sub <= 0x6a, sub >= 0xe3 && sub <= 0xe9:
		return typeF32
	case sub == vecF64Promote, sub == 0x74, sub == 0x75, sub == 0x7a, sub == 0x94, sub >= 0xef && sub <= 0xf5:
		return typeF64
	}
	return 0
}

// nanBlind tells of which type the operands of a vector operation are when the bits of a NaN among them cannot
// show in its result, beyond making it a NaN again: arithmetic, comparison, conversion to integers.
func nanBlind(sub uint32) byte {
	switch {
	case sub == vecF64Promote, sub >= vecF32Equal && sub <= 0x46, sub == 0xf8, sub == 0xf9:
		return typeF32
	case sub == vecF32Demote, sub >= vecF64Equal && sub <= 0x4c, sub == 0xfc, sub == 0xfd:
		return typeF64
	}
	return nanResult(sub)
}
