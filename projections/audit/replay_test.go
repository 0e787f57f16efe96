package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func replay(t interface {
	Fatal(...any)
}, log events.Log, opts audit.Options,
) audit.Report {
	r, err := audit.Replay(context.Background(), log, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHonestLogIsClean(t *testing.T) {
	w := audittest.New(t)
	for range 50 {
		w.Submit(true)
	}
	w.Work()
	r := replay(t, w.Log, audit.Options{Blobs: w})
	if !r.Clean() {
		t.Fatalf("divergences in an honest log: %v", r.Found)
	}
	if r.Events != 500 || r.Streams != 150 || r.Commands != 450 {
		t.Errorf("%d events, %d streams, %d commands; want 500, 150, 450", r.Events, r.Streams, r.Commands)
	}
	want := audit.Evidence{Attestations: 100, Replicas: 100, Checksums: 50, Placements: 100, Blobs: 100, Seconds: r.Evidence.Seconds}
	if r.Evidence != want {
		t.Errorf("evidence %+v, want %+v", r.Evidence, want)
	}
}

// TestRandomHistoriesReplay lets workers ack, answer rightly and wrongly, time out and fail their signatures, and jobs
// be cancelled and requeued, in any order: an honest log is clean, however few streams the auditor may keep open.
func TestRandomHistoriesReplay(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		w := history(t, outer)
		r := replay(t, w.Log, audit.Options{Blobs: w, MaxOpen: rapid.SampledFrom([]int{2, 1000}).Draw(t, "open")})
		if !r.Clean() {
			t.Fatalf("divergences in an honest log: %v", r.Found)
		}
		if n := uint64(len(w.Records())); r.Events != n {
			t.Fatalf("audited %d of %d events", r.Events, n)
		}
	})
}

// history draws a world's history.
func history(t *rapid.T, outer testing.TB) *audittest.World {
	w := audittest.New(outer)
	var jobs []string
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		step := rapid.IntRange(0, 12).Draw(t, "step")
		if step < 2 || len(jobs) == 0 {
			jobs = append(jobs, anyJob(t, w))
			continue
		}
		if step == 2 {
			byHand(w, rapid.SampledFrom(jobs).Draw(t, "job"), rapid.Bool().Draw(t, "cancel"))
			continue
		}
		if step == 3 {
			w.Refereed()
			continue
		}
		if len(w.Tasks) == 0 {
			continue
		}
		i := rapid.IntRange(0, len(w.Tasks)-1).Draw(t, "task")
		switch step {
		case 4:
			w.Ack(w.Tasks[i])
		case 5:
			w.Expire(w.Take(i))
		case 6:
			w.Answer(w.Take(i), rapid.SampledFrom([]string{"lie", "other lie"}).Draw(t, "lie"), nil)
		case 7:
			w.Answer(w.Take(i), "forged", badSignature)
		case 8:
			w.Fail(w.Take(i), eventv1.ResultStatus_RESULT_STATUS_TRAP)
		default:
			task := w.Take(i)
			w.Answer(task, "out of "+task.Job, nil)
		}
	}
	return w
}

// anyJob submits a job of any kind under any policy.
func anyJob(t *rapid.T, w *audittest.World) string {
	if rapid.Bool().Draw(t, "plain") {
		return w.Submit(rapid.Bool().Draw(t, "attest"))
	}
	return w.Submitted(func(s *eventv1.SubmitJob) {
		p := s.Policy
		p.MaxReplicas = uint32(rapid.IntRange(1, 6).Draw(t, "max_replicas"))
		p.Redundancy = uint32(rapid.IntRange(1, int(p.MaxReplicas)).Draw(t, "redundancy"))
		p.Margin = uint32(rapid.IntRange(1, int(p.MaxReplicas)).Draw(t, "margin"))
		p.Referee = rapid.SampledFrom([]eventv1.RefereeMode{0, 1, 2}).Draw(t, "referee")
		if rapid.Bool().Draw(t, "ringer") {
			answer := rapid.SampledFrom([]string{"lie", "something"}).Draw(t, "answer")
			known := proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, 500, [32]byte(w.Blob([]byte(answer)).Sha256))
			s.Spec.Kind, s.Spec.KnownChecksum = eventv1.JobKind_JOB_KIND_LITE_TEST, known[:]
		}
	})
}

