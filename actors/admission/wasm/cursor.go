package wasm

// cursor reads a part of a module. After the first failure it returns zeroes and keeps the error; loops check
// it once per element.
type cursor struct {
	b    []byte
	at   int
	base int // offset of b in the module
	err  error
}

func (c *cursor) fail(kind error, format string, args ...any) {
	if c.err == nil {
		c.err = refuse(kind, c.base+c.at, format, args...)
	}
	c.at = len(c.b)
}

func (c *cursor) ok() bool { return c.err == nil }

func (c *cursor) done() bool { return c.at >= len(c.b) }

func (c *cursor) byte() byte {
	if c.at >= len(c.b) {
		c.fail(ErrMalformed, "unexpected end")
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

func (c *cursor) take(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)-c.at) {
		c.fail(ErrMalformed, "unexpected end")
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at]
}

// u32 reads an unsigned LEB128 number.
func (c *cursor) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.byte()
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	c.fail(ErrMalformed, "number is longer than 32 bits")
	return 0
}

// signed reads a signed LEB128 number of at most the given bits: 32, 33 or 64.
func (c *cursor) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		b := c.byte()
		v |= int64(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		if shift+7 < 64 && b&0x40 != 0 {
			v |= -1 << (shift + 7)
		}
		if bits < 64 && (v < -1<<(bits-1) || v >= 1<<(bits-1)) {
			break
		}
		return v
	}
	c.fail(ErrMalformed, "number is longer than %d bits", bits)
	return 0
}

// count reads the length of a vector, each element of which takes at least one byte.
func (c *cursor) count(limit int, kind error, what string) int {
	n := c.u32()
	if uint64(n) > uint64(limit) {
		c.fail(kind, "%d %s, limit %d", n, what, limit)
		return 0
	}
	if uint64(n) > uint64(len(c.b)-c.at) {
		c.fail(ErrMalformed, "%d %s in %d bytes", n, what, len(c.b)-c.at)
		return 0
	}
	return int(n)
}

// index reads a number that must be below limit.
func (c *cursor) index(limit int, what string) uint32 {
	n := c.u32()
	if int64(n) >= int64(limit) {
		c.fail(ErrMalformed, "%s %d of %d", what, n, max(limit, 0))
		return 0
	}
	return n
}

func (c *cursor) zero() {
	if c.byte() != 0 && c.ok() {
		c.fail(ErrUnsupported, "reserved byte is not zero")
	}
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendSigned(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
