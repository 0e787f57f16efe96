package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/cmd/shardy/receipts"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/gateway/wire"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// cheated is a worker's machine, an orchestrator (validator 0) that settles some of its jobs without it, and the API of
// another one.
type cheated struct {
	t       *testing.T
	dir     string
	ledger  *operatortest.Ledger
	url     string
	worker  ed25519.PrivateKey
	store   *receipts.Store
	genesis string // file
	at      int64
}

const agreed, other = 100, 200 // fuel, and so the checksum

func newCheated(t *testing.T) *cheated {
	t.Helper()
	c := &cheated{t: t, dir: t.TempDir(), ledger: operatortest.NewLedger(t, 8), worker: chaintest.Key(1000), at: 1_000_000}
	world := operatortest.StartWith(t, operator.Config{}, func(d *operator.Deps) { d.Ledger = c.ledger })
	c.url = world.URL
	c.genesis = filepath.Join(c.dir, "genesis")
	c.ledger.Make(func(m *chaintest.Maker) {
		if err := os.WriteFile(c.genesis, m.Genesis, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	var err error
	if c.store, err = receipts.Open(filepath.Join(c.dir, "kept"), receipts.Config{SyncAfter: time.Hour}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.store.Close() })
	return c
}

func (c *cheated) keep(orchestrator int, kind *workerv1.KeptReceipt) {
	c.t.Helper()
	kind.Orchestrator, kind.Worker = chaintest.Public(chaintest.Key(orchestrator)), chaintest.Public(c.worker)
	if err := c.store.Keep(kind); err != nil {
		c.t.Fatal(err)
	}
}

func sumOf(fuel uint64) [32]byte {
	return proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, fuel, sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel)))
}

// recorded keeps a receipt for a result of slot 0.
func (c *cheated) recorded(orchestrator int, fuel uint64, attested bool, jobs ...string) {
	c.t.Helper()
	var results []byte
	for _, job := range jobs {
		results = proof.AppendRecorded(results, proof.Recorded{Job: job, Slot: 0, Token: 1, Checksum: sumOf(fuel), Attested: attested})
	}
	c.at++
	m := proof.SignRecorded(chaintest.Key(orchestrator), chaintest.Public(c.worker), c.at, results)
	c.keep(orchestrator, &workerv1.KeptReceipt{Kind: &workerv1.KeptReceipt_Recorded{Recorded: m}})
}

func resultOf(job string, key ed25519.PrivateKey, slot uint32, fuel uint64) *ledgerv1.Result {
	output := sha256.Sum256(binary.BigEndian.AppendUint64(nil, fuel))
	s := proof.Statement{Job: job, Slot: slot, Token: 1, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: fuel, Output: output}
	return &ledgerv1.Result{
		Worker: chaintest.Public(key), Slot: slot, Token: 1, Status: s.Status, Fuel: fuel, Output: output[:], Attestation: s.Sign(key),
	}
}

// decision is for the agreed result; workers have the slots 0, 1, ...
func decision(job string, firstSlot uint32, paid ...ed25519.PrivateKey) *ledgerv1.Decision {
	sum := sumOf(agreed)
	d := &ledgerv1.Decision{
		Job: job, Module: make([]byte, 32), Input: make([]byte, 32), Checksum: sum[:], Basis: eventv1.VerdictBasis_VERDICT_BASIS_REFEREE,
		Referee: true, FirstSlot: firstSlot,
	}
	for i, key := range paid {
		d.Agreeing = append(d.Agreeing, resultOf(job, key, firstSlot+uint32(i)+1, agreed))
	}
	return d
}

func (c *cheated) settle(orchestrator int, d *ledgerv1.Decision) {
	c.ledger.Make(func(m *chaintest.Maker) {
		m.Next(m.Transfer(chaintest.Key(1001), chaintest.Key(1002), 1), m.Transaction(chaintest.Key(orchestrator),
			&ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: d.Job, Amount: 1_000_000}}},
			&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{Decision: d, Price: 7}}}))
	})
}

