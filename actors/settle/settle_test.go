package settle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const chain = "test-1"

var keys = func() (k [16]ed25519.PrivateKey) {
	for n := range k {
		k[n] = ed25519.NewKeyFromSeed(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n)+1))
	}
	return k
}()

func pub(n int) []byte { return keys[n].Public().(ed25519.PublicKey) }

// orchestrator is key 0, the only validator; workers are 1 and up.
func config() Config {
	return Config{Chain: chain, Sender: pub(0), Prices: Schedule{PerMegafuel: 1_000, Least: 5}, BonusPpm: million, Life: 10}
}

type entry struct {
	at     events.Position
	stream string
	fact   events.Fact
}

// scene is a log, a book that hears it, and a chain that takes the transactions.
type scene struct {
	t       fatal
	log     []entry
	heard   int
	book    *Settler
	stored  []byte
	state   ledger.State
	pool    []ledger.Checked
	paid    map[string]int // blocks in which a job was paid
	slashed map[string]int
	refused []Refusal
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newScene(t fatal, c Config, balance uint64) *scene {
	t.Helper()
	p := ledger.DefaultParams()
	p.WindowBlocks, p.Fee, p.EvidenceBlocks, p.ClaimBlocks = 20, 1, 2_000, 3
	g := &ledgerv1.Genesis{
		ChainId: chain, Params: p, Validators: []*ledgerv1.Validator{{Key: pub(0)}},
		Endowments: []*ledgerv1.Endowment{
			{Key: pub(0), Balance: balance, Stake: p.MinValidatorStake},
			{Key: pub(1), Stake: 1 << 40},
			{Key: pub(5), Stake: 1_000},
			{Key: pub(9), Balance: 1_000_000},
		},
	}
	b, err := proto.Marshal(g)
	if err != nil {
		t.Fatalf("%v", err)
	}
	state, _, err := ledger.Genesis(b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	book, err := New(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &scene{t: t, book: book, state: state, paid: map[string]int{}, slashed: map[string]int{}}
	s.store()
	return s
}

func (s *scene) write(stream string, fact events.Fact) {
	s.log = append(s.log, entry{events.Position(len(s.log) + 1), stream, fact})
}

func (s *scene) submit(job string, kind eventv1.JobKind) {
	m, in := sha256.Sum256([]byte("m")), sha256.Sum256([]byte(job))
	s.write("job-"+job, &eventv1.JobSubmitted{
		Spec:   &eventv1.JobSpec{Module: m[:], Input: &eventv1.BlobRef{Sha256: in[:]}, FuelLimit: 5_000_000, Kind: kind},
		Policy: &eventv1.JobPolicy{MaxReplicas: 7}, Slots: 2,
	})
}

// work is a worker that takes a slot and answers. Answers with the same fuel agree.
func (s *scene) work(job string, slot uint32, worker int, fuel uint64) {
	stream := actors.SlotAddress(job, slot).Stream()
	out := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	st := proof.Statement{
		Job: job, Slot: slot, Token: 77, Module: sha256.Sum256([]byte("m")), Input: sha256.Sum256([]byte(job)),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: out,
	}
	s.write(stream, &eventv1.AssignmentDispatched{Attempt: 1, Worker: pub(worker), Token: 77})
	s.write(stream, &eventv1.ResultReturned{
		Attempt: 1, Status: st.Status, Output: &eventv1.BlobRef{Sha256: out[:]}, Fuel: fuel, Attestation: st.Sign(keys[worker]),
	})
}

func (s *scene) verify(job string, fuel uint64, basis eventv1.VerdictBasis, agreeing, contradicted []uint32) {
	sum := proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, fuel, sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel)))
	s.write("job-"+job, &eventv1.TaskVerified{Checksum: sum[:], Fuel: fuel, Basis: basis, Agreeing: agreeing, Contradicted: contradicted})
}

const (
	quorum  = eventv1.VerdictBasis_VERDICT_BASIS_QUORUM
	referee = eventv1.VerdictBasis_VERDICT_BASIS_REFEREE
)

