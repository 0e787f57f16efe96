package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// bench carries actions out on a plant, by the real rooms: what they refuse is refused here.
type bench struct {
	fakeActions
	mu    sync.Mutex
	plant *plant
}

func (b *bench) each(jobs []string, dry bool, cmd func() *eventv1.Command) []Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Outcome
	for _, id := range jobs {
		o := Outcome{Job: id}
		if l := b.plant.alive[actors.JobAddress(id)]; l == nil || l.entity.State().(job.State).Phase != job.DeadLettered {
			o.Refusal = &Refusal{Code: "NOT_DEAD_LETTERED", Text: "The job is not dead-lettered."}
		} else if !dry {
			if err := b.plant.do(actors.JobAddress(id), cmd()); err != nil {
				o.Refusal = &Refusal{Code: "REFUSED", Text: err.Error()}
			}
		}
		all = append(all, o)
	}
	return all
}

func (b *bench) RequeueJobs(_ context.Context, by string, jobs []string, reason string, dry bool) ([]Outcome, error) {
	return b.each(jobs, dry, func() *eventv1.Command {
		return &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: by, Reason: reason}}}
	}), nil
}

func (b *bench) DiscardJobs(_ context.Context, by string, jobs []string, reason string, dry bool) ([]Outcome, error) {
	return b.each(jobs, dry, func() *eventv1.Command {
		return &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{By: by, Reason: reason}}}
	}), nil
}

func (b *bench) CancelJob(_ context.Context, by, id, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.plant.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: by, Reason: reason}}})
	if errors.Is(err, job.ErrDecided) {
		return &Refusal{Code: "DECIDED", Text: "The job is decided."}
	}
	return err
}

func (b *bench) EditJob(_ context.Context, by, id string, edit JobEdit, reason string, _ bool) (Edited, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.plant.specOf(id)
	spec := proto.CloneOf(old)
	spec.Replaces, spec.ReplacedRound = id, 1
	if edit.FuelLimit != nil {
		spec.FuelLimit = *edit.FuelLimit
	}
	made := events.DeriveEntityID([]byte("edited"), []byte(id))
	b.plant.must(actors.JobAddress(made), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: plantPolicy()}}})
	b.plant.must(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{By: by, Reason: reason, ReplacedBy: made}}})
	return Edited{ID: made, Changes: []FieldChange{{"fuel_limit", thousands(old.FuelLimit), thousands(spec.FuelLimit)}}}, nil
}

// benchScene is a scene whose actions have effects.
func benchScene(t testing.TB, change func(*Deps)) *scene {
	b := &bench{}
	s := newScene(t, func(d *Deps) {
		d.Actions = b
		if change != nil {
			change(d)
		}
	})
	b.plant = s.plant
	return s
}

func TestDeadLettersTeachTheNextCommand(t *testing.T) {
	newScene(t, nil).shows("/deadletters", "No dead letters", "shardy dlq watch", "All 0")
}

// TestDeadLetterIsLookedIntoAndRequeued: what it is, what was tried, what its input holds; then a new round begins.
func TestDeadLetterIsLookedIntoAndRequeued(t *testing.T) {
	s := benchScene(t, nil)
	w := s.plant
	id := w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
		spec.Input = w.put([]byte("\x00\x01 bytes of an <input>"))
	})
	s.shows("/deadletters", "delivery exhausted", "All 1", "Delivery exhausted 1", "acme", "All 1 that match")
	page := s.shows(linkDeadLetter(id), "No verdict: delivery exhausted", "Workers took it and did not bring it back", "ack timeout",
		"000000 00 01 20 62 79 74 65 73", "Requeue", "Edit and requeue", "Discard", "attempt 3")
	hides(t, page, "<input>")
	if a := s.get(linkJob(id) + "/input"); a.status != http.StatusOK || a.body != "\x00\x01 bytes of an <input>" {
		t.Errorf("the input: %d %q", a.status, a.body)
	}
	if a := s.post(linkDeadLetter(id)+"/requeue", "reason", " "); a.path != linkDeadLetter(id) || !strings.Contains(a.body, "Say why") {
		t.Errorf("requeued without a reason: %s", a.path)
	}
	if a := s.post(linkDeadLetter(id)+"/requeue", "reason", "workers are back"); a.path != linkJob(id) || !strings.Contains(a.body, "is requeued") {
		t.Errorf("requeued: %s %s", a.path, visible(a.body))
	}
	s.shows(linkJob(id), "Open", "round 2", "requeued by local: round 2 opens", "workers are back")
	s.shows("/deadletters", "All 0")
	if a := s.post(linkDeadLetter(id)+"/discard", "reason", "late"); !strings.Contains(a.body, "The job is not dead-lettered.") {
		t.Errorf("an open job was discarded: %s", visible(a.body))
	}
	w.work()
	s.shows(linkJob(id), "Verified by quorum", "round 2")
	s.shows(linkDeadLetter(id), "no dead letter any more")
}

