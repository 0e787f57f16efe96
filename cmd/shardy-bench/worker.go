package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// echoFuel is what the echo claims to have used: the same on every machine, as for a module.
const echoFuel = 1000

// echo is a runner that answers a job's payload with its SHA-256, natively.
type echo struct {
	hold time.Duration // how long it keeps every task
}

// Load takes any module: the echo needs none.
func (e echo) Load(context.Context, [32]byte, []byte) error { return nil }

var errChallenge = errors.New("an echo cannot answer challenges: its proof should be on record")

func (e echo) Run(ctx context.Context, t agent.Task) (agent.Result, error) {
	if t.Job == "" {
		return agent.Result{}, errChallenge
	}
	if e.hold > 0 {
		if err := pause(ctx, e.hold); err != nil {
			return agent.Result{}, err
		}
	}
	sum := sha256.Sum256(t.Input)
	return agent.Result{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: echoFuel, Output: sum[:]}, nil
}

// agentSize is how many tasks an agent runs and holds.
type agentSize struct{ runners, prefetch int }

// newAgent makes one of the run's workers.
func newAgent(cfg config, index int, owner ed25519.PrivateKey, size agentSize, admitted func()) (*agent.Agent, error) {
	return agent.New(agent.Config{
		Server: "http://" + cfg.addr, Key: keyOf(cfg.run, cfg.id, index), OwnerKey: owner, Profile: claim(),
		Runner: echo{cfg.hold}, Runners: size.runners, Prefetch: size.prefetch,
		Unsigned: !cfg.attest, MaxBackoff: 2 * time.Second, DrainTimeout: time.Second,
		OnSession: func(uint32) { admitted() },
		Log:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
}

// work is the role of a worker process: a few connections with one owner, so that they are one identity group and never
// compute both replicas of a job.
func work(ctx context.Context, cfg config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	owner := keyOf(cfg.run, cfg.id, ownerIndex)
	var alive sync.WaitGroup
	for i := range cfg.agents {
		a, err := newAgent(cfg, i, owner, agentSize{runners: 32, prefetch: 8}, func() {})
		if err != nil {
			return err
		}
		alive.Go(func() { _ = a.Run(ctx) })
	}
	serveAs("", func(string) string { return "ok" })
	cancel()
	alive.Wait()
	return nil
}
