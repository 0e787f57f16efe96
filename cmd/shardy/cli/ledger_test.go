package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// desk is somebody at a terminal, with a ledger of four validators (chaintest.Key(0) to 3) and four candidates (4 to 7).
type desk struct {
	t       *testing.T
	dir     string
	genesis string // file
	w       *ledgerWorld
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	encoded := chaintest.New(t, 4, 2).Genesis
	keys := make([]ed25519.PrivateKey, 8)
	for i := range keys {
		keys[i] = chaintest.Key(i)
	}
	d.w = serveLedger(t, encoded, keys...)
	d.genesis = d.file("genesis", encoded)
	return d
}

func (d *desk) file(name string, data []byte) string {
	d.t.Helper()
	name = filepath.Join(d.dir, name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return name
}

// key is the file of a key.
func (d *desk) key(n int) string {
	return d.file("key-"+hex.EncodeToString([]byte{byte(n >> 8), byte(n)}), []byte(hex.EncodeToString(chaintest.Key(n).Seed())+"\n"))
}

// run returns what a command prints and its exit code.
func (d *desk) run(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	env := map[string]string{"SHARDY_ADDRESS": d.w.url, "XDG_CONFIG_HOME": d.dir}
	code = run(context.Background(), args, strings.NewReader(""), &o, &e, func(k string) string { return env[k] })
	return code, o.String(), e.String()
}

// want runs a command that must end with a code, and returns what it prints, with --json the document.
func (d *desk) want(code int, args ...string) (out, errOut string) {
	d.t.Helper()
	got, out, errOut := d.run(args...)
	if got != code {
		d.t.Fatalf("shardy %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errOut)
	}
	return out, errOut
}

func (d *desk) grow(blocks, transactions int) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.m.Grow(blocks, transactions)
}

// TestVerifyNamesTheFirstBadBlock spoils a block in many ways.
func TestVerifyNamesTheFirstBadBlock(t *testing.T) {
	d := newDesk(t)
	d.grow(9, 3)
	for name, tt := range map[string]struct {
		spoil  func(b *operator.LedgerBlock)
		reason string
	}{
		"a byte of the header": {func(b *operator.LedgerBlock) { b.Block.Block.Header[len(b.Block.Block.Header)-1] ^= 1 }, ""},
		"no certificate":       {func(b *operator.LedgerBlock) { b.Block.Certificate = nil }, "certificate"},
		"too few signatures":   {func(b *operator.LedgerBlock) { b.Block.Certificate.Signatures = b.Block.Certificate.Signatures[:2] }, "too few validators"},
		"a signature twice": {func(b *operator.LedgerBlock) {
			s := b.Block.Certificate.Signatures
			b.Block.Certificate.Signatures = append(s[:2:2], s[0])
		}, "too few validators"},
		"a transaction less":      {func(b *operator.LedgerBlock) { b.Block.Block.Transactions = b.Block.Block.Transactions[1:] }, "transactions"},
		"another order":           {func(b *operator.LedgerBlock) { x := b.Block.Block.Transactions; x[0], x[1] = x[1], x[0] }, "transactions"},
		"a forged transaction":    {func(b *operator.LedgerBlock) { x := b.Block.Block.Transactions[1]; x[len(x)-1] ^= 1 }, "transaction 1"},
		"a receipt that flatters": {func(b *operator.LedgerBlock) { b.Receipts[2].Detail = "paid" }, ""},
		"a receipt less":          {func(b *operator.LedgerBlock) { b.Receipts = b.Receipts[:2] }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.w.spoils(func(height uint64, b *operator.LedgerBlock) {
				if height == 6 {
					tt.spoil(b)
				}
			})
			defer d.w.spoils(nil)
			for _, args := range [][]string{{"ledger", "verify", "--json", "--genesis", d.genesis}, {"ledger", "verify", "--json", "--from-height", "3"}} {
				out, _ := d.want(exitFailed, args...)
				var r chainReport
				if err := json.Unmarshal([]byte(out), &r); err != nil {
					t.Fatal(err)
				}
				if r.Bad == nil || r.Bad.Height != 6 || !strings.Contains(r.Bad.Reason, tt.reason) || r.Height != 5 {
					t.Errorf("%v: height %d, bad %+v", args, r.Height, r.Bad)
				}
			}
		})
	}
	out, _ := d.want(exitOK, "ledger", "verify", "--genesis", d.genesis)
	if !strings.Contains(out, "good: every block") || !strings.Contains(out, "27, 0 of them failed") {
		t.Error(out)
	}
}

// TestVerifyIsPatient: a door that lets few in slows the reading of the whole ledger down, and does not end it.
func TestVerifyIsPatient(t *testing.T) {
	d := newDesk(t)
	d.grow(700, 1)
	narrow := scriptConfig()
	narrow.Visitors = operator.Visitors{Rate: 10, Burst: 1} // this machine has twenty times as much
	d.w.url = operatortest.StartWith(t, narrow, func(deps *operator.Deps) { deps.Ledger = d.w }).URL
	out, _ := d.want(exitOK, "ledger", "verify", "--genesis", d.genesis)
	if !strings.Contains(out, "700, from 1 to 700") {
		t.Error(out)
	}
}

// BenchmarkVerify is what it costs to verify blocks of twenty transfers that four validators agreed on.
func BenchmarkVerify(b *testing.B) {
	m := chaintest.New(b, 4, 2)
	root, err := readRoot(m.Genesis)
	if err != nil {
		b.Fatal(err)
	}
	m.Grow(50, 20)
	checks := make([]*operatorv1.GetBlockResponse, len(m.Blocks))
	for i, block := range m.Blocks {
		checks[i] = &operatorv1.GetBlockResponse{Block: block, Receipts: m.Receipts[i]}
	}
	for b.Loop() {
		e := &executing{state: root.state}
		for i, res := range checks {
			if _, err := e.block(uint64(i)+1, res); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*len(checks)*20)/b.Elapsed().Seconds(), "transactions/s")
}

// TestVerifyAfterPruning: what is kept is verified, and it is said that no more could be.
func TestVerifyAfterPruning(t *testing.T) {
	d := newDesk(t)
	d.grow(3, 1)
	d.w.mu.Lock()
	d.w.keys = append(d.w.keys, chaintest.Key(4))
	d.w.mu.Unlock()
	d.swap(3, 4)
	d.grow(4, 2)
	d.w.misbehave(func() { d.w.low = 6 })
	out, _ := d.want(exitOK, "ledger", "verify", "--genesis", d.genesis)
	if !strings.Contains(out, "good from block 6") || !strings.Contains(out, "pruned") {
		t.Error(out)
	}
	out, _ = d.want(exitOK, "ledger", "verify", "--json")
	var r chainReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || !r.Pruned || r.Executed || r.From != 6 || r.Height != 8 || r.Blocks != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	d.w.changes = nil // without them the new validators are strangers
	d.want(exitRefused, "ledger", "verify", "--genesis", d.genesis)
}

// swap replaces one validator by another, by hand.
func (d *desk) swap(leaves, joins int) {
	d.t.Helper()
	file := filepath.Join(d.dir, "change.pb")
	d.want(exitOK, "ledger", "validators", "propose", "--add", d.key(joins)+"@new", "--remove", d.key(leaves), "-o", file)
	for n := range 8 {
		d.w.mu.Lock()
		member := false
		for _, k := range d.w.m.Validators {
			member = member || k.Equal(chaintest.Key(n))
		}
		d.w.mu.Unlock()
		if member {
			d.want(exitOK, "ledger", "validators", "approve", file, "--key", d.key(n), "--yes")
		}
	}
	d.want(exitOK, "ledger", "validators", "submit", file, "--key", d.key(1000))
}

