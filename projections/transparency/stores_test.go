package transparency

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// overTheWire is the same log as EventStoreDB's own client sees it.
func overTheWire(t *testing.T, log events.Log) events.Log {
	t.Helper()
	srv, err := esdbserver.New(log, esdbserver.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	client, err := kurrent.Open(t.Context(), "esdb://"+l.Addr().String()+"?tls=false", kurrent.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil && !errors.Is(err, esdbserver.ErrClosed) {
			t.Error(err)
		}
	})
	return client
}

// TestTheSameTreeEverywhere: the same events have the same leaves in memory, on disk and through EventStoreDB's protocol,
// JSON, empty and deleted ones included.
func TestTheSameTreeEverywhere(t *testing.T) {
	onDisk, err := pebblelog.Open(t.TempDir(), pebblelog.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer onDisk.Close()
	inMemory := memlog.New()
	defer inMemory.Close()
	for _, log := range []events.Log{onDisk, inMemory} {
		write(t, log, 0, 300)
		odd := []events.Draft{draft(1000), draft(1001), draft(1002)}
		odd[0].JSON, odd[0].Data = true, []byte(`{"é": 1.0}`)
		odd[1].Data, odd[1].Meta = nil, nil
		odd[2].Data, odd[2].Meta = []byte{}, bytes.Repeat([]byte{0xff, 0}, 500)
		if _, err := log.Append(t.Context(), "odd ünicode", events.Absent, odd...); err != nil {
			t.Fatal(err)
		}
		if err := log.Delete(t.Context(), "job-1", events.Any); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), "job-1", events.Any, draft(2000)); err != nil {
			t.Fatal(err)
		}
	}
	// The server keeps its own stream metadata in the log, under types that begin with "$": no leaves.
	served := overTheWire(t, onDisk)
	var roots []string
	for _, log := range []events.Log{onDisk, inMemory, served} {
		tree := open(t, "", log, Options{})
		if err := feed(t, tree, log); err != nil {
			t.Fatal(err)
		}
		k, err := tree.Sign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, k.Checkpoint.Text())
		e, err := tree.Evidence(t.Context(), "odd ünicode", 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Verify(public(testKey(1))); err != nil {
			t.Error(err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if roots[0] != roots[1] || roots[0] != roots[2] {
		t.Errorf("the trees differ:\n%v", roots)
	}
}
