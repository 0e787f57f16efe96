// Package audittest makes small honest logs for audits, and the means to forge them.
//
// It is for tests alone: no socket, no clock, no dice.
package audittest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// World is a small orchestrator: it drives the pure rooms into a log in memory, with workers that have keys.
type World struct {
	Log      *memlog.Log
	Workers  []ed25519.PrivateKey
	Tasks    []actors.Task    // delivered and not settled
	Referees []actors.Referee // asked for and not answered
	Blobs    map[[32]byte][]byte

	t     testing.TB
	at    int64
	count uint64
	alive map[actors.Address]*living
	turn  int
	queue []actors.Effect
}

type living struct {
	entity actors.Entity
	next   uint64
}

// New returns an empty world.
func New(t testing.TB) *World {
	w := &World{t: t, Log: memlog.New(), at: 1_700_000_000_000_000, alive: map[actors.Address]*living{}, Blobs: map[[32]byte][]byte{}}
	for i := range 16 {
		w.Workers = append(w.Workers, ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, 32)))
	}
	return w
}

// Public is the public part of a key.
func Public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

// Blob keeps content and names it.
func (w *World) Blob(data []byte) *eventv1.BlobRef {
	sum := sha256.Sum256(data)
	w.Blobs[sum] = data
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(data))}
}

// Get makes the world a place where blobs are.
func (w *World) Get(_ context.Context, sum [32]byte) ([]byte, error) {
	data, ok := w.Blobs[sum]
	if !ok {
		return nil, events.ErrNotFound
	}
	return data, nil
}

// Spec is a job like no other.
func (w *World) Spec() *eventv1.JobSpec {
	w.count++
	return &eventv1.JobSpec{
		Module: slices.Repeat([]byte{7}, 32), Input: w.Blob(binary.BigEndian.AppendUint64(nil, w.count)), FuelLimit: 1_000_000,
		Kind: eventv1.JobKind_JOB_KIND_STANDARD, MinTier: 1, Tenant: "acme",
	}
}

// Rules is the policy of the world's jobs.
func Rules(attest bool) *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: 2, Margin: 2, MaxReplicas: 5, MaxAttempts: 3, AckTimeoutMs: 5000, MinExecutionTimeoutMs: 10_000,
		MaxExecutionTimeoutMs: 3_600_000, ExecutionSlack: 4, RequireAttestation: attest,
		Referee: eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM,
	}
}

// Submit submits a job and returns its id.
func (w *World) Submit(attest bool) string {
	w.count++
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64(nil, w.count))
	w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: w.Spec(), Policy: Rules(attest)}}})
	return id
}

// Do decides, appends, folds and carries effects out until nothing is left to do.
func (w *World) Do(to actors.Address, cmd *eventv1.Command) {
	w.tell(to, cmd)
	for len(w.queue) > 0 {
		e := w.queue[0]
		w.queue = w.queue[1:]
		switch e := e.(type) {
		case actors.Tell:
			w.tell(e.To, e.Command)
		case actors.Seek:
			for _, slot := range e.Slots {
				w.dispatch(e, slot)
			}
		case actors.Deliver:
			w.Tasks = append(w.Tasks, e.Task)
		case actors.Referee:
			w.Referees = append(w.Referees, e)
		}
	}
}

func (w *World) tell(to actors.Address, cmd *eventv1.Command) {
	w.at += 1000
	cmd.AtUs = w.at
	l := w.alive[to]
	if l == nil {
		kind, ok := rooms.Of(to.Room)
		if !ok {
			w.t.Fatalf("no room %q", to.Room)
		}
		l = &living{entity: kind.Open(to.ID)}
		w.alive[to] = l
	}
	d, err := l.entity.Decide(actors.Rules, cmd)
	if err != nil {
		return // a refusal writes nothing
	}
	w.queue = append(w.queue, d.Effects...)
	if len(d.Facts) == 0 {
		return
	}
	w.count++
	drafts, err := events.Encode(events.Origin{
		ID: events.NewCommandID(binary.BigEndian.AppendUint64(nil, w.count)), Command: cmd, Node: "n", Rules: actors.Rules,
	}, d.Facts)
	if err != nil {
		w.t.Fatal(err)
	}
	want := events.Absent
	if l.next > 0 {
		want = events.At(l.next - 1)
	}
	if _, err := w.Log.Append(context.Background(), to.Stream(), want, drafts...); err != nil {
		w.t.Fatal(err)
	}
	l.next += uint64(len(drafts))
	for _, f := range d.Facts {
		if err := l.entity.Evolve(f); err != nil {
			w.t.Fatal(err)
		}
	}
	w.queue = append(w.queue, l.entity.React(d.Facts)...)
}

