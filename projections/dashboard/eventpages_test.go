package dashboard

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestEventsTeachTheFirstCommand(t *testing.T) {
	newScene(t, nil).shows("/events", "No events yet", "shardy event tail")
}

// TestEventsAreReadBothWays: following the pager shows every event once, whichever end it began at.
func TestEventsAreReadBothWays(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	for range 13 {
		w.submit(nil)
	}
	w.work()
	total := len(w.records(""))
	for _, start := range []string{"/events", "/events?order=oldest"} {
		seen := map[string]int{}
		for at := start; at != ""; at = nextOf(s.page(at)) {
			for _, m := range regexp.MustCompile(`id="row-event-(\d+)"`).FindAllStringSubmatch(s.page(at), -1) {
				seen[m[1]]++
			}
		}
		if len(seen) != total {
			t.Errorf("%s: %d events of %d", start, len(seen), total)
		}
		for pos, n := range seen {
			if n != 1 {
				t.Errorf("%s: event %s %d times", start, pos, n)
			}
		}
	}
	s.shows("/events?type=TaskV", "TaskVerified", "verified by quorum")
	hides(t, s.page("/events?type=TaskV"), `badge quiet"><span aria-hidden="true">·</span> TaskAcked`)
	s.shows("/events?stream=pipeline-", "No event matches")
	s.shows("/events?stream=job-&type=Replica", "ReplicaReturned")
}

// nextOf is where a page's pager leads on.
func nextOf(page string) string {
	m := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(page)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

// TestRareEventsAreFoundInSteps: a page looks through a bounded number of events, and leads on.
func TestRareEventsAreFoundInSteps(t *testing.T) {
	s := newScene(t, nil)
	var drafts []events.Draft
	for i := range eventsScan + 10 {
		drafts = append(drafts, events.Draft{ID: events.NewCommandID(fmt.Append(nil, i)).Event(0), Type: "ShardTaken"})
		if len(drafts) == 1000 || i == eventsScan+9 {
			if _, err := s.plant.log.Append(t.Context(), "shard-1", events.Any, drafts...); err != nil {
				t.Fatal(err)
			}
			drafts = nil
		}
	}
	s.plant.submit(nil) // the newest
	page := s.shows("/events?type=JobSubmitted&order=oldest", "No event matches", "Looked through")
	s.shows(nextOf(page), "JobSubmitted")
}

// TestWalkFromVerdictToSubmission follows the links of the pages, as a person would.
func TestWalkFromVerdictToSubmission(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	id := w.submit(nil)
	w.work()
	verified := find(t, w.records(actors.JobAddress(id).Stream()), "TaskVerified", 0)
	at := linkRecord(verified.Stream, verified.Rev)
	var road []string
	for range 8 {
		page := s.shows(at)
		m := regexp.MustCompile(`<h2>Causes</h2>(?s:.*?)<a href="(/events/streams/[^"]+)">(\w+)</a>`).FindStringSubmatch(page[:strings.Index(page, "<h2>Effects</h2>")])
		if m == nil {
			break
		}
		at = m[1]
		road = append(road, m[2])
	}
	if got := strings.Join(road, " "); got != "ResultReturned TaskAcked AssignmentDispatched JobSubmitted" {
		t.Errorf("the links lead over %s", got)
	}
	s.shows(at, "a client submitted it", "AssignmentDispatched", "opened the slot", "tenant acme", "record 1 of 1")
	s.shows(linkRecord(verified.Stream, verified.Rev), "TaskVerified", "Decided together", "ReplicaReturned", "this one")
	s.shows(linkStream(verified.Stream), "job "+id, "TaskVerified", "JobSubmitted")
	s.shows(linkStream(verified.Stream)+"?order=oldest", "TaskVerified")
}

// TestEveryRecordOfADecisionTellsTheSame: the command travels on the first record alone, causes and effects are of all.
func TestEveryRecordOfADecisionTellsTheSame(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	w.lies = func(worker int, _ actors.Task) bool { return worker == 1 }
	id := w.submit(nil)
	w.work()
	stream := actors.JobAddress(id).Stream()
	for _, typ := range []string{"ConsensusMismatch", "WaveOpened"} {
		at := find(t, w.records(stream), typ, 0)
		page := s.shows(linkRecord(at.Stream, at.Rev), "a slot told its job", "ResultReturned", "told it", "AssignmentDispatched", "opened the slot", "record_replica", "this one")
		if n := strings.Count(page, "opened the slot"); n != 2 {
			t.Errorf("%s: the slots were opened %d times", typ, n)
		}
	}
}

// TestEventsThatAreNotThere: addresses that nobody gave out are not found, or refused.
func TestEventsThatAreNotThere(t *testing.T) {
	s := newScene(t, nil)
	s.plant.submit(nil)
	s.settle()
	for path, want := range map[string]int{
		"/events/1": 404, "/events/streams/job-none": 404, "/events/streams/job-none/0": 404,
		"/events/streams/%00": 404, "/events/streams/" + strings.Repeat("x", 300): 404, "/events?after=x": 400, "/events?after=99999999999": 200,
		linkStream(s.plant.records("job-")[0].Stream) + "/7": 404, linkStream(s.plant.records("job-")[0].Stream) + "/-1": 404,
	} {
		if a := s.get(path); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
}

// TestHostileRecords: types, streams and bytes from anywhere are shown as text.
func TestHostileRecords(t *testing.T) {
	s := newScene(t, nil)
	const evil = `<script>alert(1)</script>"'><img src=x>/../..`
	w := s.plant
	for i, d := range []events.Draft{
		{Type: evil, Data: []byte(evil), Meta: []byte("\xff")},
		{Type: "ShardTaken", Data: []byte{0x0a, 0xff}},
		{Type: "ShardTaken", Data: append([]byte{0x0a, byte(len(evil))}, evil...)},
	} {
		d.ID = events.NewCommandID([]byte{byte(i)}).Event(0)
		if _, err := w.log.Append(t.Context(), "shard-"+evil, events.Any, d); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/events", linkStream("shard-" + evil), linkRecord("shard-"+evil, 0), linkRecord("shard-"+evil, 1), linkRecord("shard-"+evil, 2), "/events?stream=shard-%3Cscript%3E&type=%3C"} {
		hides(t, s.page(path), "<script>alert", "<img src=x")
	}
	s.page(linkRecord("shard-"+evil, 1), "not what their type says")
}

// TestEventsHideOpenResults: an operator finds no trace of a result before the verdict; an admin does.
func TestEventsHideOpenResults(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Access = tokens{"op": {Name: "op", Role: RoleOperator}, "root": {Name: "root", Role: RoleAdmin}, "acme": {Name: "acme", Role: RoleOperator, Tenants: []string{"acme"}}}
	})
	w := s.plant
	id := w.submit(nil)
	task := w.tasks[0]
	w.step()
	sum := hexOf(w.put(w.output(task, w.specOf(id))).Sha256)
	s.settle()
	at := find(t, w.records("assignment-"+id), "ResultReturned", 0)
	s.login("op")
	hides(t, s.page(linkRecord(at.Stream, at.Rev), "are left out"), sum)
	s.login("root")
	s.page(linkRecord(at.Stream, at.Rev), sum)
	s.login("acme")
	for _, path := range []string{"/events", linkStream(at.Stream), linkRecord(at.Stream, at.Rev)} {
		if a := s.get(path); a.status != http.StatusForbidden {
			t.Errorf("a client reads %s: %d", path, a.status)
		}
	}
	w.work()
	s.login("op")
	s.settle()
	s.page(linkRecord(at.Stream, at.Rev), sum)
}