// whole is a job with as many honest workers and liars.
func (s *scene) whole(job string, basis eventv1.VerdictBasis, honest, liars int) {
	s.submit(job, eventv1.JobKind_JOB_KIND_STANDARD)
	var good, bad []uint32
	for n := range uint32(honest + liars) {
		if int(n) < honest {
			s.work(job, n, int(n)+1, 2_000_000)
			good = append(good, n)
		} else {
			s.work(job, n, int(n)+1, 1_000_000)
			bad = append(bad, n)
		}
	}
	s.verify(job, 2_000_000, basis, good, bad)
}

// hear feeds the book some of the log.
func (s *scene) hear(n int) {
	for range n {
		if s.heard < len(s.log) {
			e := s.log[s.heard]
			s.book.Hear(e.at, e.stream, e.fact)
			s.heard++
		}
	}
}

func (s *scene) store() {
	b, err := s.book.Encode()
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.stored = b
}

// send seals, stores and submits, in the order that is asked for.
func (s *scene) send() {
	s.book.Seal()
	s.store()
	s.submitAll()
}

func (s *scene) submitAll() {
	for _, body := range s.book.Sent() {
		b, err := proto.Marshal(seal.SignTransaction(body, keys[0]))
		if err != nil {
			s.t.Fatalf("%v", err)
		}
		c, err := ledger.Check(chain, b)
		if err != nil {
			s.refused = append(s.refused, s.book.Broken(body)...)
			continue
		}
		s.pool = append(s.pool, c)
	}
}

// block makes a block of the pool and has the book hear it.
func (s *scene) block() {
	s.t.Helper()
	next, err := s.state.Propose(0, pub(0), s.pool)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	for i, r := range next.Receipts {
		if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			continue
		}
		for _, a := range s.pool[i].Body().Actions {
			if t := a.GetTaskVerified(); t != nil {
				s.paid[t.Decision.Job]++
			}
			if t := a.GetConsensusMismatch(); t != nil {
				s.slashed[t.Decision.Job]++
			}
		}
	}
	s.pool, s.state = nil, next.State
	s.refused = append(s.refused, s.book.Committed(s.state.Height(), next.Receipts)...)
}

// crash begins anew with a checkpoint.
func (s *scene) crash(c Config, checkpoint []byte) {
	book, err := Decode(c, checkpoint)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.book, s.heard = book, 0 // from the beginning: it passes over what it has heard
	for s.heard < len(s.log) && s.log[s.heard].at <= book.Position() {
		s.hear(1)
	}
	s.submitAll()
}

// finish goes on until nothing is left to do.
func (s *scene) finish() {
	s.t.Helper()
	s.hear(len(s.log))
	for range 200 {
		s.send()
		s.block()
		if _, waiting, sent := s.book.Open(); waiting+sent == 0 {
			return
		}
	}
	_, waiting, sent := s.book.Open()
	s.t.Fatalf("%d deeds and %d transactions are never done; refused %v", waiting, sent, s.refused)
}

func TestPayments(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		c := config()
		c.Ahead = ahead
		s := newScene(t, c, 10_000_000)
		s.whole("j", quorum, 2, 0)
		s.finish()
		rich, _ := s.state.Account(pub(1))
		poor, _ := s.state.Account(pub(2))
		if poor.Balance != 1_960 || rich.Balance <= 3_900 || rich.Balance > 3_920 {
			t.Errorf("ahead %t: paid %d and %d for 2,000,000 fuel", ahead, poor.Balance, rich.Balance)
		}
		if e := s.state.Supply().Escrows; e != 0 {
			t.Errorf("%d stay locked", e)
		}
		if paid, refused, unpaid := s.book.Counts(); paid != 1 || refused != 0 || unpaid != 0 {
			t.Errorf("counts %d %d %d", paid, refused, unpaid)
		}
	}
}

