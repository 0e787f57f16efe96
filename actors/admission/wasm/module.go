package wasm

import "unicode/utf8"

// Value types.
const (
	typeI32       byte = 0x7f
	typeI64       byte = 0x7e
	typeF32       byte = 0x7d
	typeF64       byte = 0x7c
	typeV128      byte = 0x7b
	typeFuncRef   byte = 0x70
	typeExternRef byte = 0x6f
)

func isValueType(t byte) bool { return t >= typeV128 && t <= typeI32 || isRefType(t) }

func isRefType(t byte) bool { return t == typeFuncRef || t == typeExternRef }

// Section identifiers.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// rank is the position of a section in a module: the data count stands before the code.
var rank = map[byte]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5, sectionGlobal: 6,
	sectionExport: 7, sectionStart: 8, sectionElement: 9, sectionDataCount: 10, sectionCode: 11, sectionData: 12,
}

type section struct {
	id   byte
	at   int // offset of the payload in the module
	data []byte
}

type signature struct{ params, results string } // value types, one byte each

type table struct{ least uint32 }

type body struct {
	at   int // offset in the module
	code []byte
}

// module is what the sections say, bodies not yet decoded. Custom sections are left out.
type module struct {
	sections  []section
	types     []signature
	functions []uint32 // type of each
	tables    []table
	fixed     bool // every table has a most that equals its least
	pages     uint32
	memory    bool
	globals   int
	exports   map[string]export
	taken     []bool // functions whose address is in a table, a global or a ref.func
	bodies    []body
	elements  int // segments
	data      int // segments
	dataCount int // -1 when there is no such section
}

type export struct {
	kind  byte
	index uint32
}

// parse reads all sections but the instructions.
func parse(b []byte, limits Limits) (*module, error) {
	if len(b) > limits.ModuleBytes {
		return nil, refuse(ErrTooLarge, -1, "module of %d bytes, limit %d", len(b), limits.ModuleBytes)
	}
	m := &module{exports: map[string]export{}, dataCount: -1, fixed: true}
	if err := m.split(b); err != nil {
		return nil, err
	}
	for _, s := range m.sections {
		c := &cursor{b: s.data, base: s.at}
		m.section(c, s.id, limits)
		if c.ok() && !c.done() {
			c.fail(ErrMalformed, "section %d has bytes left over", s.id)
		}
		if !c.ok() {
			return nil, c.err
		}
	}
	if len(m.bodies) != len(m.functions) {
		return nil, refuse(ErrMalformed, -1, "%d functions, %d bodies", len(m.functions), len(m.bodies))
	}
	if m.dataCount >= 0 && m.dataCount != m.data {
		return nil, refuse(ErrMalformed, -1, "data count %d, %d segments", m.dataCount, m.data)
	}
	return m, nil
}

// split cuts the module into sections and checks their order.
func (m *module) split(b []byte) error {
	if len(b) < 8 || string(b[:8]) != "\x00asm\x01\x00\x00\x00" {
		return refuse(ErrMalformed, 0, "no WebAssembly 1 header")
	}
	c := &cursor{b: b, at: 8}
	last := 0
	for !c.done() {
		id := c.byte()
		size := c.u32()
		data := c.take(size)
		if !c.ok() {
			return c.err
		}
		at := c.at - len(data)
		if id == sectionCustom {
			name := &cursor{b: data, base: at}
			if name.take(name.u32()); !name.ok() {
				return name.err
			}
			continue
		}
		order, known := rank[id]
		if !known {
			return refuse(ErrUnsupported, at, "section %d", id)
		}
		if order <= last {
			return refuse(ErrMalformed, at, "section %d out of order", id)
		}
		last = order
		m.sections = append(m.sections, section{id: id, at: at, data: data})
	}
	return nil
}

func (m *module) section(c *cursor, id byte, limits Limits) {
	switch id {
	case sectionType:
		m.readTypes(c, limits)
	case sectionImport:
		if n := c.u32(); n != 0 {
			c.fail(ErrImports, "%d imports", n)
		}
	case sectionFunction:
		for range c.count(limits.Functions, ErrComplex, "functions") {
			m.functions = append(m.functions, c.index(len(m.types), "type"))
		}
		m.taken = make([]bool, len(m.functions))
	case sectionTable:
		m.readTables(c, limits)
	case sectionMemory:
		m.readMemory(c, limits)
	case sectionGlobal:
		m.readGlobals(c, limits)
	case sectionExport:
		m.readExports(c, limits)
	case sectionStart:
		c.fail(ErrStart, "")
	case sectionElement:
		m.readElements(c, limits)
	case sectionDataCount:
		m.dataCount = int(c.u32())
	case sectionCode:
		for range c.count(limits.Functions, ErrComplex, "bodies") {
			size := c.u32()
			if uint64(size) > uint64(limits.BodyBytes) {
				c.fail(ErrComplex, "function of %d bytes, limit %d", size, limits.BodyBytes)
			}
			code := c.take(size)
			m.bodies = append(m.bodies, body{at: c.base + c.at - len(code), code: code})
		}
	case sectionData:
		m.readData(c, limits)
	}
}