func (c *cheated) slash(orchestrator int, d *ledgerv1.Decision) {
	d.Contradicted = []*ledgerv1.Result{resultOf(d.Job, c.worker, 0, other)}
	c.ledger.Make(func(m *chaintest.Maker) {
		m.Next(m.Transaction(chaintest.Key(orchestrator), &ledgerv1.Action{Kind: &ledgerv1.Action_ConsensusMismatch{
			ConsensusMismatch: &ledgerv1.Slash{Decision: d},
		}}))
		if r := m.Receipts[len(m.Receipts)-1][0]; r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			c.t.Fatalf("slash: %v", r)
		}
	})
}

// shardy runs the command and returns what it prints.
func (c *cheated) shardy(exit int, args ...string) (out string) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	env := func(k string) string {
		return map[string]string{"SHARDY_ADDRESS": c.url, "XDG_CONFIG_HOME": c.dir, "HOME": c.dir}[k]
	}
	got := run(context.WithoutCancel(c.t.Context()), append([]string{"worker", "receipts"}, args...), strings.NewReader(""), &stdout, &stderr, env)
	if got != exit {
		c.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, got, exit, stdout.String(), stderr.String())
	}
	return stdout.String() + stderr.String()
}

func (c *cheated) checked(exit int, args ...string) map[string]receiptResult {
	c.t.Helper()
	out := c.shardy(exit, append([]string{"--receipts-dir", c.dir + "/kept", "--genesis", c.genesis, "--check", "--json"}, args...)...)
	var doc struct {
		Receipts []struct {
			Job   string
			Check *receiptResult
		}
	}
	line, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(line), &doc); err != nil {
		c.t.Fatalf("%v in %s", err, out)
	}
	found := map[string]receiptResult{}
	for _, r := range doc.Receipts {
		if r.Check != nil {
			found[r.Job] = *r.Check
		}
	}
	return found
}

func TestReceiptsAreHeldAgainstTheLedger(t *testing.T) {
	c := newCheated(t)
	a, b := chaintest.Key(1003), chaintest.Key(1004)
	c.recorded(0, agreed, true, "cheated", "open")
	c.recorded(0, agreed, true, "paid", "requeued")
	c.recorded(0, agreed, false, "unattested")
	c.recorded(0, other, true, "wrong", "punished")
	c.recorded(1, agreed, true, "cheated") // the same name at another orchestrator: nothing is settled there
	c.settle(0, decision("cheated", 0, a, b))
	c.settle(0, decision("paid", 0, a, c.worker))
	c.ledger.Swap(4) // the validators of what follows are others than those of genesis
	c.settle(0, decision("requeued", 5, a, b))
	c.settle(0, decision("unattested", 0, a, b))
	c.settle(0, decision("wrong", 0, a, b))
	c.settle(0, decision("punished", 0, a, b))
	c.slash(0, decision("punished", 0, a, b, chaintest.Key(1005)))
	key := hex.EncodeToString(chaintest.Public(chaintest.Key(0)))
	got := c.checked(exitFailed, "--orchestrator", key[:12])
	for job, want := range map[string]string{
		"cheated": "cheated", "open": "open", "paid": "paid", "requeued": "earlier_round", "unattested": "unattested",
		"wrong": "contradicted", "punished": "slashed",
	} {
		r := got[job]
		if r.Verdict != want || !r.Proven || r.AsOf != 8 || (r.Transaction == "") != (want == "open") || (r.Slash == "") != (want != "slashed") {
			t.Errorf("job %s: %+v, want %s", job, r, want)
		}
	}
	if r := c.checked(exitOK, "--orchestrator", hex.EncodeToString(chaintest.Public(chaintest.Key(1))))["cheated"]; r.Verdict != "open" {
		t.Errorf("at another orchestrator: %+v", r)
	}
	table := c.shardy(exitFailed, "--receipts-dir", c.dir+"/kept", "--genesis", c.genesis, "--check")
	if !strings.Contains(table, "cheated: proven") || !strings.Contains(table, "earlier round") || !strings.Contains(table, "1 recorded results were settled without") {
		t.Errorf("table:\n%s", table)
	}
}

