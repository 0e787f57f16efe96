package gateway_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Recorded results wait five seconds for others, counted from the first one, and not a moment longer.
func TestReceiptsComeAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &fakeBlobs{}
		input, _ := blobs.Put(t.Context(), []byte("input"))
		m := &treadmill{
			spec: &eventv1.JobSpec{Module: make([]byte, 32), Input: input, FuelLimit: 1000}, policy: &eventv1.JobPolicy{},
			want: 3, done: make(chan struct{}), gate: make(chan struct{}),
		}
		_, key, _ := ed25519.GenerateKey(nil)
		door, err := gateway.New(gateway.Config{Key: key, GroupKey: make([]byte, 16)}, gateway.Deps{
			Orchestrator: m, Blobs: blobs, Challenges: &fakeChallenges{}, Admission: func() *eventv1.AdmissionPolicy { return nil }, Log: quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		m.door = door
		listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: door}
		served := make(chan struct{})
		go func() {
			_ = server.Serve(listener)
			close(served)
		}()
		_, worker, _ := ed25519.GenerateKey(nil)
		c := listener.dial()
		if err := bareHandshake(c, worker); err != nil {
			t.Fatal(err)
		}
		close(m.gate)
		r := bufio.NewReader(c)
		computeBare(t, c, r)
		first := time.Now()
		time.Sleep(2 * time.Second)
		computeBare(t, c, r)
		computeBare(t, c, r)
		for {
			message, err := hearBare(r)
			if err != nil {
				t.Fatal(err)
			}
			if message.GetReceipts() == nil {
				continue
			}
			body, err := proof.VerifyRecorded(key.Public().(ed25519.PublicKey), worker.Public().(ed25519.PublicKey), message.GetReceipts())
			if took := time.Since(first); err != nil || len(body.GetResults()) != 3 || took != 5*time.Second || body.AtUs != time.Now().UnixMicro() {
				t.Fatalf("after %s: %v, %v", took, body, err)
			}
			break
		}
		_ = c.Close()
		_ = door.Close()
		_ = server.Close()
		<-served
	})
}

// computeBare takes the next task and returns a result.
func computeBare(t *testing.T, c net.Conn, r *bufio.Reader) {
	t.Helper()
	for {
		message, err := hearBare(r)
		if err != nil {
			t.Fatal(err)
		}
		assign := message.GetTaskAssign()
		if assign == nil {
			continue
		}
		payload, err := frameBare(r)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(payload)
		b, err := wire.AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{
			Token: assign.GetToken(), Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 1, OutputSha256: sum[:], OutputSize: uint64(len(payload)),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(append(maskedFrame(b), maskedFrame(payload)...)); err != nil {
			t.Fatal(err)
		}
		return
	}
}
