package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// judge takes the commands of its streams to the rules again.
type judge struct {
	log   Streams
	rooms func(string) (actors.Kind, string, bool)
	open  *shelf[*stream]
	// past is what is left of streams that are not open: by the hash of their name, the next revision, doubled, plus
	// one when their state is lost.
	past  map[uint64]uint64
	seed  maphash.Seed
	found findings
	buf   []byte

	streams, events, commands, undecidable uint64
}

// stream is one stream in the course of being folded.
type stream struct {
	entity actors.Entity
	next   uint64 // revision of the next record
	lost   bool   // its state is not known: nothing on it can be decided

	// The decision whose facts are being read.
	command   events.CommandID
	rules     uint32
	at, count uint32
	facts     []events.Fact // what the rules answer; nil when they were not asked, or answered otherwise
	pos       events.Position
}

func (s *stream) deciding() bool { return s.at < s.count }

func newJudge(log Streams, opts Options) *judge {
	j := &judge{
		log: log, rooms: opts.Rooms, past: make(map[uint64]uint64), seed: maphash.MakeSeed(),
		found: findings{max: opts.MaxFound},
	}
	j.open = newShelf(max(1, opts.MaxOpen/opts.Workers), (*stream).deciding, j.putAway)
	return j
}

func (j *judge) putAway(name string, s *stream) {
	mark := s.next << 1
	if s.lost {
		mark |= 1
	}
	j.past[maphash.String(j.seed, name)] = mark
}

func (j *judge) take(ctx context.Context, r *events.Record) error {
	j.events++
	s, err := j.find(ctx, r)
	if err != nil {
		return err
	}
	if r.Rev != s.next {
		j.found.add(r, Revision, "revision %d where %d is due", r.Rev, s.next)
		s.lost, s.facts, s.count = true, nil, 0
	}
	s.next, s.pos = r.Rev+1, r.Pos
	env, err := parseEnvelope(r.Meta)
	switch wrong := env.consistent(r.ID); {
	case err != nil:
		j.stray(s, r, err.Error())
	case wrong != "":
		j.stray(s, r, wrong)
	default:
		if sum := events.Digest(r.Data); !bytes.Equal(sum[:], env.digest) {
			j.found.add(r, Digest, "the stored bytes hash to %x, the envelope says %x", sum, env.digest)
		}
		j.enter(s, r, &env)
	}
	if !s.lost {
		j.fold(s, r)
	}
	s.at++
	if s.deciding() {
		return nil
	}
	s.facts = nil
	if !s.lost && s.entity.Done() {
		j.open.remove(r.Stream)
		j.putAway(r.Stream, s)
	}
	return nil
}

// find returns the record's stream: open, read again, or new.
func (j *judge) find(ctx context.Context, r *events.Record) (*stream, error) {
	if s, ok := j.open.get(r.Stream); ok {
		return s, nil
	}
	s := &stream{}
	kind, id, ok := j.rooms(r.Stream)
	if ok {
		s.entity = kind.Open(id)
	} else {
		s.lost = true
	}
	hash := maphash.String(j.seed, r.Stream)
	mark, seen := j.past[hash]
	if seen {
		delete(j.past, hash)
		s.next = mark >> 1
		s.lost = s.lost || mark&1 == 1
		if !s.lost && r.Rev == s.next {
			if err := j.again(ctx, r.Stream, s); err != nil {
				return nil, err
			}
		}
	} else {
		j.streams++
	}
	j.open.put(r.Stream, s)
	return s, nil
}

// again folds the records of a stream that was put away.
func (j *judge) again(ctx context.Context, name string, s *stream) error {
	var n uint64
	for r, err := range j.log.Read(ctx, name, events.Span{Limit: int(s.next)}) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s again: %w", name, err)
		}
		f, err := events.Decode(r)
		if err != nil || evolve(s.entity, f) != nil {
			break
		}
		n++
	}
	s.lost = n != s.next
	return nil
}

// stray gives up the decision in progress because a record's envelope does not belong to one.
func (j *judge) stray(s *stream, r *events.Record, wrong string) {
	j.found.add(r, Envelope, "%s", wrong)
	s.facts, s.at, s.count = nil, 0, 0
}

