package socket

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// DefaultMaxQueue is the limit of Options.MaxQueue where none is given: bytes.
	DefaultMaxQueue = 32 << 20
	// DefaultWriteTimeout is the limit of one write where none is given.
	DefaultWriteTimeout = 10 * time.Second

	// The library's read buffer only has to hold a frame's header: duct has the real one.
	// More than 256, or the library does not take it from hijack.
	readBuffer = 512
	// A worker's messages are masked, so they are copied; this is the size of a fragment.
	dialWriteBuffer   = 64 << 10
	acceptWriteBuffer = 4 << 10
)

var acceptBuffers, dialBuffers sync.Pool

// Options of a connection. The zero value means the defaults.
type Options struct {
	MaxQueue     int           // bytes queued for writing; a larger message is taken only by an empty queue
	WriteTimeout time.Duration // of one write
	// Gather, if set, is asked before each write. It may call Send. It runs on one goroutine at a time.
	Gather func()
	// Go starts the goroutine that writes. Default: the go statement.
	Go func(func())
	// Lobby, if set, watches the connection while it rests. It MUST be closed after the connection.
	Lobby *Lobby
}

// Conn is one WebSocket connection. Next and Read belong to one goroutine; everything else is for any.
type Conn struct {
	ws       *websocket.Conn
	duct     *duct
	maxQueue int
	rtt      atomic.Int64 // lowest round trip seen, nanoseconds; 0: none yet
	pinged   atomic.Int64 // when the last ping left
	pongs    atomic.Int64
	next     [1]byte // scratch of Read

	// Of an accepted connection: what ws reads from, and the pooled reader whose buffer it has, nil while there is none.
	// Owned by the one who reads.
	in     *bufio.Reader
	lender *bufio.Reader

	send sync.Mutex // held while messages are handed to ws: keeps those of one Send together
}

// Accept takes over a request. On an error the answer has been given.
func Accept(w http.ResponseWriter, r *http.Request, subprotocol string, origin func(*http.Request) bool, opt Options) (*Conn, error) {
	up := websocket.Upgrader{
		// A read buffer size of zero makes the library take the reader of hijack.
		WriteBufferSize: acceptWriteBuffer, WriteBufferPool: &acceptBuffers,
		Subprotocols: []string{subprotocol}, CheckOrigin: origin,
	}
	c := newConn(opt)
	ws, err := up.Upgrade(&hijack{ResponseWriter: w, conn: c, opt: opt}, r, nil)
	if err != nil {
		if c.duct != nil {
			c.duct.end(time.Second)
		}
		return nil, fmt.Errorf("accept: %w", err)
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseProtocolError, "subprotocol"), time.Time{})
		c.duct.end(time.Second)
		return nil, fmt.Errorf("accept: subprotocol %s was not asked for", subprotocol)
	}
	c.duct.lend = true
	c.start(ws)
	return c, nil
}

// ErrRefused is an answer to Dial that is no WebSocket. Status is the HTTP status.
type ErrRefused struct {
	Status     int
	RetryAfter string
}

func (e *ErrRefused) Error() string { return fmt.Sprintf("refused with HTTP status %d", e.Status) }

// Dial opens a connection to a ws or wss URL.
func Dial(ctx context.Context, url, subprotocol string, opt Options) (*Conn, error) {
	c := newConn(opt)
	d := websocket.Dialer{
		ReadBufferSize: readBuffer, WriteBufferSize: dialWriteBuffer, WriteBufferPool: &dialBuffers,
		Subprotocols: []string{subprotocol},
		Proxy:        http.ProxyFromEnvironment,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c.duct = newDuct(raw, opt)
			return c.duct, nil
		},
	}
	ws, resp, err := d.DialContext(ctx, url, nil)
	if err != nil {
		if c.duct != nil {
			_ = c.duct.Close()
		}
		if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
			return nil, &ErrRefused{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
		}
		return nil, fmt.Errorf("dial: %w", err)
	}
	if ws.Subprotocol() != subprotocol {
		_ = c.duct.Close()
		return nil, fmt.Errorf("dial: server does not speak %s", subprotocol)
	}
	c.start(ws)
	return c, nil
}

func newConn(opt Options) *Conn {
	c := &Conn{maxQueue: opt.MaxQueue}
	if c.maxQueue <= 0 {
		c.maxQueue = DefaultMaxQueue
	}
	return c
}

func (o Options) writeTimeout() time.Duration {
	if o.WriteTimeout <= 0 {
		return DefaultWriteTimeout
	}
	return o.WriteTimeout
}

func (c *Conn) start(ws *websocket.Conn) {
	c.ws = ws
	ws.SetReadLimit(0) // readers bound what they take
	ws.SetPongHandler(c.pong)
}

