package dashboard

import (
	"testing"
)

func TestLedgerPages(t *testing.T) {
	s, m, all := ledgerScene(t, nil)
	for _, path := range ledgerScreens(m, all) {
		checkPage(t, path[1], s.page(path[1]))
	}
}

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
		{"blocks", "/ledger/blocks"},
		{"block", "/ledger/blocks/10"},
		{"block-many", "/ledger/blocks/14"},
		{"block-genesis", "/ledger/blocks/0"},
		{"transactions", "/ledger/transactions"},
		{"settlement", at(all.settlement)},
		{"slash", at(all.slash)},
		{"votes", at(all.votes)},
		{"results", at(all.results)},
		{"anchor", at(all.anchor)},
		{"void", at(all.void)},
		{"refused", at(all.refused)},
		{"mesh", "/mesh"},
		{"job-settled", linkJob(all.paidJob)},
		{"job-locked", linkJob(all.lockedJob)},
	}
}
