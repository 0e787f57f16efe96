package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/tap"

	"github.com/shardy-network/orchestrator/events"
)

var (
	// ErrOpen refuses a listener that strangers can reach while nobody has to say who he is.
	ErrOpen = errors.New("log server without users must listen on this machine alone")
	// ErrClosed ends Serve when the server was closed.
	ErrClosed = errors.New("log server is closed")
)

// Server serves one log. Close ends it.
type Server struct {
	log  events.Log
	cfg  Config
	gate *gate
	grpc *grpc.Server
	hub  *hub

	groups *groups
	id     events.ID // of this node, new in every process
	subs   atomic.Int64

	end  context.Context // done when Close begins: ends every call that lasts
	stop context.CancelFunc
	work sync.WaitGroup // goroutines of ours beside those of the calls

	mu     sync.Mutex // guards closed, addr
	closed bool
	addr   net.Addr // of the first listener
}

// New makes a server of a log, which stays the caller's own and must outlive it.
func New(log events.Log, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{log: log, cfg: cfg, gate: newGate(cfg), id: newUUID()}
	s.end, s.stop = context.WithCancel(context.Background())
	s.hub = newHub(s.end, log, &s.work)
	s.groups = &groups{s: s}
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(cfg.MaxMessageBytes),
		grpc.MaxConcurrentStreams(uint32(min(cfg.MaxStreamsPerConn, 1<<30))),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(cfg.CallTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.KeepaliveAfter, Timeout: cfg.KeepaliveAfter}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: cfg.KeepaliveMin, PermitWithoutStream: true}),
		grpc.InTapHandle(s.deadline),
		grpc.UnaryInterceptor(s.admitUnary),
		grpc.StreamInterceptor(s.admitStream),
		grpc.WaitForHandlers(true),
		grpc.ForceServerCodecV2(newCodec()),
	}
	if cfg.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s.grpc = grpc.NewServer(opts...)
	for _, d := range services {
		s.grpc.RegisterService(d, s)
	}
	return s, nil
}

// Serve takes calls until Close, and then returns ErrClosed, or until the listener fails. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	if s.cfg.open() && !sameMachine(l.Addr()) {
		return errors.Join(fmt.Errorf("%w, not on %s", ErrOpen, l.Addr()), l.Close())
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrClosed, l.Close())
	}
	if s.addr == nil {
		s.addr = l.Addr()
	}
	s.mu.Unlock()
	if err := s.grpc.Serve(&crowd{Listener: l, limit: int64(s.cfg.MaxConns)}); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("log server: %w", err)
	}
	return ErrClosed
}

// closePatience is how long Close waits for calls that have an end of their own.
const closePatience = 3 * time.Second

// Close takes no more calls, ends those that last, waits for the others and then cuts off who is left. An append that
// is cut off may have been written.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		s.grpc.Stop()
		<-done
	}
	s.work.Wait()
	return nil
}

// lasting are the calls that have no end of their own.
var lasting = map[string]bool{
	"/" + streamsService + "/Read":        true,
	"/" + streamsService + "/BatchAppend": true,
	"/" + groupsService + "/Read":         true,
}

// deadline bounds a call before anything of it is read.
func (s *Server) deadline(ctx context.Context, info *tap.Info) (context.Context, error) {
	if lasting[info.FullMethodName] {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	context.AfterFunc(ctx, cancel) // ends with the call's own context
	return ctx, nil
}

// crowd closes connections beyond the limit.
type crowd struct {
	net.Listener
	limit int64
	n     atomic.Int64
}

func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.n.Add(1) <= c.limit {
			return &counted{Conn: conn, n: &c.n}, nil
		}
		c.n.Add(-1)
		conn.Close()
	}
}

type counted struct {
	net.Conn
	once sync.Once
	n    *atomic.Int64
}

func (c *counted) Close() error {
	c.once.Do(func() { c.n.Add(-1) })
	return c.Conn.Close()
}

// endpoint is where clients are told to call.
func (s *Server) endpoint() (host string, port uint16) {
	if s.cfg.Advertise != "" {
		host, port, _ = splitHostPort(s.cfg.Advertise) // Validate has held it
		return host, port
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.addr.(*net.TCPAddr); ok {
		return t.IP.String(), uint16(t.Port)
	}
	return "", 0
}

func splitHostPort(s string) (string, uint16, error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", s)
	}
	return host, uint16(port), nil
}
