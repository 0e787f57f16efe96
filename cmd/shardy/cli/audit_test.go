package cli

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	"github.com/shardy-network/orchestrator/projections/transparency"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// echoed is the world's module over some input: what an honest worker returns.
func echoed(t *testing.T, input string) (module []byte, fuel uint64) {
	t.Helper()
	module, err := wasm.Rewrite(operatortest.EchoModule, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	name := sha256.Sum256(module)
	if err := box.Load(t.Context(), name, module); err != nil {
		t.Fatal(err)
	}
	res, err := box.Run(t.Context(), sandbox.Task{Module: name, Input: []byte(input), FuelLimit: 1_000_000})
	if err != nil || string(res.Output) != input {
		t.Fatal(res, err)
	}
	return module, res.FuelUsed
}

// mkCases makes the data folder of a stopped orchestrator: a job with a liar, whose module can be run, and jobs with
// other fates. It returns the first one's id.
func mkCases(t *testing.T, dir string) string {
	t.Helper()
	const input = "an input that is echoed"
	w := audittest.New(t)
	module, fuel := echoed(t, input)
	id := w.Submitted(func(s *eventv1.SubmitJob) {
		s.Spec.Module, s.Spec.Input = w.Blob(module).Sha256, w.Blob([]byte(input))
	})
	output := input
	for i := 0; len(w.Tasks) > 0; i++ {
		task := w.Take(0)
		w.Ack(task)
		said := output
		if i == 1 {
			said = "a lie"
		}
		w.Answer(task, said, func(c *eventv1.ReturnResult) {
			c.Fuel = fuel
			spec := w.SpecOf(task)
			c.Attestation = proof.Statement{
				Job: task.Job, Slot: task.Slot, Token: task.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
				Status: c.Status, Fuel: fuel, Output: [32]byte(c.Output.Sha256),
			}.Sign(w.Key(task))
		})
	}
	for _, s := range audittest.Scenes {
		s.Play(w)
		w.Tasks, w.Referees = nil, nil
	}
	saveWorld(t, w, dir)
	return id
}

// casesKey signs the trees of mkCases.
func casesKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
}

// saveWorld writes a world as a data folder: log, content, key, and the tree with a signed checkpoint.
func saveWorld(t *testing.T, w *audittest.World, dir string) {
	t.Helper()
	log, err := pebblelog.Open(logDir(dir), pebblelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := blobs.Open(t.Context(), filepath.Join(dir, "blobs"), blobs.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range w.Blobs {
		if _, err := store.Put(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	w.CopyTo(log)
	key := casesKey()
	if err := os.WriteFile(filepath.Join(dir, "server.key"), key.Seed(), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := transparency.Open(t.Context(), filepath.Join(dir, "tree"), log, key, transparency.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var batch []events.Record
	for r, err := range log.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, r)
	}
	if err := tree.Apply(t.Context(), batch, batch[len(batch)-1].Pos); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{tree, store, log} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// serveLog serves the log of a data folder until the test ends.
func serveLog(t *testing.T, dir string) string {
	t.Helper()
	log, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := esdbserver.New(log, esdbserver.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), log.Close()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return "esdb://" + l.Addr().String() + "?tls=false"
}