// badSignature is what the gateway finds when a signature does not fit.
func badSignature(c *eventv1.ReturnResult) {
	c.Attestation = slices.Clone(c.Attestation)
	c.Attestation[3] ^= 1
	c.Reject = eventv1.RejectReason_REJECT_REASON_SIGNATURE
}

// byHand is what an operator does to a job.
func byHand(w *audittest.World, id string, cancel bool) {
	cmd := &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "op", Reason: "again"}}}
	if cancel {
		cmd.Kind = &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "op", Reason: "enough"}}
	}
	w.Do(actors.JobAddress(id), cmd)
}

// reencode changes a record's fact and its digest with it: a forger who knows the envelope.
func reencode[F events.Fact](t *testing.T, r *events.Record, change func(F)) {
	t.Helper()
	f, err := events.Decode(*r)
	if err != nil {
		t.Fatal(err)
	}
	change(f.(F))
	if r.Data, err = proto.Marshal(f); err != nil {
		t.Fatal(err)
	}
	sum := events.Digest(r.Data)
	reseal(t, r, func(e *eventv1.Envelope) { e.Digest = sum[:] })
}

func reseal(t *testing.T, r *events.Record, change func(*eventv1.Envelope)) {
	t.Helper()
	e, err := events.DecodeEnvelope(*r)
	if err != nil {
		t.Fatal(err)
	}
	change(e)
	if r.Meta, err = proto.Marshal(e); err != nil {
		t.Fatal(err)
	}
}

// at finds the n-th record of a type.
func at(t *testing.T, all []events.Record, name string, n int) int {
	t.Helper()
	for i := range all {
		if all[i].Type == name {
			if n == 0 {
				return i
			}
			n--
		}
	}
	t.Fatalf("the log has no %s", name)
	return 0
}

