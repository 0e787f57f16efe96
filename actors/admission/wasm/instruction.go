package wasm

// instruction is one decoded instruction of a body.
type instruction struct {
	op  byte
	sub uint32 // of the prefixed opcodes 0xfc and 0xfd
	at  int    // first byte in the body
	end int    // first byte after it
	arg uint32 // index it names: local, global, function, type, table, segment
}

// next decodes one instruction and checks what can be checked without types: that it exists in core 2.0, that
// indices are in range, that lanes exist.
func (m *module) next(c *cursor, locals int) instruction {
	i := instruction{at: c.at}
	i.op = c.byte()
	switch op := i.op; {
	case !c.ok():
	case op <= 0x01, op == opElse, op == opEnd, op == opReturn, op == 0x1a, op == opSelect, op == opRefIsNull:
	case op == opBlock, op == opLoop, op == opIf:
		m.blockType(c)
	case op == opBr, op == opBrIf:
		c.u32() // the engine checks depths when it compiles the original
	case op == opBrTable:
		for range c.count(len(c.b), ErrMalformed, "branches") + 1 {
			c.u32()
		}
	case op == opCall, op == opRefFunc:
		i.arg = c.index(len(m.functions), "function")
	case op == opCallIndirect:
		i.arg = c.index(len(m.types), "type")
		c.index(len(m.tables), "table")
	case op == opSelectTyped:
		for _, t := range c.take(uint32(c.count(1, ErrMalformed, "types"))) {
			if !isValueType(t) {
				c.fail(ErrUnsupported, "value type %#x", t)
			}
		}
	case op >= opLocalGet && op <= opLocalTee:
		i.arg = c.index(locals, "local")
	case op == opGlobalGet, op == opGlobalSet:
		i.arg = c.index(m.globals, "global")
	case op == opTableGet, op == opTableSet:
		i.arg = c.index(len(m.tables), "table")
	case op >= 0x28 && op <= 0x3e:
		memoryArgument(c)
	case op == opMemorySize, op == opMemoryGrow:
		c.zero()
	case op == opI32Const:
		c.signed(32)
	case op == opI64Const:
		c.signed(64)
	case op == opF32Const:
		c.take(4)
	case op == opF64Const:
		c.take(8)
	case op >= 0x45 && op <= 0xc4:
	case op == opRefNull:
		if t := c.byte(); c.ok() && !isRefType(t) {
			c.fail(ErrUnsupported, "null of type %#x", t)
		}
	case op == opMisc:
		i.sub = c.u32()
		m.misc(c, i.sub)
	case op == opVector:
		i.sub = c.u32()
		vector(c, i.sub)
	case op == opAtomic:
		c.fail(ErrThreads, "atomic instruction")
	default:
		c.fail(ErrUnsupported, "opcode %#x", op)
	}
	i.end = c.at
	return i
}

// blockType is empty, one value or a type index, told apart by the sign of one number of 33 bits.
func (m *module) blockType(c *cursor) {
	v := c.signed(33)
	switch {
	case !c.ok() || v == -64: // 0x40
	case v >= 0 && v < int64(len(m.types)):
	case v < 0 && v > -64 && isValueType(byte(v&0x7f)):
	default:
		c.fail(ErrMalformed, "block type %d", v)
	}
}

// memoryArgument reads alignment and offset. The sixth bit of the alignment would name a second memory.
func memoryArgument(c *cursor) {
	if align := c.u32(); c.ok() && align > 4 {
		c.fail(ErrUnsupported, "alignment or memory %#x", align)
	}
	c.u32()
}

func (m *module) misc(c *cursor, sub uint32) {
	switch {
	case !c.ok() || sub < miscMemoryInit:
	case sub == miscMemoryInit:
		c.index(m.dataCount, "data segment")
		c.zero()
	case sub == miscDataDrop:
		c.index(m.dataCount, "data segment")
	case sub == miscMemoryCopy:
		c.zero()
		c.zero()
	case sub == miscMemoryFill:
		c.zero()
	case sub == miscTableInit:
		c.index(m.elements, "element segment")
		c.index(len(m.tables), "table")
	case sub == miscElemDrop:
		c.index(m.elements, "element segment")
	case sub == miscTableCopy:
		c.index(len(m.tables), "table")
		c.index(len(m.tables), "table")
	case sub == miscTableGrow && !m.fixed:
		c.fail(ErrTable, "table.grow with a table that can grow")
	case sub >= miscTableGrow && sub <= miscTableFill:
		c.index(len(m.tables), "table")
	default:
		c.fail(ErrUnsupported, "opcode 0xfc %#x", sub)
	}
}

func vector(c *cursor, sub uint32) {
	switch {
	case !c.ok():
	case sub > vecLast:
		if sub <= 0x12f {
			c.fail(ErrRelaxedSIMD, "opcode 0xfd %#x", sub)
		} else {
			c.fail(ErrUnsupported, "opcode 0xfd %#x", sub)
		}
	case unusedVector[sub]:
		c.fail(ErrUnsupported, "opcode 0xfd %#x", sub)
	case sub <= vecStore, sub == 0x5c, sub == 0x5d:
		memoryArgument(c)
	case sub == vecConst:
		c.take(16)
	case sub == vecShuffle:
		for _, lane := range c.take(16) {
			if lane >= 32 {
				c.fail(ErrMalformed, "lane %d of 32", lane)
			}
		}
	case sub >= 0x15 && sub <= vecF64Replace:
		lane(c, lanes[sub-0x15])
	case sub >= 0x54 && sub <= 0x5b:
		memoryArgument(c)
		lane(c, 16>>((sub-0x54)%4))
	}
}

func lane(c *cursor, of byte) {
	if l := c.byte(); c.ok() && l >= of {
		c.fail(ErrMalformed, "lane %d of %d", l, of)
	}
}
