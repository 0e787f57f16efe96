package orchestrator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/shardy-network/orchestrator/actors/admission/challenge"
	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// maxChallengeSizes bounds the kinds and sizes that are kept ready; admission plans use a handful.
const maxChallengeSizes = 16

// challenges is a pool of questions whose answers the orchestrator's own sandbox has computed. Each is given out once;
// one that was taken is replaced in idle time, so that a storm of workers costs no more than it takes from the pool.
type challenges struct {
	box   *sandbox.Sandbox
	blobs store
	keep  int // ready ones per kind and size
	log   *slog.Logger

	mu      sync.Mutex
	ready   map[challengeKey][]gateway.Challenge
	wanted  []challengeKey // to be made, first first; at most keep per key
	modules map[[32]byte]bool
	wake    chan struct{}
}

const pageBytes = 64 << 10 // of WebAssembly

type challengeKey struct {
	kind eventv1.ChallengeKind
	size uint64
}

func newChallenges(box *sandbox.Sandbox, blobs store, keep int, log *slog.Logger) *challenges {
	return &challenges{
		box: box, blobs: blobs, keep: keep, log: log,
		ready: map[challengeKey][]gateway.Challenge{}, modules: map[[32]byte]bool{}, wake: make(chan struct{}, 1),
	}
}

// Take returns a prepared challenge, or makes one while the worker waits.
func (c *challenges) Take(ctx context.Context, kind eventv1.ChallengeKind, size uint64) (gateway.Challenge, error) {
	key := challengeKey{kind, size}
	c.mu.Lock()
	list, known := c.ready[key]
	if !known && len(c.ready) < maxChallengeSizes {
		c.ready[key] = nil
		known = true
	}
	if known {
		c.wanted = append(c.wanted, key)
	}
	if len(list) > 0 {
		c.ready[key] = list[:len(list)-1]
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	if len(list) > 0 {
		return list[len(list)-1], nil
	}
	return c.prepare(ctx, key)
}

// refill makes what was asked for, until ctx ends. The sandbox runs at low priority and serves those who wait for a
// challenge in turn with this.
func (c *challenges) refill(ctx context.Context) {
	for {
		key, ok := c.next()
		if !ok {
			select {
			case <-c.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		made, err := c.prepare(ctx, key)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.log.Error("challenge could not be prepared", "kind", key.kind, "size", key.size, "error", err)
			continue
		}
		c.mu.Lock()
		c.ready[key] = append(c.ready[key], made)
		c.mu.Unlock()
	}
}

// next takes the first wish that is not fulfilled yet.
func (c *challenges) next() (challengeKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.wanted) > 0 {
		key := c.wanted[0]
		c.wanted = c.wanted[1:]
		if len(c.ready[key]) < c.keep {
			return key, true
		}
	}
	return challengeKey{}, false
}

// public reports whether workers that were not admitted may fetch this content.
func (c *challenges) public(sum [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.modules[sum]
}

var errChallengeKind = errors.New("no such challenge")

// prepare draws a nonce and computes the answer.
func (c *challenges) prepare(ctx context.Context, key challengeKey) (gateway.Challenge, error) {
	q, err := draw(key)
	if err != nil {
		return gateway.Challenge{}, err
	}
	name, err := c.module(ctx, q)
	if err != nil {
		return gateway.Challenge{}, err
	}
	res, err := c.box.Run(ctx, sandbox.Task{Module: name, Input: q.Input(), FuelLimit: q.Fuel()})
	if err != nil {
		return gateway.Challenge{}, err
	}
	if res.Status != sandbox.OK {
		return gateway.Challenge{}, fmt.Errorf("challenge ended with %s: %s", res.Status, res.Detail)
	}
	return gateway.Challenge{
		Nonce: q.Nonce[:], Module: name, Input: q.Input(), Digest: sha256.Sum256(res.Output),
		FuelLimit: q.Fuel(), Fuel: res.FuelUsed, Work: q.Work(),
	}, nil
}

func draw(key challengeKey) (challenge.Question, error) {
	var nonce [challenge.NonceSize]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return challenge.Question{}, err
	}
	switch key.kind {
	case eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE:
		return challenge.NewCompute(key.size, nonce)
	case eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY:
		return challenge.NewMemory(key.size, nonce)
	}
	return challenge.Question{}, fmt.Errorf("%w: kind %v", errChallengeKind, key.kind)
}

// module loads the question's metered module and publishes it for workers.
func (c *challenges) module(ctx context.Context, q challenge.Question) ([32]byte, error) {
	metered, err := wasm.Rewrite(q.Module(), wasm.Options{Limits: wasm.Limits{MemoryPages: challenge.MaxMemory / pageBytes}})
	if err != nil {
		return [32]byte{}, err
	}
	name := wasm.Name(metered)
	if !c.box.Loaded(name) {
		if err := c.box.Load(ctx, name, metered); err != nil {
			return name, err
		}
	}
	c.mu.Lock()
	published := c.modules[name]
	c.modules[name] = true
	c.mu.Unlock()
	if !published {
		if _, err := c.blobs.Put(ctx, metered); err != nil {
			return name, err
		}
	}
	return name, nil
}