// TestForgeries tells what each kind of tampering is found as, and where.
func TestForgeries(t *testing.T) {
	for name, c := range map[string]struct {
		forge func(*testing.T, []events.Record) ([]events.Record, int) // and the record that is to be named, -1: any
		kind  audit.Kind
		says  string
	}{
		"a fact's field": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 1)
			reencode(t, &all[i], func(f *eventv1.TaskVerified) { f.Output.Size = 99 })
			return all, i
		}, audit.Field, "TaskVerified.output.size: recorded 99, decided 33"},
		"an element of a fact's list": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 2)
			reencode(t, &all[i], func(f *eventv1.TaskVerified) { f.Agreeing = f.Agreeing[:1] })
			return all, i
		}, audit.Field, "TaskVerified.agreeing: recorded 1 elements, decided 2"},
		"a byte of a fact": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "ReplicaReturned", 3)
			all[i].Data[len(all[i].Data)-1] ^= 1
			return all, i
		}, audit.Digest, "the stored bytes hash to"},
		"a fact that is none": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 1)
			all[i].Data = []byte{0xff}
			sum := events.Digest(all[i].Data)
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Digest = sum[:] })
			return all, i
		}, audit.Malformed, "TaskAcked"},
		"a command": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "ReplicaReturned", 0)
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetRecordReplica().Fuel++ })
			return all, i
		}, audit.Field, "ReplicaReturned.fuel: recorded 500, decided 501"},
		"a command that the rules refuse": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 0)
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetAckTask().Token++ })
			return all, i
		}, audit.Refused, "refuse the recorded command ack_task"},
		"a command that leads to fewer facts": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 0) - 1
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetRecordReplica().Output.Sha256[0] ^= 1 })
			return all, i
		}, audit.Count, "recorded 2 facts, decided 3"},
		"a type": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 0)
			all[i].Type = "AckTimedOut"
			return all, i
		}, audit.Type, "recorded AckTimedOut, decided TaskAcked"},
		"a dropped record": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 2)
			all = slices.Delete(all, i, i+1)
			next := slices.IndexFunc(all[i:], func(r events.Record) bool { return r.Type == "ResultReturned" && r.Rev == 2 })
			return all, i + next
		}, audit.Revision, "revision 2 where 1 is due"},
		"a dropped beginning": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			id := all[0].Stream
			all = slices.Delete(all, 0, 1)
			return all, slices.IndexFunc(all, func(r events.Record) bool { return r.Stream == id })
		}, audit.Revision, "revision 1 where 0 is due"},
		"a cut decision": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 9)
			return slices.Delete(all, i, i+1), -1
		}, audit.Cut, "the log ends after 1 of 2 facts"},
		"a second life of a stream": {func(_ *testing.T, all []events.Record) ([]events.Record, int) {
			again := all[0]
			again.Pos = all[len(all)-1].Pos + 1
			return append(all, again), len(all)
		}, audit.Revision, "revision 0 where 4 is due"},
		"swapped records": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 0)
			all[i], all[i-1] = all[i-1], all[i]
			all[i].Pos, all[i-1].Pos = all[i-1].Pos, all[i].Pos
			return all, i - 1
		}, audit.Revision, "revision 3 where 2 is due"},
		"swapped positions": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 0)
			all[i].Pos, all[i-1].Pos = all[i-1].Pos, all[i].Pos
			return all, i
		}, audit.Order, "position"},
		"a fact of another command": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 0)
			all[i].ID[0] ^= 1
			return all, i
		}, audit.Envelope, "in the middle of the decision of"},
		"an index": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskVerified", 0)
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Index, e.Count = 7, 8 })
			return all, i
		}, audit.Envelope, "the record's id names another index"},
		"a missing command": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 0)
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command = nil })
			return all, i
		}, audit.Envelope, "carries no command"},
		"metadata that is none": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "TaskAcked", 0)
			all[i].Meta = []byte{0xff}
			return all, i
		}, audit.Envelope, "not an envelope"},
		"a signature": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "ResultReturned", 4)
			both(t, &all[i], func(c *eventv1.ReturnResult, f *eventv1.ResultReturned) {
				c.Attestation[9] ^= 1
				f.Attestation[9] ^= 1
			})
			return all, i
		}, audit.Attestation, "the signature is not that of worker"},
		"a removed signature": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "ResultReturned", 4)
			both(t, &all[i], func(c *eventv1.ReturnResult, f *eventv1.ResultReturned) { c.Attestation, f.Attestation = nil, nil })
			return all, i
		}, audit.Attestation, "requires a signature"},
		"a result that the worker did not return": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "ReplicaReturned", 0)
			reencode(t, &all[i], func(f *eventv1.ReplicaReturned) { f.Group = "zz" })
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetRecordReplica().Group = "zz" })
			return all, i
		}, audit.Replica, "was in the hands of another worker"},
		"a worker who was not picked": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "AssignmentDispatched", 5)
			reencode(t, &all[i], func(f *eventv1.AssignmentDispatched) { f.Worker[0] ^= 1 })
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetDispatchSlot().Worker[0] ^= 1 })
			return all, i
		}, audit.Placement, "the slot went to"},
		"a seed that was chosen": {func(t *testing.T, all []events.Record) ([]events.Record, int) {
			i := at(t, all, "AssignmentDispatched", 5)
			reencode(t, &all[i], func(f *eventv1.AssignmentDispatched) { f.Head-- })
			reseal(t, &all[i], func(e *eventv1.Envelope) { e.Command.GetDispatchSlot().Head-- })
			return all, i
		}, audit.Placement, "is not that of position"},
	} {
		t.Run(name, func(t *testing.T) {
			w := audittest.New(t)
			for range 10 {
				w.Submit(true)
			}
			w.Work()
			all, want := c.forge(t, w.Records())
			r := replay(t, audittest.Forged{All: all}, audit.Options{})
			i := slices.IndexFunc(r.Found, func(d audit.Divergence) bool { return d.Kind == c.kind && strings.Contains(d.Detail, c.says) })
			if i < 0 {
				t.Fatalf("not found as %q %q; found %v", c.kind, c.says, r.Found)
			}
			if want >= 0 && (r.Found[i].Stream != all[want].Stream || r.Found[i].Revision != all[want].Rev) {
				t.Errorf("named at %s %d, is at %s %d", r.Found[i].Stream, r.Found[i].Revision, all[want].Stream, all[want].Rev)
			}
			if r.Divergences < uint64(len(r.Found)) || r.Clean() {
				t.Errorf("%d divergences counted, %d listed", r.Divergences, len(r.Found))
			}
		})
	}
}

