package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const chain = "test-1"

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// The people of the stories: four validators, workers, a client, and a stranger who has nothing.
const (
	val0, val1, val2, val3             = 0, 1, 2, 3
	worker0, worker1, worker2, worker3 = 10, 11, 12, 13
	client                             = 20
	stranger                           = 30
)

var keyring = map[int]ed25519.PrivateKey{}

func init() {
	for n := range 64 {
		var seed [32]byte
		binary.BigEndian.PutUint64(seed[:], uint64(n)+1)
		keyring[n] = ed25519.NewKeyFromSeed(seed[:])
	}
}

func keyOf(n int) ed25519.PrivateKey { return keyring[n] }
func pub(n int) []byte               { return keyring[n].Public().(ed25519.PublicKey) }

// shortParams are rules under which everything happens within few blocks.
func shortParams() *ledgerv1.Params {
	p := DefaultParams()
	p.WindowBlocks, p.UnbondingBlocks, p.EvidenceBlocks, p.ClaimBlocks = 20, 12, 10, 3
	p.AppealBlocks, p.JailBlocks, p.CorrelationBlocks = 4, 3, 6
	p.MinValidatorStake, p.StakeHalf, p.Fee = 1_000_000, 500_000, 10
	return p
}

func genesisOf(p *ledgerv1.Params) *ledgerv1.Genesis {
	g := &ledgerv1.Genesis{ChainId: chain, TimeUs: 1_000, Params: p}
	for n := val0; n <= val3; n++ {
		g.Validators = append(g.Validators, &ledgerv1.Validator{Key: pub(n), Name: "v", Peer: []byte{byte(n)}})
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: pub(n), Balance: 10_000_000, Stake: 2_000_000})
	}
	for n := worker0; n <= worker3; n++ {
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: pub(n), Balance: 1_000, Stake: 500_000})
	}
	g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: pub(client), Balance: 5_000_000})
	return g
}

// world is a chain that blocks are added to.
type world struct {
	t     failer
	State State
	salt  uint64
	all   [][]Checked // blocks
}

func newWorld(t failer, p *ledgerv1.Params) *world {
	t.Helper()
	s, _, err := Genesis(encode(genesisOf(p)))
	if err != nil {
		t.Fatalf("genesis: %v", err)
	}
	return &world{t: t, State: s}
}

// tx makes a transaction that is good for ten blocks.
func (w *world) tx(sender int, actions ...*ledgerv1.Action) Checked {
	return w.txUntil(sender, w.State.Height()+10, actions...)
}

func (w *world) txUntil(sender int, until uint64, actions ...*ledgerv1.Action) Checked {
	w.t.Helper()
	c, err := Check(chain, w.signed(sender, until, actions...))
	if err != nil {
		w.t.Fatalf("check: %v", err)
	}
	return c
}

func (w *world) signed(sender int, until uint64, actions ...*ledgerv1.Action) []byte {
	w.salt++
	salt := binary.BigEndian.AppendUint64(make([]byte, 8), w.salt)
	return Sign(&ledgerv1.Transaction{ChainId: chain, Sender: pub(sender), Salt: salt, ValidUntil: until, Actions: actions}, keyOf(sender))
}

// block adds a block, which a second validator verifies.
func (w *world) block(txs ...Checked) []*ledgerv1.Receipt {
	w.t.Helper()
	proposer := w.State.Validators().Validators[0].Key
	next, err := w.State.Propose(int64(w.State.Height()), proposer, txs)
	if err != nil {
		w.t.Fatalf("propose: %v", err)
	}
	again, err := w.State.Verify(next.Header, txs)
	if err != nil {
		w.t.Fatalf("verify: %v", err)
	}
	if again.State.Root() != next.State.Root() || again.State.Head() != next.State.Head() {
		w.t.Fatalf("two validators differ")
	}
	w.State = next.State
	w.all = append(w.all, txs)
	return next.Receipts
}

// do executes one transaction in a block of its own.
func (w *world) do(sender int, actions ...*ledgerv1.Action) ledgerv1.ReceiptCode {
	w.t.Helper()
	return w.block(w.tx(sender, actions...))[0].Code
}

// must is do for what works.
func (w *world) must(sender int, actions ...*ledgerv1.Action) {
	w.t.Helper()
	if r := w.block(w.tx(sender, actions...))[0]; r.Code != ok {
		w.t.Fatalf("%v: %s", r.Code, r.Detail)
	}
}

// skip adds empty blocks up to a height.
func (w *world) skip(to uint64) {
	w.t.Helper()
	for w.State.Height() < to {
		w.block()
	}
}

func (w *world) account(n int) *ledgerv1.Account {
	a, _ := w.State.Account(pub(n))
	return a
}

const ok = ledgerv1.ReceiptCode_RECEIPT_CODE_OK

func transfer(to int, amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: pub(to), Amount: amount}}}
}

func stakeSet(stake uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: stake}}}
}

