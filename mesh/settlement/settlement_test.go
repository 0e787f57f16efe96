package settlement

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/settle"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestPays(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		sc := newScene(t, 10_000_000, func(c *Config) { c.Ahead = ahead }, nil)
		for n := range 5 {
			sc.job(fmt.Sprint("j", n), quorum, 2, 0)
		}
		sc.finish()
		sc.payments(1)
		poor, _ := sc.chain.State().Account(pub(3))
		rich, _ := sc.chain.State().Account(pub(2))
		if poor.Balance != 5*1_960 || rich.Balance <= 5*3_900 {
			t.Errorf("ahead %t: paid %d and %d", ahead, poor.Balance, rich.Balance)
		}
		st := sc.s.Status()
		if st.Paid != 5 || st.Refused != 0 || st.Unpaid != 0 || st.Open != 0 || st.LastRefusal != nil || st.Behind != 0 || st.Height != sc.chain.State().Height() {
			t.Errorf("ahead %t: %+v", ahead, st)
		}
		if e := sc.chain.State().Supply().Escrows; e != 0 {
			t.Errorf("ahead %t: %d stay locked", ahead, e)
		}
	}
}

// TestNoJobIsLost takes the log in bites, so that every fact is once the last one before a restart.
func TestRestartAnywhere(t *testing.T) {
	sc := newScene(t, 10_000_000, func(c *Config) { c.Ahead = true }, nil)
	sc.job("a", quorum, 2, 1)
	sc.job("b", referee, 3, 1)
	for range 30 {
		sc.hear(1)
		must(t, sc.s.Close())
		sc.start()
	}
	sc.finish()
	sc.payments(1)
}

func TestSlashesWhatTheRefereeSays(t *testing.T) {
	answers := map[string]func() ([32]byte, error){
		"confirmed": func() ([32]byte, error) { return checksum(honest), nil },
		"denied":    func() ([32]byte, error) { return checksum(lies), nil },
		"failing":   func() ([32]byte, error) { return [32]byte{}, errors.New("no such module") },
	}
	var asked []string
	sc := newScene(t, 10_000_000, func(c *Config) {
		c.Referee = func(_ context.Context, job string) ([32]byte, error) {
			asked = append(asked, job)
			return answers[job]()
		}
	}, nil)
	for _, job := range []string{"failing", "confirmed", "denied"} {
		sc.job(job, quorum, 4, 1)
	}
	sc.finish()
	if len(sc.chain.slashed) != 0 || sc.s.Status().Doubts != 3 {
		t.Fatalf("slashed %v before the referee spoke, %d doubts", sc.chain.slashed, sc.s.Status().Doubts)
	}
	tries := map[string]int{}
	for range 20 {
		if sc.s.inquire(t.Context(), tries) == idleNow {
			break
		}
	}
	sc.finish()
	sc.payments(1)
	if got := sc.chain.slashed; len(got) != 1 || got[who(pub(0), "confirmed")] != 1 {
		t.Errorf("slashed %v", got)
	}
	if fmt.Sprint(asked) != "[failing failing failing confirmed denied]" || sc.s.Status().Doubts != 0 || len(tries) != 0 {
		t.Errorf("asked about %v, %d doubts, tries %v", asked, sc.s.Status().Doubts, tries)
	}
}

func TestRefereeWithoutBudget(t *testing.T) {
	sc := newScene(t, 10_000_000, func(c *Config) {
		c.Referee = func(context.Context, string) ([32]byte, error) { return [32]byte{}, fmt.Errorf("%w: today", ErrBudget) }
	}, nil)
	sc.job("j", quorum, 4, 1)
	sc.finish()
	tries := map[string]int{}
	for range 20 {
		if sc.s.inquire(t.Context(), tries) != unanswered {
			t.Fatal("answered")
		}
	}
	if sc.s.Status().Doubts != 1 {
		t.Error("a doubt was given up for want of budget")
	}
}