// TestDeadLetterIsEdited: the new job and the old one name each other.
func TestDeadLetterIsEdited(t *testing.T) {
	s := benchScene(t, nil)
	id := s.plant.deadLetter(nil)
	s.settle()
	for _, wrong := range [][]string{
		{"reason", "r", "fuel_limit", "1000000"},
		{"reason", "r", "fuel_limit", "-5"},
		{"reason", "r", "min_tier", "300"},
		{"reason", "r", "module", "xx"},
		{"reason", "r", "priority", "high"},
		{"fuel_limit", "7"},
	} {
		if a := s.post(linkDeadLetter(id)+"/edit", wrong...); a.path != linkDeadLetter(id) || !strings.Contains(a.body, "flash refused") {
			t.Errorf("%v: %s", wrong, a.path)
		}
	}
	a := s.post(linkDeadLetter(id)+"/edit", "reason", "too little fuel", "fuel_limit", "5000000", "min_tier", "1")
	made := events.DeriveEntityID([]byte("edited"), []byte(id))
	if a.path != linkJob(made) && a.path != "" {
		t.Errorf("the edit leads to %s", a.path)
	}
	s.settle()
	if page := s.shows(linkJob(made), "Instead of", "a dead letter that was edited", "5 000 000"); !strings.Contains(page, linkJob(id)) {
		t.Error("the new job does not name the old one")
	}
	if page := s.shows(linkJob(id), "Discarded", "Replaced by", "too little fuel"); !strings.Contains(page, linkJob(made)) {
		t.Error("the old job does not name the new one")
	}
}

// TestDeadLettersInBulk: the dry run names each and writes nothing; what is confirmed is what was shown.
func TestDeadLettersInBulk(t *testing.T) {
	s := benchScene(t, nil)
	w := s.plant
	var ids []string
	for range 4 {
		ids = append(ids, w.deadLetter(nil))
	}
	other := w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Tenant = "other" })
	s.settle()
	before := len(w.records(""))
	if a := s.post("/deadletters/plan", "do", "discard"); !strings.Contains(a.body, "Nothing was chosen") {
		t.Errorf("an empty choice: %s", visible(a.body))
	}
	a := s.do(http.MethodPost, "/deadletters/plan", url.Values{"do": {"requeue"}, "id": {ids[0], ids[1]}}, nil)
	if !strings.HasPrefix(a.path, "/deadletters/plan?") || !strings.Contains(visible(a.body), "2 dead letters would be requeued. Nothing has been written yet.") {
		t.Errorf("the plan at %s: %s", a.path, visible(a.body))
	}
	a = s.post("/deadletters/plan", "do", "discard-all", "tenant", "acme")
	if !strings.Contains(visible(a.body), "4 dead letters would be discarded") || strings.Contains(a.body, other) {
		t.Errorf("the plan for all: %s", visible(a.body))
	}
	if now := len(w.records("")); now != before {
		t.Errorf("a dry run wrote %d events", now-before)
	}
	chosen := regexp.MustCompile(`name="ids" value="([^"]+)"`).FindStringSubmatch(a.body)
	if chosen == nil {
		t.Fatal("no ids in the plan's form")
	}
	w.must(actors.JobAddress(ids[3]), &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "x", Reason: "meanwhile"}}})
	a = s.post("/deadletters/settle", "do", "discard", "ids", chosen[1], "reason", "old")
	if a.path != "/deadletters" || !strings.Contains(visible(a.body), "3 dead letters discarded. 1 other refused: The job is not dead-lettered.") {
		t.Errorf("the outcome at %s: %s", a.path, visible(a.body))
	}
	page := s.shows("/deadletters", "All 1", "other")
	hides(t, page, linkDeadLetter(ids[0]))
	s.shows(linkJob(ids[0]), "Discarded by local: old")
	if a := s.post("/deadletters/plan", "do", "explode-all"); a.status != http.StatusBadRequest {
		t.Errorf("an unknown verb: %d", a.status)
	}
	for _, path := range []string{"/deadletters/plan", "/deadletters/plan?do=requeue&ids=../..", "/deadletters/plan?do=requeue&all=1&reason=none", "/deadletters/01k9x2v00000000000000000zz"} {
		if a := s.get(path); a.status != http.StatusNotFound && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	s.shows("/deadletters/plan?do=requeue&ids="+ids[0], "0 dead letters would be requeued, 1 refused", "not dead-lettered")
}

