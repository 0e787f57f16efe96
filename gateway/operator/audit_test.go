package operator_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/projections/audit"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

func auditor(w *operatortest.World, token string) op.AuditServiceClient {
	return op.NewAuditServiceClient(operatortest.Client(token), w.URL)
}

func bundleOf(t *testing.T, c op.AuditServiceClient, req *operatorv1.GetBundleRequest) ([]byte, error) {
	t.Helper()
	stream, err := c.GetBundle(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var file bytes.Buffer
	for stream.Receive() {
		file.Write(stream.Msg().Data)
	}
	return file.Bytes(), stream.Err()
}

// TestVerdictsAreExplainedAndProven: whose job it is gets the story and the file, nobody else.
func TestVerdictsAreExplainedAndProven(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	input := strings.Repeat("a large input ", 50_000) // in several parts
	id := submit(t, alice, newJob(module, input))[0]
	await(t, alice, []string{id}, verified)
	for token, withheld := range map[string]bool{"alice": false, "ops": false, "root": false, "eye": true} {
		res, err := auditor(w, token).ExplainVerdict(t.Context(), &operatorv1.ExplainVerdictRequest{Id: id})
		if err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		if res.Story.Phase != auditv1.JobPhase_JOB_PHASE_VERIFIED || res.Story.Withheld != withheld || len(res.Lines) < 10 {
			t.Errorf("%s: %v", token, res)
		}
		if shown := res.Story.Rounds[0].Verdict.Output != nil; shown == withheld {
			t.Errorf("%s sees the output: %t", token, shown)
		}
	}
	file, err := bundleOf(t, auditor(w, "alice"), &operatorv1.GetBundleRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	// The world's workers do not sign, which is all that is wrong.
	checked, err := audit.Check(t.Context(), file, audit.CheckOptions{})
	if err != nil || checked.Contents != 2 || checked.Records != 10 || checked.Faults != 2 || checked.Found[0].Kind != audit.Attestation {
		t.Errorf("%+v, %v", checked, err)
	}
	bare, err := bundleOf(t, auditor(w, "ops"), &operatorv1.GetBundleRequest{Id: id, NoContent: true})
	if err != nil || len(bare) > len(file)/2 {
		t.Errorf("%d bytes without content of %d, %v", len(bare), len(file), err)
	}
	for what, c := range map[string]op.AuditServiceClient{id: auditor(w, "bob"), events.DeriveEntityID([]byte("none")): auditor(w, "root")} {
		_, err := c.ExplainVerdict(t.Context(), &operatorv1.ExplainVerdictRequest{Id: what})
		wantCode(t, "explain "+what, err, connect.CodeNotFound, "NOT_FOUND")
		_, err = bundleOf(t, c, &operatorv1.GetBundleRequest{Id: what})
		wantCode(t, "bundle "+what, err, connect.CodeNotFound, "NOT_FOUND")
	}
	_, err = auditor(w, "root").ExplainVerdict(t.Context(), &operatorv1.ExplainVerdictRequest{Id: "../x"})
	wantCode(t, "a malformed id", err, connect.CodeInvalidArgument, "BAD_ID")
}

// TestAuditsHideOutputsUntilTheVerdict: neither story nor file gives the second replica something to copy.
func TestAuditsHideOutputsUntilTheVerdict(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	out := sha256.Sum256([]byte("the answer"))
	returned := make(chan struct{}, 1)
	w.Do(func(w *operatortest.World, task actors.Task) {
		if task.Slot == 0 {
			w.Return(task, eventv1.ResultStatus_RESULT_STATUS_OK, &eventv1.BlobRef{Sha256: out[:], Size: 10})
		}
	})
	stop := w.Host.Observe(func(_ actors.Address, facts []events.Fact) {
		if _, ok := facts[0].(*eventv1.ReplicaReturned); ok {
			returned <- struct{}{}
		}
	})
	defer stop()
	id := submit(t, alice, newJob(module, "a question"))[0]
	<-returned
	for _, token := range []string{"alice", "ops", "eye"} {
		res, err := auditor(w, token).ExplainVerdict(t.Context(), &operatorv1.ExplainVerdictRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		if raw, _ := proto.Marshal(res); bytes.Contains(raw, out[:]) || !res.Story.Withheld {
			t.Errorf("%s reads the output: %v", token, res)
		}
		sum := res.Story.Rounds[0].Waves[0].Slots[0].Attempts[0].Result.GetChecksum()
		if len(sum) > 0 {
			t.Errorf("%s reads the checksum %x", token, sum)
		}
	}
	for _, token := range []string{"alice", "ops"} {
		_, err := bundleOf(t, auditor(w, token), &operatorv1.GetBundleRequest{Id: id, NoContent: true})
		wantCode(t, "bundle for "+token, err, connect.CodePermissionDenied, "RESULT_HIDDEN")
	}
	if file, err := bundleOf(t, auditor(w, "root"), &operatorv1.GetBundleRequest{Id: id}); err != nil || !bytes.Contains(file, out[:]) {
		t.Errorf("an admin gets %d bytes, %v", len(file), err)
	}
}
