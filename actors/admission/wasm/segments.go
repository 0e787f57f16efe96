package wasm

// Active segments are checked here so that an admitted module always instantiates.

// constant reads a constant expression. Without imports there is no global it could name.
// It returns the value when it is an i32, else false.
func (m *module) constant(c *cursor) (value uint32, isI32 bool) {
	switch op := c.byte(); op {
	case opI32Const:
		value, isI32 = uint32(c.signed(32)), true
	case opI64Const:
		c.signed(64)
	case opF32Const:
		c.take(4)
	case opF64Const:
		c.take(8)
	case opRefNull:
		if t := c.byte(); c.ok() && !isRefType(t) {
			c.fail(ErrUnsupported, "null of type %#x", t)
		}
	case opRefFunc:
		m.take(c)
	case opVector:
		if sub := c.u32(); c.ok() && sub != vecConst {
			c.fail(ErrUnsupported, "constant expression with vector opcode %#x", sub)
		}
		c.take(16)
	default:
		c.fail(ErrUnsupported, "constant expression with opcode %#x", op)
	}
	if end := c.byte(); c.ok() && end != opEnd {
		c.fail(ErrUnsupported, "constant expression of several instructions")
	}
	return value, isI32
}

// take reads a function index and remembers that the function may be called indirectly.
func (m *module) take(c *cursor) {
	if i := c.index(len(m.functions), "function"); c.ok() {
		m.taken[i] = true
	}
}

// Bits of an element segment's flags.
const (
	elementInactive    = 1 // passive, or declarative with elementExplicit
	elementExplicit    = 2 // names its table
	elementExpressions = 4
)

func (m *module) readElements(c *cursor, limits Limits) {
	m.elements = c.count(limits.Segments, ErrComplex, "element segments")
	for range m.elements {
		flags := c.u32()
		if flags > 7 {
			c.fail(ErrUnsupported, "element segment of kind %d", flags)
		}
		if !c.ok() {
			return
		}
		var tableIndex, offset uint32
		active := flags&elementInactive == 0
		if active {
			if flags&elementExplicit != 0 {
				tableIndex = c.u32()
			}
			offset = m.offset(c)
		}
		if flags&(elementInactive|elementExplicit) != 0 {
			m.readElementKind(c, flags)
		}
		n := c.count(int(limits.TableElements), ErrComplex, "elements")
		for range n {
			if flags&elementExpressions != 0 {
				m.constant(c)
			} else {
				m.take(c)
			}
			if !c.ok() {
				return
			}
		}
		if !active || !c.ok() {
			continue
		}
		if uint64(tableIndex) >= uint64(len(m.tables)) {
			c.fail(ErrMalformed, "element segment for table %d of %d", tableIndex, len(m.tables))
		} else if uint64(offset)+uint64(n) > uint64(m.tables[tableIndex].least) {
			c.fail(ErrSegment, "elements %d to %d", offset, uint64(offset)+uint64(n))
		}
	}
}

func (m *module) readElementKind(c *cursor, flags uint32) {
	kind := c.byte()
	if !c.ok() {
		return
	}
	if flags&elementExpressions != 0 && !isRefType(kind) || flags&elementExpressions == 0 && kind != 0 {
		c.fail(ErrUnsupported, "elements of kind %#x", kind)
	}
}

func (m *module) readData(c *cursor, limits Limits) {
	m.data = c.count(limits.Segments, ErrComplex, "data segments")
	for range m.data {
		flags := c.u32()
		if flags > 2 {
			c.fail(ErrUnsupported, "data segment of kind %d", flags)
		}
		var offset uint32
		if flags == 2 {
			if i := c.u32(); i != 0 {
				c.fail(ErrMemory, "data segment for memory %d", i)
			}
		}
		if flags != 1 {
			offset = m.offset(c)
		}
		bytes := c.take(c.u32())
		if !c.ok() {
			return
		}
		if end := uint64(offset) + uint64(len(bytes)); flags != 1 && end > uint64(m.pages)<<16 {
			c.fail(ErrSegment, "data from %d to %d", offset, end)
		}
	}
}

func (m *module) offset(c *cursor) uint32 {
	v, isI32 := m.constant(c)
	if c.ok() && !isI32 {
		c.fail(ErrMalformed, "offset is not an i32")
	}
	return v
}
