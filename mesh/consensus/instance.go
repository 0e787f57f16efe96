package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hyperledger-labs/SmartBFT/pkg/consensus"
	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"
	"github.com/hyperledger-labs/SmartBFT/pkg/wal"
	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"
)

// instance is one run of the library, from a start to a stop. The engine has one at most, and makes another when this
// one has failed or lags behind.
type instance struct {
	engine   *Engine
	node     uint64
	config   bft.Configuration
	core     *consensus.Consensus
	votes    *wal.WriteAheadLogFile
	in       *ingress
	paces    paces
	said     said
	ctx      context.Context // of pulls while it runs
	cancel   context.CancelFunc
	ticks    [3]*time.Ticker
	own      bft.Proposal                 // last one that was made here; guarded by engine.chain
	bound    atomic.Pointer[bft.Proposal] // last one whose header was found to bind all of it
	seen     uint64                       // version of the validators that the library knows; guarded by engine.chain
	restored uint64                       // height of the proposal that was in the log of votes; 0: none
	served   chan struct{}                // closed when the clock of the gate has stopped
	fed      chan struct{}                // closed when nothing is put into the pool any more
	changed  chan struct{}                // another view has begun

	decisions atomic.Uint64 // how many blocks the library has decided on and handed over
	deciding  atomic.Uint64 // number of the one of them that it has not gone on from; 0: none
	lastSent  atomic.Pointer[encoded]
	lastBatch atomic.Pointer[batch]
	offered   atomic.Pointer[offered]
	view      atomic.Uint64 // that has begun last; the library cannot be asked while it takes over other validators
	ready     atomic.Bool   // messages may be handed over
	dead      atomic.Bool
	evicted   atomic.Bool
	failure   atomic.Pointer[error]
}

// startInstance opens the log of votes and runs the library from the last committed block.
func (e *Engine) startInstance(ctx context.Context) (*instance, error) {
	in := &instance{
		engine: e, node: nodeOf(e.self), config: e.cfg.library(nodeOf(e.self)), served: make(chan struct{}),
		fed: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	log := &libraryLog{log: e.log, fail: in.fail, begun: in.begun, decides: in.decides}

	e.chain.Lock()
	height, m := e.height.Load(), e.members()
	in.seen = m.set.Version
	e.chain.Unlock()
	gate := newGate(in.node, m, int(2*e.cfg.Heartbeat/e.cfg.Tick), e.height.Load, func(s *smartbftprotos.SignedViewData) bool {
		return in.VerifySignature(bft.Signature{ID: s.GetSigner(), Msg: s.GetRawViewData(), Value: s.GetSignature()}) == nil
	})
	in.in = newIngress(gate, func(from uint64, m *message) { in.core.HandleMessage(from, m) })

	votes, entries, err := openVoteLog(e.cfg.Dir, log)
	if err != nil {
		return nil, err
	}
	in.votes = votes
	if entries, err = restorable(entries, height); err != nil {
		return nil, errors.Join(err, votes.Close())
	}
	in.remember(entries)
	in.core = &consensus.Consensus{
		Config: in.config, Application: in, Assembler: in, WAL: votes, WALInitialContent: entries, Comm: in, Signer: in,
		Verifier: in, MembershipNotifier: in, RequestInspector: in, Synchronizer: in, Logger: log,
		Metadata: new(smartbftprotos.ViewMetadata),
	}
	if height > 0 {
		last, err := e.decision(height)
		if err != nil {
			return nil, errors.Join(err, votes.Close())
		}
		in.core.LastProposal, in.core.LastSignatures = last.Proposal, last.Signatures
		if err := proto.Unmarshal(last.Proposal.Metadata, in.core.Metadata); err != nil {
			return nil, errors.Join(err, votes.Close())
		}
	}
	for i := range in.ticks {
		in.ticks[i] = time.NewTicker(e.cfg.Tick)
	}
	in.core.Scheduler, in.core.ViewChangerTicker = in.ticks[0].C, in.ticks[1].C
	in.ctx, in.cancel = context.WithCancel(ctx)

	if err := in.start(); err != nil {
		in.cancel()
		for _, t := range in.ticks {
			t.Stop()
		}
		return nil, errors.Join(err, votes.Close())
	}
	in.ready.Store(true)
	go in.clock()
	go in.feed()
	return in, nil
}

// start runs the library's Start on a goroutine of its own, which may end before it returns (libraryLog.Panicf).
func (in *instance) start() error {
	result := make(chan error, 1)
	go func() {
		returned := false
		defer func() {
			if !returned {
				result <- fmt.Errorf("%w: did not start: %w", errStart, *in.failure.Load())
			}
		}()
		err := in.core.Start()
		returned = true
		if err != nil {
			err = fmt.Errorf("%w: %w", errStart, err)
		}
		result <- err
	}()
	return <-result
}

var errStart = errors.New("smartbft does not start")

// clock ticks the gate.
func (in *instance) clock() {
	defer close(in.served)
	for {
		select {
		case <-in.ctx.Done():
			return
		case <-in.ticks[2].C:
			in.in.tick()
		}
	}
}

// errStuck says that the library did not end. Its goroutines are left behind; they can neither send nor vote.
var errStuck = errors.New("smartbft does not stop")

// stop ends the library and returns when nothing of it writes to the log of votes or hands messages over.
func (in *instance) stop() error {
	in.ready.Store(false)
	in.dead.Store(true)
	in.cancel()
	in.in.shut()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		in.core.Stop()
		in.in.wait()
		<-in.served
		<-in.fed
	}()
	patience := time.NewTimer(max(10*time.Second, 4*in.engine.cfg.Heartbeat))
	defer patience.Stop()
	var err error
	select {
	case <-stopped:
	case <-patience.C:
		err = errStuck
	}
	for _, t := range in.ticks {
		t.Stop()
	}
	return errors.Join(err, in.votes.Close())
}

// fail marks the instance as one that cannot go on. The engine replaces it.
func (in *instance) fail(err error) {
	if !in.dead.Load() && in.failure.CompareAndSwap(nil, &err) {
		in.engine.log.Warn("ordering stopped", "err", err)
		in.engine.nudge()
	}
	in.failure.CompareAndSwap(nil, &err)
}

// follow lets the instance know of a change of the validators, and reports whether there was one since it was asked last.
// engine.chain is held.
func (in *instance) follow() bool {
	m := in.engine.members()
	if m.set.Version == in.seen {
		return false
	}
	in.seen = m.set.Version
	in.in.changing(in.engine.height.Load(), m)
	if !m.has(in.engine.self) {
		in.evicted.Store(true)
		in.engine.nudge()
	}
	return true
}