func TestQuorumSlashes(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, func(p *ledgerv1.Params) { p.SlashOnQuorum = true })
	sc.job("j", quorum, 4, 1)
	sc.finish()
	if sc.chain.slashed[who(pub(0), "j")] != 1 || sc.s.Status().Doubts != 0 {
		t.Errorf("slashed %v", sc.chain.slashed)
	}
}

func TestDeadLettersComeBack(t *testing.T) {
	sc := newScene(t, 10_000_000, func(c *Config) { c.Ahead = true }, nil)
	sc.write("job-d", submitted("d"))
	sc.hear(99)
	sc.step()
	if sc.chain.State().Escrow(pub(0), "d") == nil {
		t.Fatal("nothing is locked ahead")
	}
	sc.write("job-d", &eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM})
	sc.finish()
	for range 5 {
		sc.chain.block()
	}
	if sc.chain.State().Supply().Escrows != 0 {
		t.Error("a dead letter's money stays locked")
	}
}

func TestNoMoney(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		sc := newScene(t, 50, func(c *Config) { c.Ahead = ahead }, nil)
		for n := range 3 {
			sc.job(fmt.Sprint("j", n), quorum, 2, 0)
		}
		for range 40 {
			sc.hear(99)
			sc.step()
		}
		sc.payments(0)
		st := sc.s.Status()
		if st.Poor == nil || st.Poor.Needed == 0 || st.Refused != 0 {
			t.Fatalf("ahead %t: %+v", ahead, st)
		}
		if n := sc.chain.codes[ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE]; n > 5 {
			t.Errorf("ahead %t: %d transactions failed for want of money", ahead, n)
		}
		sc.give(0, 9_000_000)
		sc.finish()
		sc.payments(1)
		if sc.s.Status().Poor != nil {
			t.Errorf("ahead %t: still poor", ahead)
		}
	}
}

// TestMoneyIsCounted holds that what is on its way is counted: no transaction fails although the money is short.
func TestMoneyIsCounted(t *testing.T) {
	sc := newScene(t, 1_200_000, nil, nil) // for some 150 of 400 jobs at once; what is not used comes back
	for n := range 200 {
		sc.job(fmt.Sprint("j", n), quorum, 2, 0)
	}
	sc.hear(1 << 20)
	sc.pass()
	if st := sc.s.Status(); st.Sent != 7 || len(sc.chain.pool) >= 7 {
		t.Fatalf("%d sealed, %d submitted", st.Sent, len(sc.chain.pool))
	}
	for range 3 {
		sc.step()
	}
	if n := sc.chain.codes[ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE]; n > 0 {
		t.Errorf("%d transactions failed for want of money", n)
	}
	sc.give(0, 9_000_000)
	sc.finish()
	sc.payments(1)
}

func TestLostOnTheWay(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.chain.drop = func(ledger.Hash) bool { return sc.chain.submits <= 3 }
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	for range 60 { // two minutes without a block
		sc.pass()
	}
	if n := sc.chain.submits; n < 4 || n > 7 {
		t.Fatalf("submitted %d times in two minutes", n)
	}
	sc.finish()
	sc.payments(1)
	if sc.s.Status().Resubmits < 3 {
		t.Errorf("%+v", sc.s.Status())
	}
}

func TestNodeRefuses(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	busy := errors.New("too many transactions wait")
	sc.chain.deny = busy
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	for range 20 {
		sc.pass()
	}
	if st := sc.s.Status(); !errors.Is(st.Err, busy) || st.Sent != 1 {
		t.Fatalf("%+v", st)
	}
	sc.chain.deny = nil
	for range 30 {
		sc.pass()
	}
	sc.finish()
	sc.payments(1)
	if st := sc.s.Status(); st.Err != nil {
		t.Errorf("%+v", st)
	}
}

