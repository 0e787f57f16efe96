package wire

import (
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

const (
	// Version of the protocol that this package speaks.
	Version = 1
	// Subprotocol is the WebSocket subprotocol of the worker wire.
	Subprotocol = "shardy.worker.v1"
	// MaxMeta is the size of the largest encoded message, payloads apart.
	MaxMeta = 256 << 10
	// MaxTokens is how many tokens one message may list.
	MaxTokens = 4096
	// MaxProof is the size of the largest further proof.
	MaxProof = 64 << 10
	// MaxReceipts is the size of the largest body of Receipts.
	MaxReceipts = 128 << 10
	// MaxDetail is the size of the longest text for people.
	MaxDetail = 4096

	keySize       = 32
	sumSize       = 32
	signatureSize = 64
	maxNonce      = 64
	maxName       = 256
	// maxShape is what a message may carry; what a result may have is the door's business (rank 8).
	maxShape = 32
	// maxChallengeInput bounds the input inside a BenchmarkChallenge.
	maxChallengeInput = 64 << 10
)

type bounds struct{ err *Error }

func (b *bounds) check(ok bool, what string) {
	if !ok && b.err == nil {
		b.err = Errorf(workerv1.ErrorCode_ERROR_CODE_MALFORMED, "%s out of bounds", what)
	}
}

func (b *bounds) size(n, want int, what string) { b.check(n == want, what) }

func (b *bounds) optional(n, want int, what string) { b.check(n == 0 || n == want, what) }

func (b *bounds) atMost(n, limit int, what string) { b.check(n <= limit, what) }

func (b *bounds) result() error {
	if b.err == nil {
		return nil
	}
	return b.err
}

func checkFromWorker(m *workerv1.FromWorker) error {
	var b bounds
	switch k := m.GetKind().(type) {
	case *workerv1.FromWorker_Hello:
		b.size(len(k.Hello.GetPublicKey()), keySize, "public_key")
		b.optional(len(k.Hello.GetOwnerKey()), keySize, "owner_key")
	case *workerv1.FromWorker_Proof:
		b.size(len(k.Proof.GetSignature()), signatureSize, "signature")
		b.optional(len(k.Proof.GetOwnerSignature()), signatureSize, "owner_signature")
		b.atMost(len(k.Proof.GetHeld()), MaxTokens, "held")
	case *workerv1.FromWorker_ProfileV2:
		b.profile(k.ProfileV2.GetProfile())
	case *workerv1.FromWorker_BenchmarkAnswer:
		b.atMost(len(k.BenchmarkAnswer.GetNonce()), maxNonce, "nonce")
		b.optional(len(k.BenchmarkAnswer.GetDigest()), sumSize, "digest")
		b.atMost(len(k.BenchmarkAnswer.GetFailure()), MaxDetail, "failure")
	case *workerv1.FromWorker_Credits:
	case *workerv1.FromWorker_TaskAck:
		n := len(k.TaskAck.GetTokens())
		b.check(n > 0 && n <= MaxTokens, "tokens")
	case *workerv1.FromWorker_TaskProgress:
		b.check(k.TaskProgress.GetPermille() <= 1000, "permille")
	case *workerv1.FromWorker_TaskResult:
		b.size(len(k.TaskResult.GetOutputSha256()), sumSize, "output_sha256")
		b.atMost(len(k.TaskResult.GetShape()), maxShape, "shape")
		b.atMost(len(k.TaskResult.GetAttestation()), 2*signatureSize, "attestation")
		b.atMost(len(k.TaskResult.GetProof()), MaxProof, "proof")
	case *workerv1.FromWorker_TaskFailed:
		b.atMost(len(k.TaskFailed.GetDetail()), MaxDetail, "detail")
	case *workerv1.FromWorker_Drain:
		b.atMost(len(k.Drain.GetReason()), MaxDetail, "reason")
	default:
		b.check(false, "kind")
	}
	return b.result()
}

func (b *bounds) profile(p *eventv1.Profile) {
	b.check(p != nil, "profile")
	b.atMost(len(p.GetArch()), maxName, "arch")
	b.atMost(len(p.GetOs()), maxName, "os")
	b.atMost(len(p.GetEngine()), maxName, "engine")
	b.atMost(len(p.GetAgent()), maxName, "agent")
}

func checkFromOrchestrator(m *workerv1.FromOrchestrator) error {
	var b bounds
	switch k := m.GetKind().(type) {
	case *workerv1.FromOrchestrator_Challenge:
		b.size(len(k.Challenge.GetNonce()), sumSize, "nonce")
		b.size(len(k.Challenge.GetServerKey()), keySize, "server_key")
	case *workerv1.FromOrchestrator_Welcome:
		b.atMost(len(k.Welcome.GetSession()), maxNonce, "session")
		b.atMost(len(k.Welcome.GetResume()), MaxTokens, "resume")
		b.check(k.Welcome.GetLimits() != nil, "limits")
	case *workerv1.FromOrchestrator_BenchmarkChallenge:
		b.atMost(len(k.BenchmarkChallenge.GetNonce()), maxNonce, "nonce")
		b.size(len(k.BenchmarkChallenge.GetModule()), sumSize, "module")
		b.atMost(len(k.BenchmarkChallenge.GetInput()), maxChallengeInput, "input")
	case *workerv1.FromOrchestrator_Admitted:
	case *workerv1.FromOrchestrator_Rejected:
		b.atMost(len(k.Rejected.GetDetail()), MaxDetail, "detail")
		b.optional(len(k.Rejected.GetReceipt()), signatureSize, "receipt")
	case *workerv1.FromOrchestrator_TaskAssign:
		b.atMost(len(k.TaskAssign.GetJob()), maxName, "job")
		b.size(len(k.TaskAssign.GetModule()), sumSize, "module")
		b.size(len(k.TaskAssign.GetInputSha256()), sumSize, "input_sha256")
		b.atMost(len(k.TaskAssign.GetOutput().GetShape()), maxShape, "shape")
	case *workerv1.FromOrchestrator_TaskCancel:
		b.atMost(len(k.TaskCancel.GetTokens()), MaxTokens, "tokens")
		b.atMost(len(k.TaskCancel.GetReason()), MaxDetail, "reason")
	case *workerv1.FromOrchestrator_TaskSettled:
		b.atMost(len(k.TaskSettled.GetTokens()), MaxTokens, "tokens")
		b.atMost(len(k.TaskSettled.GetDetail()), MaxDetail, "detail")
		b.optional(len(k.TaskSettled.GetReceipt()), signatureSize, "receipt")
	case *workerv1.FromOrchestrator_Drain:
		b.atMost(len(k.Drain.GetReason()), MaxDetail, "reason")
	case *workerv1.FromOrchestrator_Receipts:
		n := len(k.Receipts.GetBody())
		b.check(n > 0 && n <= MaxReceipts, "body")
		b.size(len(k.Receipts.GetSignature()), signatureSize, "signature")
	case *workerv1.FromOrchestrator_Error:
		b.atMost(len(k.Error.GetDetail()), MaxDetail, "detail")
	default:
		b.check(false, "kind")
	}
	return b.result()
}