// forwardLog cannot read back.
type forwardLog struct{ log Log }

func (f forwardLog) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return f.log.Read(ctx, stream, span)
}

func (f forwardLog) ReadAll(ctx context.Context, after events.Position, x events.Filter) iter.Seq2[events.Record, error] {
	return f.log.ReadAll(ctx, after, x)
}

func (f forwardLog) Tail(ctx context.Context, after events.Position, x events.Filter) iter.Seq2[events.Tick, error] {
	return f.log.Tail(ctx, after, x)
}
func (f forwardLog) Head(ctx context.Context) (events.Position, error) { return f.log.Head(ctx) }

func TestLogThatIsReadForwardOnly(t *testing.T) {
	s := newScene(t, func(d *Deps) { d.Log = forwardLog{d.Log} })
	s.plant.submit(nil)
	s.shows("/events", "JobSubmitted", "read from its beginning only")
}

// TestWorkerEventsSayWhoActed: an operator's name is in the words, and the worker's page is one step away.
func TestWorkerEventsSayWhoActed(t *testing.T) {
	s := newScene(t, nil)
	s.join(s.plant.key(0), 900, 620, nil)
	s.plant.must(actors.WorkerAddress(s.plant.key(0)), workerCmd(&eventv1.DrainWorker{By: "carol", Reason: "disk full"}))
	page := s.shows("/events?type=WorkerDrained", "drained by carol: disk full")
	_ = page
	rec := find(t, s.plant.records("worker-"), "WorkerDrained", 0)
	if page := s.shows(linkRecord(rec.Stream, rec.Rev), "carol drained the worker"); !strings.Contains(page, linkWorker(s.plant.key(0))) {
		t.Error("no way to the worker")
	}
}
