package claim

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	recorded "github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

const chain = "claims-1"

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Keys of validators are 0 to 7, of workers from 10 on. Validator 0 is the orchestrator that cheats.
func key(n int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "claim %d", n))
	return ed25519.NewKeyFromSeed(seed[:])
}

func pub(n int) []byte { return key(n).Public().(ed25519.PublicKey) }

// world is a ledger with the certificates of its validators.
type world struct {
	t          failer
	genesis    []byte
	validators []int
	begin      light.Client
	state      ledger.State
	blocks     []*ledgerv1.CertifiedBlock
	receipts   [][]*ledgerv1.Receipt
	changes    []*ledgerv1.ValidatorsProof
	salt       uint64
}

func newWorld(t failer, validators int) *world {
	t.Helper()
	w := &world{t: t}
	p := ledger.DefaultParams()
	p.MinValidatorStake, p.Fee = 1_000_000, 10
	g := &ledgerv1.Genesis{ChainId: chain, TimeUs: 1_000, Params: p}
	for n := range 8 {
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: pub(n), Balance: 100_000_000, Stake: 2_000_000})
		if n < validators {
			g.Validators = append(g.Validators, &ledgerv1.Validator{Key: pub(n)})
			w.validators = append(w.validators, n)
		}
	}
	var err error
	if w.genesis, err = proto.Marshal(g); err != nil {
		t.Fatalf("%v", err)
	}
	if w.state, _, err = ledger.Genesis(w.genesis); err != nil {
		t.Fatalf("%v", err)
	}
	w.begin = light.Client{Chain: chain, Validators: w.state.Validators()}
	return w
}

func (w *world) tx(sender int, actions ...*ledgerv1.Action) []byte {
	w.salt++
	return ledger.Sign(&ledgerv1.Transaction{
		ChainId: chain, Sender: pub(sender), Salt: binary.BigEndian.AppendUint64(make([]byte, 8), w.salt),
		ValidUntil: w.state.Height() + 50, Actions: actions,
	}, key(sender))
}

// filler is a transaction of no interest.
func (w *world) filler() []byte {
	return w.tx(7, &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: pub(6), Amount: 1}}})
}

// block adds a block.
func (w *world) block(txs ...[]byte) {
	w.t.Helper()
	checked := make([]ledger.Checked, len(txs))
	for i, tx := range txs {
		var err error
		if checked[i], err = ledger.Check(chain, tx); err != nil {
			w.t.Fatalf("transaction %d: %v", i, err)
		}
	}
	next, err := w.state.Propose(w.state.TimeUs()+1000, pub(w.validators[0]), checked)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.blocks = append(w.blocks, &ledgerv1.CertifiedBlock{
		Block: &ledgerv1.Block{Header: next.Header, Transactions: txs}, Certificate: w.certify(next.Header, w.validators...),
	})
	w.receipts, w.state = append(w.receipts, next.Receipts), next.State
}

func (w *world) certify(header []byte, signers ...int) *ledgerv1.Certificate {
	h, err := light.ParseHeader("", header)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	hash := seal.HeaderHash(header)
	c := &ledgerv1.Certificate{Height: h.Height, Block: hash[:], View: 1}
	vote := seal.VoteOf(c, h.ValidatorsVersion)
	for _, n := range signers[:min(len(signers), light.Quorum(len(w.validators)))] {
		c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{Validator: pub(n), Signature: seal.SignVote(chain, vote, key(n))})
	}
	return c
}

// replace makes other validators, in a block of its own.
func (w *world) replace(out, in int) {
	w.t.Helper()
	body, err := proto.Marshal(&ledgerv1.ValidatorChangeBody{
		Version: w.state.Validators().Version + 1, Add: []*ledgerv1.Validator{{Key: pub(in)}}, Remove: [][]byte{pub(out)},
	})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	change := &ledgerv1.ValidatorChange{Body: body}
	for _, n := range w.validators {
		change.Approvals = append(change.Approvals, &ledgerv1.ValidatorSignature{
			Validator: pub(n), Signature: ed25519.Sign(key(n), seal.ValidatorsText(chain, body)),
		})
	}
	w.block(w.tx(in, &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: change}}))
	last := w.blocks[len(w.blocks)-1]
	if r := w.receipts[len(w.receipts)-1][0]; r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		w.t.Fatalf("%v", r)
	}
	certificate, err := proto.Marshal(last.Certificate)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.changes = append(w.changes, &ledgerv1.ValidatorsProof{
		Header: last.Block.Header, Certificate: certificate, Proof: w.state.Prove(seal.ValidatorsKey()),
	})
	for i, n := range w.validators {
		if n == out {
			w.validators[i] = in
		}
	}
}

// Results with the same fuel agree. Worker n has slot n-10 and token n.
func result(job string, worker int, fuel uint64) *ledgerv1.Result {
	output := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	s := recorded.Statement{
		Job: job, Slot: uint32(worker - 10), Token: uint64(worker), Module: sha256.Sum256(nil), Input: sha256.Sum256(nil),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: output,
	}
	return &ledgerv1.Result{
		Worker: pub(worker), Slot: s.Slot, Token: s.Token, Status: s.Status, Fuel: fuel, Output: output[:], Attestation: s.Sign(key(worker)),
	}
}

func checksum(fuel uint64) [32]byte {
	return recorded.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, fuel, sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel)))
}

func decision(job string, fuel uint64, paid ...int) *ledgerv1.Decision {
	none, sum := sha256.Sum256(nil), checksum(fuel)
	d := &ledgerv1.Decision{
		Job: job, Module: none[:], Input: none[:], Checksum: sum[:], Basis: eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, Referee: true,
	}
	for _, n := range paid {
		d.Agreeing = append(d.Agreeing, result(job, n, fuel))
	}
	return d
}

// settle pays for a job: two actions, of which the second is the settlement.
func (w *world) settle(sender int, d *ledgerv1.Decision) []byte {
	return w.tx(sender,
		&ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: d.Job, Amount: 10_000}}},
		&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: d, Price: 5}}})
}

// receiptOf is what an orchestrator signs about results of a worker for jobs.
func receiptOf(orchestrator, worker int, fuel uint64, jobs ...string) *workerv1.Receipts {
	return signedReceipt(orchestrator, worker, fuel, true, jobs...)
}

func signedReceipt(orchestrator, worker int, fuel uint64, attested bool, jobs ...string) *workerv1.Receipts {
	var results []byte
	for _, job := range jobs {
		results = recorded.AppendRecorded(results, recorded.Recorded{
			Job: job, Slot: uint32(worker - 10), Token: uint64(worker), Checksum: checksum(fuel), Attested: attested,
		})
	}
	return recorded.SignRecorded(key(orchestrator), pub(worker), 77, results)
}

// evidence speaks of the last block, and the first result of a receipt.
func (w *world) evidence(orchestrator int, r *workerv1.Receipts, index int) Evidence {
	n := len(w.blocks) - 1
	return Evidence{
		Orchestrator: pub(orchestrator), Receipts: r, Block: w.blocks[n], Results: w.receipts[n], Index: index, Action: 1, Changes: w.changes,
	}
}

func (w *world) claim(e Evidence) *ledgerv1.Claim {
	w.t.Helper()
	c, err := Make(e)
	if err != nil {
		w.t.Fatalf("make: %v", err)
	}
	return c
}