// dispatch picks a worker by the seed, out of a short list that goes round.
func (w *World) dispatch(s actors.Seek, slot uint32) {
	head, err := w.Log.Head(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var list [][]byte
	for range 3 {
		list = append(list, Public(w.Workers[w.turn%len(w.Workers)])[:8])
		w.turn++
	}
	seed := dispatch.Seed(uint64(head), s.Job, slot, 0)
	picked := list[dispatch.Pick(seed, len(list))]
	i := slices.IndexFunc(w.Workers, func(k ed25519.PrivateKey) bool { return string(Public(k)[:8]) == string(picked) })
	w.queue = append(w.queue, actors.Tell{To: actors.SlotAddress(s.Job, slot), Command: &eventv1.Command{
		Kind: &eventv1.Command_DispatchSlot{DispatchSlot: &eventv1.DispatchSlot{
			Worker: Public(w.Workers[i]), Group: string('a' + rune(i)), AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 3,
			Candidates: list, Seed: seed[:], Head: uint64(head),
		}},
	}})
}

// Key is the key of the worker that has a task.
func (w *World) Key(t actors.Task) ed25519.PrivateKey {
	return w.Workers[slices.IndexFunc(w.Workers, func(k ed25519.PrivateKey) bool { return string(Public(k)) == string(t.Worker) })]
}

// Ack acknowledges a task.
func (w *World) Ack(t actors.Task) {
	w.Do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: t.Token}}})
}

// SpecOf is the job that a task belongs to.
func (w *World) SpecOf(t actors.Task) *eventv1.JobSpec {
	return w.alive[actors.JobAddress(t.Job)].entity.State().(job.State).Spec
}

// Answer returns a result for a task: signed by its worker over what it returns.
func (w *World) Answer(t actors.Task, output string, change func(*eventv1.ReturnResult)) {
	spec := w.SpecOf(t)
	out := w.Blob([]byte(output))
	s := proof.Statement{
		Job: t.Job, Slot: t.Slot, Token: t.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 500, Output: [32]byte(out.Sha256),
	}
	c := &eventv1.ReturnResult{Token: t.Token, Status: s.Status, Output: out, Fuel: s.Fuel, Attestation: s.Sign(w.Key(t))}
	if change != nil {
		change(c)
	}
	w.Do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: c}})
}

// Take removes a task from those that are out.
func (w *World) Take(i int) actors.Task {
	t := w.Tasks[i]
	w.Tasks = slices.Delete(w.Tasks, i, i+1)
	return t
}

// Work lets honest workers do everything that is out.
func (w *World) Work() {
	for len(w.Tasks) > 0 {
		t := w.Take(0)
		w.Ack(t)
		w.Answer(t, "out of "+t.Job, nil)
	}
}

// Expire lets the deadline of an acknowledgement pass.
func (w *World) Expire(t actors.Task) {
	w.at += 6_000_000
	w.Do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ExpireAck{ExpireAck: &eventv1.ExpireAck{Attempt: t.Attempt}}})
}

// Refereed lets the referee answer rightly.
func (w *World) Refereed() {
	for len(w.Referees) > 0 {
		r := w.Referees[0]
		w.Referees = w.Referees[1:]
		w.Do(actors.JobAddress(r.Job), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: eventv1.ResultStatus_RESULT_STATUS_OK,
			Output: w.Blob([]byte("out of " + r.Job)), Fuel: 500,
		}}})
	}
}

// Records copies the log.
func (w *World) Records() []events.Record {
	var all []events.Record
	for r, err := range w.Log.ReadAll(context.Background(), 0, events.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// Forged is a log that holds what a forger wrote. Only reading works.
type Forged struct {
	events.Log
	All []events.Record
}

// ReadAll reads what was forged.
func (f Forged) ReadAll(_ context.Context, after events.Position, only events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for _, r := range f.All {
			if only.Match(r.Stream, r.Type) && r.Pos > after && !yield(r, nil) {
				return
			}
		}
	}
}

// Read reads a stream of what was forged.
func (f Forged) Read(_ context.Context, name string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		n := 0
		for _, r := range f.All {
			if r.Stream != name {
				continue
			}
			if n++; !yield(r, nil) || n == span.Limit {
				return
			}
		}
		if n == 0 {
			yield(events.Record{}, events.ErrNotFound)
		}
	}
}

// CopyTo appends the world's log to another one, decision by decision. Positions stay as they are where the other log
// is empty and counts them densely.
func (w *World) CopyTo(log events.Log) {
	all := w.Records()
	for i := 0; i < len(all); {
		n := i + 1
		for n < len(all) && all[n].Stream == all[i].Stream && all[n].ID.Command() == all[i].ID.Command() {
			n++
		}
		want := events.Absent
		if all[i].Rev > 0 {
			want = events.At(all[i].Rev - 1)
		}
		var drafts []events.Draft
		for _, r := range all[i:n] {
			drafts = append(drafts, r.Draft)
		}
		if _, err := log.Append(context.Background(), all[i].Stream, want, drafts...); err != nil {
			w.t.Fatal(err)
		}
		i = n
	}
}