// Next waits for the next message. The reader is valid until the next call. Its errors are final.
func (c *Conn) Next() (binary bool, body io.Reader, err error) {
	kind, body, err := c.ws.NextReader()
	return kind == websocket.BinaryMessage, body, err
}

// ErrTooLong means that a message is longer than the buffer for it.
var ErrTooLong = errors.New("socket: message is too long")

// Read reads a message to its end into buf. When the message is longer the error is ErrTooLong, and next is the byte
// behind buf: the caller may go on reading.
func (c *Conn) Read(body io.Reader, buf []byte) (n int, next byte, err error) {
	for {
		into := buf[n:]
		if len(into) == 0 {
			into = c.next[:]
		}
		k, err := body.Read(into)
		if n == len(buf) && k > 0 {
			return n, c.next[0], ErrTooLong
		}
		n += k
		if err == io.EOF {
			return n, 0, nil
		}
		if err != nil {
			return n, 0, err
		}
	}
}

// Send queues binary messages that stay together and in order. It does not block. Messages MUST NOT change afterwards
// when they are of 16 KiB or more; smaller ones are copied. After an error none or some of them may have been queued:
// the connection is to be closed.
func (c *Conn) Send(messages ...[]byte) error {
	total := 0
	for _, m := range messages {
		total += len(m)
	}
	c.send.Lock()
	defer c.send.Unlock()
	if err := c.duct.room(total, c.maxQueue); err != nil {
		return err
	}
	for _, m := range messages {
		if err := c.ws.WriteMessage(websocket.BinaryMessage, m); err != nil {
			return err
		}
	}
	return nil
}

// Kick makes Gather be asked soon.
func (c *Conn) Kick() { c.duct.kick() }

// Queued is how many bytes wait to be written.
func (c *Conn) Queued() int {
	c.duct.mu.Lock()
	defer c.duct.mu.Unlock()
	return c.duct.queued
}

// Ping asks the peer for a sign of life; the answer also measures the round trip.
func (c *Conn) Ping() {
	now := time.Now().UnixNano()
	c.pinged.Store(now)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(now))
	_ = c.ws.WriteControl(websocket.PingMessage, b[:], time.Time{})
}

func (c *Conn) pong(data string) error {
	if len(data) == 8 {
		c.answered(binary.BigEndian.Uint64([]byte(data)))
	} else {
		c.pongs.Add(1)
	}
	return nil
}

// answered takes what a ping of ours said, or what a peer makes up.
func (c *Conn) answered(said uint64) {
	c.pongs.Add(1)
	sent := c.pinged.Load()
	if said != uint64(sent) {
		return
	}
	took := max(time.Now().UnixNano()-sent, 1)
	if old := c.rtt.Load(); old == 0 || took < old {
		c.rtt.Store(took)
	}
}

// RTT is the lowest round trip that a ping has seen; 0 when none was answered.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// Pongs is how many pings were answered.
func (c *Conn) Pongs() int64 { return c.pongs.Load() }

// Heard is when bytes last arrived.
func (c *Conn) Heard() time.Time { return time.Unix(0, c.duct.heard.Load()) }

// SetReadDeadline ends Next with an error at t; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) { _ = c.duct.SetReadDeadline(t) }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.duct.RemoteAddr() }

// End sends last words, if any, and a close frame behind what is queued, and then ends the outgoing half. The goroutine
// that reads MUST go on to Discard, which closes the connection.
func (c *Conn) End(code int, reason string, linger time.Duration, last ...[]byte) {
	if len(reason) > 120 {
		reason = reason[:120]
	}
	c.send.Lock()
	for _, m := range last {
		_ = c.ws.WriteMessage(websocket.BinaryMessage, m)
	}
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Time{})
	c.send.Unlock()
	c.duct.end(linger)
}

// Discard reads until the peer has closed, or until the linger of End has passed, and closes. It belongs to the goroutine
// that reads.
func (c *Conn) Discard() {
	var buf [512]byte // thousands may wait here for their peers
	for {
		if _, err := c.duct.Read(buf[:]); err != nil {
			_ = c.duct.Close()
			return
		}
	}
}

// Close closes at once.
func (c *Conn) Close() error { return c.duct.Close() }

// Closed is closed when the connection is.
func (c *Conn) Closed() <-chan struct{} { return c.duct.closed }

// CloseCode is the code of the peer's close frame, if err is one.
func CloseCode(err error) (code int, reason string, ok bool) {
	var e *websocket.CloseError
	if !errors.As(err, &e) {
		return 0, "", false
	}
	return e.Code, e.Text, true
}
