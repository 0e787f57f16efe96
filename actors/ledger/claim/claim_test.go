package claim

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

const right, wrong = 100, 200 // fuel, and so the checksum

// cheat settles job "j" without worker 12, wherever in the block, and returns what proves it.
func cheat(t failer, validators, before, after int) (*world, Evidence) {
	w := newWorld(t, validators)
	var txs [][]byte
	for range before {
		txs = append(txs, w.filler())
	}
	txs = append(txs, w.settle(0, decision("j", right, 10, 11)))
	for range after {
		txs = append(txs, w.filler())
	}
	w.block(txs...)
	return w, w.evidence(0, receiptOf(0, 12, right, "other", "j"), before)
}

func TestAWorkerThatIsLeftOutProvesIt(t *testing.T) {
	for _, validators := range []int{1, 4, 7} {
		for before := range 4 {
			for after := range 4 {
				w, e := cheat(t, validators, before, after)
				e.Result = 1
				v, err := Check(w.claim(e), w.begin)
				if err != nil {
					t.Fatalf("%d validators, %d before, %d after: %v", validators, before, after, err)
				}
				sum := checksum(right)
				if v.Job != "j" || !bytes.Equal(v.Worker, pub(12)) || !bytes.Equal(v.Orchestrator, pub(0)) || v.Height != 1 || v.Slot != 2 ||
					v.Token != 12 || v.RecordedUs != 77 || v.Price != 5 || len(v.Paid) != 2 || !bytes.Equal(v.Checksum, sum[:]) || v.Chain != chain {
					t.Fatalf("verdict %+v", v)
				}
			}
		}
	}
}

