package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	rules "github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// hand is a worker inside the test: the real agent with its real session and signatures, but one that counts primes by
// itself instead of in a sandbox. A dozen of them cost nothing.
type hand struct {
	key ed25519.PrivateKey
}

func newHand(operator string, i int) *hand {
	seed := sha256.Sum256(fmt.Appendf(nil, "hand %d of %s", i, operator))
	return &hand{ed25519.NewKeyFromSeed(seed[:])}
}

func (h *hand) public() ed25519.PublicKey { return public(h.key) }

// count is the runner of a hand.
type count struct{}

func (count) Load(context.Context, [32]byte, []byte) error { return nil }

func (count) Run(_ context.Context, t agent.Task) (agent.Result, error) {
	if t.Job == "" || len(t.Input) != 16 {
		return agent.Result{}, errors.New("hands only count primes")
	}
	asked := task{low: binary.LittleEndian.Uint64(t.Input), high: binary.LittleEndian.Uint64(t.Input[8:])}
	return agent.Result{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 1_000_000, Output: asked.answer()}, nil
}

// claim is the profile of all hands.
func claim() *eventv1.Profile {
	return &eventv1.Profile{
		Mflops: 4000, MaxAllocationBytes: 512 << 20, ChunkBytes: 4 << 20, Cores: 2, Arch: "any", Os: "any", Engine: "e2e", Agent: "e2e",
	}
}

// enrol writes into a log that no orchestrator has opened yet that its hands were measured an hour ago: they are admitted
// without a test, which they could not pass. It is what the worker's own rules answer to a first visit.
func (o *member) enrol() {
	o.Helper()
	if len(o.hands) == 0 {
		return
	}
	log, err := pebblelog.Open(orchestrator.LogDir(o.dir), pebblelog.Options{})
	o.must(err)
	defer func() { o.must(log.Close()) }()
	for _, h := range o.hands {
		_, err := log.Append(o.Context(), actors.WorkerAddress(h.public()).Stream(), events.Absent, o.visit(h)...)
		o.must(err)
	}
}

// visit is the record of a hand's first session.
func (o *member) visit(h *hand) []events.Draft {
	o.Helper()
	key, at := h.public(), time.Now().Add(-time.Hour).UnixMicro()
	session, to := key[:rules.SessionSize], actors.WorkerAddress(key)
	e := rules.Room.Open(to.ID)
	var all []events.Draft
	for i, cmd := range []*eventv1.Command{
		{Kind: &eventv1.Command_ConnectWorker{ConnectWorker: &eventv1.ConnectWorker{Key: key, Session: session}}},
		{Kind: &eventv1.Command_ReportProfile{ReportProfile: &eventv1.ReportProfile{Profile: claim()}}},
		{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: &eventv1.RecordChallenge{
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE, Nonce: []byte("compute"), Work: 4_000_000_000, Fuel: 1, ElapsedUs: 1_000_000,
		}}},
		{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: &eventv1.RecordChallenge{
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY, Nonce: []byte("memory"), Work: 512 << 20, ElapsedUs: 1_000_000,
		}}},
		{Kind: &eventv1.Command_DisconnectWorker{DisconnectWorker: &eventv1.DisconnectWorker{Session: session, Why: "gone home"}}},
	} {
		cmd.AtUs = at + int64(i)
		d, err := e.Decide(actors.Rules, cmd)
		o.must(err)
		drafts, err := events.Encode(events.Origin{
			ID: events.NewCommandID([]byte(to.Stream()), []byte{byte(i)}), Command: cmd, Node: "before", Rules: actors.Rules,
		}, d.Facts)
		o.must(err)
		for _, fact := range d.Facts {
			o.must(e.Evolve(fact))
		}
		all = append(all, drafts...)
	}
	return all
}

// employ lets the hands work, once. They come back by themselves when the orchestrator was away.
func (o *member) employ() {
	o.Helper()
	if o.employed {
		return
	}
	o.employed = true
	ctx, cancel := context.WithCancel(context.WithoutCancel(o.Context()))
	ended := make(chan struct{}, len(o.hands))
	said, err := os.Create(filepath.Join(o.logs, "hands.log"))
	o.must(err)
	for _, h := range o.hands {
		a, err := agent.New(agent.Config{
			Server: o.url(), Key: h.key, Profile: claim(), Runner: count{}, Runners: 2, Prefetch: 4,
			MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, DrainTimeout: 100 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(said, nil)),
		})
		o.must(err)
		go func() {
			_ = a.Run(ctx) // what matters of it is in the orchestrator's log
			ended <- struct{}{}
		}()
	}
	o.Cleanup(func() {
		cancel()
		for range o.hands {
			<-ended
		}
		_ = said.Close()
	})
}
