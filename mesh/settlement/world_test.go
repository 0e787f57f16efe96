package settlement

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/mesh/chain"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const chainID = "test-1"

var quiet = slog.New(slog.DiscardHandler)

var keys = func() (k [24]ed25519.PrivateKey) {
	for n := range k {
		k[n] = ed25519.NewKeyFromSeed(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n)+1))
	}
	return k
}()

func pub(n int) []byte { return keys[n].Public().(ed25519.PublicKey) }

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must(t fatal, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// Keys 0 and 1 are orchestrators, 2 to 15 workers, 20 a rich client.
func genesis(t fatal, balance uint64, change func(*ledgerv1.Params)) []byte {
	t.Helper()
	p := ledger.DefaultParams()
	p.WindowBlocks, p.Fee, p.EvidenceBlocks, p.ClaimBlocks, p.UnbondingBlocks = 20, 1, 2_000, 3, 4_000
	if change != nil {
		change(p)
	}
	g := &ledgerv1.Genesis{
		ChainId: chainID, TimeUs: 1_000_000, Params: p,
		Validators: []*ledgerv1.Validator{{Key: pub(0)}},
		Endowments: []*ledgerv1.Endowment{
			{Key: pub(0), Balance: balance, Stake: p.MinValidatorStake},
			{Key: pub(1), Balance: balance, Stake: p.MinValidatorStake},
			{Key: pub(2), Stake: 1 << 40},
			{Key: pub(6), Stake: 1_000},
			{Key: pub(20), Balance: 1_000_000_000},
		},
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(g)
	must(t, err)
	return b
}

// toy is a chain in memory that orders what it is told to.
type toy struct {
	t       fatal
	genesis ledger.Hash
	now     func() time.Time

	mu       sync.Mutex
	state    ledger.State
	pool     []ledger.Checked
	blocks   []chain.Committed // from height 1 on
	low      uint64            // blocks below are gone
	changed  chan struct{}
	paid     map[string]int // by sender and job: blocks that paid
	slashed  map[string]int
	codes    map[ledgerv1.ReceiptCode]int
	submits  int
	deny     error                  // what Submit answers
	onSubmit func([]byte) error     // asked first
	drop     func(ledger.Hash) bool // lost on the way
}

func newToy(t fatal, encoded []byte, now func() time.Time) *toy {
	t.Helper()
	state, header, err := ledger.Genesis(encoded)
	must(t, err)
	return &toy{
		t: t, genesis: seal.HeaderHash(header), now: now, state: state, changed: make(chan struct{}), low: 1,
		paid: map[string]int{}, slashed: map[string]int{}, codes: map[ledgerv1.ReceiptCode]int{},
	}
}

func (c *toy) State() ledger.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *toy) Genesis() ledger.Hash { return c.genesis }

func (c *toy) Submit(_ context.Context, tx []byte) (ledger.Hash, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deny != nil {
		return ledger.Hash{}, c.deny
	}
	if c.onSubmit != nil {
		if err := c.onSubmit(tx); err != nil {
			return ledger.Hash{}, err
		}
	}
	checked, err := ledger.Check(chainID, tx)
	if err != nil {
		return ledger.Hash{}, err
	}
	c.submits++
	if c.drop != nil && c.drop(checked.ID()) {
		return checked.ID(), nil
	}
	c.pool = append(c.pool, checked)
	return checked.ID(), nil
}

// block orders what is in the pool.
func (c *toy) block() {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, err := c.state.Propose(c.now().UnixMicro(), pub(0), c.pool)
	must(c.t, err)
	for i, r := range next.Receipts {
		c.codes[r.Code]++
		if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			continue
		}
		body := c.pool[i].Body()
		for _, a := range body.Actions {
			if t := a.GetTaskVerified(); t != nil {
				c.paid[who(body.Sender, t.Decision.Job)]++
			}
			if t := a.GetConsensusMismatch(); t != nil {
				c.slashed[who(body.Sender, t.Decision.Job)]++
			}
		}
	}
	c.pool, c.state = nil, next.State
	c.blocks = append(c.blocks, chain.Committed{
		Height: c.state.Height(), Receipts: next.Receipts,
		Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: next.Header}},
	})
	close(c.changed)
	c.changed = make(chan struct{})
	if s := c.state.Supply(); s.Balances+s.Stakes+s.Escrows+s.Penalties+s.Treasury+s.Burned != s.Total {
		c.t.Fatalf("supply is not conserved: %v", s)
	}
}

