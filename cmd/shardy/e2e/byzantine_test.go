package e2e

import (
	"crypto/ed25519"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh/consensus/rogue"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// seize makes a member lead: whoever leads instead is killed, and comes back when another leads.
func (f *federation) seize(v *villain, honest []*member) {
	f.Helper()
	for range 8 {
		leader := f.leader(honest...)
		if leader == v.member {
			return
		}
		var rest []*member
		for _, m := range honest {
			if m != leader {
				rest = append(rest, m)
			}
		}
		f.kill(leader)
		f.goesOn(leader, rest)
		f.launch(leader)
		f.live(leader)
	}
	f.Fatalf("%s never leads", v.name)
}

// TestAByzantineValidator gives the key of one of four validators to a process that breaks the protocol in every way,
// while clients pay each other through the three honest orchestrators: as leader it proposes a wrong state and different
// blocks; it says old messages and changes of the view again; it floods streams and gossip; it lies to one that joins
// about height, blocks and snapshots; and at last it votes for two blocks at once. The honest three stay up and agree, the
// joiner has the same chain, no payment is lost or made twice, and the ledger takes the villain's stake and seat.
func TestAByzantineValidator(t *testing.T) {
	t.Parallel()
	f := found(t, charter{validators: 4, clients: 8, outsiders: []string{"joiner"}})
	var keys []ed25519.PublicKey
	for _, m := range f.operators[:4] {
		keys = append(keys, m.public())
	}
	lead := rogue.Leads(keys)
	var honest []*member
	for i, m := range f.operators[:4] {
		if i != lead {
			honest = append(honest, m)
		}
	}
	v := f.corrupt(f.operators[lead])
	f.launch(honest...)
	f.live(honest...)
	tr := f.traffic(50*time.Millisecond, honest...)
	honest[0].reaches(10)
	goOn := func(blocks uint64) {
		t.Helper()
		for _, m := range honest {
			m.reaches(honest[0].height() + blocks)
		}
		f.running(honest...)
	}

	f.seize(v, honest)
	before := v.tell("on propose")
	v.does("proposals", 3, before)
	t.Logf("the villain led and proposed what is wrong; the others went on after %s", f.goesOn(v.member, honest))
	v.tell("off propose")
	goOn(10)

	before = v.tell("on repeat")
	v.does("new_views", 100, before)
	goOn(20)
	v.tell("off repeat")

	before = v.tell("on flood")
	v.does("frames", 50, before)
	v.does("said", 50, before)
	goOn(20)
	v.tell("off flood")

	before = v.tell("on serve")
	joiner := f.operators[4]
	for i, flag := range joiner.flags { // the first that it meets is the liar
		if flag == "--mesh-bootstrap" {
			joiner.flags = append(joiner.flags[:i:i], flag, v.address(), flag, honest[0].address())
			break
		}
	}
	f.launch(joiner)
	joiner.reaches(honest[0].height())
	v.does("boasts", 1, before)

	v.tell("on vote")
	f.seats(2, 3, append([]*member{joiner}, honest...)...)
	v.tell("on flood") // who has nothing to lose
	goOn(10)
	for _, m := range honest {
		a := new(ledgerv1.Account)
		f.must(proto.Unmarshal(m.proven(accountPlace(v.public()), seal.AccountKey(v.public())), a))
		if !a.Tombstoned || a.Stake >= stake || a.Slashed == 0 {
			t.Errorf("%s proves of the villain: %v", m.name, a)
		}
	}
	t.Logf("the villain has done %v", v.tell("off flood"))
	tr.settle(honest...)
	f.running(append([]*member{joiner}, honest...)...)
	f.agree(append([]*member{joiner}, honest...)...)
}
