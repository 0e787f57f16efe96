package operator

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/netip"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Orchestrator is the host of the entities.
//
// Do and Tell MUST answer only after the facts of the decision are durable. Tell MUST NOT block; its callback runs on
// the entity's goroutine. Observe MUST call its function after the append is durable, in the order of one entity's
// facts, for every append of this process.
type Orchestrator interface {
	Do(ctx context.Context, to actors.Address, cmd *eventv1.Command) (reply any, err error)
	Tell(to actors.Address, cmd *eventv1.Command, done func(reply any, err error))
	Observe(fn func(to actors.Address, facts []events.Fact)) (stop func())
	Explain(ctx context.Context, job string) ([]string, error)
}

// Log is the part of the event log that is read here.
type Log interface {
	Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error]
	ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error]
	Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error]
	Head(ctx context.Context) (events.Position, error)
}

// Blobs is content by its SHA-256; a *blobs.Store is one.
//
// An event appended after Put returned MUST NOT become durable before the blob. A blob that is not there is
// blobs.ErrNotFound.
type Blobs interface {
	Put(ctx context.Context, data []byte) (blobs.Ref, error)
	Open(ctx context.Context, sum [32]byte) (content io.ReadCloser, size int64, err error)
}

// ModuleTrial compiles and runs a module where it can do no harm. A module that must not be admitted is a
// *ModuleRefusal; every other error means that nothing was learned about it.
type ModuleTrial interface {
	Trial(ctx context.Context, original, rewritten, canary []byte) (TrialResult, error)
}

// TrialResult is what a trial learned.
type TrialResult struct {
	Fuel uint64 // that the canary used
}

// ModuleRefusal says why a module is not admitted.
type ModuleRefusal struct {
	Code   string // typed reason, for programs
	Detail string // for people
}

func (r *ModuleRefusal) Error() string {
	return fmt.Sprintf("module refused: %s: %s", r.Code, r.Detail)
}

// Live is what the worker door knows about a connected worker beside the facts.
type Live struct {
	Credits  uint32
	InFlight uint32
}

// Deps are the rooms that the API is plugged into. All are needed but those that say otherwise.
type Deps struct {
	Orchestrator Orchestrator
	Log          Log
	Blobs        Blobs
	Catalogue    Catalogue
	Trial        ModuleTrial

	// Counts is asked by lists that are to count too; without it they do not. Optional.
	Counts Counts
	// Status fills in what only the process knows: version, node, key, counters. Optional.
	Status func(ctx context.Context) (*operatorv1.GetStatusResponse, error)
	// Prover ties the records of a bundle to a signed checkpoint of the log. Optional: bundles then say that nothing does.
	Prover audit.Prover
	// Live looks up a connected worker. Optional.
	Live func(key []byte) (Live, bool)
	// Public reports content that anyone may fetch beside the admitted modules: the challenge modules. Optional.
	Public func(sum [32]byte) bool
	// Ledger is the ledger that is shared with others. Optional: without it LedgerService is not there.
	Ledger Ledger
	// Mesh says who this orchestrator is connected with. Optional: without it MeshService is not there.
	Mesh func(ctx context.Context) (*operatorv1.GetMeshResponse, error)
	// Address is what visitors are told apart by, an address or a network. Optional: the connection's.
	Address func(r *http.Request) netip.Prefix
	// Ready reports why the process cannot serve yet, or no longer. Optional.
	Ready func(ctx context.Context) error
}