func TestSlashes(t *testing.T) {
	s := newScene(t, config(), 10_000_000)
	s.whole("by-referee", referee, 4, 1)
	s.whole("by-quorum", quorum, 4, 1)
	s.whole("narrow", referee, 2, 1)
	s.finish()
	if s.slashed["by-referee"] != 1 || s.slashed["by-quorum"] != 0 || s.slashed["narrow"] != 0 {
		t.Fatalf("slashed %v", s.slashed)
	}
	d := s.book.Doubts(10)
	if len(d) != 1 || d[0].Job != "by-quorum" {
		t.Fatalf("doubts %v", d)
	}
	s.book.Confirm("by-quorum", d[0].Checksum)
	s.finish()
	if s.slashed["by-quorum"] != 1 || len(s.book.Doubts(10)) != 0 {
		t.Fatalf("slashed %v", s.slashed)
	}
	s.whole("other", quorum, 4, 1)
	s.hear(len(s.log))
	s.book.Confirm("other", [32]byte{1}) // the referee finds something else
	s.finish()
	if s.slashed["other"] != 0 {
		t.Error("slashed for what the referee denies")
	}
	c := config()
	c.SlashOnQuorum = true
	s = newScene(t, c, 10_000_000)
	s.whole("j", quorum, 4, 1)
	s.finish()
	if len(s.refused) != 1 || s.refused[0].Kind != ledgerv1.DeedKind_DEED_KIND_SLASH { // this chain wants a referee
		t.Errorf("refused %v", s.refused)
	}
}

func TestUnpaid(t *testing.T) {
	c := config()
	c.Ahead = true
	s := newScene(t, c, 10_000_000)
	for i, kind := range []eventv1.JobKind{eventv1.JobKind_JOB_KIND_STRESS, eventv1.JobKind_JOB_KIND_LITE_TEST} {
		job := fmt.Sprint("test", i)
		s.submit(job, kind)
		s.work(job, 0, 1, 5)
		s.verify(job, 5, eventv1.VerdictBasis_VERDICT_BASIS_SINGLE, []uint32{0}, nil)
	}
	s.submit("single", eventv1.JobKind_JOB_KIND_STANDARD)
	s.work("single", 0, 1, 5)
	s.verify("single", 5, eventv1.VerdictBasis_VERDICT_BASIS_SINGLE, []uint32{0}, nil)
	s.submit("one-worker", eventv1.JobKind_JOB_KIND_STANDARD)
	s.work("one-worker", 0, 1, 5)
	s.work("one-worker", 1, 1, 5)
	s.verify("one-worker", 5, quorum, []uint32{0, 1, 9}, nil)
	s.submit("cancelled", eventv1.JobKind_JOB_KIND_STANDARD)
	s.write("job-cancelled", &eventv1.JobCancelled{})
	s.finish()
	for range 5 {
		s.block()
	}
	if len(s.paid) != 0 || s.state.Supply().Escrows != 0 {
		t.Errorf("paid %v, locked %d", s.paid, s.state.Supply().Escrows)
	}
	if _, refused, unpaid := s.book.Counts(); unpaid != 2 || refused != 0 {
		t.Errorf("unpaid %d, refused %v", unpaid, s.refused)
	}
	if open, _, _ := s.book.Open(); open != 0 {
		t.Errorf("%d jobs are still open", open)
	}
}

// TestRequeued holds that a dead letter's money comes back, and that a requeued job is paid all the same.
func TestRequeued(t *testing.T) {
	for _, wait := range []int{0, 1, 6} {
		c := config()
		c.Ahead = true
		s := newScene(t, c, 10_000_000)
		s.submit("j", eventv1.JobKind_JOB_KIND_STANDARD)
		s.work("j", 0, 1, 2_000_000)
		s.write("job-j", &eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM})
		s.hear(9)
		for range wait {
			s.send()
			s.block()
		}
		s.write("job-j", &eventv1.JobRequeued{Round: 2})
		s.work("j", 2, 2, 2_000_000)
		s.work("j", 3, 3, 2_000_000)
		s.verify("j", 2_000_000, quorum, []uint32{0, 2, 3}, nil) // slot 0 was of the round before
		s.finish()
		if a, _ := s.state.Account(pub(1)); s.paid["j"] != 1 || a.Balance != 0 {
			t.Errorf("after %d blocks: paid %v, worker 1 has %d", wait, s.paid, a.Balance)
		}
		for range 5 {
			s.block()
		}
		if s.state.Supply().Escrows != 0 {
			t.Errorf("after %d blocks: locked %d", wait, s.state.Supply().Escrows)
		}
	}
}

