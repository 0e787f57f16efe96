package logserver

import (
	"context"
	"errors"
	"net"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
)

// Server is one that serves.
type Server struct {
	server *esdbserver.Server
	addr   string
	ended  chan error
}

// Start listens and serves the log, which must outlive the server.
func Start(ctx context.Context, log events.Log, listen string, cfg esdbserver.Config) (*Server, error) {
	server, err := esdbserver.New(log, cfg)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	s := &Server{server: server, addr: l.Addr().String(), ended: make(chan error, 1)}
	go func() {
		err := server.Serve(l)
		if errors.Is(err, esdbserver.ErrClosed) {
			err = nil
		}
		s.ended <- err
		close(s.ended)
	}()
	return s, nil
}

// Addr is the address that is served.
func (s *Server) Addr() string { return s.addr }

// Ended yields why the server ended by itself, or is closed after Close.
func (s *Server) Ended() <-chan error { return s.ended }

// Close ends every call and waits for all of it.
func (s *Server) Close() error {
	err := s.server.Close()
	return errors.Join(err, <-s.ended)
}
