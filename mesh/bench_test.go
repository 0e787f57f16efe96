package mesh

import (
	"testing"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
)

// BenchmarkBatch is what a message of 32 transactions costs here beside their check: reading, remembering, a turn.
func BenchmarkBatch(b *testing.B) {
	c, err := configOf(0, &chain{}).withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	c.Ports.CheckTransaction = func([]byte) error { return nil }
	k := newChecks(c, "self", nil)
	check := k.guarded(k.transactions)
	var txs [][]byte
	for i := range 32 {
		txs = append(txs, transaction(b, 50, i))
	}
	data := encoded(b, batchOf(txs...))
	for b.Loop() {
		m := &pubsub.Message{Message: &pb.Message{Topic: new(TransactionsTopic), Data: data}, ReceivedFrom: "other"}
		if k.form(b.Context(), "other", m) != pubsub.ValidationAccept || check(b.Context(), "other", m) != pubsub.ValidationAccept {
			b.Fatal("refused")
		}
		k.forget(m)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32, "ns/tx")
}