// TestDeadLettersOfOthers are out of reach for a client, in lists, in plans and in actions; who only watches may not act.
func TestDeadLettersOfOthers(t *testing.T) {
	s := benchScene(t, func(d *Deps) {
		d.Access = tokens{"acme": {Name: "acme", Role: RoleOperator, Tenants: []string{"acme"}}, "eye": {Name: "eye", Role: RoleViewer}}
	})
	w := s.plant
	own := w.deadLetter(nil)
	other := w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Tenant = "other" })
	s.settle()
	s.login("acme")
	hides(t, s.shows("/deadletters", "All 1"), other, "Ringer failed")
	if a := s.get(linkDeadLetter(other)); a.status != http.StatusNotFound {
		t.Errorf("another's dead letter: %d", a.status)
	}
	if a := s.post(linkDeadLetter(other)+"/discard", "reason", "mine"); a.status != http.StatusNotFound {
		t.Errorf("another's dead letter is discarded: %d", a.status)
	}
	a := s.post("/deadletters/settle", "do", "discard", "ids", other+","+own, "reason", "mine")
	if !strings.Contains(visible(a.body), "1 dead letter discarded. 1 other refused: There is no such dead letter.") {
		t.Errorf("a mixed bulk: %s", visible(a.body))
	}
	s.settle()
	s.login("eye")
	page := s.shows("/deadletters", "All 1")
	hides(t, page, `type="checkbox"`, "Discard")
	for _, path := range []string{"/deadletters/settle", "/deadletters/plan", linkDeadLetter(other) + "/requeue"} {
		if a := s.post(path, "do", "discard", "ids", other, "reason", "r"); a.status != http.StatusForbidden {
			t.Errorf("a viewer posts %s: %d", path, a.status)
		}
	}
	if a := s.get("/deadletters/plan?do=discard&all=yes"); a.status != http.StatusForbidden {
		t.Errorf("a viewer plans: %d", a.status)
	}
	hides(t, s.page(linkDeadLetter(other), "Your role sees no content."), "69 6e 70 75 74")
}

// TestJobIsCancelled by a form that asks for a reason.
func TestJobIsCancelled(t *testing.T) {
	s := benchScene(t, nil)
	id := s.plant.submit(nil)
	s.shows(linkJob(id), "Cancel…", "The job stops for good")
	if a := s.post(linkJob(id)+"/cancel", "reason", "wrong input", "back", linkJob(id)); a.path != linkJob(id) {
		t.Errorf("cancelled: %s", a.path)
	}
	s.shows(linkJob(id), "Cancelled by local: wrong input.")
	if a := s.post(linkJob(id)+"/cancel", "reason", "again", "back", linkJob(id)); !strings.Contains(a.body, "The job is decided.") {
		t.Errorf("cancelled twice: %s", visible(a.body))
	}
}
