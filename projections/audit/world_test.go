package audit_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
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

// world is a small orchestrator: it drives the pure rooms into a log in memory, with workers that have keys.
type world struct {
	t       testing.TB
	log     *memlog.Log
	at      int64
	count   uint64
	alive   map[actors.Address]*living
	workers []ed25519.PrivateKey
	turn    int
	tasks   []actors.Task // delivered and not settled
	referee []actors.Referee
	queue   []actors.Effect
	blobs   map[[32]byte][]byte
}

type living struct {
	entity actors.Entity
	next   uint64
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, log: memlog.New(), at: 1_700_000_000_000_000, alive: map[actors.Address]*living{}, blobs: map[[32]byte][]byte{}}
	for i := range 16 {
		w.workers = append(w.workers, ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, 32)))
	}
	return w
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func (w *world) blob(data []byte) *eventv1.BlobRef {
	sum := sha256.Sum256(data)
	w.blobs[sum] = data
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(data))}
}

// Get makes the world a place where blobs are.
func (w *world) Get(_ context.Context, sum [32]byte) ([]byte, error) {
	data, ok := w.blobs[sum]
	if !ok {
		return nil, events.ErrNotFound
	}
	return data, nil
}

func (w *world) spec() *eventv1.JobSpec {
	w.count++
	return &eventv1.JobSpec{
		Module: slices.Repeat([]byte{7}, 32), Input: w.blob(binary.BigEndian.AppendUint64(nil, w.count)), FuelLimit: 1_000_000,
		Kind: eventv1.JobKind_JOB_KIND_STANDARD, MinTier: 1, Tenant: "acme",
	}
}

func rules(attest bool) *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: 2, Margin: 2, MaxReplicas: 5, MaxAttempts: 3, AckTimeoutMs: 5000, MinExecutionTimeoutMs: 10_000,
		MaxExecutionTimeoutMs: 3_600_000, ExecutionSlack: 4, RequireAttestation: attest,
		Referee: eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM,
	}
}

func (w *world) submit(attest bool) string {
	w.count++
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64(nil, w.count))
	w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: w.spec(), Policy: rules(attest)}}})
	return id
}

// do decides, appends, folds and carries effects out until nothing is left to do.
func (w *world) do(to actors.Address, cmd *eventv1.Command) {
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
			w.tasks = append(w.tasks, e.Task)
		case actors.Referee:
			w.referee = append(w.referee, e)
		}
	}
}

func (w *world) tell(to actors.Address, cmd *eventv1.Command) {
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
	if _, err := w.log.Append(context.Background(), to.Stream(), want, drafts...); err != nil {
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
func (w *world) dispatch(s actors.Seek, slot uint32) {
	head, err := w.log.Head(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var list [][]byte
	for range 3 {
		list = append(list, public(w.workers[w.turn%len(w.workers)])[:8])
		w.turn++
	}
	seed := dispatch.Seed(uint64(head), s.Job, slot, 0)
	picked := list[dispatch.Pick(seed, len(list))]
	i := slices.IndexFunc(w.workers, func(k ed25519.PrivateKey) bool { return string(public(k)[:8]) == string(picked) })
	w.queue = append(w.queue, actors.Tell{To: actors.SlotAddress(s.Job, slot), Command: &eventv1.Command{
		Kind: &eventv1.Command_DispatchSlot{DispatchSlot: &eventv1.DispatchSlot{
			Worker: public(w.workers[i]), Group: string('a' + rune(i)), AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 3,
			Candidates: list, Seed: seed[:], Head: uint64(head),
		}},
	}})
}

func (w *world) key(t actors.Task) ed25519.PrivateKey {
	return w.workers[slices.IndexFunc(w.workers, func(k ed25519.PrivateKey) bool { return string(public(k)) == string(t.Worker) })]
}

func (w *world) ack(t actors.Task) {
	w.do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: t.Token}}})
}

func (w *world) spoken(t actors.Task) *eventv1.JobSpec {
	return w.alive[actors.JobAddress(t.Job)].entity.State().(job.State).Spec
}

// answer returns a result for a task: signed by its worker over what it returns.
func (w *world) answer(t actors.Task, output string, change func(*eventv1.ReturnResult)) {
	spec := w.spoken(t)
	out := w.blob([]byte(output))
	s := proof.Statement{
		Job: t.Job, Slot: t.Slot, Token: t.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 500, Output: [32]byte(out.Sha256),
	}
	c := &eventv1.ReturnResult{Token: t.Token, Status: s.Status, Output: out, Fuel: s.Fuel, Attestation: s.Sign(w.key(t))}
	if change != nil {
		change(c)
	}
	w.do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: c}})
}

// take removes a task from those that are out.
func (w *world) take(i int) actors.Task {
	t := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	return t
}

// work lets honest workers do everything that is out.
func (w *world) work() {
	for len(w.tasks) > 0 {
		t := w.take(0)
		w.ack(t)
		w.answer(t, "out of "+t.Job, nil)
	}
}

func (w *world) expire(t actors.Task) {
	w.at += 6_000_000
	w.do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ExpireAck{ExpireAck: &eventv1.ExpireAck{Attempt: t.Attempt}}})
}

func (w *world) refereed() {
	for len(w.referee) > 0 {
		r := w.referee[0]
		w.referee = w.referee[1:]
		w.do(actors.JobAddress(r.Job), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: eventv1.ResultStatus_RESULT_STATUS_OK,
			Output: w.blob([]byte("out of " + r.Job)), Fuel: 500,
		}}})
	}
}

// records copies the log.
func (w *world) records() []events.Record {
	var all []events.Record
	for r, err := range w.log.ReadAll(context.Background(), 0, events.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// forged is a log that holds what a forger wrote. Only reading works.
type forged struct {
	events.Log
	all []events.Record
}

func (f forged) ReadAll(_ context.Context, after events.Position, only events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for _, r := range f.all {
			wanted := len(only.Types) == 0 || slices.ContainsFunc(only.Types, func(p string) bool { return strings.HasPrefix(r.Type, p) })
			if wanted && r.Pos > after && !yield(r, nil) {
				return
			}
		}
	}
}

func (f forged) Read(_ context.Context, name string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		n := 0
		for _, r := range f.all {
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
