package operator

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// counter bounds how many are inside.
type counter struct {
	n   atomic.Int64
	max int64
}

func newCounter(limit int) *counter { return &counter{max: int64(limit)} }

func (c *counter) enter() bool { return c.take(1) }

func (c *counter) leave() { c.give(1) }

func (c *counter) take(n int64) bool {
	if c.n.Add(n) > c.max {
		c.n.Add(-n)
		return false
	}
	return true
}

func (c *counter) give(n int64) { c.n.Add(-n) }

// limited bounds the requests at work at once and the time that a body or a write may take. Streams are counted apart:
// they would otherwise keep the unary calls out. So are visitors, by the handler that they go to: nobody without a token
// takes a place of those who have one.
func limited(cfg Config, visited, next http.Handler) http.Handler {
	unary, streams := newCounter(cfg.MaxRequests), newCounter(cfg.MaxStreams)
	refusal := connect.NewErrorWriter()
	visited, next = timed(cfg, visited), timed(cfg, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		slots, full := unary, errFull
		switch {
		case open(r.URL.Path):
			visited.ServeHTTP(w, r)
			return
		case streaming[r.URL.Path]:
			slots, full = streams, errStreams
		}
		if !slots.enter() {
			refuseEarly(refusal, w, r, full)
			return
		}
		defer slots.leave()
		next.ServeHTTP(w, r)
	})
}

// refuseEarly answers a request whose message is not read.
func refuseEarly(refusal *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, why error) {
	if refusal.IsSupported(r) {
		_ = refusal.Write(w, r, toConnect(why)) // the client is gone when this fails
		return
	}
	http.Error(w, why.Error(), http.StatusServiceUnavailable)
}

// visited bounds the requests at work at once of those who need no token, of each address and together.
func (a *API) visited(next http.Handler) http.Handler {
	refusal := connect.NewErrorWriter()
	address := a.deps.Address
	if address == nil {
		address = addressOf
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := a.visitors.enter(address(r))
		if err != nil {
			refuseEarly(refusal, w, r, err)
			return
		}
		defer v.leave()
		next.ServeHTTP(w, r.WithContext(withVisit(r.Context(), v)))
	})
}

// timed bounds the time that a body or a write may take.
func timed(cfg Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			if rc.SetReadDeadline(time.Now().Add(cfg.ReadTimeout)) == nil {
				r.Body = &timedBody{ReadCloser: r.Body, rc: rc}
			}
		}
		tw := &timedWriter{ResponseWriter: w, rc: rc, timeout: cfg.WriteTimeout}
		tw.lift()         // of the request before, on the same connection
		defer tw.extend() // what the server still has to write when the handler is done
		next.ServeHTTP(tw, r)
	})
}

// timedBody lifts the read deadline once the body was read: a stream's reply may take longer.
type timedBody struct {
	io.ReadCloser
	rc   *http.ResponseController
	done bool
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && !b.done {
		b.done = true
		_ = b.rc.SetReadDeadline(time.Time{}) // worked when it was set
	}
	return n, err
}

// timedWriter gives each write its own deadline: a reader that stands still is cut off. Between writes there is none,
// because a stream of HTTP/2 ends at its deadline even when nothing is being written.
type timedWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Errors of deadlines are those of a connection that is gone: the next write says so.
func (w *timedWriter) extend() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout)) }
func (w *timedWriter) lift()   { _ = w.rc.SetWriteDeadline(time.Time{}) }

func (w *timedWriter) Write(p []byte) (int, error) {
	w.extend()
	defer w.lift()
	return w.ResponseWriter.Write(p)
}

func (w *timedWriter) Flush() {
	w.extend()
	defer w.lift()
	_ = w.rc.Flush() // a failed flush fails the next write
}

// localOnly keeps pages of other origins, and names that were bound anew to this machine, from an API that needs no
// token.
func localOnly(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) || !localOrigin(r.Header.Get("Origin")) {
			http.Error(w, "this API answers only requests for a loopback address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

func localOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && loopback(u.Host)
}

// NewServer returns a server for the handler that speaks HTTP/1.1 and HTTP/2 without TLS on one port.
func NewServer(h http.Handler) *http.Server {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &p,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 512, MaxReceiveBufferPerStream: 1 << 20, MaxReceiveBufferPerConnection: 16 << 20,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second,
		},
	}
}
