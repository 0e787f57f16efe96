package dashboard

import (
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/shardy-network/orchestrator/actors/ledger"
)

// TestLedgerInABrowser: every screen of the ledger and the mesh fits at every size and in both schemes, and complains
// about nothing.
func TestLedgerInABrowser(t *testing.T) {
	b := browser(t)
	s, m, all := ledgerScene(t, nil)
	tab := open(t, b, s.server.URL)
	sizes := []look{looks[0], {720, 1000, "light"}, looks[3]}
	if os.Getenv("SHARDY_SCREENSHOTS") != "" {
		sizes = looks
	}
	for _, l := range sizes {
		tab.as(l)
		for _, screen := range ledgerScreens(m, all) {
			name := fmt.Sprintf("%s-%d-%s", screen[0], l.width, l.scheme)
			tab.do(chromedp.Navigate(s.server.URL + screen[1]))
			tab.await(`document.readyState === "complete"`)
			tab.fits(name)
			tab.shot(name)
		}
	}
}

// TestBlocksArriveOnScreen: an open page of the ledger shows a new block by itself, and not while it is paused.
func TestBlocksArriveOnScreen(t *testing.T) {
	b := browser(t)
	s, m, all := ledgerScene(t, nil)
	tab := open(t, b, s.server.URL)
	tab.as(looks[2])
	tab.do(chromedp.Navigate(s.server.URL + "/ledger"))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	m.absent = 0
	for i := range 5 {
		var txs []ledger.Checked
		for j := range 3 + 5*i%7 {
			txs = append(txs, m.tx(m.keys[0], sendTo(public(s.plant.workers[j%8]), 10_000)))
		}
		m.add(txs...)
	}
	tab.await(fmt.Sprintf(`document.querySelector(".verdict a").innerText === "block %d"`, m.Height()))
	tab.await(`document.querySelectorAll("#validators .badge.verified").length === 4`)
	tab.shot("readme-ledger")
	tab.do(chromedp.Click(chromedp.CSS("[data-live-toggle]")))
	until(t, "the stream has ended", func() bool { streams, _ := s.dash.live.count(); return streams == 0 })
	m.must(all.client, sendTo(public(m.keys[0]), 1))
	tab.do(chromedp.Click(chromedp.CSS("[data-live-toggle]")))
	tab.await(fmt.Sprintf(`document.querySelector(".verdict a").innerText === "block %d"`, m.Height()))
	tab.content("the ledger's page")

	tab.do(chromedp.Navigate(s.server.URL + linkAccount(public(all.client))))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	before := ask1[int](tab, `document.querySelectorAll("tbody tr").length`)
	tab.do(chromedp.Click(chromedp.CSS("#siblings summary")))
	m.must(all.client, sendTo(public(m.keys[0]), 2))
	tab.await(fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, before+1))
	if !ask1[bool](tab, `document.querySelector("#siblings").open`) {
		t.Error("the list of siblings was closed by an update")
	}
	tab.content("the account's page")
}