// both changes a result in its command and in its fact: a forger who knows the rules.
func both(t *testing.T, r *events.Record, change func(*eventv1.ReturnResult, *eventv1.ResultReturned)) {
	t.Helper()
	e, err := events.DecodeEnvelope(*r)
	if err != nil {
		t.Fatal(err)
	}
	reencode(t, r, func(f *eventv1.ResultReturned) { change(e.Command.GetReturnResult(), f) })
	reseal(t, r, func(to *eventv1.Envelope) { to.Command = e.Command })
}

func TestVerdictThatIsNotItsReplicas(t *testing.T) {
	w := audittest.New(t)
	w.Submit(true)
	w.Work()
	all := w.Records()
	i := at(t, all, "TaskVerified", 0)
	reencode(t, &all[i], func(f *eventv1.TaskVerified) { f.Checksum[0] ^= 1 })
	r := replay(t, audittest.Forged{All: all}, audit.Options{})
	if !slices.ContainsFunc(r.Found, func(d audit.Divergence) bool { return d.Kind == audit.Checksum }) {
		t.Errorf("found %v, want a checksum", r.Found)
	}
}

func TestWronglyRefusedSignature(t *testing.T) {
	w := audittest.New(t)
	w.Submit(true)
	w.Answer(w.Take(0), "right", func(c *eventv1.ReturnResult) { c.Reject = eventv1.RejectReason_REJECT_REASON_SIGNATURE })
	r := replay(t, w.Log, audit.Options{})
	if first, ok := r.First(); !ok || first.Kind != audit.Attestation || !strings.Contains(first.Detail, "refused for its signature") {
		t.Errorf("found %v, want the wronged worker", r.Found)
	}
}

// TestFurtherProofsAreVerifiedAgain multiplies two numbers, once rightly and once wrongly.
func TestFurtherProofsAreVerifiedAgain(t *testing.T) {
	for product, want := range map[byte]uint64{6: 0, 7: 1} {
		w := audittest.New(t)
		spec := w.Spec()
		spec.Proof = &eventv1.ProofSpec{System: eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8}
		spec.Input = w.Blob([]byte{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 3})
		id := events.DeriveEntityID([]byte("product"))
		w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: audittest.Rules(true)}}})
		w.Answer(w.Take(0), string([]byte{product, 0, 0, 0}), func(c *eventv1.ReturnResult) { c.ProofSeed = make([]byte, 32) })
		r := replay(t, w.Log, audit.Options{Blobs: w})
		if r.Evidence.Proofs != 1 || r.Divergences != want {
			t.Errorf("2 x 3 = %d: %d proofs, %v", product, r.Evidence.Proofs, r.Found)
		}
		if first, ok := r.First(); ok && first.Kind != audit.Proof {
			t.Errorf("found %v, want a proof that does not hold", first)
		}
	}
}

func TestBlobsThatAreMissingOrChanged(t *testing.T) {
	w := audittest.New(t)
	id := w.Submit(true)
	w.Work()
	out := [32]byte(w.Blob([]byte("out of " + id)).Sha256)
	w.Blobs[out] = []byte("something else")
	r := replay(t, w.Log, audit.Options{Blobs: w})
	if first, _ := r.First(); first.Kind != audit.Blob || !strings.Contains(first.Detail, "not what its name says") {
		t.Errorf("found %v, want a changed output", r.Found)
	}
	delete(w.Blobs, out)
	r = replay(t, w.Log, audit.Options{Blobs: w})
	if first, _ := r.First(); first.Kind != audit.Blob || !strings.Contains(first.Detail, "missing") {
		t.Errorf("found %v, want a missing output", r.Found)
	}
}

// TestRulesThatAreGone holds that what cannot be decided any more is never called fine.
func TestRulesThatAreGone(t *testing.T) {
	w := audittest.New(t)
	w.Submit(true)
	w.Work()
	all := w.Records()
	for i := range all {
		reseal(t, &all[i], func(e *eventv1.Envelope) { e.Rules = 999 })
	}
	r := replay(t, audittest.Forged{All: all}, audit.Options{})
	if r.Undecidable != r.Commands || r.Commands != 9 || r.Divergences != 0 || r.Clean() {
		t.Errorf("%d of %d commands undecidable, %d divergences, clean %t", r.Undecidable, r.Commands, r.Divergences, r.Clean())
	}
}