func TestPoor(t *testing.T) {
	s := newScene(t, config(), 50)
	s.whole("j", quorum, 2, 0)
	s.hear(99)
	for range 5 {
		s.send()
		s.block()
	}
	if len(s.paid) != 0 || len(s.refused) != 0 {
		t.Fatalf("paid %v, refused %v", s.paid, s.refused)
	}
	body, err := proto.Marshal(&ledgerv1.Transaction{
		ChainId: chain, Sender: pub(9), Salt: make([]byte, 16), ValidUntil: s.state.Height() + 1,
		Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: pub(0), Amount: 900_000}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := proto.Marshal(seal.SignTransaction(body, keys[9]))
	if err != nil {
		t.Fatal(err)
	}
	gift, err := ledger.Check(chain, signed)
	if err != nil {
		t.Fatal(err)
	}
	s.pool = append(s.pool, gift)
	s.finish()
	if s.paid["j"] != 1 {
		t.Error("money came, and nobody was paid")
	}
}

// TestBadAttestation holds that one bad signature in the log costs only its own job.
func TestBadAttestation(t *testing.T) {
	s := newScene(t, config(), 10_000_000)
	s.whole("good", quorum, 2, 0)
	s.whole("bad", quorum, 2, 0)
	for _, e := range s.log {
		if f, ok := e.fact.(*eventv1.ResultReturned); ok && e.stream == "assignment-bad-1" {
			f.Attestation[0] ^= 1
		}
	}
	s.finish()
	if s.paid["good"] != 1 || s.paid["bad"] != 0 || len(s.refused) != 1 || s.refused[0].Job != "bad" {
		t.Errorf("paid %v, refused %v", s.paid, s.refused)
	}
}

func TestBatches(t *testing.T) {
	s := newScene(t, config(), 1_000_000_000)
	const jobs = 150
	for n := range jobs {
		s.whole(fmt.Sprint("job-", n), quorum, 2, 0)
	}
	s.hear(len(s.log))
	if got := len(s.book.Seal()); got != (jobs*2+ledger.MaxActions-1)/ledger.MaxActions {
		t.Errorf("%d transactions", got)
	}
	s.finish()
	if len(s.paid) != jobs {
		t.Errorf("%d jobs were paid", len(s.paid))
	}
}

// TestExactlyOnce has everything happen that can between the log and the chain: any interleaving, lost and repeated
// transactions, crashes, also back to an older checkpoint. In the end each verified job was paid in one block.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config()
		c.Ahead = rapid.Bool().Draw(t, "ahead")
		s := newScene(t, c, 1_000_000_000)
		jobs := rapid.IntRange(1, 6).Draw(t, "jobs")
		for n := range jobs {
			s.whole(fmt.Sprint("j", n), rapid.SampledFrom([]eventv1.VerdictBasis{quorum, referee}).Draw(t, "basis"),
				rapid.IntRange(2, 4).Draw(t, "honest"), rapid.IntRange(0, 1).Draw(t, "liars"))
		}
		older := [][]byte{s.stored}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0, 1, 2:
				s.hear(rapid.IntRange(1, 9).Draw(t, "facts"))
			case 3, 4:
				s.send()
				older = append(older, s.stored)
			case 5:
				s.block()
			case 6:
				s.pool = slices.DeleteFunc(s.pool, func(ledger.Checked) bool { return rapid.Bool().Draw(t, "lost") })
				s.block()
			case 7:
				before := s.book.Sent()
				s.store()
				s.crash(c, s.stored)
				if after := s.book.Sent(); !slices.EqualFunc(before, after, bytes.Equal) {
					t.Fatal("a crash made other transactions")
				}
			case 8:
				s.crash(c, rapid.SampledFrom(older).Draw(t, "older"))
			}
		}
		s.finish()
		for n := range jobs {
			if got := s.paid[fmt.Sprint("j", n)]; got != 1 {
				t.Fatalf("job %d was paid %d times", n, got)
			}
		}
		for range 5 {
			s.block()
		}
		if s.state.Supply().Escrows != 0 || len(s.refused) != 0 {
			t.Fatalf("%d stay locked, refused %v", s.state.Supply().Escrows, s.refused)
		}
	})
}

