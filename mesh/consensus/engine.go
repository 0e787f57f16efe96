package consensus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The refusals of an engine.
var (
	ErrRefused = errors.New("transaction refused")
	ErrTooBig  = errors.New("transaction too big")
	ErrFull    = errors.New("too many transactions wait")
	ErrClosed  = errors.New("engine is closed")
	ErrFailed  = errors.New("engine has given up")
	ErrLibrary = errors.New("smartbft gave up")
	ErrBlock   = errors.New("block refused")
	ErrFork    = errors.New("two certified blocks of one height")
)

// Role is what an engine does at present.
type Role string

// The roles.
const (
	Starting  Role = "starting"  // catches up, will vote
	Validator Role = "validator" // votes
	Observer  Role = "observer"  // follows: it is no validator, or must not vote yet
	Failed    Role = "failed"
)

// Status is a look at an engine.
type Status struct {
	Role     Role
	Height   uint64
	Leader   Key    // zero when this one does not vote
	Pending  int    // transactions accepted here that are in no block yet
	Dropped  uint64 // messages that no queue had room for
	Restarts uint64 // of the ordering, since Open
	Err      error  // why it has failed
}

// Engine orders transactions with other validators, or follows them.
type Engine struct {
	cfg     Config
	self    Key
	log     *slog.Logger
	pending *pending
	witness *witness

	// chain guards the Application's Propose, Verify, Commit and Validators, and writes to height and current.
	chain   sync.Mutex
	height  atomic.Uint64 // of the last committed block
	current atomic.Pointer[members]

	running atomic.Pointer[instance] // nil: does not vote
	role    atomic.Value             // Role
	failure atomic.Pointer[error]

	hint     atomic.Uint64 // highest height heard of
	dropped  atomic.Uint64
	restarts atomic.Uint64

	cancel context.CancelFunc
	ctx    context.Context // ends with Close; only for what has no context of its own
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once
}

// Open starts an engine at the height of its Application. It returns at once: the engine catches up by itself.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, self: Key(cfg.Key[len(cfg.Key)-len(Key{}):]), log: cfg.Log, pending: newPending(cfg.PoolSize),
		witness: newWitness(cfg.Chain, cfg.OnEquivocation), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	e.role.Store(Starting)
	if err := e.load(); err != nil {
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	cfg.Transport.Receive(e.receive)
	e.meet()
	go e.run(e.ctx)
	return e, nil
}

// load reads where the chain is.
func (e *Engine) load() error {
	e.chain.Lock()
	defer e.chain.Unlock()
	if err := e.reload(); err != nil {
		return err
	}
	h := e.height.Load()
	for i := h - min(h, 64) + 1; i <= h; i++ {
		b, err := e.cfg.Application.Block(i)
		if err != nil {
			continue // a snapshot has no blocks before it
		}
		e.pending.committed(idsOf(b.GetBlock().GetTransactions()))
	}
	return nil
}

// reload takes over height and validators; chain is held.
func (e *Engine) reload() error {
	set, err := e.cfg.Application.Validators()
	if err != nil {
		return fmt.Errorf("validators: %w", err)
	}
	e.height.Store(e.cfg.Application.Height())
	if m := e.current.Load(); m != nil && m.set.Version == set.Version {
		return nil
	}
	m, err := newMembers(set)
	if err != nil {
		return err
	}
	e.current.Store(m)
	return nil
}

func (e *Engine) members() *members { return e.current.Load() }

// meet tells the transport whom to talk to.
func (e *Engine) meet() {
	m := e.members()
	e.cfg.Transport.Peers(m.set.Validators, maxFrame(len(m.nodes)))
}

