package ledger

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// crowd is a chain with many accounts beside those of the stories.
func crowd(b *testing.B, n int) *world {
	w := newWorld(b, shortParams())
	changes := make([]trie.Change, n)
	for i := range changes {
		key := crowdKey(i)
		a := newAccount(key)
		a.Balance, a.Stake, a.Settled, a.Earned = 1, uint64(i), 3, 12_345
		changes[i] = trie.Change{Key: seal.AccountKey(key), Value: encode(a)}
		w.State.supply.Balances++
		w.State.supply.Stakes += uint64(i)
		w.State.supply.Total += uint64(i) + 1
	}
	w.State.trie = w.State.trie.Update(append(changes, trie.Change{Key: seal.SupplyKey(), Value: encode(w.State.supply)}))
	return w
}

func crowdKey(i int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i)+1)
}

// perTransaction executes one block again and again, with the signatures checked before.
func perTransaction(b *testing.B, s State, txs []Checked) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		next, err := s.Propose(1, pub(val0), txs)
		if err != nil {
			b.Fatal(err)
		}
		if r := next.Receipts[len(txs)-1]; r.Code != ok {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(txs)), "us/tx")
}

func BenchmarkTransfers(b *testing.B) {
	w := crowd(b, 100_000)
	txs := make([]Checked, 500)
	for i := range txs {
		t := transfer(0, 1)
		t.GetTransfer().To = crowdKey(i * 7)
		txs[i] = w.tx([]int{val0, val1, val2, val3, client}[i%5], t)
	}
	perTransaction(b, w.State, txs)
}

func BenchmarkSettlements(b *testing.B) {
	w := crowd(b, 100_000)
	txs := make([]Checked, 500)
	for i := range txs {
		job := fmt.Sprintf("job-%d", i)
		txs[i] = w.tx(val0, escrow(job, 5_000), settle(1_000, decision(job, []int{i % 32, 32 + i%32})))
	}
	perTransaction(b, w.State, txs)
}

// BenchmarkCheck is the part with the signatures: of the sender, and of two workers.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, shortParams())
	for name, encoded := range map[string][]byte{
		"transfer": w.signed(client, 5, transfer(stranger, 1)), "settlement": w.signed(val0, 5, settle(1_000, decision("j", []int{1, 2}))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Check(chain, encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSnapshot100k(b *testing.B) {
	w := crowd(b, 100_000)
	next, err := w.State.Propose(1, pub(val0), nil)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	for b.Loop() {
		if got := imported(b, next.Header, next.State); got.Root() != next.State.Root() {
			b.Fatal("another state")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/100k")
}

func BenchmarkAccountProof(b *testing.B) {
	w := crowd(b, 100_000)
	var p *ledgerv1.TrieProof
	for i := 0; b.Loop(); i++ {
		p = w.State.Prove(seal.AccountKey(crowdKey(i % 100_000)))
	}
	if v, err := trie.Verify(w.State.Root(), p); err != nil || v == nil {
		b.Fatal(err)
	}
}