// TestSameAgain holds that the same facts and blocks from the same checkpoint make the same transactions, and that at no
// time two transactions that could both be executed pay for one job.
func TestSameAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newScene(t, config(), 1_000_000_000)
		for n := range 5 {
			s.whole(fmt.Sprint("j", n), referee, 3, 1)
		}
		cut := rapid.IntRange(0, len(s.log)).Draw(t, "checkpoint")
		s.hear(cut)
		s.send()
		twin, err := Decode(config(), s.stored)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range s.log { // all of it: what was heard counts once
			twin.Hear(e.at, e.stream, e.fact)
		}
		s.hear(len(s.log))
		if !slices.EqualFunc(s.book.Seal(), twin.Seal(), bytes.Equal) {
			t.Fatal("another transaction")
		}
		a, errA := s.book.Encode()
		b, errB := twin.Encode()
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatal("another checkpoint")
		}
		pays := map[string]int{}
		for _, sent := range s.book.state.Sent {
			for _, d := range sent.Deeds {
				if d.Kind == ledgerv1.DeedKind_DEED_KIND_PAY {
					if pays[d.Job]++; pays[d.Job] > 1 {
						t.Fatalf("%s is paid twice", d.Job)
					}
				}
			}
		}
		if len(pays) != 5 {
			t.Fatalf("%d jobs are paid", len(pays))
		}
	})
}

func TestAnchor(t *testing.T) {
	s := newScene(t, config(), 10_000)
	s.book.Anchor([]byte("old"))
	s.book.Anchor([]byte("log\n1\n"))
	bodies := s.book.Seal()
	if len(bodies) != 1 || !bytes.Contains(bodies[0], []byte("log\n1\n")) || bytes.Contains(bodies[0], []byte("old")) {
		t.Fatalf("%q", bodies)
	}
	s.submitAll() // no signed note: the ledger's Check refuses it
	if len(s.refused) != 1 || len(s.book.Sent()) != 0 {
		t.Errorf("refused %v", s.refused)
	}
	s.book.Anchor(make([]byte, ledger.MaxNoteBytes+1))
	if len(s.book.Seal()) != 0 {
		t.Error("anchored what no ledger takes")
	}
}

func TestPrices(t *testing.T) {
	s := Schedule{PerMegafuel: 1_000, Least: 5, Most: 1_000_000}
	for fuel, want := range map[uint64]uint64{0: 5, 1: 5, 5_001: 6, 1_000_000: 1_000, 1_000_001: 1_001, math.MaxUint64: 1_000_000} {
		if got := s.Price(fuel); got != want {
			t.Errorf("%d fuel for %d, want %d", fuel, got, want)
		}
	}
	if got := (Schedule{PerMegafuel: math.MaxUint64}).Price(math.MaxUint64); got != ledger.MaxSupply {
		t.Errorf("highest price %d", got)
	}
	if got := (Schedule{}).Price(7); got != 1 {
		t.Errorf("lowest price %d", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := config()
		c.BonusPpm = rapid.Uint64Range(0, 1<<32).Draw(t, "bonus")
		b, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		price, n := rapid.Uint64().Draw(t, "price"), rapid.IntRange(0, 64).Draw(t, "replicas")
		if got := b.cover(price, n); got == 0 || got > ledger.MaxSupply {
			t.Fatalf("lock %d", got)
		}
	})
}

func TestConfig(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no chain": func(c *Config) { c.Chain = "" }, "no sender": func(c *Config) { c.Sender = nil },
		"short life": func(c *Config) { c.Life = 1 }, "bonus": func(c *Config) { c.BonusPpm = 1 << 40 },
	} {
		c := config()
		spoil(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	s := newScene(f, config(), 10_000)
	s.whole("j", referee, 4, 1)
	s.whole("k", quorum, 4, 1)
	s.hear(len(s.log) - 1)
	s.book.Seal()
	s.store()
	f.Add(s.stored)
	f.Fuzz(func(t *testing.T, b []byte) {
		book, err := Decode(config(), b)
		if err != nil {
			return
		}
		for _, e := range s.log {
			book.Hear(e.at, e.stream, e.fact)
		}
		book.Doubts(10)
		book.Confirm("k", [32]byte{})
		for _, body := range append(book.Seal(), book.Sent()...) {
			id := seal.TransactionID(body)
			book.Broken(body)
			book.Committed(book.Height()+1, []*ledgerv1.Receipt{{Transaction: id[:], Code: ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW}})
		}
		if _, err := book.Encode(); err != nil {
			t.Error(err)
		}
	})
}