// TestBadAttestation holds that a signature that is none costs only its own job.
func TestBadAttestation(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("good", quorum, 2, 0)
	sc.write("job-bad", submitted("bad"))
	verdict := &eventv1.TaskVerified{Fuel: honest, Basis: quorum, Agreeing: []uint32{0, 1}}
	sum := checksum(honest)
	verdict.Checksum = sum[:]
	for n := range uint32(2) {
		facts := worked("bad", n, int(n)+2, honest)
		facts[1].(*eventv1.ResultReturned).Attestation[5] ^= 1
		sc.write(fmt.Sprintf("assignment-bad-%d", n), facts...)
	}
	sc.write("job-bad", verdict)
	sc.finish()
	sc.payments(1)
	st := sc.s.Status()
	if sc.chain.paid[who(pub(0), "bad")] != 0 || st.Refused != 1 || st.LastRefusal == nil || st.LastRefusal.Job != "bad" ||
		st.LastRefusal.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_BAD_EVIDENCE {
		t.Errorf("%v, %+v, %+v", sc.chain.paid, st, st.LastRefusal)
	}
}

func TestStaleBlocks(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	before := sc.shelf.file // its transaction is on its way
	sc.chain.block()
	sc.follow()
	for _, b := range sc.chain.blocks { // heard twice
		sc.s.block(b)
	}
	if st := sc.s.Status(); st.Paid != 1 || st.Sent != 0 {
		t.Fatalf("%+v", st)
	}
	for range 3 {
		sc.chain.block()
	}
	sc.shelf.file = before // a restart with a book that is older than the blocks
	sc.start()
	sc.follow()
	if st := sc.s.Status(); st.Paid != 1 || st.Sent != 0 || st.Height != sc.chain.State().Height() {
		t.Fatalf("%+v", st)
	}
	sc.finish()
	sc.payments(1)
}

// TestSkippedBlocks has the block with the payment be one that a snapshot left out.
func TestSkippedBlocks(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	again := sc.chain.pool
	for range 5 {
		sc.chain.block()
	}
	sc.chain.low = sc.chain.State().Height()
	sc.chain.blocks[sc.chain.low-1].Receipts = nil
	sc.follow()
	if st := sc.s.Status(); st.Paid != 0 || st.Sent != 0 || st.Waiting != 1 || st.Height != 5 || len(sc.s.road) != 0 {
		t.Fatalf("%+v, %d on the road", st, len(sc.s.road))
	}
	sc.chain.pool = again // somebody repeats it: no news
	sc.finish()
	sc.payments(1)
	if st := sc.s.Status(); st.Paid != 1 || st.Refused != 0 || sc.chain.codes[ledgerv1.ReceiptCode_RECEIPT_CODE_ALREADY_SETTLED] != 1 {
		t.Errorf("%+v, %v", st, sc.chain.codes)
	}
}

// TestSnapshotBlock has the payment be in the one block that came with a snapshot, without its receipts.
func TestSnapshotBlock(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	sc.chain.block()
	sc.chain.blocks[0].Receipts = nil
	sc.chain.blocks[0].Block.Block.Transactions = [][]byte{{1}}
	sc.follow()
	if st := sc.s.Status(); st.Sent != 0 || st.Waiting != 1 {
		t.Fatalf("%+v", st)
	}
	sc.finish()
	sc.payments(1)
}

