package actors

import (
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Rules is the version of the decision code that decides today. It goes into every envelope; a change to what any
// Decide answers MUST raise it and keep the old version callable in the room's Versions, or audits of old logs become
// undecidable.
const Rules = 1

// ErrUnknownFact is what a room answers to a fact that is none of its own: a stream written by newer code.
var ErrUnknownFact = errors.New("fact does not belong to this room")

// ErrUnknownCommand is what a room answers to a command that is none of its own.
var ErrUnknownCommand = errors.New("command does not belong to this room")

// ErrUndecidable is what a room answers when the rules version of a recorded decision is no longer there.
var ErrUndecidable = errors.New("rules version is not available")

// Decision is the answer to a command. Facts are appended all or none; Effects belong to decisions that write nothing
// (an answer to a repeat, or to a command that only asks for effects), everything else follows from the facts.
type Decision struct {
	Facts   []events.Fact
	Effects []Effect
	Reply   any
}

// DecideFunc is a room's pure decision. An error is a refusal: nothing is written.
type DecideFunc[S any] func(S, *eventv1.Command) (Decision, error)

// Room is one kind of entity.
type Room[S any] struct {
	Name     string // prefix of its streams
	Zero     func(id string) S
	Versions map[uint32]DecideFunc[S] // by rules version; holds at least Rules
	Evolve   func(S, events.Fact) (S, error)
	React    func(S, []events.Fact) []Effect // nil facts: the entity was just loaded, repeat what is open
	Done     func(S) bool                    // no effect is open and no command is expected: the entity may leave memory
}

// Entity is one instance of a room, without its type.
type Entity interface {
	// Decide MUST NOT change the entity.
	Decide(rules uint32, cmd *eventv1.Command) (Decision, error)
	Evolve(f events.Fact) error
	React(facts []events.Fact) []Effect
	Done() bool
	// State is the room's State, for readers that know the room.
	State() any
}

// Kind is a room without its type.
type Kind interface {
	Prefix() string
	Open(id string) Entity
}

// Prefix is the room's name.
func (r *Room[S]) Prefix() string { return r.Name }

// Open returns a new entity in its zero state.
func (r *Room[S]) Open(id string) Entity { return &entity[S]{room: r, state: r.Zero(id)} }

type entity[S any] struct {
	room  *Room[S]
	state S
}

func (e *entity[S]) Decide(rules uint32, cmd *eventv1.Command) (Decision, error) {
	decide, ok := e.room.Versions[rules]
	if !ok {
		return Decision{}, fmt.Errorf("%w: %s rules %d", ErrUndecidable, e.room.Name, rules)
	}
	return decide(e.state, cmd)
}

func (e *entity[S]) Evolve(f events.Fact) error {
	next, err := e.room.Evolve(e.state, f)
	if err != nil {
		return err
	}
	e.state = next
	return nil
}

func (e *entity[S]) React(facts []events.Fact) []Effect { return e.room.React(e.state, facts) }
func (e *entity[S]) Done() bool                         { return e.room.Done(e.state) }
func (e *entity[S]) State() any                         { return e.state }

// Address names an entity.
type Address struct {
	Room string
	ID   string
}

// Stream is the entity's stream in the log.
func (a Address) Stream() string { return a.Room + "-" + a.ID }

// The rooms' names.
const (
	JobRoom        = "job"
	AssignmentRoom = "assignment"
	WorkerRoom     = "worker"
	PipelineRoom   = "pipeline"
	ModuleRoom     = "module"
	PolicyRoom     = "policy"
	ShardRoom      = "shard"
)
