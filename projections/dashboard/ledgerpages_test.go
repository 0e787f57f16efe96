package dashboard

import (
	"context"
	"encoding/hex"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ledgerScreens are the pages of the ledger and the mesh, by the name of their picture.
func ledgerScreens(m *mint, all ledgerDeeds) [][2]string {
	at := func(id []byte) string { return "/ledger/transactions/" + hexOf(id) }
	return [][2]string{
		{"ledger", "/ledger"},
		{"accounts", "/ledger/accounts"},
		{"accounts-none", "/ledger/accounts?key=ffffffff"},
		{"account", linkAccount(public(all.liar))},
		{"account-validator", linkAccount(public(m.keys[0]))},
		{"account-none", linkAccount(public(seedKey(999)))},
		{"account-tombstoned", linkAccount(public(m.keys[4]))},
		{"blocks", "/ledger/blocks"},
		{"block", "/ledger/blocks/10"},
		{"block-many", "/ledger/blocks/14"},
		{"block-last", "/ledger/blocks/74"},
		{"block-genesis", "/ledger/blocks/0"},
		{"transactions", "/ledger/transactions"},
		{"settlement", at(all.settlement)},
		{"slash", at(all.slash)},
		{"votes", at(all.votes)},
		{"notes", at(all.notes)},
		{"results", at(all.results)},
		{"anchor", at(all.anchor)},
		{"void", at(all.void)},
		{"validators", at(all.validators)},
		{"refused", at(all.refused)},
		{"batch", at(all.batch)},
		{"mesh", "/mesh"},
		{"job-settled", linkJob(all.paidJob)},
		{"job-locked", linkJob(all.lockedJob)},
	}
}

// says gets a page and holds its text, without markup, to what is wanted.
func (s *scene) says(path string, wants ...string) string {
	s.t.Helper()
	body := s.page(path)
	checkPage(s.t.(*testing.T), path, body)
	text := plainly.Replace(strings.Join(strings.Fields(textOf(body)), " "))
	for _, want := range wants {
		if !strings.Contains(text, strings.ReplaceAll(want, "\u202f", " ")) {
			s.t.Errorf("%s does not say %q:\n%s", path, want, text)
		}
	}
	return text
}

var (
	markup   = regexp.MustCompile(`<[^>]*>`)
	plainly  = strings.NewReplacer(" .", ".", " ,", ",", " :", ":") // behind a link
	nextLink = regexp.MustCompile(`<a href="([^"]+)" rel="next">`)
)

var ids = regexp.MustCompile(` id="([^"]*)"`)

// TestIDsAreUnique: an update finds each line again by its id.
func TestIDsAreUnique(t *testing.T) {
	s, m, all := ledgerScene(t, nil)
	for _, screen := range ledgerScreens(m, all) {
		seen := map[string]bool{}
		for _, id := range ids.FindAllStringSubmatch(s.page(screen[1]), -1) {
			if seen[id[1]] {
				t.Errorf("%s has two of %q", screen[1], id[1])
			}
			seen[id[1]] = true
		}
	}
}

// textOf is what a page says.
func textOf(body string) string { return html.UnescapeString(markup.ReplaceAllString(body, " ")) }

func TestLedgerSaysWhereTheMoneyIs(t *testing.T) {
	s, m, _ := ledgerScene(t, nil)
	supply := m.state.Supply()
	text := s.says("/ledger", "This orchestrator votes on blocks", "425\u202f245 units in all", money(supply.Balances), money(supply.Stakes), money(supply.Escrows),
		"Frozen", money(supply.Penalties), "Treasury", money(supply.Treasury), "Burned", money(supply.Burned),
		"Leads", "Signed", "Not needed", "1\u202f204", "18 events behind", "90 to pay, 12 in escrow", "up to 100 %")
	if strings.Contains(text, "do not add up") {
		t.Error("the parts of the supply do not make up the whole")
	}
	supply = proto.CloneOf(supply)
	supply.Burned++
	if newSupplyBar(supply).Balanced {
		t.Error("a supply that does not add up is not noticed")
	}
}

func TestSupplyBarIsWhole(t *testing.T) {
	for _, s := range []*ledgerv1.Supply{
		{}, {Total: 1, Balances: 1}, {Total: 1 << 62, Balances: 1<<62 - 5, Stakes: 1, Escrows: 1, Penalties: 1, Treasury: 1, Burned: 1}, {Total: 10, Burned: 10},
	} {
		b, x := newSupplyBar(s), 0.0
		for _, p := range b.Parts {
			if p.X < x-1e-9 || p.X+p.Width > 100+1e-9 {
				t.Errorf("%v: %s lies at %.3f, %.3f wide", s, p.Name, p.X, p.Width)
			}
			x = p.X + p.Width
		}
		if s.Total > 0 && x < 99.999 || !b.Balanced {
			t.Errorf("%v: the bar ends at %.3f, balanced %v", s, x, b.Balanced)
		}
	}
}

func TestAccountsAreListedAndFound(t *testing.T) {
	s, m, all := ledgerScene(t, nil)
	seen := map[string]bool{}
	at := "/ledger/accounts"
	for range 10 {
		body := s.page(at)
		for _, row := range strings.Split(body, `id="row-`)[1:] {
			key, _, _ := strings.Cut(row, `"`)
			if seen[key] {
				t.Errorf("%s is listed twice", key)
			}
			seen[key] = true
		}
		next := nextLink.FindStringSubmatch(body)
		if next == nil {
			break
		}
		at = html.UnescapeString(next[1])
	}
	n := 0
	for a := range m.state.Accounts() {
		n++
		if !seen[hexOf(a.Key)] {
			t.Errorf("%x is not listed", a.Key)
		}
	}
	if len(seen) != n {
		t.Errorf("%d accounts are listed, there are %d", len(seen), n)
	}
	liar := hexOf(public(all.liar))
	for _, key := range []string{liar, liar[:6], strings.ToUpper(liar[:9])} {
		if body := s.page("/ledger/accounts?key=" + key); strings.Count(body, `id="row-`) != 1 || !strings.Contains(body, linkAccount(public(all.liar))) {
			t.Errorf("%s is not found, or others are", key)
		}
	}
	s.page("/ledger/accounts?key=ffffffffff", "No account")
	s.page("/ledger/accounts?key=xyz", "This is no key")
	if a := s.get("/ledger/accounts?after=nonsense"); a.status != http.StatusConflict {
		t.Errorf("a place that no list gave out: %d", a.status)
	}
}

func TestAccountAndItsProof(t *testing.T) {
	s, m, all := ledgerScene(t, nil)
	a, _ := m.state.Account(public(all.liar))
	s.says(linkAccount(public(all.liar)), "In good standing", money(a.Balance), money(a.Stake), money(a.Slashed), "48.4 %", "Punishes 2 workers",
		"Verified", "3 of 4, 3 needed", "there is something at this place", "shardy ledger proof "+hexOf(public(all.liar)), "the worker with this key")
	s.says(linkAccount(public(s.plant.workers[5])), "Unbonding", "400", "12\u202f007") // released unbonding_blocks after block 7
	s.says(linkAccount(public(m.keys[4])), "Tombstoned", "Shows that validator "+shortHex(public(m.keys[4])))
	s.says(linkAccount(public(m.keys[0])), "Account north", "It is a validator. It is this orchestrator's.")
	s.says(linkAccount(public(seedKey(999))), "No account", "there is nothing at this place", "Verified", "No transaction lately")
	for _, path := range []string{"/ledger/accounts/xyz", "/ledger/accounts/00", "/ledger/accounts/" + strings.Repeat("00", 33)} {
		if a := s.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// forged answers with proofs that somebody has tampered with.
type forged struct {
	*mint
	spoil func(*operatorv1.GetProofResponse)
}

func (f forged) GetProof(ctx context.Context, req *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error) {
	res, err := f.mint.GetProof(ctx, req)
	if err == nil {
		res = proto.CloneOf(res)
		f.spoil(res)
	}
	return res, err
}

func TestAForgedProofIsCalledBroken(t *testing.T) {
	f := &forged{}
	s, m, all := ledgerScene(t, func(d *Deps) {
		f.mint = d.Ledger.(*mint)
		d.Ledger = f
	})
	other := seal.AccountKey(public(seedKey(1)))
	for name, spoil := range map[string]func(*operatorv1.GetProofResponse){
		"another value":     func(r *operatorv1.GetProofResponse) { r.Proof.Value = append(r.Proof.Value, 0x18, 1) },
		"another place":     func(r *operatorv1.GetProofResponse) { r.Proof = m.state.Prove(other) },
		"a sibling is gone": func(r *operatorv1.GetProofResponse) { r.Proof.Siblings = r.Proof.Siblings[1:] },
		"too few signatures": func(r *operatorv1.GetProofResponse) {
			c := &ledgerv1.Certificate{}
			if err := proto.Unmarshal(r.Certificate, c); err != nil {
				t.Fatal(err)
			}
			c.Signatures = c.Signatures[:2]
			r.Certificate, _ = proto.Marshal(c)
		},
		"no signature is right": func(r *operatorv1.GetProofResponse) {
			c := &ledgerv1.Certificate{}
			if err := proto.Unmarshal(r.Certificate, c); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.Signatures {
				s.Signature[0] ^= 1
			}
			r.Certificate, _ = proto.Marshal(c)
		},
	} {
		f.spoil = spoil
		body := s.page(linkAccount(public(all.liar)))
		if text := textOf(body); !strings.Contains(text, "Broken") || strings.Contains(text, "Verified") {
			t.Errorf("%s: the proof passes", name)
		}
	}
}

func TestBlocks(t *testing.T) {
	s, m, all := ledgerScene(t, nil)
	s.page("/ledger/blocks", linkBlock(74), linkBlock(25), `rel="next"`)
	s.page("/ledger/blocks?after=25", linkBlock(24), linkBlock(0), `rel="first"`)
	s.says("/ledger/blocks/74", "Block 74", "Quorum verified", "3 of 4, 3 needed", "south not in it", "No transaction", "version 3")
	if body := s.page("/ledger/blocks/74"); strings.Contains(body, `rel="next"`) || !strings.Contains(body, linkBlock(73)) {
		t.Error("the last block leads on, or does not lead back")
	}
	s.says("/ledger/blocks/10", "Signed by validators of version 1", "5 signatures", "1 × equivocation")
	s.says("/ledger/blocks/0", "Genesis: where the chain begins", "Nobody signs genesis")
	s.says("/ledger/blocks/9", "Agreed on with 3 transactions, of which 2 changed nothing but the fee", "Insufficient balance", "Done")
	s.page("/ledger/blocks/14", "130 × transfer", `rel="next"`)
	s.page("/ledger/blocks/14?after=100", linkTransaction(all.many, 14), `rel="first"`)
	if a := s.get("/ledger/blocks/" + hex.EncodeToString(m.blocks[10].hash)); a.status != http.StatusOK || !strings.Contains(a.body, "Block 10") {
		t.Errorf("a block by its hash: %d", a.status)
	}
	for _, path := range []string{"/ledger/blocks/75", "/ledger/blocks/xyz", "/ledger/blocks/-1", "/ledger/blocks/" + strings.Repeat("00", 32)} {
		if a := s.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestTransactionsInWords(t *testing.T) {
	s, _, all := ledgerScene(t, nil)
	at := func(id []byte) string { return "/ledger/transactions/" + hexOf(id) }
	w := s.plant
	s.says(at(all.settlement), "Executed in block 2, all 2 actions or none", "Locks 10 for job "+all.paidJob, "Pays 2 workers for job", "0.0512", "2 agree, 0 contradicted",
		shortKey(public(w.workers[0])), shortKey(public(w.workers[6])), "2 % of it go to the treasury")
	s.page(at(all.settlement), linkJob(all.paidJob), linkAccount(public(w.workers[6])), linkBlock(2))
	wrong := checksumOf(signedResult("x", all.liar, 0, 498_123))
	s.says(at(all.slash), "Punishes 2 workers for wrong results", "contradicted "+shortKey(wrong[:])+" 2 signed results", "agree", "4 agree, 2 contradicted",
		"Referee's word yes", "Frozen", "21", "Over given away, or voided") // 1 % of 2 100; the other worker's was voided
	s.says(at(all.votes), "has voted for two blocks of height", "First vote", "Second vote")
	s.says(at(all.notes), "has signed two logs of one size", "First checkpoint", "Second checkpoint", "shardy/")
	s.says(at(all.results), "has signed two results of one task", "First result", "Second result")
	s.says(at(all.anchor), "Anchors its log at a size of 8\u202f120")
	s.says(at(all.void), "Gives "+shortHex(public(w.workers[2]))+" its penalty back", "Approved by", "north", "east")
	s.says(at(all.validators), "Makes version 3 of the validators: with west.", "Approved by", "south signed")
	s.says(at(all.refused), "Insufficient balance", "Refused in block 9 at action 2 of 2", "It changed nothing but the fee", "1. Transfer ○ Undone", "2. Transfer ✕ Insufficient balance")
	s.says(at(all.many)+"?block=14", "number 129 in it")
	s.says(at(all.batch), "all 64 actions or none", "63 Locks 1 for job batched-31", "64 Pays 2 workers for job batched-31")
	s.says("/ledger/transactions", "Pays for 32 jobs 32 × escrow, 32 × settlement")
	for _, path := range []string{at(all.many) + "?block=13", at(all.many) + "?block=999", "/ledger/transactions/00", at(make([]byte, 32))} {
		if a := s.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := s.get(at(all.many) + "?block=x"); a.status != http.StatusBadRequest {
		t.Errorf("a block that is no number: %d", a.status)
	}
	s.page("/ledger/transactions", hexOf(all.many), `rel="next"`)
	s.page("/ledger/transactions?job="+all.paidJob, hexOf(all.settlement))
	s.page("/ledger/transactions?account="+hexOf(public(all.liar)), hexOf(all.slash))
	s.page("/ledger/transactions?account=xyz", "64 hexadecimal digits")
	s.page("/ledger/transactions?job=nobody", "No transaction matches")
}

func TestMeshPage(t *testing.T) {
	s, _, _ := ledgerScene(t, nil)
	text := s.says("/mesh", "3 peers connected, among them 2 of the 3 other validators", "41 ms", "−3.5", "4 behind", "lisbon", "inbound", "shardy.blockchain.transactions.v1",
		"120\u202f422", "/dns4/north.example/tcp/7430", "/api/libp2p/bootstrap")
	if i, j := strings.Index(text, "east validator"), strings.Index(text, "lisbon observer"); i < 0 || j < i {
		t.Error("validators are not listed first")
	}
	for _, c := range []struct {
		m    *operatorv1.GetMeshResponse
		want string
		tone tone
	}{
		{&operatorv1.GetMeshResponse{Validator: true, Validators: 1}, "the only validator", toneVerified},
		{&operatorv1.GetMeshResponse{Validators: 4}, "Nobody is connected", toneDead},
		{&operatorv1.GetMeshResponse{Validators: 1, ValidatorsReached: 1, Peers: []*operatorv1.MeshPeer{{}}}, "all 1 other validators", toneVerified},
	} {
		if said, tone := meshSaying(c.m); !strings.Contains(said.String(), c.want) || tone != c.tone {
			t.Errorf("%v: %s (%s)", c.m, said, tone)
		}
	}
}

func TestJobsAndWorkersLeadToTheLedger(t *testing.T) {
	s, _, all := ledgerScene(t, nil)
	s.page(linkJob(all.paidJob), "settled in block 2", linkBlock(2))
	s.says(linkJob(all.lockedJob), "4 in escrow since block 3")
	s.page(linkJob(all.unpaidJob), "not settled", "/ledger/transactions?job="+all.unpaidJob)
	s.says("/", "Ledger's block 74")
	if text := s.says(linkJob(all.openJob)); strings.Contains(text, "settled") {
		t.Error("a job that is open speaks of its settlement")
	}
	s.page(linkWorker(public(all.liar)), linkAccount(public(all.liar)))
	s.page(linkAccount(public(all.liar)), linkWorker(public(all.liar)))
}

func TestWithoutMesh(t *testing.T) {
	s := newScene(t, nil)
	id := s.plant.submit(nil)
	s.settle()
	for _, path := range []string{"/ledger", "/ledger/accounts", linkAccount(make([]byte, 32)), "/ledger/blocks", "/ledger/blocks/1", "/ledger/transactions", "/ledger/transactions/" + strings.Repeat("00", 32), "/mesh"} {
		if a := s.get(path); a.status != http.StatusNotFound || !strings.Contains(a.body, "runs without --mesh") {
			t.Errorf("%s: %d\n%s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/", linkJob(id), linkWorker(s.plant.key(0))} {
		if a := s.get(path); strings.Contains(a.body, `href="/ledger`) || strings.Contains(a.body, `href="/mesh`) {
			t.Errorf("%s offers what is not there", path)
		}
	}
}

// TestTheLedgerIsPublic: whoever may look at anything may look at the ledger; the mesh and workers are the staff's.
func TestTheLedgerIsPublic(t *testing.T) {
	s, _, all := ledgerScene(t, func(d *Deps) { d.Access = everybody })
	if a := s.get("/ledger"); !strings.HasPrefix(a.path, "/login") {
		t.Errorf("without a login: %d at %s", a.status, a.path)
	}
	s.login("other-token")
	for _, path := range []string{"/ledger", "/ledger/accounts", "/ledger/blocks", "/ledger/blocks/2", "/ledger/transactions", "/ledger/transactions/" + hexOf(all.slash), linkAccount(public(all.liar))} {
		if body := s.page(path); strings.Contains(body, linkWorkers()) || strings.Contains(body, linkMesh()) {
			t.Errorf("%s leads a client to workers or the mesh", path)
		}
	}
	if a := s.get("/mesh"); a.status != http.StatusForbidden {
		t.Errorf("a client sees the mesh: %d", a.status)
	}
	// The job is of another tenant: the ledger names it, and leads nowhere.
	body := s.page("/ledger/transactions/"+hexOf(all.settlement), all.paidJob)
	if strings.Contains(body, linkJob(all.paidJob)) {
		t.Error("a client is led to a job that it may not see")
	}
}
