package operator_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestUnusableVerificationKeysAreRefused: no worker is asked for a proof that nobody could verify.
func TestUnusableVerificationKeysAreRefused(t *testing.T) {
	w := operatortest.Start(t, guarded())
	w.Do(operatortest.Hold)
	module, alice := w.Module(t), dial(w, "alice")
	good, err := os.ReadFile("../../actors/proof/testdata/groth16/verification_key.json")
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) *eventv1.BlobRef {
		ref, err := w.Blobs.Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return &eventv1.BlobRef{Sha256: ref.Sum[:], Size: ref.Size}
	}
	key := put(good)
	for _, c := range []struct {
		name   string
		key    *eventv1.BlobRef
		code   connect.Code
		reason string
	}{
		{"not there", &eventv1.BlobRef{Sha256: bytes.Repeat([]byte{7}, 32), Size: 9}, connect.CodeFailedPrecondition, "BLOB_UNKNOWN"},
		{"no key", put([]byte("{}")), connect.CodeInvalidArgument, "VERIFICATION_KEY"},
		{"half a key", put(good[:len(good)/2]), connect.CodeInvalidArgument, "VERIFICATION_KEY"},
		{"too large", put(append(bytes.Clone(good), strings.Repeat(" ", operator.MaxKeyBytes)...)), connect.CodeInvalidArgument, "INVALID"},
		{"another size", &eventv1.BlobRef{Sha256: key.Sha256, Size: key.Size - 1}, connect.CodeInvalidArgument, "INVALID"},
		{"usable", key, 0, ""},
		{"usable, another time", key, 0, ""},
		{"another size of a known one", &eventv1.BlobRef{Sha256: key.Sha256, Size: key.Size - 1}, connect.CodeInvalidArgument, "INVALID"},
	} {
		job := newJob(module, "x")
		job.Spec.Proof = &eventv1.ProofSpec{System: eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254, VerificationKey: c.key}
		res, err := alice.SubmitJobs(t.Context(), &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{job}})
		if err != nil || connect.Code(res.Jobs[0].Code) != c.code || (c.code == 0) != (res.Jobs[0].Id != "") {
			t.Errorf("%s: job: %v, %v", c.name, res, err)
		}
		work := &eventv1.JobSpec{Module: module, FuelLimit: 1000, Proof: job.Spec.Proof}
		_, err = alice.SubmitPipeline(t.Context(), &operatorv1.SubmitPipelineRequest{
			Spec: &eventv1.PipelineSpec{Stages: []*eventv1.StageSpec{{Template: work}}}, Chunks: []*eventv1.BlobRef{put([]byte("x"))},
		})
		if c.code != 0 {
			wantCode(t, c.name+": pipeline", err, c.code, c.reason)
		} else if err != nil {
			t.Errorf("%s: pipeline: %v", c.name, err)
		}
	}
}
