package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	chunkSize = 32 << 10
	// loanSize is from where on the bytes of a message are written from where they are, instead of being copied.
	loanSize = 16 << 10
	// tinySize is up to where a lone message does not get a chunk of its own: thousands are pinged at a time.
	tinySize = 32
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// ErrQueueFull means that the peer reads more slowly than it is written to.
var ErrQueueFull = errors.New("socket: outgoing queue is full")

// duct is the net.Conn that the WebSocket library reads from and writes to. Writes only queue; one goroutine, there
// only while something is queued, writes all of it with one system call. Reads take a pooled buffer when data is there
// and give it back when it is used up.
type duct struct {
	raw          net.Conn
	readable     syscall.RawConn // nil: raw has none
	writeTimeout time.Duration
	lobby        *Lobby // nil: nobody watches
	gather       func() // asked before each write for what has gathered meanwhile; may be nil
	start        func(func())
	writer       func() // flush, made once

	heard atomic.Int64 // when bytes last arrived, nanoseconds since 1970

	// Reading; owned by the one reader.
	in       *[chunkSize]byte
	pos, lim int
	tryRead  func(uintptr) bool // made once: a closure per read would be garbage
	readN    int
	readErr  error
	watched  bool  // the lobby knows the descriptor; owned by the reader
	fd       int32 // as the lobby knows it; guarded by the lobby's mu

	mu       sync.Mutex
	queue    []segment // guarded by mu; the last one may grow
	spare    []segment // guarded by mu
	queued   int       // bytes, the ones being written included; guarded by mu
	flushing bool      // a flusher goroutine is there; guarded by mu
	kicked   bool      // gather has to be asked again; guarded by mu
	lend     bool      // large writes may be kept by reference; guarded by the sender's lock
	ending   bool      // close when the queue is empty; guarded by mu
	err      error     // of a write; guarded by mu
	sleeper  func()    // called once when there is something to read or the end has come; guarded by mu
	closed   chan struct{}
	once     sync.Once
}

type segment struct {
	b    []byte
	pool *[chunkSize]byte // to give back; nil: b is the sender's
}

func newDuct(raw net.Conn, opt Options) *duct {
	d := &duct{raw: raw, writeTimeout: opt.writeTimeout(), lobby: opt.Lobby, gather: opt.Gather, start: opt.Go, closed: make(chan struct{})}
	if d.start == nil {
		d.start = func(f func()) { go f() }
	}
	d.writer = d.flush
	d.heard.Store(time.Now().UnixNano())
	if sc, ok := raw.(syscall.Conn); ok && canTryRead {
		if rc, err := sc.SyscallConn(); err == nil {
			d.readable, d.tryRead = rc, d.readReady
		}
	}
	return d
}

// Read fills p from what one system call brought. It holds a buffer only while that is not used up.
func (d *duct) Read(p []byte) (int, error) {
	if d.in == nil {
		if d.readable == nil || len(p) >= chunkSize {
			n, err := d.raw.Read(p)
			if n > 0 {
				d.heard.Store(time.Now().UnixNano())
			}
			return n, err
		}
		if err := d.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.in[d.pos:d.lim])
	d.pos += n
	if d.pos == d.lim {
		chunks.Put(d.in)
		d.in = nil
	}
	return n, nil
}

func (d *duct) fill() error {
	d.readN, d.readErr = 0, nil
	if err := d.readable.Read(d.tryRead); err != nil {
		return err
	}
	if d.readErr != nil {
		return d.readErr
	}
	if d.readN <= 0 {
		return io.EOF
	}
	d.heard.Store(time.Now().UnixNano())
	d.pos, d.lim = 0, d.readN
	return nil
}

// readReady is called when the descriptor may be readable. Only then a buffer is taken.
func (d *duct) readReady(fd uintptr) bool {
	buf := chunks.Get().(*[chunkSize]byte)
	n, again, err := tryRead(fd, buf[:])
	if n > 0 {
		d.in, d.readN = buf, n
		return true
	}
	chunks.Put(buf)
	if again {
		return false
	}
	if err != nil {
		d.readErr = &net.OpError{Op: "read", Net: "tcp", Addr: d.raw.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	}
	return true
}

// Write queues p. It never blocks.
func (d *duct) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, d.err
	}
	d.queued += len(p)
	switch {
	case d.lend && len(p) >= loanSize:
		d.queue = append(d.queue, segment{b: p})
	case len(p) <= tinySize && len(d.queue) == 0:
		d.queue = append(d.queue, segment{b: bytes.Clone(p)})
	default:
		d.copyIn(p)
	}
	d.wake()
	return len(p), nil
}

