package dashboard

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// visible is a page's text without its tags, in one line.
func visible(page string) string {
	if _, main, ok := strings.Cut(page, "<main"); ok {
		page = "<main" + main
	}
	var b strings.Builder
	in := false
	for _, r := range page {
		switch {
		case r == '<':
			in = true
			b.WriteByte(' ')
		case r == '>':
			in = false
		case !in:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(html.UnescapeString(b.String())), " ")
}

// shows gets a page and holds its text to say all of this.
func (s *scene) shows(path string, texts ...string) string {
	s.t.Helper()
	s.settle()
	page := s.page(path)
	seen := visible(page)
	for _, want := range texts {
		if !strings.Contains(seen, want) {
			s.t.Errorf("%s does not say %q:\n%s", path, want, seen)
		}
	}
	return page
}

func hides(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, no := range texts {
		if strings.Contains(page, no) {
			t.Errorf("the page says %q", no)
		}
	}
}

func TestJobsTeachTheFirstCommand(t *testing.T) {
	s := newScene(t, nil)
	s.shows("/jobs", "No jobs yet", "shardy run primes.wasm", "Verified 0")
}

// TestJobsAreCountedFilteredAndPaged: the rail counts what the other filters leave, and pages neither repeat nor skip.
func TestJobsAreCountedFilteredAndPaged(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	var ids []string
	for range 55 {
		ids = append(ids, w.submit(nil))
	}
	w.work()
	dead := w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Tenant = "other" })
	page := s.shows("/jobs", "All 56", "Verified 55", "Dead letter 1", "Older →")
	if !strings.Contains(page, linkJob(dead)) || strings.Contains(page, linkJob(ids[0])) {
		t.Error("the first page does not show the newest jobs")
	}
	next := between(page, `rel="next"`, "Older")
	_ = next
	older := page[:strings.Index(page, `rel="next"`)]
	older = older[strings.LastIndex(older, `href="`)+len(`href="`):]
	older = strings.ReplaceAll(older[:strings.Index(older, `"`)], "&amp;", "&")
	second := s.shows(older, "← Newest")
	for _, id := range ids[:6] {
		if !strings.Contains(second, linkJob(id)) {
			t.Errorf("the second page lacks %s", id)
		}
	}
	s.shows("/jobs?tenant=other", "All 1", "Dead letter 1", "Only tenant other")
	s.shows("/jobs?state=open", "No job matches", "Verified 55")
	s.shows("/jobs?kind=stress", "No job matches", "All 0")
	s.shows("/jobs?worker="+strings.Repeat("zz", 32), "64 hex digits", "No job can match")
	s.shows("/jobs?state=nonsense", "There is no such state.")
	if a := s.get("/jobs?after=nonsense"); a.status != http.StatusBadRequest {
		t.Errorf("a place that no list gave: %d", a.status)
	}
}

// TestALiarIsCaughtOnThePage: the job's page names the worker that is contradicted, beside those that agree.
func TestALiarIsCaughtOnThePage(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	w.lies = func(worker int, _ actors.Task) bool { return worker == 1 }
	id := w.submit(nil)
	w.work()
	liar := shortHex(w.key(1))
	page := s.shows(linkJob(id), "Verified by quorum: 3 of 4 results agree, ahead by 2 groups where 2 needed. Contradicted: "+liar,
		"agrees", "contradicted", "3 identity groups", "1 identity group", "wave 2", "out of "+id)
	if got := strings.Count(page, `<tr id="voice-`); got != 4 {
		t.Errorf("%d voices in the vote table, want 4", got)
	}
	if got := strings.Count(page, `class="lane"`); got != 4 {
		t.Errorf("%d lanes in the timeline, want 4", got)
	}
	s.shows(linkJob(id)+"?history=feed", "ConsensusMismatch", "wave 1 does not agree", "TaskAcked", "slot 3 ·")
	s.shows(linkJob(id)+"?history=json", `"agreeing"`)
	a := s.get(linkJob(id) + "/history.json")
	if a.status != http.StatusOK || !strings.Contains(a.header.Get("Content-Disposition"), "attachment") || strings.Count(a.body, `"TaskAcked"`) != 4 {
		t.Errorf("the download: %d %v", a.status, a.header)
	}
}