func TestAClaimIsWrittenAndVerifiedOffline(t *testing.T) {
	c := newCheated(t)
	a, b := chaintest.Key(1003), chaintest.Key(1004)
	c.recorded(0, agreed, true, "fair", "first", "second")
	c.settle(0, decision("fair", 0, a, c.worker))
	c.settle(0, decision("first", 0, a, b))
	c.ledger.Swap(4)
	c.settle(0, decision("second", 0, a, b))
	kept := []string{"--receipts-dir", c.dir + "/kept", "--genesis", c.genesis}
	file := filepath.Join(c.dir, "claim")
	c.shardy(exitUsage, append(kept, "--export", file)...) // which of the two?
	if _, err := os.Stat(file); err == nil {
		t.Fatal("written although it was not said for which job")
	}
	c.shardy(exitRefused, append(kept, "--export", file, "--job", "fair")...)
	for _, job := range []string{"first", "second"} {
		if out := c.shardy(exitOK, append(kept, "--export", file, "--job", job)...); !strings.Contains(out, "the worker was cheated") {
			t.Fatalf("export: %s", out)
		}
		c.url = "http://127.0.0.1:1" // nobody is asked
		out := c.shardy(exitOK, "--verify", file, "--genesis", c.genesis, "--json")
		for _, want := range []string{
			`"job":"` + job + `"`, `"proven":true`, `"verdict":"cheated"`, `"price":7`, `"paid":["` + hex.EncodeToString(chaintest.Public(a)),
			`"worker":"` + hex.EncodeToString(chaintest.Public(c.worker)), `"orchestrator":"` + hex.EncodeToString(chaintest.Public(chaintest.Key(0))),
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s is not in %s", want, out)
			}
		}
		c.shardy(exitUsage, "--verify", file)
		c.shardy(exitNotFound, "--verify", file+"2", "--genesis", c.genesis)
		claim, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		spoiled := filepath.Join(c.dir, "spoiled")
		for at := 40; at < len(claim); at += len(claim)/20 + 1 {
			bad := bytes.Clone(claim)
			bad[at] ^= 1
			if err := os.WriteFile(spoiled, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if out := c.shardy(exitRefused, "--verify", spoiled, "--genesis", c.genesis); !strings.Contains(out, "proves nothing") && !strings.Contains(out, "is no claim") {
				t.Errorf("spoiled at %d: %s", at, out)
			}
		}
		stranger := filepath.Join(c.dir, "stranger")
		if err := os.WriteFile(stranger, chaintest.New(t, 7, 0).Genesis, 0o600); err != nil {
			t.Fatal(err)
		}
		c.shardy(exitRefused, "--verify", file, "--genesis", stranger)
		c.url = ""
		*c = *c.reopened()
	}
}

// reopened is c with its orchestrator's address again.
func (c *cheated) reopened() *cheated {
	world := operatortest.StartWith(c.t, operator.Config{}, func(d *operator.Deps) { d.Ledger = c.ledger })
	again := *c
	again.url = world.URL
	return &again
}

func TestReceiptsOfRefusalsAreListed(t *testing.T) {
	c := newCheated(t)
	worker, key := chaintest.Public(c.worker), chaintest.Key(0)
	settled := &workerv1.TaskSettled{
		Tokens: []uint64{7}, Outcome: workerv1.TaskOutcome_TASK_OUTCOME_REJECTED,
		Reason: uint32(eventv1.RejectReason_REJECT_REASON_FUEL), Detail: "\x1b[2J", AtUs: 5,
	}
	settled.Receipt = ed25519.Sign(key, wire.RefusedText(worker, 7, settled.Reason, 5))
	c.keep(0, &workerv1.KeptReceipt{Kind: &workerv1.KeptReceipt_Refused{Refused: &workerv1.RefusedResult{Settled: settled, Job: "refused", Slot: 3}}})
	rejected := &workerv1.Rejected{Reason: eventv1.RejectionReason_REJECTION_REASON_BANNED, Detail: "lies", AtUs: 6}
	rejected.Receipt = ed25519.Sign(key, wire.RejectedText(worker, uint32(rejected.Reason), 6, "lies"))
	c.keep(0, &workerv1.KeptReceipt{Kind: &workerv1.KeptReceipt_Rejected{Rejected: rejected}})
	c.recorded(0, agreed, true, "a", "b", "c")
	forged := proof.SignRecorded(chaintest.Key(1), worker, 9, proof.AppendRecorded(nil, proof.Recorded{Job: "forged"}))
	c.keep(0, &workerv1.KeptReceipt{Kind: &workerv1.KeptReceipt_Recorded{Recorded: forged}})
	dir := []string{"--receipts-dir", c.dir + "/kept"}
	out := c.shardy(exitOK, dir...)
	for _, want := range []string{"refused", "fuel", "banned lies", "recorded", "1 entries", hex.EncodeToString(chaintest.Public(key))[:16]} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "forged\n") || strings.Contains(out, "\x1b") {
		t.Errorf("it shows what it must not:\n%s", out)
	}
	out = c.shardy(exitOK, append(dir, "--json", "--limit", "2")...)
	if !strings.Contains(out, `"job":"a"`) || strings.Contains(out, `"job":"c"`) || strings.Contains(out, "banned") {
		t.Errorf("the two newest: %s", out)
	}
	if out := c.shardy(exitOK, append(dir, "--json", "--job", "nothing")...); out != `{"receipts":[]}`+"\n" {
		t.Errorf("of no job: %s", out)
	}
	if out := c.shardy(exitOK, "--receipts-dir", c.dir+"/nowhere"); !strings.HasPrefix(out, "TIME") {
		t.Errorf("no folder: %s", out)
	}
}

