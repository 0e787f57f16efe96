package dashboard

import (
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestLedgerInABrowser: every screen of the ledger and the mesh fits at every size and in both schemes, and complains
// about nothing.
func TestLedgerInABrowser(t *testing.T) {
	b := browser(t)
	s, m, all := ledgerScene(t, nil)
	tab := open(t, b, s.server.URL)
	sizes := []look{looks[0], {1024, 768, "light"}, looks[3]}
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
