package settlement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/projections"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// orderer makes blocks of a real chain from what is submitted, as a single validator's engine does.
type orderer struct {
	t     testing.TB
	chain *chain.Chain
	maker *chaintest.Maker // its keys

	mu   sync.Mutex
	pool [][]byte
}

func (o *orderer) Submit(_ context.Context, tx []byte) (ledger.Hash, error) {
	c, err := o.chain.Check(tx)
	if err != nil {
		return ledger.Hash{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pool = append(o.pool, tx)
	return c.ID(), nil
}

// order makes a block now and then until ctx ends.
func (o *orderer) order(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		txs := o.pool
		o.pool = nil
		o.mu.Unlock()
		if len(txs) == 0 {
			continue
		}
		set := o.chain.Validators()
		at := chain.Place{Height: o.chain.Height() + 1, Proposer: chaintest.Public(o.maker.Validators[0]), ValidatorsVersion: set.Version}
		header, err := o.chain.Propose(at, txs, time.Now())
		if err == nil {
			err = o.chain.Commit(&ledgerv1.Block{Header: header, Transactions: txs}, o.maker.Certify(header))
		}
		if err != nil {
			o.t.Error(err)
			return
		}
	}
}

// TestLive is the whole road as a process has it: a log on disk, a runner, a chain on disk, restarts in between.
func TestLive(t *testing.T) {
	dir := t.TempDir()
	log, err := pebblelog.Open(filepath.Join(dir, "log"), pebblelog.Options{Logger: quiet})
	must(t, err)
	defer log.Close()
	maker := chaintest.New(t, 1, 1)
	c, err := chain.Open(chain.Config{Dir: filepath.Join(dir, "chain"), Genesis: maker.Genesis})
	must(t, err)
	defer c.Close()
	o := &orderer{t: t, chain: c, maker: maker}
	conf := Config{
		Key: maker.Validators[0], Ledger: On(c, o), Log: log, File: filepath.Join(dir, "settlement", "book"), Share: 1,
		Linger: 20 * time.Millisecond, SaveEvery: 50 * time.Millisecond, AnchorEvery: 30 * time.Millisecond,
		Prices: settle.Schedule{PerMegafuel: 1_000}, Logger: quiet,
		Checkpoint: growing(maker.Validators[0]),
		Referee:    func(context.Context, string) ([32]byte, error) { return checksum(honest), nil },
	}
	const rounds, jobs = 3, 50
	for round := range rounds {
		s, err := Open(t.Context(), conf)
		must(t, err)
		runner, err := projections.NewRunner(log, projections.Options{Logger: quiet}, s)
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { o.order(ctx) })
		all.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if err := runner.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for n := range jobs {
			sc := &scene{t: t, cmds: uint64(1+round*jobs+n) * 1000}
			sc.into(log, fmt.Sprintf("j-%d-%d", round, n), 2+n%3, n%2)
		}
		want := uint64((round + 1) * jobs)
		await(t, func() bool {
			st := s.Status()
			return st.Paid == want && st.Doubts == 0 && st.Waiting+st.Sent == 0 && st.Anchored > uint64(round) || round < rounds-1 && st.Paid+20 > want
		}, func() any { return s.Status() })
		stop()
		all.Wait()
		if round == 1 {
			must(t, s.Close()) // the others are killed
		}
		if st := s.Status(); st.Refused != 0 || st.Failed != nil {
			t.Fatalf("%+v %+v", st, st.LastRefusal)
		}
	}
	slashed := 0
	for n := range 14 {
		a, _ := c.State().Account(pub(n + 2))
		slashed += int(a.Contradicted)
	}
	want := 0
	for n := range jobs {
		if n%2 == 1 && n%3 > 0 { // a liar against three or four
			want += rounds
		}
	}
	if slashed != want {
		t.Errorf("%d workers were slashed, want %d", slashed, want)
	}
}

// into writes a whole job into any log.
func (sc *scene) into(log events.Log, id string, good, bad int) {
	own := memlog.New()
	defer own.Close()
	sc.log = own
	sc.job(id, quorum, good, bad)
	for r, err := range own.ReadAll(context.Background(), 0, events.Filter{}) {
		must(sc.t, err)
		_, err = log.Append(context.Background(), r.Stream, events.Any, r.Draft)
		must(sc.t, err)
	}
}