// An orchestrator that no longer keeps the block can still show with which result it settled.
func TestReceiptsOfPrunedBlocks(t *testing.T) {
	c := newCheated(t)
	a, b := chaintest.Key(1003), chaintest.Key(1004)
	c.recorded(0, agreed, true, "same")
	c.recorded(0, other, true, "different")
	c.settle(0, decision("same", 0, a, b))
	c.settle(0, decision("different", 0, a, b))
	c.ledger.Make(func(m *chaintest.Maker) { m.Grow(3, 1) })
	c.ledger.Prune(4)
	got := c.checked(exitOK)
	if got["same"].Verdict != "unknown" || got["different"].Verdict != "contradicted" || got["same"].Height != 1 {
		t.Fatalf("%+v", got)
	}
}

// What the state has forgotten is found among the transactions.
func TestReceiptsOfForgottenSettlements(t *testing.T) {
	c := newCheated(t)
	g, err := ledger.ParseGenesis(chaintest.New(t, 4, 8).Genesis)
	if err != nil {
		t.Fatal(err)
	}
	g.Params.EvidenceBlocks, g.Params.UnbondingBlocks, g.Params.WindowBlocks, g.Params.ClaimBlocks, g.Params.AppealBlocks = 3, 4, 200, 2, 2
	encoded, err := proto.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	w := serveLedger(t, encoded, chaintest.Key(0), chaintest.Key(1), chaintest.Key(2), chaintest.Key(3))
	if err := os.WriteFile(c.genesis, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	c.url = w.url
	c.recorded(0, agreed, true, "old", "older", "open")
	for _, job := range []string{"older", "old"} {
		w.grow(w.m.Transaction(chaintest.Key(0),
			&ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{JobEscrow: &ledgerv1.JobEscrow{Job: job, Amount: 1_000_000}}},
			&ledgerv1.Action{Kind: &ledgerv1.Action_TaskVerified{TaskVerified: &ledgerv1.Settlement{
				Decision: decision(job, 0, chaintest.Key(1003)), Price: 7,
			}}}))
		for range 6 {
			w.grow(w.m.Transfer(chaintest.Key(1001), chaintest.Key(1002), 1))
		}
	}
	if w.m.State.Settled(chaintest.Public(chaintest.Key(0)), "old") != nil {
		t.Fatal("the state still remembers it")
	}
	got := c.checked(exitFailed)
	if got["old"].Verdict != "cheated" || got["old"].Height != 8 || got["older"].Verdict != "cheated" || got["open"].Verdict != "open" ||
		got["open"].Proven || !got["old"].Proven {
		t.Fatalf("%+v", got)
	}
	// Blocks that were tampered with prove nothing, whoever hands them out.
	w.spoils(func(_ uint64, b *operator.LedgerBlock) {
		b.Receipts[0].Code = ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED
	})
	c.shardy(exitRefused, "--receipts-dir", c.dir+"/kept", "--genesis", c.genesis, "--check")
	w.spoils(nil)
	w.lies(func(p *ledgerv1.TrieProof) { p.Value = []byte("no") })
	c.shardy(exitRefused, "--receipts-dir", c.dir+"/kept", "--genesis", c.genesis, "--check")
}
