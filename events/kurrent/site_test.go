package kurrent_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/kurrent"
)

// site is a server on one port, which can go away and come back.
type site struct {
	t    testing.TB
	log  events.Log
	cfg  esdbserver.Config
	addr string

	mu      sync.Mutex
	server  *esdbserver.Server
	serving sync.WaitGroup
}

// serve starts a server over a log. It ends before the log is closed, with the test.
func serve(t testing.TB, log events.Log, cfg esdbserver.Config) *site {
	t.Helper()
	s := &site{t: t, log: log, cfg: cfg, addr: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if err := log.Close(); err != nil {
			t.Errorf("close of the log behind the server: %v", err)
		}
	})
	return s
}

// start listens where the site listened before.
func (s *site) start() {
	s.t.Helper()
	server, err := esdbserver.New(s.log, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", s.addr)
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // another process of this machine was given the port
		ln, err = net.Listen("tcp", s.addr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.server = ln.Addr().String(), server
	s.serving.Go(func() { _ = server.Serve(ln) })
}

func (s *site) stop() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	s.serving.Wait()
}

func (s *site) uri() string { return "esdb://" + s.addr + "?tls=false" }

// open returns a log on the site, which is closed with the test.
func (s *site) open(o kurrent.Options) *kurrent.Log {
	s.t.Helper()
	return open(s.t, s.uri(), o)
}

func open(t testing.TB, uri string, o kurrent.Options) *kurrent.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := kurrent.Open(ctx, uri, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}
