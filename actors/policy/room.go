package policy

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ID is the id of the one policy that a deployment has.
const ID = "default"

// MaxText bounds who changed the policy, and why, in bytes.
const MaxText = 1024

// State is the policy in force.
type State struct {
	Policy  *eventv1.Policy // nil: Default
	Version uint64          // changes so far; 0: the built-in defaults
	By      string          // of the last change
	Reason  string
}

// Current is the policy in force. It is read, never written.
func (s State) Current() *eventv1.Policy {
	if s.Policy == nil {
		return Default()
	}
	return s.Policy
}

// Room is the room of the policy.
var Room = actors.Room[State]{
	Name:     actors.PolicyRoom,
	Zero:     func(string) State { return State{} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    func(State, []events.Fact) []actors.Effect { return nil },
	Done:     func(State) bool { return true },
}

// Decide answers a command under rules version 1. The change's version is written into the jobs' parts of the policy.
// Setting what is in force already writes nothing.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	k, ok := cmd.Kind.(*eventv1.Command_ChangePolicy)
	if !ok {
		return actors.Decision{}, fmt.Errorf("policy: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
	c := k.ChangePolicy
	if err := Validate(c.Policy); err != nil {
		return actors.Decision{}, err
	}
	if !isText(c.By) || !isText(c.Reason) {
		return actors.Decision{}, invalid("by and reason: want at most %d bytes of UTF-8", MaxText)
	}
	if proto.Equal(stamped(c.Policy, s.Version), s.Current()) {
		return actors.Decision{}, nil
	}
	return actors.Decision{Facts: []events.Fact{&eventv1.PolicyChanged{
		Policy: stamped(c.Policy, s.Version+1), By: c.By, Reason: c.Reason,
	}}}, nil
}

// Evolve folds a fact into the state. It refuses facts of other rooms.
func Evolve(s State, fact events.Fact) (State, error) {
	f, ok := fact.(*eventv1.PolicyChanged)
	if !ok {
		return s, fmt.Errorf("policy: %w: %s", actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return State{Policy: f.Policy, Version: s.Version + 1, By: f.By, Reason: f.Reason}, nil
}

// stamped is a copy of the policy whose parts say which version they belong to.
func stamped(p *eventv1.Policy, version uint64) *eventv1.Policy {
	p = proto.CloneOf(p)
	p.Standard.Version, p.Stress.Version, p.LiteTest.Version = version, version, version
	return p
}

func isText(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }
