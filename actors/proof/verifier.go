package proof

import "errors"

// Reasons why a verifier does not accept. Each concerns the result of one worker, except ErrKey and ErrSeed, which
// concern whoever asked.
var (
	// ErrRefuted means that the evidence is well formed and the result is wrong.
	ErrRefuted = errors.New("proof: refuted")
	// ErrMalformed means that input, output or proof do not have the form the system needs.
	ErrMalformed = errors.New("proof: malformed")
	// ErrKey means that the verification key is unusable.
	ErrKey = errors.New("proof: bad verification key")
	// ErrSeed means that there is too little randomness to check with.
	ErrSeed = errors.New("proof: bad seed")
)

// Evidence is what a verifier looks at.
type Evidence struct {
	Input  []byte // the chunk
	Output []byte // the result
	Proof  []byte // what the worker sent beside the result; may be empty
	Seed   []byte // drawn by the orchestrator after the result had arrived; may be empty
	Key    []byte // the job's verification key; may be empty
}

// Verifier checks results without computing them again. Verify MUST be a pure function, bounded in time and memory by
// the sizes of its evidence, and never panic.
type Verifier interface {
	Verify(Evidence) error
}
