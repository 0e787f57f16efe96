package gateway

import (
	"context"
	"log/slog"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Orchestrator is what the door needs of the host.
//
// Do returns and Tell calls done only after the facts are durable. Tell, Observe's function and the Worker methods MUST
// NOT block; commands to one entity are decided in the order they were told in.
type Orchestrator interface {
	Do(ctx context.Context, to actors.Address, cmd *eventv1.Command) (reply any, err error)
	Tell(to actors.Address, cmd *eventv1.Command, done func(reply any, err error))
	Observe(fn func(to actors.Address, facts []events.Fact)) (stop func())
	WorkerReady(w dispatch.Worker)
	WorkerCredits(key []byte, credits uint32)
	WorkerDrain(key []byte, on bool)
	WorkerGone(key []byte)
}

// Blobs is what the door needs of the blob store.
type Blobs interface {
	// Put MUST make the blob durable no later than any event appended after it has returned, and MUST NOT keep data.
	Put(ctx context.Context, data []byte) (*eventv1.BlobRef, error)
	// Get returns a blob. The caller does not change it.
	Get(ctx context.Context, sum [32]byte) ([]byte, error)
}

// Challenge is one prepared question whose answer is known.
type Challenge struct {
	Nonce     []byte   // 1 to 64 bytes, never used before
	Module    [32]byte // a blob
	Input     []byte   // at most 64 KiB
	Digest    [32]byte // SHA-256 of the output: the answer
	FuelLimit uint64
	Fuel      uint64 // what the run uses
	Work      uint64 // FLOP, or bytes filled
}

// Challenges is a pool of prepared challenges.
type Challenges interface {
	// Take returns a challenge of a kind and size (admission.Plan names both); it MUST give each out once. It may
	// wait for one to be made.
	Take(ctx context.Context, kind eventv1.ChallengeKind, size uint64) (Challenge, error)
}

// Deps are what a door is plugged into. Orchestrator, Blobs, Challenges and Admission are required.
type Deps struct {
	Orchestrator Orchestrator
	Blobs        Blobs
	Challenges   Challenges
	// Verifiers by system. Default: Freivalds and Groth16 of actors/proof. A job that asks for a system that is not
	// here has its results refused.
	Verifiers map[eventv1.ProofSystem]proof.Verifier
	// Attested verifies attestations. Default: proof.Statement.Verify.
	Attested proof.Attested
	// Admission is the part of the deployment's policy that AdmitWorker carries.
	Admission func() *eventv1.AdmissionPolicy
	// Progress, if set, hears of task_progress. It MUST NOT block.
	Progress func(worker []byte, job string, slot, permille uint32)
	// Log defaults to slog.Default.
	Log *slog.Logger
}