func (m *module) readTypes(c *cursor, limits Limits) {
	for range c.count(limits.Types, ErrComplex, "types") {
		if form := c.byte(); c.ok() && form != 0x60 {
			c.fail(ErrUnsupported, "type form %#x", form)
		}
		params := valueTypes(c, limits)
		results := valueTypes(c, limits)
		m.types = append(m.types, signature{params: params, results: results})
		if !c.ok() {
			return
		}
	}
}

func valueTypes(c *cursor, limits Limits) string {
	types := c.take(uint32(c.count(limits.Locals, ErrComplex, "values")))
	for _, t := range types {
		if !isValueType(t) {
			c.fail(ErrUnsupported, "value type %#x", t)
		}
	}
	return string(types)
}

func (m *module) readTables(c *cursor, limits Limits) {
	for range c.count(limits.Tables, ErrTable, "tables") {
		if t := c.byte(); c.ok() && !isRefType(t) {
			c.fail(ErrUnsupported, "table of %#x", t)
		}
		flags := c.byte()
		if c.ok() && flags > 1 {
			c.fail(ErrUnsupported, "table flags %#x", flags)
		}
		least := c.u32()
		if flags == 0 || c.u32() != least {
			m.fixed = false
		}
		if least > limits.TableElements {
			c.fail(ErrTable, "%d elements, limit %d", least, limits.TableElements)
		}
		m.tables = append(m.tables, table{least: least})
	}
}

func (m *module) readMemory(c *cursor, limits Limits) {
	if n := c.u32(); c.ok() && n != 1 {
		c.fail(ErrMemory, "%d memories", n)
		return
	}
	flags := c.byte()
	switch {
	case !c.ok():
		return
	case flags&^3 != 0:
		c.fail(ErrUnsupported, "memory flags %#x", flags)
		return
	case flags&2 != 0:
		c.fail(ErrThreads, "shared memory")
		return
	case flags == 0:
		c.fail(ErrMemory, "no upper bound")
		return
	}
	least, most := c.u32(), c.u32()
	if c.ok() && least != most {
		c.fail(ErrMemory, "at least %d pages, at most %d", least, most)
	}
	if most > limits.MemoryPages {
		c.fail(ErrTooLarge, "memory of %d pages, limit %d", most, limits.MemoryPages)
	}
	m.pages, m.memory = most, true
}

func (m *module) readGlobals(c *cursor, limits Limits) {
	m.globals = c.count(limits.Globals, ErrComplex, "globals")
	for range m.globals {
		if t := c.byte(); c.ok() && !isValueType(t) {
			c.fail(ErrUnsupported, "global of %#x", t)
		}
		if mutable := c.byte(); c.ok() && mutable > 1 {
			c.fail(ErrMalformed, "mutability %#x", mutable)
		}
		m.constant(c)
		if !c.ok() {
			return
		}
	}
}

func (m *module) readExports(c *cursor, limits Limits) {
	for range c.count(limits.Exports, ErrComplex, "exports") {
		name := string(c.take(c.u32()))
		var e export
		e.kind = c.byte()
		e.index = c.u32()
		counts := []int{len(m.functions), len(m.tables), 1, m.globals}
		_, twice := m.exports[name]
		switch {
		case !c.ok():
			return
		case !utf8.ValidString(name) || len(name) > 256:
			c.fail(ErrMalformed, "export name")
		case twice:
			c.fail(ErrMalformed, "export %q twice", name)
		case name == FuelGlobal:
			c.fail(ErrReserved, "%s", name)
		case int(e.kind) >= len(counts):
			c.fail(ErrUnsupported, "export of kind %d", e.kind)
		case uint64(e.index) >= uint64(counts[e.kind]):
			c.fail(ErrMalformed, "export of index %d", e.index)
		}
		m.exports[name] = e
	}
}
