// Package story tells the stories of rooms in tests: given facts, when a command, then facts, replies and effects.
//
// Every step also holds the laws that all rooms share: Decide leaves its state as it was, facts survive encoding, and a
// room that replays its facts stands where the live one stands. It is for tests alone; no product code imports it.
package story

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Start is the time of a story's first command, in microseconds, unless At says otherwise.
const Start = int64(1_700_000_000_000_000)

// TB is what is asked of a test: a testing.TB, or a *rapid.T.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Story is one entity's life. Methods return the story, so that a test reads as a sentence.
type Story struct {
	t       testing.TB
	kind    actors.Kind
	id      string
	entity  actors.Entity
	at      int64
	history []events.Fact

	told    bool // a command was given and its outcome not yet looked at
	err     error
	facts   []events.Fact
	effects []actors.Effect
	reply   any
}

// Of begins the story of the room's entity with this id.
func Of(t testing.TB, kind actors.Kind, id string) *Story {
	t.Helper()
	s := &Story{t: t, kind: kind, id: id, entity: kind.Open(id), at: Start}
	t.Cleanup(s.settled)
	return s
}

// Given lets facts have happened.
func (s *Story) Given(facts ...events.Fact) *Story {
	s.t.Helper()
	s.settled()
	for _, f := range facts {
		if err := s.entity.Evolve(recode(s.t, f)); err != nil {
			s.t.Fatalf("given %s: %v", Sketch(f), err)
		}
	}
	s.history = append(s.history, facts...)
	return s
}

// At sets the time of the commands that follow, in microseconds after Start.
func (s *Story) At(us int64) *Story {
	s.at = Start + us
	return s
}

// When gives the entity a command: an [eventv1.Command], or a command's message, which is wrapped with the story's time.
func (s *Story) When(cmd proto.Message) *Story {
	s.t.Helper()
	s.settled()
	step, err := Decide(s.t, s.kind, s.id, s.entity, s.history, Command(s.at, cmd))
	s.told, s.err, s.facts, s.effects, s.reply = true, err, step.Facts, step.Effects, step.Reply
	s.history = append(s.history, step.Facts...)
	return s
}

// Then expects exactly these facts.
func (s *Story) Then(want ...events.Fact) *Story {
	s.t.Helper()
	s.accepted()
	s.same("facts", want, s.facts)
	return s
}

// ThenTypes expects facts of exactly these types, for stories in which the contents do not matter.
func (s *Story) ThenTypes(want ...string) *Story {
	s.t.Helper()
	s.accepted()
	got := make([]string, len(s.facts))
	for i, f := range s.facts {
		got[i] = events.TypeOf(f)
	}
	s.same("fact types", want, got)
	return s
}

// Refuses expects a refusal that errors.Is the given one.
func (s *Story) Refuses(want error) *Story {
	s.t.Helper()
	s.told = false
	if !errors.Is(s.err, want) {
		s.t.Fatalf("want refusal %q, got %v with %s", want, s.err, SketchAll(s.facts))
	}
	return s
}

// Effects expects exactly these effects, in this order.
func (s *Story) Effects(want ...actors.Effect) *Story {
	s.t.Helper()
	s.accepted()
	s.same("effects", want, s.effects)
	return s
}

// Replies expects this reply.
func (s *Story) Replies(want any) *Story {
	s.t.Helper()
	s.accepted()
	s.same("reply", want, s.reply)
	return s
}

// Nothing expects neither facts nor effects.
func (s *Story) Nothing() *Story {
	s.t.Helper()
	return s.Then().Effects()
}

// Reloaded expects these effects from an entity that was just loaded with the story's facts.
func (s *Story) Reloaded(want ...actors.Effect) *Story {
	s.t.Helper()
	s.settled()
	s.same("effects of loading", want, s.entity.React(nil))
	return s
}

// IsDone expects the room's Done to answer so.
func (s *Story) IsDone(want bool) *Story {
	s.t.Helper()
	if got := s.entity.Done(); got != want {
		s.t.Fatalf("done: want %v, got %v", want, got)
	}
	return s
}