// Submit accepts a transaction: while this process lives, it is offered until it is in a block. It waits for room while
// ctx allows. A transaction that is known already is accepted again without effect. An observer accepts, too, for the
// time when it votes; who submits to it spreads the transaction by other ways (gossip) as well.
func (e *Engine) Submit(ctx context.Context, tx []byte) error {
	if len(tx) == 0 || len(tx) > e.cfg.TxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooBig, len(tx), e.cfg.TxBytes)
	}
	switch {
	case e.failure.Load() != nil:
		return ErrFailed
	case e.ctx.Err() != nil:
		return ErrClosed
	}
	id := sha256.Sum256(tx)
	if e.pending.known(id) {
		return nil
	}
	if err := e.cfg.Application.Check(tx); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	fresh, err := e.pending.add(ctx, id, tx)
	if err != nil || !fresh {
		return err
	}
	if in := e.running.Load(); in != nil && in.leads() {
		in.offer(id, tx)
	}
	return nil
}

// offer puts a transaction into the library's pool. What it cannot take now is offered again.
func (in *instance) offer(id txID, tx []byte) {
	if in.ready.Load() {
		in.offered.Store(&offered{tx, infoOf(id)})
		_ = in.core.SubmitRequest(tx)
	}
}

// Validators are those who agree on the next block.
func (e *Engine) Validators() *ledgerv1.ValidatorSet {
	return proto.Clone(e.members().set).(*ledgerv1.ValidatorSet)
}

// Height is of the last committed block.
func (e *Engine) Height() uint64 { return e.height.Load() }

// Heard says that there is a block of this height. It MUST be known for certain: its certificate was verified.
func (e *Engine) Heard(height uint64) {
	for {
		h := e.hint.Load()
		if height <= h {
			return
		}
		if e.hint.CompareAndSwap(h, height) {
			break
		}
	}
	if e.running.Load() == nil {
		e.nudge()
	}
}

// Status looks at the engine.
func (e *Engine) Status() Status {
	s := Status{
		Role: e.role.Load().(Role), Height: e.height.Load(), Pending: e.pending.size(), Dropped: e.dropped.Load(),
		Restarts: e.restarts.Load(),
	}
	if err := e.failure.Load(); err != nil {
		s.Role, s.Err = Failed, *err
	}
	if in := e.running.Load(); in != nil && in.ready.Load() {
		m := e.members()
		s.Leader = m.keys[m.leader(in.view.Load())]
	}
	return s
}

