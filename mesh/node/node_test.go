package node

import (
	"testing"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const ok = ledgerv1.ReceiptCode_RECEIPT_CODE_OK

func TestAlone(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	for i := range 5 {
		w.submit(n, transfer(n, 2000, uint64(i+1)), ok)
	}
	before := n.Status()
	w.close(0)
	n = w.open(0)
	if s := n.Status(); s.Height != before.Height || s.Hash != before.Hash {
		t.Fatalf("%+v after %+v", s, before)
	}
	w.submit(n, transfer(n, 2000, 9), ok)
}

func TestFourAgree(t *testing.T) {
	w := newWorld(t, 4)
	nodes := w.begin(4)
	for i := range 8 {
		w.submit(nodes[i%4], transfer(nodes[i%4], 2000+i, 5), ok, nodes...)
	}
	w.agree(nodes...)
}
