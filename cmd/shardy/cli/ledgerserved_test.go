package cli

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
)

// serveMesh runs a whole orchestrator that shares a ledger, as shardy serve --mesh does, until the test ends.
func serveMesh(t *testing.T, genesis []byte, dir string) string {
	t.Helper()
	o, err := orchestrator.New(t.Context(), orchestrator.Config{
		DataDir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), DrainTimeout: time.Millisecond, Challenges: 1,
		Mesh: &orchestrator.MeshConfig{Genesis: genesis, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Observe: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + o.Addr()
}