// Close stops voting and following and returns when all of it has ended.
func (e *Engine) Close() error {
	var err error
	e.once.Do(func() {
		e.cancel()
		<-e.done
		err = e.cfg.Transport.Close()
	})
	return err
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// giveUp is for what no new start heals: the disk does not take blocks, or a quorum has signed what is none.
func (e *Engine) giveUp(err error) {
	if !e.failure.CompareAndSwap(nil, &err) {
		return
	}
	e.log.Error("engine has given up", "err", err)
	e.nudge()
	if e.cfg.OnFailure != nil {
		go e.cfg.OnFailure(err)
	}
}

// receive takes a frame of a peer.
func (e *Engine) receive(from Key, frame []byte) error {
	m, tx, err := decodeFrame(frame, e.cfg.TxBytes)
	if err != nil {
		return err
	}
	in := e.running.Load()
	if in == nil || !in.ready.Load() || !e.members().has(from) || from == e.self {
		return nil
	}
	if in.paces.wait(in.ctx, from, len(frame)) != nil {
		return nil
	}
	if tx != nil {
		in.core.HandleRequest(nodeOf(from), tx)
		return nil
	}
	if c := m.GetCommit(); c != nil {
		e.witness.saw(from, voteOfCommit(c), e.height.Load())
	}
	in.in.take(nodeOf(from), m, len(frame))
	return nil
}

// ErrFrame says that a peer sent what is no message.
var ErrFrame = errors.New("malformed frame")

func decodeFrame(frame []byte, maxTx int) (m *message, tx []byte, err error) {
	if len(frame) < 2 {
		return nil, nil, ErrFrame
	}
	switch frame[0] {
	case frameConsensus:
		m := new(message)
		if err := proto.Unmarshal(frame[1:], m); err != nil || m.GetContent() == nil {
			return nil, nil, fmt.Errorf("%w: consensus", ErrFrame)
		}
		return m, nil, nil
	case frameTransaction:
		if len(frame)-1 > maxTx {
			return nil, nil, fmt.Errorf("%w: transaction of %d bytes", ErrFrame, len(frame)-1)
		}
		return nil, frame[1:], nil
	}
	return nil, nil, fmt.Errorf("%w: kind %d", ErrFrame, frame[0])
}

// commit hands a certified block to the application and moves on; chain is held.
func (e *Engine) commit(block *ledgerv1.Block, ids []txID, c *ledgerv1.Certificate) error {
	version := e.members().set.Version
	if err := e.cfg.Application.Commit(block, c); err != nil {
		return fmt.Errorf("commit height %d: %w", c.Height, err)
	}
	if err := e.reload(); err != nil {
		return err
	}
	if h := e.height.Load(); h != c.Height {
		return fmt.Errorf("commit height %d: the application is at %d", c.Height, h)
	}
	e.pending.committed(ids)
	if in := e.running.Load(); in != nil {
		in.in.moved()
	}
	e.witness.sawCertificate(c, version, c.Height)
	if e.members().set.Version != version {
		e.meet()
	}
	return nil
}

// accept takes a block that a peer has: its certificate is all that is trusted.
func (e *Engine) accept(b *ledgerv1.CertifiedBlock) error {
	e.chain.Lock()
	defer e.chain.Unlock()
	h, err := light.ParseHeader(e.cfg.Chain, b.GetBlock().GetHeader())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBlock, err)
	}
	switch tip := e.height.Load(); {
	case h.Height <= tip:
		return nil
	case h.Height > tip+1:
		return fmt.Errorf("%w: height %d after %d", ErrBlock, h.Height, tip)
	}
	m := e.members()
	if err := light.VerifyCertificate(b.Block.Header, m.set, b.GetCertificate()); err != nil {
		return fmt.Errorf("%w: %w", ErrBlock, err)
	}
	d, err := decisionOf(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBlock, err)
	}
	if _, err := decodePayload(d.Proposal.Payload); err != nil {
		return fmt.Errorf("%w: %w", ErrBlock, err)
	}
	if err := binds(e.cfg.Chain, d.Proposal, b.Block.Transactions); err != nil {
		return fmt.Errorf("%w: %w", ErrBlock, err)
	}
	if err := e.commit(b.Block, idsOf(b.Block.Transactions), e.trim(b.Certificate, m)); err != nil {
		return err
	}
	if in := e.running.Load(); in != nil {
		for _, tx := range b.Block.Transactions {
			in.forget(tx)
		}
	}
	return nil
}

// trim leaves only true votes in a certificate that has been verified: peers look at every one of them.
func (e *Engine) trim(c *ledgerv1.Certificate, m *members) *ledgerv1.Certificate {
	if len(c.Signatures) == m.quorum {
		return c
	}
	trimmed := proto.Clone(c).(*ledgerv1.Certificate)
	vote := seal.VoteOf(c, m.set.Version)
	seen := map[string]bool{}
	trimmed.Signatures = slices.DeleteFunc(trimmed.Signatures, func(s *ledgerv1.ValidatorSignature) bool {
		if seen[string(s.Validator)] || !light.Member(m.set, s.Validator) || !seal.VerifyVote(e.cfg.Chain, vote, s.Validator, s.Signature) {
			return true
		}
		seen[string(s.Validator)] = true
		return false
	})
	return trimmed
}

func (e *Engine) decision(height uint64) (bft.Decision, error) {
	b, err := e.cfg.Application.Block(height)
	if err != nil {
		return bft.Decision{}, fmt.Errorf("block %d: %w", height, err)
	}
	return decisionOf(b)
}