func (d *duct) copyIn(p []byte) {
	for len(p) > 0 {
		if n := len(d.queue); n > 0 && d.queue[n-1].pool != nil && len(d.queue[n-1].b) < chunkSize {
			s := &d.queue[n-1]
			k := copy(s.b[len(s.b):chunkSize], p)
			s.b = s.b[:len(s.b)+k]
			p = p[k:]
			continue
		}
		buf := chunks.Get().(*[chunkSize]byte)
		d.queue = append(d.queue, segment{b: buf[:0], pool: buf})
	}
}

// wake makes sure that a flusher is there. The caller holds mu.
func (d *duct) wake() {
	if !d.flushing {
		d.flushing = true
		d.start(d.writer)
	}
}

// kick makes the flusher ask gather, soon.
func (d *duct) kick() {
	d.mu.Lock()
	if !d.kicked && d.err == nil {
		d.kicked = true
		d.wake()
	}
	d.mu.Unlock()
}

// room reports whether n more bytes may be queued. A message larger than the limit may, when it is alone.
func (d *duct) room(n, limit int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.ending:
		return net.ErrClosed
	case d.queued > 0 && d.queued+n > limit:
		return ErrQueueFull
	}
	return nil
}

// flush writes until nothing is left. It is the only goroutine that writes to raw.
func (d *duct) flush() {
	for {
		if d.gather != nil {
			d.mu.Lock()
			d.kicked = false
			d.mu.Unlock()
			d.gather()
		}
		d.mu.Lock()
		if len(d.queue) == 0 || d.err != nil {
			if d.kicked && d.err == nil {
				d.mu.Unlock()
				continue
			}
			d.flushing = false
			ending, failed := d.ending, d.err != nil
			d.drop()
			d.mu.Unlock()
			if failed || ending && !d.closeWrite() {
				_ = d.Close()
			}
			return
		}
		batch := d.queue
		d.queue, d.spare = d.spare[:0], nil
		ending := d.ending
		d.mu.Unlock()
		n, err := d.write(batch, ending)
		d.mu.Lock()
		d.queued -= n
		d.spare = batch[:0]
		if err != nil && d.err == nil {
			d.err = err
		}
		d.mu.Unlock()
	}
}

func (d *duct) write(batch []segment, ending bool) (total int, err error) {
	if !ending { // the one who ends has set the deadline
		_ = d.raw.SetWriteDeadline(time.Now().Add(d.writeTimeout))
	}
	if len(batch) == 1 {
		_, err = d.raw.Write(batch[0].b)
	} else {
		bufs := make(net.Buffers, len(batch))
		for i := range batch {
			bufs[i] = batch[i].b
		}
		_, err = bufs.WriteTo(d.raw)
	}
	for i := range batch {
		total += len(batch[i].b)
		if batch[i].pool != nil {
			chunks.Put(batch[i].pool)
		}
		batch[i] = segment{}
	}
	return total, err
}

// drop gives back what will not be written, and the slices when they are large. The caller holds mu.
func (d *duct) drop() {
	for i := range d.queue {
		if d.queue[i].pool != nil {
			chunks.Put(d.queue[i].pool)
		}
	}
	d.queue, d.spare, d.queued = nil, nil, 0
}

// closeWrite ends the outgoing half alone, so that the peer reads our last words before it learns that we are gone.
func (d *duct) closeWrite() bool {
	half, ok := d.raw.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// end closes the outgoing half once what is queued has been written, and lets reads fail after linger.
func (d *duct) end(linger time.Duration) {
	_ = d.raw.SetDeadline(time.Now().Add(linger))
	d.mu.Lock()
	d.ending = true
	d.wake()
	d.mu.Unlock()
	d.rouse()
}

// Close closes at once; what is queued is lost.
func (d *duct) Close() error {
	var err error
	d.once.Do(func() {
		d.mu.Lock()
		if d.err == nil {
			d.err = net.ErrClosed
		}
		if !d.flushing {
			d.drop()
		}
		d.mu.Unlock()
		d.rouse()
		if d.lobby != nil {
			d.lobby.forget(d)
		}
		err = d.raw.Close()
		close(d.closed)
	})
	return err
}

func (d *duct) LocalAddr() net.Addr                { return d.raw.LocalAddr() }
func (d *duct) RemoteAddr() net.Addr               { return d.raw.RemoteAddr() }
func (d *duct) SetDeadline(t time.Time) error      { return d.raw.SetReadDeadline(t) }
func (d *duct) SetReadDeadline(t time.Time) error  { return d.raw.SetReadDeadline(t) }
func (d *duct) SetWriteDeadline(_ time.Time) error { return nil } // the flusher has its own