// TestValidatorsChangeByHand: proposal, approvals, submission; and whoever has only the genesis follows.
func TestValidatorsChangeByHand(t *testing.T) {
	d := newDesk(t)
	d.grow(2, 1)
	file := filepath.Join(d.dir, "change.pb")
	d.want(exitUsage, "ledger", "validators", "propose", "-o", file)
	d.want(exitOK, "ledger", "validators", "propose", "--add", d.key(4)+"@dora,/ip4/192.0.2.4/tcp/7430", "--remove", d.key(3), "-o", file)
	d.want(exitUsage, "ledger", "validators", "submit", file, "--key", d.key(1000)) // nobody approves
	d.want(exitUsage, "ledger", "validators", "approve", file, "--key", d.key(0))   // nobody said yes
	_, errOut := d.want(exitOK, "ledger", "validators", "approve", file, "--key", d.key(0), "--yes")
	if !strings.Contains(errOut, "make version 2 of the validators") || !strings.Contains(errOut, "dora /ip4/192.0.2.4/tcp/7430") {
		t.Error(errOut)
	}
	d.want(exitOK, "ledger", "validators", "approve", file, "--key", d.key(0), "--yes") // once is enough
	d.want(exitOK, "ledger", "validators", "approve", file, "--key", d.key(1), "--yes")
	d.want(exitRefused, "ledger", "void", "approve", file, "--key", d.key(1), "--yes")
	_, errOut = d.want(exitRefused, "ledger", "validators", "submit", file, "--key", d.key(1000))
	if !strings.Contains(errOut, "NOT_APPROVED: 2 of 4 validators approve, want 3") {
		t.Error(errOut)
	}
	out, _ := d.want(exitOK, "ledger", "validators", "approve", file, "--key", d.key(2), "--yes", "--json")
	if strings.Count(out, "approved by") != 3 {
		t.Error(out)
	}
	d.want(exitOK, "ledger", "validators", "submit", file, "--key", d.key(1000))
	_, errOut = d.want(exitRefused, "ledger", "validators", "submit", file, "--key", d.key(1000))
	if !strings.Contains(errOut, "WRONG_VERSION") {
		t.Error(errOut)
	}
	d.swap(0, 5)
	d.grow(1, 1)

	out, _ = d.want(exitOK, "ledger", "validators", "--genesis", d.genesis)
	if !strings.Contains(out, "dora") || !strings.Contains(out, "signed by 3 of 4 validators") || !strings.Contains(out, "3 of 4, 1 may lie") {
		t.Error(out)
	}
	public := hex.EncodeToString(chaintest.Public(chaintest.Key(1000)))
	out, _ = d.want(exitOK, "ledger", "balance", public, "--genesis", d.genesis, "--json")
	if !strings.Contains(out, `"validators_version":3`) {
		t.Error(out)
	}
	proof := filepath.Join(d.dir, "proof")
	d.want(exitOK, "ledger", "proof", public, "-o", proof)
	out, _ = d.want(exitOK, "ledger", "proof", "--check", proof, "--genesis", d.genesis, "--json")
	if !strings.Contains(out, `"changes":2`) {
		t.Error(out)
	}
	d.want(exitOK, "ledger", "verify", "--genesis", d.genesis)

	spoilt, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := new(operatorv1.Petition)
	if err := proto.Unmarshal(spoilt, p); err != nil {
		t.Fatal(err)
	}
	p.ChainId = "other"
	encoded, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	_, errOut = d.want(exitRefused, "ledger", "validators", "submit", d.file("other.pb", encoded), "--key", d.key(1000))
	if !strings.Contains(errOut, "not signed by it") {
		t.Error(errOut)
	}
	d.want(exitRefused, "ledger", "validators", "approve", d.genesis, "--key", d.key(0), "--yes")
}