func TestStreamsWithoutARoom(t *testing.T) {
	log := memlog.New()
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID([]byte("x")), Command: &eventv1.Command{}, Rules: 1}, []events.Fact{&eventv1.ShardTaken{Node: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), "elsewhere-1", events.Absent, drafts...); err != nil {
		t.Fatal(err)
	}
	if r := replay(t, log, audit.Options{}); r.Undecidable != 1 || r.Clean() {
		t.Errorf("a stream of no room: %+v", r)
	}
}

// TestRulesThatPanic holds that a forged command cannot take the auditor down.
func TestRulesThatPanic(t *testing.T) {
	bomb := &actors.Room[int]{
		Name:     "elsewhere",
		Zero:     func(string) int { return 0 },
		Versions: map[uint32]actors.DecideFunc[int]{1: func(int, *eventv1.Command) (actors.Decision, error) { panic("boom") }},
		Evolve:   func(int, events.Fact) (int, error) { panic("boom") },
		Done:     func(int) bool { return false },
	}
	log := memlog.New()
	drafts, _ := events.Encode(events.Origin{ID: events.NewCommandID([]byte("x")), Command: &eventv1.Command{}, Rules: 1}, []events.Fact{&eventv1.ShardTaken{}})
	if _, err := log.Append(t.Context(), "elsewhere-1", events.Absent, drafts...); err != nil {
		t.Fatal(err)
	}
	r := replay(t, log, audit.Options{Rooms: func(string) (actors.Kind, string, bool) { return bomb, "1", true }})
	if len(r.Found) != 2 || r.Found[0].Kind != audit.Refused || r.Found[1].Kind != audit.Fold {
		t.Errorf("found %v", r.Found)
	}
}

func TestFirstDivergencesAreListedInOrder(t *testing.T) {
	w := audittest.New(t)
	for range 100 {
		w.Submit(true)
	}
	w.Work()
	all := w.Records()
	for i := range all {
		all[i].Data = append(all[i].Data, 0)
	}
	r := replay(t, audittest.Forged{All: all}, audit.Options{MaxFound: 7})
	if len(r.Found) != 7 || r.Divergences < uint64(len(all)) {
		t.Fatalf("%d listed, %d counted; want 7 and at least %d", len(r.Found), r.Divergences, len(all))
	}
	if !slices.IsSortedFunc(r.Found, func(a, b audit.Divergence) int { return int(a.Position) - int(b.Position) }) || r.Found[0].Position != 1 {
		t.Errorf("listed out of order: %v", r.Found)
	}
}

func TestReportIsAContract(t *testing.T) {
	w := audittest.New(t)
	w.Submit(true)
	w.Work()
	text, err := json.Marshal(replay(t, w.Log, audit.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"streams", "events", "commands", "divergences", "undecidable", "evidence", "seconds", "events_per_s", "found"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the report has no %q: %s", name, text)
		}
	}
}

func TestLogThatCannotBeRead(t *testing.T) {
	log := memlog.New()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Replay(t.Context(), log, audit.Options{}); !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v, want the log's own error", err)
	}
}

func BenchmarkReplay(b *testing.B) {
	w := audittest.New(b)
	for range 5000 {
		w.Submit(true)
		w.Work()
	}
	all := w.Records()
	log := audittest.Forged{All: all}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if r := replay(b, log, audit.Options{SkipEvidence: true}); !r.Clean() {
			b.Fatal(r.Found)
		}
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReplayEmbedded audits the log that deployments have: on disk.
func BenchmarkReplayEmbedded(b *testing.B) {
	w := audittest.New(b)
	for range 5000 {
		w.Submit(true)
		w.Work()
	}
	var names []string
	streams := map[string][]events.Draft{}
	n := 0
	for _, r := range w.Records() {
		if streams[r.Stream] == nil {
			names = append(names, r.Stream)
		}
		streams[r.Stream] = append(streams[r.Stream], r.Draft)
		n++
	}
	log, err := pebblelog.Open(b.TempDir(), pebblelog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	var lanes errgroup.Group
	lanes.SetLimit(256)
	for _, name := range names {
		lanes.Go(func() error {
			_, err := log.Append(context.Background(), name, events.Absent, streams[name]...)
			return err
		})
	}
	if err := lanes.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := replay(b, log, audit.Options{SkipEvidence: true}); !r.Clean() {
			b.Fatal(r.Found)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
