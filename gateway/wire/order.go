package wire

import workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"

// Phase is where a session stands, seen from the door.
type Phase uint8

// The phases in their order. A session that is tested again goes from PhaseWork back to PhaseTest.
const (
	PhaseHello   Phase = iota // waits for Hello
	PhaseProof                // waits for Proof
	PhaseProfile              // waits for ProfileV2
	PhaseTest                 // benchmark challenges; resumed tasks go on
	PhaseWork
)

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

var phaseNames = [...]string{"hello", "proof", "profile", "test", "work"}

// Check answers OUT_OF_ORDER for a message that has no place in the phase.
func (p Phase) Check(m *workerv1.FromWorker) error {
	var ok bool
	switch m.GetKind().(type) {
	case *workerv1.FromWorker_Hello:
		ok = p == PhaseHello
	case *workerv1.FromWorker_Proof:
		ok = p == PhaseProof
	case *workerv1.FromWorker_ProfileV2:
		ok = p == PhaseProfile
	case *workerv1.FromWorker_BenchmarkAnswer:
		ok = p == PhaseTest
	case *workerv1.FromWorker_Credits, *workerv1.FromWorker_TaskAck, *workerv1.FromWorker_TaskProgress,
		*workerv1.FromWorker_TaskResult, *workerv1.FromWorker_TaskFailed, *workerv1.FromWorker_Drain:
		ok = p == PhaseTest || p == PhaseWork
	}
	if ok {
		return nil
	}
	return Errorf(workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, "unexpected message in phase %s", p)
}