// TestALiarIsNotBelieved: an orchestrator shows an account that is none.
func TestALiarIsNotBelieved(t *testing.T) {
	d := newDesk(t)
	d.grow(2, 1)
	rich, err := proto.Marshal(&ledgerv1.Account{Balance: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	d.w.lies(func(p *ledgerv1.TrieProof) { p.Value = rich })
	public := hex.EncodeToString(chaintest.Public(chaintest.Key(2000)))
	out, _ := d.want(exitOK, "ledger", "balance", public)
	if !strings.Contains(out, "1152921504606.846976") || !strings.Contains(out, "not verified") {
		t.Error(out)
	}
	_, errOut := d.want(exitRefused, "ledger", "balance", public, "--genesis", d.genesis)
	if !strings.Contains(errOut, "proof does not lead to the root") {
		t.Error(errOut)
	}
	d.want(exitRefused, "ledger", "proof", public, "-o", filepath.Join(d.dir, "p"))
	if _, err := os.Stat(filepath.Join(d.dir, "p")); err == nil {
		t.Error("a proof that does not hold was written")
	}
}

// TestProofsOfAnotherThing: a proof says what it is about, and a file cannot say something else.
func TestProofsOfAnotherThing(t *testing.T) {
	d := newDesk(t)
	d.grow(2, 1)
	rich, poor := chaintest.Public(chaintest.Key(1000)), chaintest.Public(chaintest.Key(1001))
	file := filepath.Join(d.dir, "proof")
	d.want(exitOK, "ledger", "proof", hexID(rich), "-o", file)
	encoded, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*operatorv1.ProofFile){
		"of another account": func(p *operatorv1.ProofFile) { p.Place = accountPlace(poor) },
		"of nothing":         func(p *operatorv1.ProofFile) { p.Place = nil },
		"of a short key":     func(p *operatorv1.ProofFile) { p.Place = accountPlace(poor[:31]) },
		"of another genesis": func(p *operatorv1.ProofFile) { p.Genesis[0] ^= 1 },
		"without signatures": func(p *operatorv1.ProofFile) { p.State.Certificate = nil },
		"without a state":    func(p *operatorv1.ProofFile) { p.State = nil },
		"without a way":      func(p *operatorv1.ProofFile) { p.State.Proof = nil },
		"of more money":      func(p *operatorv1.ProofFile) { p.State.Proof.Value = append(p.State.Proof.Value, 8, 99) },
	} {
		p := new(operatorv1.ProofFile)
		if err := proto.Unmarshal(encoded, p); err != nil {
			t.Fatal(err)
		}
		spoil(p)
		again, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if code, out, _ := d.run("ledger", "proof", "--check", d.file("spoilt", again), "--genesis", d.genesis); code != exitRefused {
			t.Errorf("%s: exit %d, %s", name, code, out)
		}
	}
	d.want(exitOK, "ledger", "proof", "--check", file, "--genesis", d.genesis)
}

// TestAccusing an orchestrator that signed two logs.
func TestAccusing(t *testing.T) {
	d := newDesk(t)
	note := func(name string, key ed25519.PrivateKey, size int64, root byte) string {
		signed, err := checkpoint.Sign(checkpoint.Head{Origin: checkpoint.Origin(publicHalf(key)), Size: size, Root: [32]byte{root}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return d.file(name, signed)
	}
	liar := chaintest.Key(2)
	mine, theirs, longer := note("mine", liar, 5, 1), note("theirs", liar, 5, 2), note("longer", liar, 6, 2)
	foreign := note("foreign", chaintest.Key(1), 5, 2)
	accuse := func(code int, a, b string, more ...string) string {
		_, errOut := d.want(code, append([]string{"ledger", "accuse", "--checkpoint", a, "--checkpoint", b, "--key", d.key(1000)}, more...)...)
		return errOut
	}
	d.want(exitUsage, "ledger", "accuse", "--checkpoint", mine, "--key", d.key(1000))
	for other, reason := range map[string]string{mine: "they agree", longer: "both can be heads", foreign: "two logs"} {
		if got := accuse(exitRefused, mine, other, "--yes"); !strings.Contains(got, reason) {
			t.Error(got)
		}
	}
	accuse(exitUsage, mine, theirs) // nobody said yes
	accuse(exitRefused, mine, theirs, "--yes", "--accused", hexID(publicHalf(chaintest.Key(1))))
	accuse(exitOK, mine, theirs, "--yes")
	out, _ := d.want(exitOK, "ledger", "balance", hexID(publicHalf(liar)), "--genesis", d.genesis)
	if !strings.Contains(out, "tombstoned") {
		t.Error(out)
	}
	if got := accuse(exitRefused, mine, theirs, "--yes"); !strings.Contains(got, "EVIDENCE_SEEN") {
		t.Error(got)
	}
	d.want(exitOK, "ledger", "verify", "--genesis", d.genesis)
}

// TestATransactionThatWaits says that it may still come.
func TestATransactionThatWaits(t *testing.T) {
	d := newDesk(t)
	d.w.misbehave(func() { d.w.silent = true })
	_, errOut := d.want(exitTimeout, "ledger", "transfer", hexID(chaintest.Public(chaintest.Key(5))), "1", "--key", d.key(1000), "--wait", "30ms")
	if !strings.Contains(errOut, "may still come") {
		t.Error(errOut)
	}
	out, _ := d.want(exitOK, "ledger", "transfer", hexID(chaintest.Public(chaintest.Key(5))), "1", "--key", d.key(1000), "--wait", "0", "--json")
	if !strings.Contains(out, `"height":0`) {
		t.Error(out)
	}
}
