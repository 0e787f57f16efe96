package operator_test

import (
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// replay decides a log again. The workers of these worlds sign nothing, so the evidence is left out.
func replay(t *testing.T, log events.Log) audit.Report {
	t.Helper()
	r, err := audit.Replay(t.Context(), log, audit.Options{SkipEvidence: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replays holds that everything in the world's log follows from the commands that it records.
func replays(t *testing.T, w *operatortest.World) {
	t.Helper()
	if r := replay(t, w.Log); !r.Clean() || r.Commands == 0 {
		t.Errorf("%d commands: %v", r.Commands, r.Found)
	}
}

// forge copies a log, and changes the facts of one type on the way, digests included.
func forge[F events.Fact](t *testing.T, from events.Log, change func(F)) *memlog.Log {
	t.Helper()
	to := memlog.New()
	t.Cleanup(func() { to.Close() })
	changed := false
	for r, err := range from.ReadAll(t.Context(), 0, events.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		fact, err := events.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := fact.(F); ok {
			env, err := events.DecodeEnvelope(r)
			if err != nil {
				t.Fatal(err)
			}
			change(f)
			changed = true
			if r.Data, err = proto.Marshal(fact); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(r.Data)
			env.Digest = sum[:16]
			if r.Meta, err = proto.Marshal(env); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := to.Append(t.Context(), r.Stream, events.Any, r.Draft); err != nil {
			t.Fatal(err)
		}
	}
	if !changed {
		t.Fatal("the log has no such fact")
	}
	return to
}

// TestAuditDecidesDeadLettersAgain: requeues, discards, edits and reopened chunks follow from their commands, and a
// forger who changes one of them is found.
func TestAuditDecidesDeadLettersAgain(t *testing.T) {
	w := operatortest.Start(t, guarded())
	module, alice := w.Module(t), dial(w, "alice")
	tasks := held(w, "last;", choosy(&eventv1.BlobRef{Sha256: sum("bad;")}))
	id, _ := chunked(t, alice, module, 1, 2, "bad;", "last;")
	followed(t, alice, id, func(p *operatorv1.Pipeline) bool { return p.Failed == 1 })
	letter := letters(t, alice, &operatorv1.DeadLetterFilter{Pipeline: id})[0]
	wantOutcome(t, requeue(t, alice, "again", letter), 0, "")
	await(t, alice, []string{letter}, deadState)
	done, err := alice.EditDeadLetter(t.Context(), editOf(letter, &operatorv1.DeadLetterEdit{Payload: []byte("good;")}))
	if err != nil {
		t.Fatal(err)
	}
	await(t, alice, []string{done.Id}, verified)
	for range 2 {
		operatortest.Echo(w, <-tasks)
	}
	ended(t, alice, id)
	replays(t, w)
	for name, log := range map[string]*memlog.Log{
		"the replacement": forge(t, w.Log, func(f *eventv1.JobDiscarded) { f.ReplacedBy = id }),
		"the round":       forge(t, w.Log, func(f *eventv1.JobRequeued) { f.Round++ }),
		"what is edited":  forge(t, w.Log, func(f *eventv1.JobSubmitted) { f.Spec.ReplacedRound++ }),
		"the chunk's job": forge(t, w.Log, func(f *eventv1.ChunksReopened) { f.Chunks[0].Job = id }),
		"whether it was": forge(t, w.Log, func(f *eventv1.ChunksReopened) {
			f.Chunks[0].Hole = !f.Chunks[0].Hole
		}),
	} {
		if r := replay(t, log); r.Clean() {
			t.Errorf("nobody finds that %s was changed", name)
		}
	}
}
