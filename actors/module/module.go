// Package module remembers what admission found out about a WebAssembly module: the name of its rewritten form, or why
// it was refused.
//
// It looks into no module (actors/admission/wasm and a trial run do) and runs none. The first verdict of a version of
// the rewriter stands: repeats get it as answer, whatever they say. A newer rewriter may judge the original anew; the
// form that was admitted earlier stays valid, because jobs name modules by the hash of the rewritten bytes.
package module

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrInvalid refuses a finding that is malformed or another module's.
var ErrInvalid = errors.New("finding about a module is malformed")

// Bounds. Lengths are bytes.
const (
	MaxCode   = 64
	MaxDetail = 1024
	MaxMemory = uint64(1) << 32
	MaxSize   = uint64(1) << 32
)

// State is what is known of a module. Messages in it belong to the log: they are read, never written.
type State struct {
	ID       string                  // hex of the original's SHA-256
	Admitted *eventv1.ModuleAdmitted // the standing verdict is this
	Refused  *eventv1.ModuleRefused  // or this; both nil: none yet
}

// Room is the room of modules. Its commands are answered with the standing verdict: an *eventv1.ModuleAdmitted or an
// *eventv1.ModuleRefused.
var Room = actors.Room[State]{
	Name:     actors.ModuleRoom,
	Zero:     func(id string) State { return State{ID: id} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    func(State, []events.Fact) []actors.Effect { return nil },
	Done:     func(State) bool { return true },
}

// Decide answers a command under rules version 1.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_AdmitModule:
		c := k.AdmitModule
		if err := s.checkAdmit(c); err != nil {
			return actors.Decision{}, err
		}
		return s.judge(c.Rewriter, &eventv1.ModuleAdmitted{
			Original: c.Original, Name: c.Name, Rewriter: c.Rewriter, Class: c.Class, MemoryBytes: c.MemoryBytes,
			CanaryFuel: c.CanaryFuel, Size: c.Size, CanonicalNan: c.CanonicalNan,
		}), nil
	case *eventv1.Command_RefuseModule:
		c := k.RefuseModule
		if err := s.checkRefuse(c); err != nil {
			return actors.Decision{}, err
		}
		return s.judge(c.Rewriter, &eventv1.ModuleRefused{
			Original: c.Original, Code: c.Code, Detail: c.Detail, Rewriter: c.Rewriter,
		}), nil
	default:
		return actors.Decision{}, fmt.Errorf("module: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
}

// judge records a verdict unless one of this version of the rewriter, or a newer one, stands.
func (s *State) judge(rewriter uint32, verdict events.Fact) actors.Decision {
	switch {
	case s.Admitted != nil && s.Admitted.Rewriter >= rewriter:
		return actors.Decision{Reply: s.Admitted}
	case s.Refused != nil && s.Refused.Rewriter >= rewriter:
		return actors.Decision{Reply: s.Refused}
	}
	return actors.Decision{Facts: []events.Fact{verdict}, Reply: verdict}
}

// Evolve folds a fact into the state. It refuses facts of other rooms.
func Evolve(s State, fact events.Fact) (State, error) {
	switch f := fact.(type) {
	case *eventv1.ModuleAdmitted:
		s.Admitted, s.Refused = f, nil
	case *eventv1.ModuleRefused:
		s.Admitted, s.Refused = nil, f
	default:
		return s, fmt.Errorf("module %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

func (s *State) checkAdmit(c *eventv1.AdmitModule) error {
	switch {
	case !s.isOriginal(c.Original):
		return malformed("original: is another module's")
	case len(c.Name) != sha256.Size:
		return malformed("name: want %d bytes, got %d", sha256.Size, len(c.Name))
	case c.Rewriter == 0:
		return malformed("rewriter: version is missing")
	case c.Class == 0 || eventv1.ModuleClass_name[int32(c.Class)] == "":
		return malformed("class %d is unknown", c.Class)
	case c.MemoryBytes > MaxMemory:
		return malformed("memory_bytes %d: want at most %d", c.MemoryBytes, MaxMemory)
	case c.Size == 0 || c.Size > MaxSize:
		return malformed("size %d: want 1 to %d", c.Size, MaxSize)
	}
	return nil
}

func (s *State) checkRefuse(c *eventv1.RefuseModule) error {
	switch {
	case !s.isOriginal(c.Original):
		return malformed("original: is another module's")
	case c.Code == "" || len(c.Code) > MaxCode || !utf8.ValidString(c.Code):
		return malformed("code: want 1 to %d bytes of UTF-8", MaxCode)
	case len(c.Detail) > MaxDetail || !utf8.ValidString(c.Detail):
		return malformed("detail: want at most %d bytes of UTF-8", MaxDetail)
	}
	return nil
}

func (s *State) isOriginal(sum []byte) bool {
	return len(sum) == sha256.Size && hex.EncodeToString(sum) == s.ID
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
