// Package shard records which process owns a shard: the revision of the last ShardTaken is the epoch that its owner
// writes under.
//
// It does not decide who should own a shard, nor whether the last owner is alive: whoever appends next owns it, and the
// one before finds out by its epoch.
package shard

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrInvalid refuses a node name that is empty, longer than MaxNode bytes or not UTF-8.
var ErrInvalid = errors.New("node name is malformed")

// MaxNode bounds a node's name, in bytes.
const MaxNode = 128

// State is who owns the shard.
type State struct {
	Node  string // empty: nobody yet
	Taken uint64 // how often it was taken; the epoch of the owner is one less
}

// Epoch is the revision of the fact by which the owner took the shard; meaningless while nobody has.
func (s State) Epoch() uint64 { return max(s.Taken, 1) - 1 }

// TakeReply answers TakeShard.
type TakeReply struct{ Epoch uint64 }

// Room is the room of shards.
var Room = actors.Room[State]{
	Name:     actors.ShardRoom,
	Zero:     func(string) State { return State{} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    func(State, []events.Fact) []actors.Effect { return nil },
	Done:     func(State) bool { return true },
}

// Decide answers a command under rules version 1. Taking is never refused, not even to the owner: a process that comes
// back takes its shards anew, so that what it wrote before it went away is fenced.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	k, ok := cmd.Kind.(*eventv1.Command_TakeShard)
	if !ok {
		return actors.Decision{}, fmt.Errorf("shard: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
	node := k.TakeShard.Node
	if node == "" || len(node) > MaxNode || !utf8.ValidString(node) {
		return actors.Decision{}, ErrInvalid
	}
	return actors.Decision{
		Facts: []events.Fact{&eventv1.ShardTaken{Node: node}},
		Reply: TakeReply{Epoch: s.Taken},
	}, nil
}

// Evolve folds a fact into the state. It refuses facts of other rooms.
func Evolve(s State, fact events.Fact) (State, error) {
	f, ok := fact.(*eventv1.ShardTaken)
	if !ok {
		return s, fmt.Errorf("shard: %w: %s", actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return State{Node: f.Node, Taken: s.Taken + 1}, nil
}