func who(sender []byte, job string) string { return fmt.Sprintf("%x/%s", sender[:4], job) }

func (c *toy) Follow(from uint64) Blocks { return &toyBlocks{c, from} }

type toyBlocks struct {
	c    *toy
	next uint64
}

func (b *toyBlocks) Next(ctx context.Context) (chain.Committed, error) {
	for {
		b.c.mu.Lock()
		changed, n, low := b.c.changed, uint64(len(b.c.blocks)), b.c.low
		switch {
		case b.next < low:
			b.c.mu.Unlock()
			return chain.Committed{}, chain.ErrPruned
		case b.next <= n:
			out := b.c.blocks[b.next-1]
			b.next++
			b.c.mu.Unlock()
			return out, nil
		}
		b.c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return chain.Committed{}, context.Cause(ctx)
		}
	}
}

func (b *toyBlocks) Skip() uint64 {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	b.next = max(b.next, b.c.low)
	return b.next
}

// memory is a shelf that can fail before or after it has written.
type memory struct {
	file   []byte
	writes int
	before error // failed and not persisted
	after  error // failed but persisted
}

func (m *memory) read() ([]byte, error) {
	if m.file == nil {
		return nil, os.ErrNotExist
	}
	return bytes.Clone(m.file), nil
}

func (m *memory) write(b []byte) error {
	if m.before != nil {
		return m.before
	}
	m.writes++
	m.file = bytes.Clone(b)
	return m.after
}

// scene is a log, a chain and a settlement between them, worked by hand.
type scene struct {
	t     fatal
	log   *memlog.Log
	chain *toy
	shelf *memory
	s     *Settlement
	clock time.Time
	conf  Config
	jobs  []string // that must be paid
	cmds  uint64
}

func newScene(t fatal, balance uint64, change func(*Config), params func(*ledgerv1.Params)) *scene {
	t.Helper()
	sc := &scene{t: t, log: memlog.New(), shelf: &memory{}, clock: time.Now()}
	sc.chain = newToy(t, genesis(t, balance, params), sc.now)
	sc.conf = Config{
		Key: keys[0], Ledger: sc.chain, Log: sc.log, File: "-", Life: 10, Share: 1,
		Prices: settle.Schedule{PerMegafuel: 1_000, Least: 5}, Logger: quiet,
	}
	if change != nil {
		change(&sc.conf)
	}
	sc.start()
	return sc
}

func (sc *scene) now() time.Time { return sc.clock }

// start opens the settlement on what is on the shelf, as after a crash.
func (sc *scene) start() {
	sc.t.Helper()
	var err error
	sc.s, err = open(context.Background(), sc.conf, sc.shelf, sc.now, nil)
	must(sc.t, err)
}

func (sc *scene) write(stream string, facts ...events.Fact) {
	sc.t.Helper()
	sc.cmds++
	write(sc.t, sc.log, sc.cmds, stream, facts...)
}

func write(t fatal, log events.Log, n uint64, stream string, facts ...events.Fact) {
	t.Helper()
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID([]byte(stream), binary.BigEndian.AppendUint64(nil, n))}, facts)
	must(t, err)
	_, err = log.Append(context.Background(), stream, events.Any, drafts...)
	must(t, err)
}

func submitted(job string) *eventv1.JobSubmitted {
	m, in := sha256.Sum256([]byte("m")), sha256.Sum256([]byte(job))
	return &eventv1.JobSubmitted{
		Spec: &eventv1.JobSpec{
			Module: m[:], Input: &eventv1.BlobRef{Sha256: in[:]}, FuelLimit: 5_000_000, Kind: eventv1.JobKind_JOB_KIND_STANDARD,
		},
		Policy: &eventv1.JobPolicy{MaxReplicas: 7}, Slots: 2,
	}
}

// worked is what a worker's slot writes. Answers with the same fuel agree.
func worked(job string, slot uint32, worker int, fuel uint64) []events.Fact {
	out := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	st := proof.Statement{
		Job: job, Slot: slot, Token: 77, Module: sha256.Sum256([]byte("m")), Input: sha256.Sum256([]byte(job)),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: out,
	}
	return []events.Fact{
		&eventv1.AssignmentDispatched{Attempt: 1, Worker: pub(worker), Token: 77},
		&eventv1.ResultReturned{
			Attempt: 1, Status: st.Status, Output: &eventv1.BlobRef{Sha256: out[:]}, Fuel: fuel, Attestation: st.Sign(keys[worker]),
		},
	}
}

