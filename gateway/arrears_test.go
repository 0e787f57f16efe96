package gateway

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// What is owed to workers that are away is bounded, counted right, and forgotten in the end.
func TestArrearsAreBounded(t *testing.T) {
	var a arrears
	now := time.Now()
	worker := func(n int) [32]byte { return [32]byte{byte(n), byte(n >> 8), byte(n >> 16)} }
	long := proof.Recorded{Job: string(make([]byte, 200))}
	for n := range 100 { // each of several batches
		for range proof.MaxRecorded + 1 {
			a.add(worker(n), long, now.Add(time.Duration(n)*time.Second))
		}
	}
	for n := range maxArrears / firstBatch {
		b := &batch{}
		b.add(proof.Recorded{Job: "job"})
		a.put(worker(1000+n), []*batch{b}, now)
	}
	if a.size > maxArrears+firstBatch<<6 {
		t.Fatalf("%d bytes are kept, limit %d", a.size, maxArrears)
	}
	owed := a.take(worker(99))
	if len(owed) != 2 || owed[0].n != proof.MaxRecorded || owed[1].n != 1 || a.take(worker(99)) != nil {
		t.Fatalf("owed %d batches", len(owed))
	}
	a.forget(now.Add(50*time.Second + time.Millisecond))
	if len(a.m) != 48 || a.m[worker(51)] == nil || a.m[worker(50)] != nil {
		t.Fatalf("%d workers are remembered", len(a.m))
	}
	a.forget(now.Add(time.Hour))
	if len(a.m) != 0 || a.size != 0 {
		t.Fatalf("%d workers and %d bytes are left", len(a.m), a.size)
	}
}

// BenchmarkReceipt is what a receipt costs the door for each result in it.
func BenchmarkReceipt(b *testing.B) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	d := &Door{cfg: Config{Key: key}}
	worker := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		var x batch
		for n := range uint64(proof.MaxRecorded) {
			x.add(proof.Recorded{
				Job: "01234567890123456789012345", Token: n << 40, Attested: true,
				Checksum: proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, n, [32]byte{}),
			})
		}
		d.receipt(worker, &x)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/proof.MaxRecorded, "ns/result")
}