func await(t *testing.T, done func() bool, what func() any) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %+v", what())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// growing makes checkpoints of a log that grows each time it is asked.
func growing(key ed25519.PrivateKey) func() ([]byte, error) {
	size := int64(0)
	return func() ([]byte, error) {
		size++
		return head(key, size, byte(size)), nil
	}
}

func head(key ed25519.PrivateKey, size int64, root byte) []byte {
	h := checkpoint.Head{Origin: checkpoint.Origin(key.Public().(ed25519.PublicKey)), Size: size, Root: [32]byte{root}}
	signed, err := checkpoint.Sign(h, key)
	if err != nil {
		panic(err)
	}
	return signed
}

func TestAnchors(t *testing.T) {
	newest, asked := head(keys[0], 5, 1), 0
	sc := newScene(t, 10_000_000, func(c *Config) {
		c.AnchorEvery = 10 * time.Second
		c.Checkpoint = func() ([]byte, error) { asked++; return newest, nil }
	}, nil)
	rounds := func() {
		for range 30 { // a minute
			sc.step()
		}
	}
	transactions := func() int { return sc.chain.codes[ledgerv1.ReceiptCode_RECEIPT_CODE_OK] }
	rounds()
	if a := sc.chain.State().Anchor(pub(0)); a.GetSize() != 5 || transactions() != 1 || asked != 6 {
		t.Fatalf("%v in %d transactions, asked %d times", a, transactions(), asked)
	}
	newest = head(keys[0], 7, 1)
	rounds()
	if st := sc.s.Status(); st.Anchored != 7 || transactions() != 2 || st.Err != nil {
		t.Fatalf("%+v in %d transactions", st, transactions())
	}
	for name, bad := range map[string][]byte{
		"shorter": head(keys[0], 6, 1), "another root": head(keys[0], 7, 2), "another key": head(keys[1], 9, 1), "damaged": []byte("log\n1\n"),
	} {
		newest, sc.s.trouble = bad, nil
		rounds()
		if st := sc.s.Status(); st.Anchored != 7 || transactions() != 2 || st.Err == nil || st.Refused != 0 {
			t.Fatalf("%s: %+v in %d transactions", name, st, transactions())
		}
	}
	newest = nil
	rounds()
	newest = head(keys[0], 9, 3)
	sc.job("j", quorum, 2, 0)
	sc.finish()
	sc.payments(1)
	rounds()
	if sc.s.Status().Anchored != 9 {
		t.Errorf("%+v", sc.s.Status())
	}
}

// TestTheLogIsTheQueue holds that what cannot be sent waits in the log, and that others are not held up by it.
func TestTheLogIsTheQueue(t *testing.T) {
	sc := newScene(t, 1_000_000_000, nil, nil)
	sc.s.now = time.Now
	sc.s.pace = newPacer(1, time.Now, threadTime)
	sc.s.config.Linger = 10 * time.Millisecond
	const jobs = maxWaiting + 64*32 + 600
	fact := worked("j", 0, 2, honest)
	for n := range jobs {
		id := fmt.Sprint("j", n)
		sc.write("job-"+id, submitted(id))
		for slot := range uint32(2) { // their signatures are wrong, and nobody looks before Submit
			sc.write(fmt.Sprintf("assignment-%s-%d", id, slot), takenBy(fact, int(slot)+2)...)
		}
		sc.write("job-"+id, verdict())
	}
	other := &counter{}
	runner, err := projections.NewRunner(sc.log, projections.Options{Logger: quiet}, sc.s, other)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	sc.chain.deny = context.DeadlineExceeded
	all.Go(func() { must(t, runner.Run(ctx)) })
	all.Go(func() { must(t, sc.s.Run(ctx)) })
	end, err := sc.log.Head(ctx)
	must(t, err)
	must(t, runner.WaitFor(ctx, "counter", end))
	await(t, func() bool { st := sc.s.Status(); return st.Sent == settle.MaxSent && st.Waiting >= maxWaiting }, func() any { return sc.s.Status() })
	st := sc.s.Status()
	if st.Waiting > maxWaiting+1024 || st.Position >= end {
		t.Fatalf("%d wait at %d of %d", st.Waiting, st.Position, end)
	}
}