func TestForgotten(t *testing.T) {
	few := func(p *ledgerv1.Params) { p.EvidenceBlocks, p.UnbondingBlocks, p.CorrelationBlocks = 30, 60, 30 }
	sc := newScene(t, 10_000_000, nil, few)
	sc.job("j", quorum, 2, 0)
	sc.finish()
	for range 31 {
		sc.chain.block()
	}
	if _, err := open(t.Context(), sc.conf, sc.shelf, sc.now, nil); !errors.Is(err, ErrForgotten) {
		t.Fatalf("%v", err)
	}
	sc.chain.low = sc.chain.State().Height()
	if err := sc.tryFollow(); !errors.Is(err, ErrForgotten) {
		t.Fatalf("going on behind a snapshot: %v", err)
	}
	sc.shelf.file, sc.clock = nil, time.Now() // the operator removed it
	sc.start()
	sc.job("new", quorum, 2, 0)
	sc.finish()
	sc.payments(1)
	if n := sc.s.Status().Passed; n != 6 {
		t.Errorf("%d records were passed over", n)
	}
	if sc.chain.paid[who(pub(0), "j")] != 1 {
		t.Errorf("what the ledger had forgotten was paid %d times", sc.chain.paid[who(pub(0), "j")])
	}
}

// TestNewBook holds that a lost book pays nothing twice while the ledger remembers, and all that was not paid.
func TestNewBook(t *testing.T) {
	sc := newScene(t, 10_000_000, func(c *Config) { c.Ahead = true }, nil)
	sc.job("paid", quorum, 2, 0)
	sc.finish()
	sc.job("unpaid", quorum, 2, 0)
	sc.shelf.file = nil
	sc.start()
	if sc.s.Position() != 0 {
		t.Fatalf("begins at %d", sc.s.Position())
	}
	sc.finish()
	sc.payments(1)
	if st := sc.s.Status(); st.Passed != 0 || st.Paid != 2 || st.Refused != 0 || sc.chain.State().Supply().Escrows != 0 {
		t.Errorf("%+v, %d locked", st, sc.chain.State().Supply().Escrows)
	}
}

func TestSince(t *testing.T) {
	sc := newScene(t, 10_000_000, func(c *Config) { c.Since = time.Now().Add(time.Hour) }, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.step()
	sc.payments(0)
	if st := sc.s.Status(); st.Passed != 6 || st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

func TestReset(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	at := sc.s.Position()
	if err := sc.s.Reset(t.Context()); !errors.Is(err, ErrRebuild) || sc.s.Position() != at {
		t.Errorf("%v, at %d", err, sc.s.Position())
	}
}

func TestTwoOrchestrators(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	conf := sc.conf
	conf.Key = keys[1]
	other := &scene{t: t, log: sc.log, chain: sc.chain, shelf: &memory{}, clock: sc.clock, conf: conf}
	other.start()
	for n := range 40 {
		sc.job(fmt.Sprint("j", n), quorum, 2, 0) // both have decided the same jobs, and both pay
	}
	for range 10 {
		sc.hear(60)
		other.hear(99)
		sc.pass()
		other.pass()
		sc.chain.block()
		sc.follow()
		other.follow()
	}
	sc.payments(1)
	for _, j := range sc.jobs {
		if n := sc.chain.paid[who(pub(1), j)]; n != 1 {
			t.Fatalf("the other paid %s %d times", j, n)
		}
	}
	if a, b := sc.s.Status(), other.s.Status(); a.Paid != 40 || b.Paid != 40 || a.Refused+b.Refused != 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestConfig(t *testing.T) {
	good := newScene(t, 1, nil, nil).conf
	for name, spoil := range map[string]func(*Config){
		"no key": func(c *Config) { c.Key = nil }, "no ledger": func(c *Config) { c.Ledger = nil }, "no log": func(c *Config) { c.Log = nil },
		"no file": func(c *Config) { c.File = "" }, "share": func(c *Config) { c.Share = 1.5 }, "time": func(c *Config) { c.Linger = -1 },
		"life": func(c *Config) { c.Life = 21 }, "short life": func(c *Config) { c.Life = 1 },
	} {
		c := good
		spoil(&c)
		if c.File != "" {
			c.File = t.TempDir() + "/book"
		}
		if _, err := Open(t.Context(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.File = t.TempDir() + "/below/book"
	s, err := Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name() != "settlement" || len(s.Filter().Types) != len(settle.Types) {
		t.Error("another projection")
	}
}
