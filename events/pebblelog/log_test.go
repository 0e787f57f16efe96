package pebblelog

import (
	"crypto/sha256"
	"log/slog"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
)

var quiet = slog.New(slog.DiscardHandler)

func sumOf(b []byte) [32]byte { return sha256.Sum256(b) }

// open opens a log that is expected to open.
func open(t testing.TB, dir string, opts Options) *Log {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestContract(t *testing.T) {
	for name, opts := range map[string]Options{
		"defaults": {},
		"nothing in memory": {
			BlobCacheBytes: 1, RecentRecords: 1, RecentBytes: 1, HeadStreams: 1, QueuedRequests: 1, QueuedBytes: 1,
		},
		"lingering": {Linger: MaxLinger},
	} {
		t.Run(name, func(t *testing.T) {
			eventstest.Run(t, func(t *testing.T) events.Log { return open(t, t.TempDir(), opts) })
		})
	}
}
