package ledger

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestAccountPages holds that pages of any size, however little of the state each looks at, make the whole list.
func TestAccountPages(t *testing.T) {
	w := newWorld(t, shortParams())
	everything(w)
	all := slices.Collect(w.State.Accounts())
	rapid.Check(t, func(t *rapid.T) {
		limit, look := rapid.IntRange(1, 30).Draw(t, "limit"), rapid.IntRange(1, 40).Draw(t, "look")
		var got []*ledgerv1.Account
		var at Hash
		for calls, more := 0, true; more; calls++ {
			var page []*ledgerv1.Account
			if page, at, more = w.State.AccountsFrom(at, limit, look); len(page) > limit {
				t.Fatalf("%d accounts, limit %d", len(page), limit)
			}
			if got = append(got, page...); calls > w.State.Len() {
				t.Fatal("the pages never end")
			}
		}
		if !slices.EqualFunc(got, all, func(a, b *ledgerv1.Account) bool { return proto.Equal(a, b) }) {
			t.Fatalf("%d accounts on pages, want %d", len(got), len(all))
		}
	})
}

// TestAccountsAreCounted also counts those that a failed transaction would have made, whose sender never had anything, and
// those of a snapshot.
func TestAccountsAreCounted(t *testing.T) {
	p := shortParams()
	p.Fee = 0
	w := newWorld(t, p)
	count := func(what string, s State, want int) {
		t.Helper()
		if n := len(slices.Collect(s.Accounts())); n != want || s.CountAccounts() != uint64(want) {
			t.Errorf("%s: %d accounts, counted %d, want %d", what, n, s.CountAccounts(), want)
		}
	}
	n := len(slices.Collect(w.State.Accounts()))
	count("genesis", w.State, n)
	w.do(client, transfer(40, 1), transfer(41, 1<<60)) // fails, so nobody is born
	count("failure", w.State, n)
	w.block(w.tx(client, transfer(40, 1)), w.tx(client, transfer(40, 1)), w.tx(client, transfer(41, 1)))
	count("two born", w.State, n+2)
	w.do(client, transfer(40, 1))
	count("nobody born", w.State, n+2)
	before := w.State
	everything(w)
	count("the state before", before, n+2)
	count("everything", w.State, len(slices.Collect(w.State.Accounts())))
}
