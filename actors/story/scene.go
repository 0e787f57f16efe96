package story

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// maxSteps bounds the commands that one command may lead to: rooms that talk in circles fail their test.
const maxSteps = 1000

// Scene plays several entities together as the host would: it delivers what they tell each other and keeps their
// deadlines. Everything else that they ask for is written into the transcript and kept in Effects. Every decision is
// held to the laws of Decide.
type Scene struct {
	t     TB
	kinds map[string]actors.Kind

	AtUs    int64            // the time, starting at Start
	Effects []actors.Effect  // asked for so far, but for Tell, Arm and Disarm
	streams map[string]*part // what is durable
	alive   map[actors.Address]actors.Entity
	timers  map[actors.Address]actors.Arm
	queue   []actors.Tell
	script  strings.Builder
}

type part struct{ facts []events.Fact }

// NewScene sets a scene for entities of these rooms.
func NewScene(t TB, kinds ...actors.Kind) *Scene {
	s := &Scene{
		t: t, AtUs: Start, kinds: make(map[string]actors.Kind), streams: make(map[string]*part),
		alive: make(map[actors.Address]actors.Entity), timers: make(map[actors.Address]actors.Arm),
	}
	for _, k := range kinds {
		s.kinds[k.Prefix()] = k
	}
	return s
}

// Do gives an entity a command and plays on until nobody has anything to tell. The answer is the first entity's.
func (s *Scene) Do(to actors.Address, cmd proto.Message) (reply any, err error) {
	s.t.Helper()
	reply, err = s.step(to, Command(s.AtUs, cmd))
	s.settle()
	return reply, err
}

// Pass lets time go by and fires the deadlines that come due, earliest first.
func (s *Scene) Pass(us int64) {
	s.t.Helper()
	end := s.AtUs + us
	for range maxSteps {
		to, arm, ok := s.nextDeadline()
		if !ok || arm.AtUs > end {
			s.AtUs = end
			return
		}
		s.AtUs = max(s.AtUs, arm.AtUs)
		delete(s.timers, to)
		s.note("%s: deadline", to.Stream())
		_, err := s.Do(to, retimed(arm.Command, s.AtUs))
		if err != nil {
			s.note("  refused: %v", err)
		}
	}
	s.t.Fatalf("deadlines do not end:\n%s", s.Transcript())
}

// Crash loses everything but the log.
func (s *Scene) Crash() {
	s.alive = make(map[actors.Address]actors.Entity)
	s.timers = make(map[actors.Address]actors.Arm)
}

// Transcript is what has happened since it was last asked for.
func (s *Scene) Transcript() string {
	text := s.script.String()
	s.script.Reset()
	return text
}

// State is an entity's state, replayed from its facts.
func (s *Scene) State(of actors.Address) any {
	return Replay(s.t, s.kind(of), of.ID, s.History(of)).State()
}

// History is an entity's facts.
func (s *Scene) History(of actors.Address) []events.Fact {
	if p := s.streams[of.Stream()]; p != nil {
		return p.facts
	}
	return nil
}

// Deadline is an entity's deadline, in microseconds.
func (s *Scene) Deadline(of actors.Address) (atUs int64, ok bool) {
	arm, ok := s.timers[of]
	return arm.AtUs, ok
}

func (s *Scene) settle() {
	s.t.Helper()
	for n := 0; len(s.queue) > 0; n++ {
		if n == maxSteps {
			s.t.Fatalf("entities talk in circles:\n%s", s.Transcript())
		}
		tell := s.queue[0]
		s.queue = s.queue[1:]
		if _, err := s.step(tell.To, retimed(tell.Command, s.AtUs)); err != nil {
			s.note("  refused: %v", err)
		}
	}
}

func (s *Scene) step(to actors.Address, cmd *eventv1.Command) (any, error) {
	s.t.Helper()
	e := s.load(to)
	d, err := Decide(s.t, s.kind(to), to.ID, e, s.History(to), cmd)
	if err != nil {
		return nil, err
	}
	if len(d.Facts) > 0 {
		p := s.streams[to.Stream()]
		if p == nil {
			p = new(part)
			s.streams[to.Stream()] = p
		}
		p.facts = append(p.facts, d.Facts...)
	}
	for _, f := range d.Facts {
		s.note("%s: %s", to.Stream(), Sketch(f))
	}
	s.carryOut(to, d.Effects)
	return d.Reply, nil
}

func (s *Scene) load(to actors.Address) actors.Entity {
	s.t.Helper()
	if e := s.alive[to]; e != nil {
		return e
	}
	e := Replay(s.t, s.kind(to), to.ID, s.History(to))
	s.alive[to] = e
	if len(s.History(to)) > 0 {
		s.note("%s: loaded", to.Stream())
		s.carryOut(to, e.React(nil))
	}
	return e
}

func (s *Scene) carryOut(from actors.Address, effects []actors.Effect) {
	for _, effect := range effects {
		s.note("  > %s", SketchEffect(effect))
		switch x := effect.(type) {
		case actors.Tell:
			s.queue = append(s.queue, x)
		case actors.Arm:
			s.timers[from] = x
		case actors.Disarm:
			delete(s.timers, from)
		default:
			s.Effects = append(s.Effects, effect)
		}
	}
}

// nextDeadline is the earliest one; among equals the order is that of the names, so that a scene plays always alike.
func (s *Scene) nextDeadline() (to actors.Address, arm actors.Arm, ok bool) {
	var due []actors.Address
	for a := range s.timers {
		due = append(due, a)
	}
	if len(due) == 0 {
		return to, arm, false
	}
	to = slices.MinFunc(due, func(a, b actors.Address) int {
		return cmp.Or(cmp.Compare(s.timers[a].AtUs, s.timers[b].AtUs), strings.Compare(a.Stream(), b.Stream()))
	})
	return to, s.timers[to], true
}

func (s *Scene) kind(of actors.Address) actors.Kind {
	k := s.kinds[of.Room]
	if k == nil {
		s.t.Fatalf("the scene has no room %q", of.Room)
	}
	return k
}

func (s *Scene) note(format string, args ...any) { fmt.Fprintf(&s.script, format+"\n", args...) }

func retimed(cmd *eventv1.Command, atUs int64) *eventv1.Command {
	cmd = proto.CloneOf(cmd)
	cmd.AtUs = atUs
	return cmd
}