// TestOpenJobKeepsItsOutputs: before the verdict neither page nor download gives away what the first worker returned.
func TestOpenJobKeepsItsOutputs(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Access = tokens{"op": {Name: "op", Role: RoleOperator}, "eye": {Name: "eye", Role: RoleViewer}}
	})
	w := s.plant
	id := w.submit(nil)
	task := w.tasks[0]
	w.step()
	sum := w.put(w.output(task, w.specOf(id)))
	s.login("op")
	for _, path := range []string{"", "?history=feed", "?history=json", "/history.json"} {
		s.settle()
		page := s.page(linkJob(id) + path)
		hides(t, page, "out of "+id, hexOf(sum.Sha256), base64Of(sum.Sha256))
	}
	s.shows(linkJob(id), "hidden until decided", "Outputs stay hidden until the job is decided", "1 result so far, all alike")
	if a := s.get(linkJob(id) + "/output"); a.status != http.StatusNotFound {
		t.Errorf("the output of an open job: %d", a.status)
	}
	w.work()
	s.shows(linkJob(id), "out of "+id)
	a := s.get(linkJob(id) + "/output")
	if a.status != http.StatusOK || a.body != "out of "+id || a.header.Get("Content-Type") != "application/octet-stream" ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the output: %d %v %q", a.status, a.header, a.body)
	}
	s.login("eye")
	hides(t, s.shows(linkJob(id), "Your role sees no content."), "out of "+id)
	if a := s.get(linkJob(id) + "/output"); a.status != http.StatusForbidden {
		t.Errorf("the output for a viewer: %d", a.status)
	}
}

// TestTenantsSeeTheirJobsAlone: others' jobs and the tests of workers do not exist for a client.
func TestTenantsSeeTheirJobsAlone(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Access = tokens{"acme": {Name: "acme", Role: RoleOperator, Tenants: []string{"acme"}}}
	})
	w := s.plant
	own := w.submit(nil)
	other := w.submit(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Tenant = "other" })
	ringer := w.submit(func(spec *eventv1.JobSpec, p *eventv1.JobPolicy) {
		spec.Kind, spec.KnownChecksum, p.Redundancy, p.Margin = eventv1.JobKind_JOB_KIND_LITE_TEST, make([]byte, 32), 1, 1
	})
	s.login("acme")
	page := s.shows("/jobs", "All 1")
	if !strings.Contains(page, linkJob(own)) {
		t.Error("the own job is missing")
	}
	hides(t, page, other, ringer, "Lite test")
	for _, path := range []string{linkJob(other), linkJob(ringer), linkJob(ringer) + "/history.json", linkJob(other) + "/output"} {
		if a := s.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, a.status)
		}
	}
	hides(t, s.shows("/jobs?tenant=other", "All 0"), other)
	hides(t, s.page(linkJob(own)), `href="/workers/`, `href="/events`)
	if a := s.get("/jobs?worker=" + strings.Repeat("00", 32)); a.status != http.StatusForbidden {
		t.Errorf("a client asks for a worker's jobs: %d", a.status)
	}
}

// TestHostileJob: strings of strangers are shown as text wherever they appear, and control characters are made visible.
func TestHostileJob(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	const evil = "<script>alert(1)</script>\"'><img src=x onerror=y>\u202e\u0000"
	w.output = func(actors.Task, *eventv1.JobSpec) []byte { return []byte("<html><script>alert(2)</script>") }
	id := w.submit(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
		spec.Tenant = strings.TrimRight(evil, "\x00")
		spec.Labels = []*eventv1.Label{{Key: evil[:40], Value: strings.Repeat("x", 250)}}
	})
	w.work()
	dead := w.deadLetter(nil)
	w.must(actors.JobAddress(dead), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{By: evil, Reason: evil}}})
	s.settle()
	for _, path := range []string{"/jobs", linkJob(id), linkJob(dead), linkJob(dead) + "?history=feed", linkJob(dead) + "?history=json"} {
		hides(t, s.page(path), "<script>alert", "<img src=x", "\u202e", "\u0000")
	}
	hides(t, s.page("/jobs?tenant="+url.QueryEscape(evil)), "<script>alert", "<img src=x", "\u0000")
}

// TestJobsWithManyEventsStayBounded: a job with thousands of records does not make a page of thousands of lines.
func TestJobsWithManyEventsStayBounded(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	id := w.deadLetter(nil)
	for range 400 {
		w.must(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "me", Reason: "again"}}})
		for len(w.tasks) > 0 {
			w.expire(w.take(0))
		}
	}
	s.settle()
	for _, path := range []string{linkJob(id), linkJob(id) + "?history=feed", linkJob(id) + "?history=json"} {
		begin := time.Now()
		page := s.page(path)
		if len(page) > 1<<20 || time.Since(begin) > 3*time.Second {
			t.Errorf("%s: %d bytes in %v", path, len(page), time.Since(begin))
		}
		if n := strings.Count(page, "<li id=\"line-"); n > maxHistory {
			t.Errorf("%s: %d lines", path, n)
		}
	}
	s.shows(linkJob(id), "older attempts are not drawn", "the download holds all of them")
}

func hexOf(b []byte) string    { return hex.EncodeToString(b) }
func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
