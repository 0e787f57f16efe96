package esdbserver

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// patience bounds every wait of a test for something that must happen.
const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a log and returns its address.
func serve(t testing.TB, log events.Log, cfg Config) (*Server, string) {
	t.Helper()
	s, err := New(log, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Errorf("serve: %v", err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// dial opens an official client.
func dial(t testing.TB, uri string) *esdb.Client {
	t.Helper()
	cfg, err := esdb.ParseConnectionString(uri)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = esdb.NoopLogging()
	c, err := esdb.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// house is a server of a log in memory with a client.
func house(t testing.TB) (*esdb.Client, events.Log) {
	log := memlog.New()
	_, addr := serve(t, log, Config{})
	return dial(t, "esdb://"+addr+"?tls=false"), log
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
