package sandbox

import "errors"

// Refusals of the caller's request; the child lives on.
var (
	ErrConfig    = errors.New("sandbox: bad configuration")
	ErrTask      = errors.New("sandbox: bad task")
	ErrTooLarge  = errors.New("sandbox: too large")
	ErrDigest    = errors.New("sandbox: digest mismatch")
	ErrNotLoaded = errors.New("sandbox: module not loaded")
	ErrUnmetered = errors.New("sandbox: module and task disagree on metering")
	ErrABI       = errors.New("sandbox: module lacks the job interface")
	ErrCompile   = errors.New("sandbox: module does not compile")
	ErrClosed    = errors.New("sandbox: closed")
)

// Failures of this worker. None of them says anything about the module that another worker would confirm, so
// none may enter a verdict.
var (
	ErrStart         = errors.New("sandbox: child did not start")
	ErrTimeout       = errors.New("sandbox: time limit exceeded")
	ErrMemory        = errors.New("sandbox: out of memory")
	ErrStackOverflow = errors.New("sandbox: call stack exhausted")
	ErrKilled        = errors.New("sandbox: child was killed")
	ErrCrashed       = errors.New("sandbox: child crashed")
	ErrProtocol      = errors.New("sandbox: child broke the protocol")
)

// ErrDiverged means that compiler and interpreter disagreed on the canary of a trial.
var ErrDiverged = errors.New("sandbox: engines disagree")

// refusal codes of an error frame, in both directions of the mapping.
var errorCodes = map[byte]error{
	1: ErrCompile,
	2: ErrNotLoaded,
	3: ErrUnmetered,
	4: ErrABI,
	5: ErrMemory,
	6: ErrStackOverflow,
	7: ErrCrashed,
	8: ErrProtocol,
}

// isRefusal reports whether the child that answered with err can serve the next request.
func isRefusal(err error) bool {
	for _, refusal := range []error{ErrCompile, ErrNotLoaded, ErrUnmetered, ErrABI} {
		if errors.Is(err, refusal) {
			return !errors.Is(err, ErrTimeout)
		}
	}
	return false
}

func errorCode(err error) byte {
	for code, known := range errorCodes {
		if errors.Is(err, known) {
			return code
		}
	}
	return 7
}