// State is the entity's state, for tests that assert what a reader would see.
func (s *Story) State() any { return s.entity.State() }

// Outcome returns what became of the last command, for tests that choose their next step by it.
func (s *Story) Outcome() (actors.Decision, error) {
	s.told = false
	return actors.Decision{Facts: s.facts, Effects: s.effects, Reply: s.reply}, s.err
}

// History is every fact so far.
func (s *Story) History() []events.Fact { return s.history }

func (s *Story) settled() {
	s.t.Helper()
	if s.told && s.err != nil {
		s.told = false
		s.t.Fatalf("refused: %v", s.err)
	}
}

func (s *Story) accepted() {
	s.t.Helper()
	s.settled()
	s.told = false
}

func (s *Story) same(what string, want, got any) {
	s.t.Helper()
	if d := diff(want, got); d != "" {
		s.t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// Decide takes one decision of an entity and holds the laws of all rooms: the state is not changed by deciding, the
// facts survive encoding, and the replayed entity equals the live one. It evolves the entity and returns the facts with
// all effects: the decision's own, then those of React.
func Decide(
	t TB, kind actors.Kind, id string, e actors.Entity, history []events.Fact, cmd *eventv1.Command,
) (actors.Decision, error) {
	t.Helper()
	twin := Replay(t, kind, id, history)
	asked := proto.Clone(cmd)
	d, err := e.Decide(actors.Rules, cmd)
	if !proto.Equal(asked, cmd) {
		t.Fatalf("Decide changed its command: %s", Sketch(cmd))
	}
	if delta := diff(twin.State(), e.State()); delta != "" {
		t.Fatalf("Decide changed its state, or replay differs (-replayed +live):\n%s", delta)
	}
	if err != nil {
		if len(d.Facts) > 0 || len(d.Effects) > 0 {
			t.Fatalf("a refusal (%v) came with facts or effects", err)
		}
		return d, err
	}
	if len(d.Facts) > 0 && len(d.Effects) > 0 {
		t.Fatalf("a decision with facts has effects of its own: %s", SketchAll(d.Facts))
	}
	for _, f := range d.Facts {
		again := recode(t, f)
		if err := e.Evolve(f); err != nil {
			t.Fatalf("evolve %s: %v", Sketch(f), err)
		}
		if err := twin.Evolve(again); err != nil {
			t.Fatalf("replay %s: %v", Sketch(f), err)
		}
	}
	if delta := diff(twin.State(), e.State()); delta != "" {
		t.Fatalf("replay differs from live (-replayed +live):\n%s", delta)
	}
	if len(d.Facts) > 0 {
		d.Effects = e.React(d.Facts)
	}
	return d, nil
}

// Replay opens an entity and folds facts into it, each encoded and decoded first.
func Replay(t TB, kind actors.Kind, id string, history []events.Fact) actors.Entity {
	t.Helper()
	e := kind.Open(id)
	for _, f := range history {
		if err := e.Evolve(recode(t, f)); err != nil {
			t.Fatalf("replay %s: %v", Sketch(f), err)
		}
	}
	return e
}

// Command wraps a command's message. A Command is passed through.
func Command(atUs int64, msg proto.Message) *eventv1.Command {
	if c, ok := msg.(*eventv1.Command); ok {
		return c
	}
	c := &eventv1.Command{AtUs: atUs}
	fields := c.ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message().FullName() == msg.ProtoReflect().Descriptor().FullName() {
			c.ProtoReflect().Set(f, protoValue(msg))
			return c
		}
	}
	panic("no command is called " + string(msg.ProtoReflect().Descriptor().Name()))
}

func recode(t TB, f events.Fact) events.Fact {
	t.Helper()
	data, err := proto.Marshal(f)
	if err != nil {
		t.Fatalf("encode %s: %v", Sketch(f), err)
	}
	again, err := events.Decode(events.Record{Draft: events.Draft{Type: events.TypeOf(f), Data: data}})
	if err != nil {
		t.Fatalf("decode %s: %v", Sketch(f), err)
	}
	return again
}

func diff(want, got any) string {
	return cmp.Diff(want, got, protocmp.Transform(), emptyIsNil)
}
