package dashboard

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestResultsOfOpenJobsStayHidden: while a replica is still to be computed, nobody but an admin finds the hash of what
// the first one returned anywhere in a record, nor the answer of a ringer.
func TestResultsOfOpenJobsStayHidden(t *testing.T) {
	w := newPlant(t)
	answer := bytes.Repeat([]byte{0xA5}, 32)
	ringer := w.submit(func(s *eventv1.JobSpec, p *eventv1.JobPolicy) {
		s.Kind, s.KnownChecksum, p.Redundancy, p.Margin = eventv1.JobKind_JOB_KIND_LITE_TEST, answer, 1, 1
	})
	w.tasks = nil // nobody works on the ringer
	id := w.submit(nil)
	task := w.tasks[0]
	w.step()
	sum := w.put(w.output(task, w.specOf(id))).Sha256
	open := operatorv1.JobState_JOB_STATE_OPEN
	for _, v := range []Viewer{{Role: RoleViewer}, {Role: RoleOperator}, {Role: RoleOperator, Tenants: []string{"acme"}}, {Role: RoleAdmin, Tenants: []string{"acme"}}} {
		cuts := 0
		for _, d := range append(w.records("assignment-"+id), w.records(actors.JobAddress(id).Stream())...) {
			if redactorOf(v, id, open).cut(&d) {
				cuts++
			}
			if holds(t, d, sum) {
				t.Errorf("%v finds the result in %s", v, d.Type)
			}
		}
		if cuts != 2 {
			t.Errorf("%v: %d records were cut, want ResultReturned and ReplicaReturned", v, cuts)
		}
		for _, d := range w.records(actors.JobAddress(ringer).Stream()) {
			redactorOf(v, ringer, open).cut(&d)
			if holds(t, d, answer) {
				t.Errorf("%v finds the ringer's answer in %s", v, d.Type)
			}
		}
	}
	admin := redactorOf(Viewer{Role: RoleAdmin}, id, open)
	d := find(t, w.records("assignment-"+id), "ResultReturned", 0)
	if admin.cut(&d) || !holds(t, d, sum) {
		t.Error("an admin does not see the result")
	}
	operator := redactorOf(Viewer{Role: RoleOperator}, id, operatorv1.JobState_JOB_STATE_VERIFIED)
	if d := find(t, w.records("assignment-"+id), "ResultReturned", 0); operator.cut(&d) || !holds(t, d, sum) {
		t.Error("an operator does not see the result of a decided job")
	}
}

// holds reports whether a record, as it would be shown, holds these bytes.
func holds(t *testing.T, d decoded, secret []byte) bool {
	t.Helper()
	fact, err := proto.Marshal(d.Fact)
	if err != nil {
		t.Fatal(err)
	}
	env, err := proto.Marshal(d.Env)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(fact, secret) || bytes.Contains(env, secret) || bytes.Contains(d.Data, secret) || bytes.Contains(d.Meta, secret)
}
