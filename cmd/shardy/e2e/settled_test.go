package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// order is work that an operator was asked for.
type order struct {
	of    *member
	tasks []*task
	sent  chan error
}

// orders begins to submit jobs to each operator, batch after batch, and repeats what was not answered.
func (f *federation) orders(ctx context.Context, d *rand.Rand, batches int, by ...*member) []*order {
	f.Helper()
	var all []*order
	for _, o := range by {
		w := &order{o, small(d, 10*batches), make(chan error, 1)}
		primes := o.primes()
		go func() { w.sent <- o.insist(ctx, primes, w.tasks, 10) }()
		all = append(all, w)
	}
	return all
}

// verified waits until every job that was ordered is verified.
func (f *federation) verified(all []*order) {
	f.Helper()
	for _, w := range all {
		f.must(<-w.sent)
		w.of.settled(w.tasks)
	}
}

// quiet waits until all that an orchestrator has decided is on the ledger.
func (o *member) quiet() {
	o.Helper()
	var now *operatorv1.SettlementStatus
	head := uint64(0)
	for end := time.Now().Add(patience(60 * time.Second)); ; time.Sleep(20 * time.Millisecond) {
		if now = o.look().GetSettlement(); now != nil {
			if head == 0 {
				head = now.LogHead
			}
			if now.Position >= head && now.Open+now.Waiting+now.Sent+now.Doubts == 0 {
				break
			}
		}
		if time.Now().After(end) {
			o.Fatalf("%s at block %d has not settled everything up to %d: %v", o.name, o.height(), head, now)
		}
	}
	if now.Refused > 0 || now.Unpaid > 0 {
		o.Errorf("%s: %d deeds were refused, %d jobs are unpaid: %s", o.name, now.Refused, now.Unpaid, now.LastRefusal)
	}
}

// paidOnce holds the ledger against the work: every verified job was paid for once by its orchestrator, and nothing else.
func (f *federation) paidOnce(all []*order) {
	f.Helper()
	var by []*member
	for _, w := range all {
		w.of.quiet()
		by = append(by, w.of)
	}
	r := by[0].register(f.agree(by...))
	n := 0
	for _, w := range all {
		for _, t := range w.tasks {
			n++
			if paid := r.paid[deed(w.of.public(), t.id)]; paid != 1 {
				f.Errorf("job %s of %s was paid for %d times", t.id, w.of.name, paid)
			}
		}
	}
	if len(r.paid) != n || len(r.slashed) != 0 {
		f.Errorf("%d jobs were paid for and %d workers slashed, want %d and 0", len(r.paid), len(r.slashed), n)
	}
	f.Logf("%d jobs of %d operators, each paid for once; refused %v", n, len(all), r.refused)
}

// judged stops the orchestrators and holds their logs against the truth: each job verified once, with the right output.
func (f *federation) judged(all []*order) {
	f.Helper()
	for _, w := range all {
		w.of.stop()
		h := w.of.history()
		for _, t := range w.tasks {
			want := sha256.Sum256(t.answer())
			if v := h.verified[t.id]; len(v) != 1 || string(v[0].Output.GetSha256()) != string(want[:]) {
				f.Errorf("%s: job %s has the verdicts %v", w.of.name, t.id, v)
			}
		}
		if n := w.of.once(h); n != len(w.tasks) {
			f.Errorf("%s: %d jobs in the log, want %d", w.of.name, n, len(w.tasks))
		}
		w.of.sound()
	}
}

// TestAllOrchestratorsLosePower kills all four at one moment of their work, three times. They find each other again, the chain
// goes on where it was, and every job of each is verified and paid for once.
func TestAllOrchestratorsLosePower(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, hands: 2, clients: 4})
	d := dice(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
	defer cancel()
	work := f.orders(ctx, d, 25, f.operators...)
	tr := f.traffic(100*time.Millisecond, f.operators...)
	for range 3 {
		f.operators[0].reaches(f.operators[0].height() + 5)
		time.Sleep(time.Duration(d.IntN(500)) * time.Millisecond) // the moment is what the dice say
		f.kill(f.operators...)
		begin := time.Now()
		f.launch(f.operators...)
		served := time.Since(begin)
		height := f.operators[0].height()
		f.operators[0].reaches(height + 1)
		t.Logf("all died; they served after %s, and made block %d after %s", served.Round(10*time.Millisecond), height+1,
			time.Since(begin).Round(10*time.Millisecond))
	}
	f.verified(work)
	tr.settle(f.operators...)
	f.paidOnce(work)
	f.running(f.operators...)
	f.judged(work)
}

// TestJobsDoNotWaitForTheLedger freezes three of four orchestrators, so that there are no blocks. The fourth verifies its
// jobs as if nothing was; once the others are back, all of them are paid for.
func TestJobsDoNotWaitForTheLedger(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, hands: 2, clients: 2})
	one, rest := f.operators[0], f.operators[1:]
	ctx, cancel := context.WithTimeout(t.Context(), patience(60*time.Second))
	defer cancel()
	d := dice(t)
	before := small(d, 20)
	one.submit(one.primes(), "before", before, nil)
	one.settled(before)
	one.quiet()
	f.freeze(rest...)
	height := one.height()
	begin := time.Now()
	work := f.orders(ctx, d, 10, one)
	f.verified(work)
	took := time.Since(begin)
	if now := one.look(); now.GetHeight() > height+1 { // one may have been on its way
		t.Errorf("%d blocks without a quorum", now.GetHeight()-height)
	} else {
		t.Logf("%d jobs were verified in %s while there were no blocks; %d payments wait", len(work[0].tasks),
			took.Round(10*time.Millisecond), now.GetSettlement().GetWaiting())
	}
	f.thaw(rest...)
	begin = time.Now()
	one.reaches(height + 1)
	t.Logf("blocks went on %s after the others were thawed", time.Since(begin).Round(10*time.Millisecond))
	work[0].tasks = append(work[0].tasks, before...)
	f.paidOnce(work)
	f.running(f.operators...)
	f.agree(f.operators...)
	f.judged(work)
}

// TestASettlingOrchestratorIsKilledAgainAndAgain kills an orchestrator that keeps a ledger alone, at random moments of its
// work and of its start. What it has verified it pays for once, whether the money was locked before or is locked then.
func TestASettlingOrchestratorIsKilledAgainAndAgain(t *testing.T) {
	for name, flags := range map[string][]string{
		"locked and paid at once": nil,
		"locked ahead":            {"--escrow-ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := federate(t, charter{validators: 1, hands: 3, clients: 1, flags: append(flags, "--anchor-every", "1s", "--mesh-snapshot-blocks", "1")})
			o, d := f.operators[0], dice(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
			defer cancel()
			work := f.orders(ctx, d, 60, o)
			const kills = 7
			for i := range kills {
				pause := time.Duration(d.IntN(1200)) * time.Millisecond // some hit the recovery, most the work
				select {
				case <-time.After(pause):
				case <-o.server.Done():
					t.Fatal("the orchestrator ended by itself")
				}
				f.kill(o)
				if d.IntN(2) == 0 {
					o.stillborn(time.Duration(d.IntN(300)) * time.Millisecond)
				}
				f.launch(o)
				if i == kills/2 {
					t.Logf("after %d kills: block %d, %v", i+1, o.height(), o.look().GetSettlement())
				}
			}
			f.verified(work)
			f.paidOnce(work)
			if s := o.look().GetSupply(); s.GetEscrows() != 0 {
				t.Errorf("%d micro-units are still locked: %s", s.GetEscrows(), fmt.Sprint(s))
			}
			f.judged(work)
		})
	}
}