func checksum(fuel uint64) [32]byte {
	return proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, fuel, sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel)))
}

const (
	quorum  = eventv1.VerdictBasis_VERDICT_BASIS_QUORUM
	referee = eventv1.VerdictBasis_VERDICT_BASIS_REFEREE
	honest  = 2_000_000 // fuel
	lies    = 1_000_000
)

// job writes a whole job with so many honest workers and liars.
func (sc *scene) job(id string, basis eventv1.VerdictBasis, good, bad int) {
	sc.t.Helper()
	sc.write("job-"+id, submitted(id))
	verdict := &eventv1.TaskVerified{Fuel: honest, Basis: basis}
	sum := checksum(honest)
	verdict.Checksum = sum[:]
	for n := range uint32(good + bad) {
		fuel := uint64(honest)
		if int(n) < good {
			verdict.Agreeing = append(verdict.Agreeing, n)
		} else {
			verdict.Contradicted = append(verdict.Contradicted, n)
			fuel = lies
		}
		sc.write(actors.SlotAddress(id, n).Stream(), worked(id, n, int(n)+2, fuel)...)
	}
	sc.write("job-"+id, verdict)
	sc.jobs = append(sc.jobs, id)
}

// hear applies at most n records of the log.
func (sc *scene) hear(n int) {
	sc.t.Helper()
	must(sc.t, sc.apply(n))
}

func (sc *scene) apply(n int) error {
	var batch []events.Record
	upTo := sc.s.Position()
	for r, err := range sc.log.ReadAll(context.Background(), upTo, sc.s.Filter()) {
		must(sc.t, err)
		if len(batch) == n {
			break
		}
		batch = append(batch, r)
		upTo = r.Pos
	}
	return sc.s.Apply(context.Background(), batch, upTo)
}

// pass lets time go by and the sender look.
func (sc *scene) pass() {
	sc.clock = sc.clock.Add(2 * time.Second)
	sc.s.pass(context.Background())
}

// follow hears the blocks that are there.
func (sc *scene) follow() {
	sc.t.Helper()
	must(sc.t, sc.tryFollow())
}

func (sc *scene) tryFollow() error {
	for {
		ctx, end := context.WithCancel(context.Background())
		end()
		if next := sc.s.blocks.(*toyBlocks).next; next > sc.chain.State().Height() {
			return nil
		}
		b, err := sc.s.blocks.Next(ctx)
		if errors.Is(err, chain.ErrPruned) {
			if err := sc.s.skip(); err != nil {
				return err
			}
			continue
		}
		must(sc.t, err)
		sc.s.block(b)
	}
}

func (sc *scene) step() {
	sc.t.Helper()
	sc.pass()
	sc.chain.block()
	sc.follow()
}

// finish goes on until nothing is left to be done.
func (sc *scene) finish() {
	sc.t.Helper()
	for range 300 {
		sc.hear(1 << 20)
		sc.step()
		if st := sc.s.Status(); st.Waiting+st.Sent == 0 {
			return
		}
	}
	st := sc.s.Status()
	sc.t.Fatalf("never done: %+v, refusal %+v", st, st.LastRefusal)
}

// payments checks that each job was paid so often.
func (sc *scene) payments(want int) {
	sc.t.Helper()
	for _, j := range sc.jobs {
		if got := sc.chain.paid[who(pub(0), j)]; got != want {
			sc.t.Fatalf("job %s was paid %d times, want %d", j, got, want)
		}
	}
}

// give makes a transfer of the rich client wait for the next block.
func (sc *scene) give(to int, amount uint64) {
	sc.t.Helper()
	tx := ledger.Sign(&ledgerv1.Transaction{
		ChainId: chainID, Sender: pub(20), Salt: make([]byte, 16), ValidUntil: sc.chain.State().Height() + 1,
		Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: pub(to), Amount: amount}}}},
	}, keys[20])
	c, err := ledger.Check(chainID, tx)
	must(sc.t, err)
	sc.chain.pool = append(sc.chain.pool, c)
}

// takenBy is what another worker would write, with a signature that is none.
func takenBy(facts []events.Fact, worker int) []events.Fact {
	d := proto.CloneOf(facts[0].(*eventv1.AssignmentDispatched))
	d.Worker = pub(worker)
	return []events.Fact{d, facts[1]}
}

func verdict() *eventv1.TaskVerified {
	sum := checksum(honest)
	return &eventv1.TaskVerified{Fuel: honest, Basis: quorum, Checksum: sum[:], Agreeing: []uint32{0, 1}}
}