// TestEnds holds that who waits for room is told when nothing is settled any more.
func TestEnds(t *testing.T) {
	few := func(p *ledgerv1.Params) { p.EvidenceBlocks, p.UnbondingBlocks, p.CorrelationBlocks = 30, 60, 30 }
	sc := newScene(t, 10_000_000, nil, few)
	facts := worked("j", 0, 2, honest)
	for n := range maxWaiting {
		id := fmt.Sprint("j", n)
		sc.write("job-"+id, submitted(id))
		for slot := range uint32(2) {
			sc.write(fmt.Sprintf("assignment-%s-%d", id, slot), takenBy(facts, int(slot)+2)...)
		}
		sc.write("job-"+id, verdict())
	}
	sc.hear(1 << 20)
	applied := make(chan error)
	go func() { applied <- sc.apply(1) }()
	for range 31 {
		sc.chain.block()
	}
	sc.chain.low = 31
	sc.chain.deny = context.DeadlineExceeded
	if err := sc.s.Run(t.Context()); !errors.Is(err, ErrForgotten) {
		t.Fatalf("ends with %v", err)
	}
	if err := <-applied; !errors.Is(err, ErrForgotten) {
		t.Errorf("who waited is told %v", err)
	}
	if st := sc.s.Status(); !errors.Is(st.Failed, ErrForgotten) {
		t.Errorf("%+v", st)
	}
}

// counter is another projection.
type counter struct {
	mu sync.Mutex
	at events.Position
}

func (c *counter) Name() string          { return "counter" }
func (c *counter) Filter() events.Filter { return events.Filter{} }
func (c *counter) Position() events.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *counter) Apply(_ context.Context, _ []events.Record, upTo events.Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = upTo
	return nil
}

func (c *counter) Reset(context.Context) error { return nil }

// TestShare holds the time worked to its share of the time gone by.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(0.2, time.Now, nil)
		begin := time.Now()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for range 100 {
					end := p.work()
					time.Sleep(7 * time.Millisecond) // work
					end()
					p.rest(t.Context())
				}
			})
		}
		all.Wait()
		took := time.Since(begin)
		if share := float64(p.total()) / float64(took); share > 0.21 || share < 0.17 {
			t.Errorf("worked %s of %s", p.total(), took)
		}
		end := p.work()
		time.Sleep(time.Hour) // a call that hung
		end()
		at := time.Now()
		p.rest(t.Context())
		if d := time.Since(at); d > 10*time.Second {
			t.Errorf("rests %s", d)
		}
	})
}

// TestSleeps holds that an idle settlement does next to nothing.
func TestSleeps(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	if d := sc.s.sleepFor(); d != idle {
		t.Errorf("sleeps %s with nothing to do", d)
	}
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	if d := sc.s.sleepFor(); d > sc.s.config.Linger || d < sc.s.config.Linger/2 {
		t.Errorf("sleeps %s with a deed that waits", d)
	}
	sc.pass()
	if d := sc.s.sleepFor(); d < 8*time.Second || d > 10*time.Second {
		t.Errorf("sleeps %s with a transaction on its way", d)
	}
	sc.chain.block()
	sc.follow()
	if d := sc.s.sleepFor(); d < 10*time.Second || d > 30*time.Second {
		t.Errorf("sleeps %s with a book to be stored", d)
	}
	sc.clock = sc.clock.Add(time.Minute)
	writes := sc.shelf.writes
	sc.s.pass(t.Context())
	if sc.shelf.writes != writes+1 || sc.s.sleepFor() != idle {
		t.Errorf("%d writes, sleeps %s", sc.shelf.writes-writes, sc.s.sleepFor())
	}
}

// TestThreadTime holds that what a piece of work takes is counted, and waiting is not.
func TestThreadTime(t *testing.T) {
	p := newPacer(1, time.Now, threadTime)
	end := p.work()
	for from := p.spent(); p.spent()-from < 3*time.Millisecond; {
	}
	time.Sleep(50 * time.Millisecond)
	end()
	if d := p.total(); d < 3*time.Millisecond || runtime.GOOS == "linux" && d > 40*time.Millisecond {
		t.Errorf("counted %s", d)
	}
}