// The validators of the block need not be those of genesis: the claim shows how they became those.
func TestClaimsFollowTheValidators(t *testing.T) {
	w := newWorld(t, 4)
	w.replace(3, 4)
	w.block(w.filler())
	w.replace(2, 5)
	w.replace(1, 6)
	w.block(w.settle(0, decision("j", right, 10)))
	e := w.evidence(0, receiptOf(0, 12, right, "j"), 0)
	if _, err := Check(w.claim(e), w.begin); err != nil {
		t.Fatal(err)
	}
	all := e.Changes
	for name, c := range map[string]struct {
		changes []*ledgerv1.ValidatorsProof
		want    error
	}{
		"none":          {nil, ErrBlock},
		"one is gone":   {append(all[:1:1], all[2:]...), ErrBlock},
		"not the last":  {all[:2], ErrBlock},
		"in disorder":   {[]*ledgerv1.ValidatorsProof{all[1], all[0], all[2]}, ErrBlock},
		"one too many":  {append(all[:3:3], all[2]), ErrMalformed},
		"one twice":     {[]*ledgerv1.ValidatorsProof{all[0], all[0], all[1], all[2]}, ErrBlock},
		"far too many":  {make([]*ledgerv1.ValidatorsProof, MaxChanges+1), ErrMalformed},
		"one is no one": {[]*ledgerv1.ValidatorsProof{nil}, ErrBlock},
	} {
		e.Changes = c.changes
		if _, err := Check(w.claim(e), w.begin); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// Somebody who already knows today's validators needs no changes.
	e.Changes = nil
	if _, err := Check(w.claim(e), light.Client{Chain: chain, Validators: w.state.Validators()}); err != nil {
		t.Fatal(err)
	}
}

func TestClaimsThatProveNothing(t *testing.T) {
	w, e := cheat(t, 4, 1, 1)
	honest := w.settle(0, decision("k", right, 12, 13))
	again := w.settle(0, decision("j", right, 10, 13))
	requeued := decision("r", right, 13, 14)
	requeued.FirstSlot = 3
	lie := decision("l", right, 10, 14)
	lie.FirstSlot = 3
	var many []int
	for n := range 32 {
		many = append(many, 20+n)
	}
	w.block(honest, again, w.settle(1, decision("m", right, 10, 11)), w.settle(0, requeued), w.settle(0, lie),
		w.settle(0, decision("full", right, many...)))
	last := func(r *workerv1.Receipts, index int) Evidence { return w.evidence(0, r, index) }
	for name, c := range map[string]struct {
		e    Evidence
		spot func(*ledgerv1.Claim)
		want error
	}{
		"sound":                          {e: last(receiptOf(0, 12, right, "l"), 4)},
		"paid":                           {e: last(receiptOf(0, 12, right, "k"), 0), want: ErrUnfounded},
		"of another result":              {e: last(receiptOf(0, 11, wrong, "k"), 0), want: ErrUnfounded},
		"not attested":                   {e: last(signedReceipt(0, 11, right, false, "k"), 0), want: ErrUnfounded},
		"before a requeue":               {e: last(receiptOf(0, 12, right, "r"), 3), want: ErrUnfounded},
		"after a requeue":                {e: last(receiptOf(0, 15, right, "r"), 3)},
		"one of too many":                {e: last(receiptOf(0, 12, right, "full"), 5), want: ErrUnfounded},
		"another job":                    {e: last(receiptOf(0, 11, right, "j"), 0), want: ErrSettlement},
		"a failed settlement":            {e: last(receiptOf(0, 12, right, "j"), 1), want: ErrFailed},
		"settled by another":             {e: last(receiptOf(0, 12, right, "m"), 2), want: ErrSettlement},
		"recorded by another":            {e: last(receiptOf(1, 12, right, "j"), 0), want: ErrReceipt},
		"both by another, key of one":    {e: w.evidence(1, receiptOf(1, 12, right, "j"), 0), want: ErrSettlement},
		"another result of the receipt":  {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Result = 1 }, want: ErrMalformed},
		"another action":                 {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Action = 0 }, want: ErrSettlement},
		"an action that is not there":    {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Action = 2 }, want: ErrMalformed},
		"another place":                  {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Index = 1 }, want: ErrInclusion},
		"a place outside":                {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Index = c.Size }, want: ErrMalformed},
		"a block of another size":        {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Size = 1 }, want: ErrInclusion},
		"no orchestrator":                {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Orchestrator = nil }, want: ErrMalformed},
		"no certificate":                 {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Certificate = nil }, want: ErrBlock},
		"no header":                      {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Header = nil }, want: ErrBlock},
		"no paths":                       {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.TransactionPath = nil }, want: ErrInclusion},
		"a receipt that is not there":    {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.ReceiptPath = nil }, want: ErrInclusion},
		"a hash of another length":       {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.TransactionPath[0] = []byte{1} }, want: ErrMalformed},
		"certificate of another block":   {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Certificate = encoded(t, w.blocks[0].Certificate) }, want: ErrBlock},
		"too few validators":             {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Certificate = encoded(t, w.certify(c.Header, 0, 1)) }, want: ErrBlock},
		"strangers for validators":       {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Certificate = encoded(t, w.certify(c.Header, 0, 1, 9)) }, want: ErrBlock},
		"receipt of another transaction": {e: last(receiptOf(0, 11, right, "k"), 0), spot: func(c *ledgerv1.Claim) { c.Receipt = encoded(t, w.receipts[1][2]) }, want: ErrInclusion},
		"success for the failed one": {e: last(receiptOf(0, 12, right, "j"), 1), spot: func(c *ledgerv1.Claim) {
			r := proto.CloneOf(w.receipts[1][1])
			r.Code, r.Detail = ledgerv1.ReceiptCode_RECEIPT_CODE_OK, ""
			c.Receipt = encoded(t, r)
		}, want: ErrInclusion},
	} {
		claim := w.claim(c.e)
		if c.spot != nil {
			c.spot(claim)
		}
		if _, err := Check(claim, w.begin); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	e.Result = 1
	for name, client := range map[string]light.Client{
		"another ledger": {Chain: "claims-2", Validators: w.begin.Validators}, "no ledger": {},
		"other validators": {Chain: chain, Validators: &ledgerv1.ValidatorSet{Version: 1, Validators: []*ledgerv1.Validator{{Key: pub(9)}}}},
	} {
		if _, err := Check(w.claim(e), client); err == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func encoded(t failer, m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

func TestEvidenceThatDoesNotFitMakesNoClaim(t *testing.T) {
	w, e := cheat(t, 1, 1, 0)
	w.block(w.filler(), w.filler())
	for name, spoil := range map[string]func(*Evidence){
		"no block":             func(e *Evidence) { e.Block = nil },
		"receipts of another":  func(e *Evidence) { e.Results = w.receipts[1] },
		"a receipt is missing": func(e *Evidence) { e.Results = e.Results[:1] },
		"place outside":        func(e *Evidence) { e.Index = 2 },
		"negative place":       func(e *Evidence) { e.Index = -1 },
		"transactions of other": func(e *Evidence) {
			e.Block = proto.CloneOf(e.Block)
			e.Block.Block.Transactions = w.blocks[1].Block.Transactions
		},
	} {
		bad := e
		spoil(&bad)
		if _, err := Make(bad); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInclusion) && !errors.Is(err, ErrBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is tampered with in a claim that proves something: it proves the same, or nothing.
func TestTamperedClaimsProveNothingElse(t *testing.T) {
	w, e := cheat(t, 4, 2, 1)
	e.Result = 1
	sound := encoded(t, w.claim(e))
	want, err := Check(w.claim(e), w.begin)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for i := range sound {
		for bit := i % 4; bit < 8; bit += 4 {
			bad := bytes.Clone(sound)
			bad[i] ^= 1 << bit
			c, err := Decode(bad)
			if err != nil {
				continue
			}
			got, err := Check(c, w.begin)
			if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("byte %d, bit %d: proves %v", i, bit, got)
			}
			if err == nil {
				passed++
			}
		}
		if i%7 == 0 { // cuts
			if c, err := Decode(sound[:i]); err == nil {
				if _, err := Check(c, w.begin); err == nil {
					t.Fatalf("cut at %d: passed", i)
				}
			}
		}
	}
	if passed > len(sound)/40 { // the parts that have no weight, as the view's spare signatures
		t.Fatalf("%d of %d changes made no difference", passed, 2*len(sound))
	}
}

// TestMixedUpClaims has orchestrators that pay some of those whose results they recorded. Claims put together of whatever
// was ever signed or built pass exactly for those that were left out.
func TestMixedUpClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, 4)
		type fact struct {
			orchestrator, worker int
			job                  string
		}
		left := map[fact]bool{} // the truth
		var receipts []*workerv1.Receipts
		var claims []*ledgerv1.Claim
		for b := range rapid.IntRange(1, 2).Draw(t, "blocks") {
			var txs [][]byte
			type part struct {
				orchestrator int
				receipts     []*workerv1.Receipts
				truth        []fact
			}
			var parts []part
			for j := range rapid.IntRange(1, 3).Draw(t, "jobs") {
				job, o := fmt.Sprintf("job-%d-%d", b, j), rapid.IntRange(0, 1).Draw(t, "orchestrator")
				p := part{orchestrator: o}
				var paid []int
				for n := 10; n < 14; n++ {
					fuel := uint64(rapid.SampledFrom([]int{right, right, wrong}).Draw(t, "result"))
					p.receipts = append(p.receipts, receiptOf(o, n, fuel, job))
					if fuel == right && rapid.Bool().Draw(t, "paid") {
						paid = append(paid, n)
					} else if fuel == right {
						p.truth = append(p.truth, fact{o, n, job})
					}
				}
				if len(paid) == 0 {
					continue
				}
				for _, f := range p.truth {
					left[f] = true
				}
				txs, parts = append(txs, w.settle(o, decision(job, right, paid...))), append(parts, p)
			}
			w.block(txs...)
			for i, p := range parts {
				for _, r := range p.receipts {
					receipts = append(receipts, r)
					claims = append(claims, w.claim(w.evidence(p.orchestrator, r, i)))
				}
			}
		}
		holds := func(c *ledgerv1.Claim) (fact, bool) {
			v, err := Check(c, w.begin)
			if err != nil {
				return fact{}, false
			}
			f := fact{job: v.Job}
			for n := range 20 {
				if bytes.Equal(v.Orchestrator, pub(n)) {
					f.orchestrator = n
				}
				if bytes.Equal(v.Worker, pub(n)) {
					f.worker = n
				}
			}
			return f, true
		}
		proven := map[fact]bool{}
		for _, c := range claims {
			if f, ok := holds(c); ok {
				proven[f] = true
			}
		}
		if fmt.Sprint(proven) != fmt.Sprint(left) {
			t.Fatalf("proven %v, left out %v", proven, left)
		}
		if len(claims) == 0 {
			return
		}
		for range 20 {
			mixed := proto.CloneOf(rapid.SampledFrom(claims).Draw(t, "claim"))
			for range rapid.IntRange(1, 3).Draw(t, "swaps") {
				from := rapid.SampledFrom(claims).Draw(t, "from")
				fields := mixed.ProtoReflect().Descriptor().Fields()
				f := fields.Get(rapid.IntRange(0, fields.Len()-1).Draw(t, "field"))
				if from.ProtoReflect().Has(f) {
					mixed.ProtoReflect().Set(f, from.ProtoReflect().Get(f))
				} else {
					mixed.ProtoReflect().Clear(f)
				}
			}
			if rapid.Bool().Draw(t, "receipt") {
				r := rapid.SampledFrom(receipts).Draw(t, "of")
				mixed.Receipts, mixed.Signature = r.Body, r.Signature
			}
			if f, ok := holds(mixed); ok && !left[f] {
				t.Fatalf("proves %v", f)
			}
		}
	})
}

func FuzzCheck(f *testing.F) {
	w, e := cheat(f, 4, 2, 1)
	e.Result = 1
	f.Add(encoded(f, w.claim(e)))
	want, err := Check(w.claim(e), w.begin)
	if err != nil {
		f.Fatal(err)
	}
	refusals := []error{ErrMalformed, ErrReceipt, ErrSettlement, ErrBlock, ErrInclusion, ErrFailed, ErrUnfounded}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err == nil {
			var got Verdict
			if got, err = Check(c, w.begin); err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("proves %v", got)
			}
		}
		for _, r := range refusals {
			if err == nil || errors.Is(err, r) {
				return
			}
		}
		t.Fatalf("untyped %v", err)
	})
}

func BenchmarkCheck(b *testing.B) {
	w, e := cheat(b, 4, 100, 100)
	e.Result = 1
	c := w.claim(e)
	for b.Loop() {
		if _, err := Check(c, w.begin); err != nil {
			b.Fatal(err)
		}
	}
}
