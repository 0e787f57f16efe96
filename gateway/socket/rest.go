package socket

import (
	"bufio"
	"encoding/binary"
	"sync"
)

// readers lend their buffers to connections that do not rest.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// borrow gives the library's reader a buffer.
func (c *Conn) borrow() {
	c.lender = readers.Get().(*bufio.Reader)
	c.lender.Reset(c.duct)
	*c.in = *c.lender
}

// giveBack takes the empty buffer from the library's reader.
func (c *Conn) giveBack() {
	*c.in = bufio.Reader{}
	c.lender.Reset(nil)
	readers.Put(c.lender)
	c.lender = nil
}

// Rest gives the waiting for more to the lobby. When it reports true the caller MUST read no more: wake is called,
// once, in a goroutine that takes over, as soon as there is something to read or the connection ends. False means that
// there is something to read already, or that nobody can watch: then the caller goes on. It belongs to the goroutine
// that reads, between messages; no read deadline may be set.
func (c *Conn) Rest(wake func()) bool {
	if c.in == nil || c.duct.lobby == nil || c.duct.readable == nil || c.unread() {
		return false
	}
	c.giveBack()
	if c.duct.rest(wake) {
		return true
	}
	c.borrow()
	return false
}

// unread reports whether something has arrived that was not read.
func (c *Conn) unread() bool { return c.in.Buffered() > 0 || c.duct.in != nil }

// Await waits for something to read, on less stack than Next needs, and takes the answers to pings. It reports false
// when there was nothing else; else Next is next. It belongs to the goroutine that reads, between messages.
func (c *Conn) Await() bool {
	if c.in == nil || c.duct.readable == nil {
		return true
	}
	if c.lender == nil {
		c.borrow()
	}
	if !c.unread() && c.duct.fill() != nil {
		return true // Next says why
	}
	answered := false
	for c.takePong() {
		answered = true
	}
	return !answered || c.unread()
}

// pongFrame is the length of a worker's answer to Ping: head, mask, the eight bytes that it repeats.
const pongFrame = 2 + 4 + 8

// takePong takes an answer to a ping off the front, if one is there as a whole. Any other pong is the library's.
func (c *Conn) takePong() bool {
	for c.in.Buffered() < pongFrame && c.duct.in != nil {
		if _, err := c.in.Peek(c.in.Buffered() + 1); err != nil {
			return false
		}
	}
	if c.in.Buffered() < pongFrame {
		return false
	}
	b, err := c.in.Peek(pongFrame)
	const final, pong, masked = 0x80, 0xA, 0x80
	if err != nil || b[0] != final|pong || b[1] != masked|8 {
		return false
	}
	mask := uint64(binary.BigEndian.Uint32(b[2:]))
	c.answered(binary.BigEndian.Uint64(b[6:]) ^ (mask<<32 | mask))
	_, _ = c.in.Discard(pongFrame)
	return true
}

// rest lets the lobby call wake. It reports false when it cannot.
func (d *duct) rest(wake func()) bool {
	d.mu.Lock()
	if d.err != nil || d.ending {
		d.mu.Unlock()
		return false
	}
	d.sleeper = wake
	d.mu.Unlock()
	if !d.lobby.watch(d) {
		d.mu.Lock()
		defer d.mu.Unlock()
		mine := d.sleeper != nil // else somebody was quicker: wake has been called
		d.sleeper = nil
		return !mine
	}
	d.mu.Lock()
	gone := d.err != nil
	d.mu.Unlock()
	if gone { // Close may have come before watch
		d.lobby.forget(d)
	}
	return true
}

// rouse wakes the reader, if it rests.
func (d *duct) rouse() {
	d.mu.Lock()
	wake := d.sleeper
	d.sleeper = nil
	d.mu.Unlock()
	if wake != nil {
		go wake()
	}
}