func unstake(amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Unstake{Unstake: &ledgerv1.Unstake{Amount: amount}}}
}

func unjail() *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Unjail{Unjail: &ledgerv1.Unjail{}}}
}

func escrow(job string, amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: job, Amount: amount}}}
}

func refund(job string) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Refund{Refund: &ledgerv1.Refund{
		Job: job, Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM,
	}}}
}

func settle(price uint64, d *ledgerv1.Decision) *ledgerv1.Action {
	d = proto.CloneOf(d)
	d.Contradicted = nil
	return &ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: d, Price: price}}}
}

func slashFor(d *ledgerv1.Decision) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{ConsensusMismatch: &ledgerv1.Slash{Decision: d}}}
}

var module, input = sha256.Sum256([]byte("module")), sha256.Sum256([]byte("input"))

// result is a worker's signed answer. Answers with the same fuel agree.
func result(job string, worker int, fuel uint64) *ledgerv1.Result {
	return resultFor(job, worker, uint32(worker), uint64(worker)+100, fuel)
}

func resultFor(job string, worker int, slot uint32, token, fuel uint64) *ledgerv1.Result {
	output := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	s := proof.Statement{
		Job: job, Slot: slot, Token: token, Module: module, Input: input,
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: output,
	}
	return &ledgerv1.Result{
		Worker: pub(worker), Slot: slot, Token: token, Status: s.Status, Fuel: fuel, Output: output[:], Attestation: s.Sign(keyOf(worker)),
	}
}

const right, wrong, wronger = 7, 8, 9 // fuel

// decision is what the referee confirmed: some workers were right, some were wrong.
func decision(job string, good []int, bad ...int) *ledgerv1.Decision {
	d := &ledgerv1.Decision{
		Job: job, Module: module[:], Input: input[:], Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, Referee: true,
	}
	for _, n := range good {
		d.Agreeing = append(d.Agreeing, result(job, n, right))
	}
	for _, n := range bad {
		d.Contradicted = append(d.Contradicted, result(job, n, wrong))
	}
	sum := checksum(result(job, worker0, right))
	d.Checksum = sum[:]
	return d
}

func vote(n int, height, view uint64, block string) *ledgerv1.Vote {
	b := sha256.Sum256([]byte(block))
	v := &ledgerv1.Vote{Height: height, View: view, Block: b[:], Metadata: b[:], ValidatorsVersion: 1}
	v.Signature = seal.SignVote(chain, v, keyOf(n))
	return v
}

func votes(n int, first, second *ledgerv1.Vote) *ledgerv1.Action {
	return equivocationOf(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{
		Votes: &ledgerv1.VotePair{Validator: pub(n), First: first, Second: second},
	}})
}

func equivocationOf(e *ledgerv1.Equivocation) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: e}}
}

func checkpoints(n int, first, second []byte) *ledgerv1.Action {
	return equivocationOf(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Checkpoints{
		Checkpoints: &ledgerv1.CheckpointPair{Orchestrator: pub(n), First: first, Second: second},
	}})
}

func answers(job string, first, second *ledgerv1.Result) *ledgerv1.Action {
	return equivocationOf(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Results{
		Results: &ledgerv1.ResultPair{Job: job, Module: module[:], Input: input[:], First: first, Second: second},
	}})
}

// head is a signed checkpoint of the log of a key.
func head(n int, origin string, size int64, root byte) []byte {
	b, err := checkpoint.Sign(checkpoint.Head{Origin: origin, Size: size, Root: tlog.Hash{root}}, keyOf(n))
	if err != nil {
		panic(err)
	}
	return b
}

func anchorOf(note []byte) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_LogAnchor{LogAnchor: &ledgerv1.LogAnchor{Checkpoint: note}}}
}

// approve has validators sign a text.
func approve(text []byte, signers ...int) (out []*ledgerv1.ValidatorSignature) {
	for _, n := range signers {
		out = append(out, &ledgerv1.ValidatorSignature{Validator: pub(n), Signature: ed25519.Sign(keyOf(n), text)})
	}
	return out
}

func change(b *ledgerv1.ValidatorChangeBody, signers ...int) *ledgerv1.Action {
	body := encode(b)
	return &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: &ledgerv1.ValidatorChange{
		Body: body, Approvals: approve(seal.ValidatorsText(chain, body), signers...),
	}}}
}

func voidFor(orchestrator, worker int, job string, signers ...int) *ledgerv1.Action {
	body := encode(&ledgerv1.SlashVoidBody{Orchestrator: pub(orchestrator), Worker: pub(worker), Job: job})
	return &ledgerv1.Action{Kind: &ledgerv1.Action_VoidSlash{VoidSlash: &ledgerv1.SlashVoid{
		Body: body, Approvals: approve(seal.VoidText(chain, body), signers...),
	}}}
}

// expect compares numbers of an account or of the supply.
func expect(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %d, want %d", what, got, want)
	}
}