// enter starts a decision at its first fact, or checks that a later fact goes on with it.
func (j *judge) enter(s *stream, r *events.Record, env *envelope) {
	command := r.ID.Command()
	if env.index == 0 {
		if s.deciding() {
			j.found.add(r, Cut, "the decision of command %s ends after %d of %d facts", s.command, s.at, s.count)
		}
		s.command, s.rules, s.at, s.count = command, env.rules, 0, env.count
		s.facts = j.decide(s, r, env)
		return
	}
	switch {
	case !s.deciding():
		j.stray(s, r, fmt.Sprintf("fact %d of %d without those before it", env.index, env.count))
	case command != s.command:
		j.stray(s, r, fmt.Sprintf("command %s in the middle of the decision of %s", command, s.command))
	case env.index != s.at || env.count != s.count:
		j.stray(s, r, fmt.Sprintf("fact %d of %d where %d of %d is due", env.index, env.count, s.at, s.count))
	case env.rules != s.rules:
		j.stray(s, r, fmt.Sprintf("rules %d within a decision by rules %d", env.rules, s.rules))
	}
}

// decide asks the rules that decided then. It answers nil when there is nothing to compare with.
func (j *judge) decide(s *stream, r *events.Record, env *envelope) []events.Fact {
	j.commands++
	if s.lost {
		j.undecidable++
		return nil
	}
	cmd := new(eventv1.Command)
	if err := proto.Unmarshal(env.command, cmd); err != nil {
		j.found.add(r, Envelope, "the command is malformed")
		return nil
	}
	d, err := decide(s.entity, env.rules, cmd)
	switch {
	case errors.Is(err, actors.ErrUndecidable):
		j.undecidable++
		return nil
	case err != nil:
		j.found.add(r, Refused, "rules %d refuse the recorded command %s: %v", env.rules, commandName(cmd), err)
		return nil
	case len(d.Facts) != int(env.count):
		j.found.add(r, Count, "recorded %d facts, decided %d", env.count, len(d.Facts))
		return nil
	}
	return d.Facts
}

// fold compares the recorded fact with the decided one and brings the stream's state on. The log is what happened: it
// is the recorded fact that is folded when they differ.
func (j *judge) fold(s *stream, r *events.Record) {
	var decided, f events.Fact
	if s.facts != nil {
		decided = s.facts[s.at]
	}
	if decided != nil && events.TypeOf(decided) == r.Type {
		var err error
		if j.buf, err = (proto.MarshalOptions{}).MarshalAppend(j.buf[:0], decided); err == nil && bytes.Equal(j.buf, r.Data) {
			f = decided // the same bytes are the same fact
		}
	}
	if f == nil {
		if f = j.compare(r, decided); f == nil {
			s.lost = true
			return
		}
	}
	if err := evolve(s.entity, f); err != nil {
		j.found.add(r, Fold, "%s: %v", r.Type, err)
		s.lost = true
	}
}

// compare decodes the recorded fact and says how it differs. It answers nil for bytes that are no fact.
func (j *judge) compare(r *events.Record, decided events.Fact) events.Fact {
	recorded, err := events.Decode(*r)
	if err != nil {
		j.found.add(r, Malformed, "%v", err)
		return nil
	}
	if decided == nil {
		return recorded
	}
	if want := events.TypeOf(decided); want != r.Type {
		j.found.add(r, Type, "recorded %s, decided %s", r.Type, want)
	} else if d := differ(recorded, decided); d != "" {
		j.found.add(r, Field, "%s", d)
	}
	return recorded
}

// end reports the decisions that the log breaks off.
func (j *judge) end(context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(j.open.books)) {
		if s := j.open.books[name].value; s.deciding() {
			r := &events.Record{Stream: name, Rev: s.next - 1, Pos: s.pos}
			j.found.add(r, Cut, "the log ends after %d of %d facts of command %s", s.at, s.count, s.command)
		}
	}
	return nil
}

var errPanic = errors.New("panic")

// decide turns a panic of the rules into an error: a forged log may hold what no live command can.
func decide(e actors.Entity, rules uint32, cmd *eventv1.Command) (d actors.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return e.Decide(rules, cmd)
}

func evolve(e actors.Entity, f events.Fact) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return e.Evolve(f)
}

func commandName(cmd *eventv1.Command) string {
	m := cmd.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")); f != nil {
		return string(f.Name())
	}
	return "of no kind"
}
