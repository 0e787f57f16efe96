package dashboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// evil is a ledger whose texts want out of where they are shown.
type evil struct {
	*mint
	text string
}

func (e *evil) GetLedger(ctx context.Context, req *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error) {
	res, err := e.mint.GetLedger(ctx, req)
	if err != nil {
		return nil, err
	}
	res = proto.CloneOf(res)
	for _, v := range res.Validators.Validators {
		v.Name, v.Addresses = e.text, []string{e.text, e.text}
	}
	res.Consensus.Role, res.Consensus.Failure = "failed", e.text
	res.Settlement = &operatorv1.SettlementStatus{Position: 9, LogHead: 3, LastRefusal: e.text}
	return res, nil
}

func (e *evil) GetBlock(ctx context.Context, req *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error) {
	res, err := e.mint.GetBlock(ctx, req)
	if err != nil {
		return nil, err
	}
	res = proto.CloneOf(res)
	for i, r := range res.Receipts {
		r.Detail, r.Code, r.Action = e.text, ledgerv1.ReceiptCode(i%25), uint32(i*1_000_000)
	}
	return res, nil
}

func hostileKnots() knots {
	m := &operatorv1.GetMeshResponse{Peer: hostile[0], ChainId: hostile[1], Node: hostile[2], Version: hostile[3], SinceUs: -5, Listen: hostile, Validators: 1 << 31}
	for _, h := range hostile {
		m.Peers = append(m.Peers, &operatorv1.MeshPeer{Peer: h, Node: h, Addresses: []string{h}, Direction: h, Agent: h, LatencyUs: -1, Height: 1<<64 - 1, SinceUs: 1 << 62})
		m.Topics = append(m.Topics, &operatorv1.MeshTopic{Name: h, Throttled: 1<<64 - 1, Overflowed: 3})
		m.Orchestrators = append(m.Orchestrators, &operatorv1.MeshOrchestrator{Peer: h, Key: []byte(h), Node: h, Version: h, Idle: slices.Repeat([]uint32{1 << 31}, 9)})
	}
	for range 3 * maxPeers {
		m.Peers = append(m.Peers, &operatorv1.MeshPeer{})
	}
	return knots{m}
}

// hostileLedger has transactions whose texts are hostile, as far as the rules of the chain let them.
func hostileLedger(t testing.TB) (*scene, *evil) {
	e := &evil{text: hostile[0]}
	s := newScene(t, func(d *Deps) { d.Ledger, d.Mesh = e, hostileKnots() })
	s.fleet()
	e.mint = newMint(t, time.Now().Add(-time.Minute).UnixMicro(), s.plant.workers, func(g *ledgerv1.Genesis) {
		for i, v := range g.Validators {
			v.Name = cut(hostile[i], 60)
		}
	})
	w, own := s.plant.workers, e.keys[0]
	for _, h := range hostile {
		job := cut(strings.ToValidUTF8(h, "?"), 120)
		d := decided(job, w[4:8], w[1])
		e.add(e.tx(own, lock(job, 4_000_000), payFor(d, 5)), e.tx(own, punish(d)), e.tx(own, punish(d)), e.tx(own, lock(job, 1), &ledgerv1.Action{Kind: &ledgerv1.Action_Refund{
			Refund: &ledgerv1.Refund{Job: job, Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM},
		}}))
	}
	s.settle()
	return s, e
}

func TestHostileLedgerIsText(t *testing.T) {
	s, e := hostileLedger(t)
	for _, h := range hostile {
		e.text = h
		for _, path := range []string{"/ledger", "/ledger/accounts", "/ledger/blocks", "/ledger/blocks/3", "/ledger/transactions", "/mesh"} {
			checkPage(t, path, s.page(path))
		}
		b := e.blocks[4]
		for i := range b.receipts {
			path := linkTransaction(b.receipts[i].Transaction, 4)
			checkPage(t, path, s.page(path))
		}
	}
	for _, path := range s.crawl(6) {
		checkPage(t, path, s.get(path).body)
	}
	for _, path := range []string{"/ledger/transactions?job=%3Cscript%3E%22%27&account=%3C", "/ledger/accounts?key=%3Cscript%3E", "/ledger/blocks?after=1"} {
		checkPage(t, path, s.page(path))
	}
}

func TestHostileLedgerInABrowser(t *testing.T) {
	b := browser(t)
	s, e := hostileLedger(t)
	tab := open(t, b, s.server.URL)
	for i, l := range []look{looks[0], looks[3]} {
		tab.as(l)
		for j, h := range hostile {
			if j%2 != i || j > 1 && j != 4 && j != 9 { // all of them are looked at without a browser
				continue
			}
			e.text = h
			for _, path := range []string{"/ledger", "/ledger/accounts", "/ledger/transactions", "/ledger/blocks/3", linkTransaction(e.blocks[j+1].receipts[1].Transaction, uint64(j+1)), "/mesh"} {
				tab.do(chromedp.Navigate(s.server.URL + path))
				if ask1[bool](tab, `"pwned" in window`) {
					t.Errorf("%s ran what a stranger wrote", path)
				}
				tab.fits(path + " " + l.scheme)
			}
		}
	}
}

// FuzzLedgerRequests holds that no address makes the pages of the ledger fail.
func FuzzLedgerRequests(f *testing.F) {
	s, m, all := ledgerScene(f, nil)
	for _, screen := range ledgerScreens(m, all) {
		f.Add(screen[1])
	}
	f.Add("/ledger/accounts?key=00&after=x")
	f.Add("/ledger/transactions?account=ff&after=-1")
	f.Add("/ledger/blocks/14?after=18446744073709551615")
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/"+strings.TrimPrefix(path, "/"), nil)
		if err != nil || strings.HasPrefix(r.URL.Path, "/live") {
			t.Skip()
		}
		w := httptest.NewRecorder()
		s.dash.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%q: 500\n%s", path, w.Body)
		}
	})
}
