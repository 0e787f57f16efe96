package dashboard

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestOverviewTeachesTheFirstCommand(t *testing.T) {
	s := newScene(t, nil)
	s.page("/", "Nothing was computed here yet", "shardy run", "No worker yet", "shardy worker", "No mismatch", "No dead letter")
}

func TestOverviewCountsJobsAndShowsALiar(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Figures = func(context.Context) (Figures, error) {
			return Figures{Tiers: []TierFigures{{Tier: 3, Connected: 2, Idle: 1}}, WaitingSlots: 17, InFlight: 23}, nil
		}
	})
	s.fleet()
	for range 12 {
		s.plant.submit(nil)
	}
	s.plant.work()
	s.plant.lies = func(w int, _ actors.Task) bool { return w == 3 }
	for range 6 {
		s.plant.submit(nil)
	}
	s.plant.work()
	s.plant.refereed()
	dead := s.plant.deadLetter(nil)
	s.settle()
	body := s.page("/", "17", "23", "Tier 3", "Tier 2", "Tier 1", "1 : 1", linkJob(dead), "Delivery exhausted", "read-model", "Live")
	if !strings.Contains(body, `<path class="line verified"`) || !strings.Contains(body, "<desc>") {
		t.Errorf("no chart in\n%s", body)
	}
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	s := busyScene(t, nil)
	pages := s.crawl(4)
	for _, want := range []string{"/jobs", "/pipelines", "/deadletters", "/workers", "/events", "/projections", "/diagnostics"} {
		if !slices.Contains(pages, want) {
			t.Errorf("no link leads to %s", want)
		}
	}
	if len(pages) < 40 {
		t.Errorf("only %d pages are linked", len(pages))
	}
}

func TestOverviewSpans(t *testing.T) {
	s := newScene(t, nil)
	for _, span := range []string{"", "?span=1h", "?span=6h", "?span=24h", "?span=nonsense"} {
		s.page("/"+span, "Verified jobs per second, last ")
	}
}

func TestWorkersAreFilteredAndPaged(t *testing.T) {
	s := newScene(t, nil)
	s.fleet()
	for i := range 60 {
		key := slices.Repeat([]byte{byte(i + 100)}, 32)
		s.join(key, 900, 600, nil)
	}
	s.settle()
	body := s.page("/workers?tier=3", hex.EncodeToString(s.plant.key(0)), "61 GFLOPS", " GiB")
	if strings.Contains(body, hex.EncodeToString(s.plant.key(7))) {
		t.Error("a worker of tier 1 among those of tier 3")
	}
	first := s.page("/workers")
	next := between(first, `<a href="`, `" rel="next"`)
	if next == "" {
		t.Fatalf("no second page in\n%s", first)
	}
	second := s.page(strings.ReplaceAll(next, "&amp;", "&"), "← Newest")
	if n, m := strings.Count(first, "<tr id="), strings.Count(second, "<tr id="); n != workerPage || n+m != 68 {
		t.Errorf("pages of %d and %d workers, want 50 and 18", n, m)
	}
	search := hex.EncodeToString(s.plant.key(4))
	if body := s.page("/workers?key="+search[:10], search); strings.Count(body, "<tr id=") != 1 {
		t.Error("the search by key finds more than one")
	}
	s.page("/workers?key=%22onmouseover", "This is no key")
	s.page("/workers?state=banned", "No worker here")
	if a := s.get("/workers?tier=9"); a.status != http.StatusBadRequest {
		t.Errorf("tier 9: %d, want 400", a.status)
	}
	if a := s.get("/workers?after=nonsense"); a.status != http.StatusBadRequest {
		t.Errorf("a place that no list gave: %d, want 400", a.status)
	}
}

// between returns the last text that ends at to and begins after from.
func between(s, from, to string) string {
	end := strings.Index(s, to)
	if end < 0 {
		return ""
	}
	begin := strings.LastIndex(s[:end], from)
	return s[begin+len(from) : end]
}

func TestWorkerSetsClaimsBesideProofs(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Live = func([]byte) (LiveWorker, bool) { return LiveWorker{Credits: 3, InFlight: 5}, true }
		d.Actions = &fakeActions{}
	})
	s.fleet()
	for range 4 {
		s.plant.submit(nil)
	}
	s.plant.work()
	at := actors.WorkerAddress(s.plant.key(0))
	s.plant.must(at, workerCmd(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 1234, Contradicted: 2, TimedOut: 3, Fuel: 99}}))
	s.settle()
	s.page(linkWorker(s.plant.key(0)), hex.EncodeToString(s.plant.key(0)), "96 GFLOPS", "61 GFLOPS", "64 % of the claim is proven", "Said, and not proven",
		"wazero/1.12.0", "1\u202f234", "5 tasks", "would take 3 more", "10.0.0.0/24", "Returned", "Drain", "Ban")
	if a := s.get("/workers/" + strings.Repeat("ab", 32)); a.status != http.StatusNotFound {
		t.Errorf("an unknown worker: %d, want 404", a.status)
	}
	if a := s.get("/workers/nonsense"); a.status != http.StatusNotFound {
		t.Errorf("no key: %d, want 404", a.status)
	}
}

func TestWorkerActionsNeedAReason(t *testing.T) {
	acts := &fakeActions{}
	s := newScene(t, func(d *Deps) { d.Actions = acts })
	s.fleet()
	s.settle()
	at := linkWorker(s.plant.key(1))
	if a := s.post(at + "/drain"); !strings.Contains(a.body, "Say why") || a.path != at {
		t.Errorf("without a reason: %d at %s\n%s", a.status, a.path, a.body)
	}
	for _, verb := range []string{"drain", "ban", "reinstate"} {
		if a := s.post(at+"/"+verb, "reason", "it <b>smells</b>"); a.status != http.StatusOK || a.path != at || !strings.Contains(a.body, `class="flash done"`) {
			t.Errorf("%s: %d at %s\n%s", verb, a.status, a.path, a.body)
		}
		if a := s.get(at); strings.Contains(a.body, `class="flash`) {
			t.Errorf("the message about %s is shown twice", verb)
		}
	}
	key := hex.EncodeToString(s.plant.key(1))
	want := []string{"drain local " + key + " it <b>smells</b>", "ban local " + key + " it <b>smells</b>", "reinstate local " + key + " it <b>smells</b>"}
	if got := acts.said(); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	acts.err = &Refusal{Code: "WORKER_BANNED", Text: "The worker is banned."}
	if a := s.post(at+"/drain", "reason", "again"); !strings.Contains(a.body, "The worker is banned.") || !strings.Contains(a.body, `class="flash refused"`) {
		t.Errorf("a refusal: %d\n%s", a.status, a.body)
	}
	acts.err = errors.New("disk on fire at /secret/path")
	if a := s.post(at+"/drain", "reason", "again"); a.status != http.StatusInternalServerError || strings.Contains(a.body, "secret") {
		t.Errorf("a failure: %d\n%s", a.status, a.body)
	}
}

func TestProjectionsAreShownAndRebuilt(t *testing.T) {
	s := newScene(t, nil)
	s.fleet()
	s.plant.submit(nil)
	s.plant.work()
	s.settle()
	s.page("/projections", "read-model", "Live", "Rebuild read-model", "forgets everything")
	if a := s.post("/projections/read-model/rebuild", "sure", "yes"); !strings.Contains(a.body, "Nothing was rebuilt") {
		t.Errorf("without the name: %d\n%s", a.status, a.body)
	}
	if a := s.post("/projections/read-model/rebuild", "sure", "read-model"); !strings.Contains(a.body, "is being rebuilt") {
		t.Errorf("rebuild: %d\n%s", a.status, a.body)
	}
	s.settle()
	s.page("/", "Verified")
	if a := s.post("/projections/nope/rebuild", "sure", "nope"); a.status != http.StatusNotFound {
		t.Errorf("an unknown projection: %d, want 404", a.status)
	}
}

func TestDiagnosticsShowWhatIsPluggedIn(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Diagnostics = func(context.Context) ([]Section, error) {
			return []Section{
				{Title: "Configuration", Rows: []SectionRow{{"listen", "127.0.0.1:7420", "flag"}, {"token ops", "(hidden)", "file"}}},
				{Title: "Busiest shards", Columns: []string{"Shard", "Mailbox#"}, Table: [][]string{{"17", "512"}}},
				{Title: "Last panic", Text: "goroutine 1 [running]:\n\tmain.main()\n"},
			}, nil
		}
	})
	s.page("/diagnostics", "Goroutines", "Memory mapped", "1.2.3", "north", "127.0.0.1:7420", "flag", "(hidden)", "Busiest shards", "512", "goroutine 1 [running]:")
}

func TestErrorPagesAreTyped(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Diagnostics = func(context.Context) ([]Section, error) { return nil, context.DeadlineExceeded }
	})
	for path, want := range map[string]int{"/nowhere": 404, "/diagnostics": 503, "/?" + strings.Repeat("x", maxQuery+1): 400, "/?%zz=1": 400} {
		a := s.get(path)
		if a.status != want || !strings.Contains(a.body, "<h1>") {
			t.Errorf("GET %.30s: %d, want %d, as a page\n%s", path, a.status, want, a.body)
		}
		if want == 503 && a.header.Get("Retry-After") == "" {
			t.Errorf("GET %s: no Retry-After", path)
		}
	}
}

func TestLogAway(t *testing.T) {
	s := newScene(t, nil)
	s.plant.log.Close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if a := s.get("/projections"); a.status == http.StatusOK && strings.Contains(a.body, "cannot be reached") && strings.Contains(a.body, "Failing") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the projections page does not say that the log is away")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestWhileTheReadModelIsBuilt opens a dashboard whose read model was damaged and has not read the log again yet.
func TestWhileTheReadModelIsBuilt(t *testing.T) {
	p := newPlant(t)
	p.submit(nil)
	p.work()
	path := filepath.Join(t.TempDir(), "model.db")
	if err := os.WriteFile(path, []byte("this was a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	model, err := readmodel.Open(t.Context(), path, p.log, readmodel.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	runner, err := projections.NewRunner(p.log, projections.Options{}, model)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Deps{Model: model, Runner: runner, Log: p.log})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		return w
	}
	if w := get("/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "is being rebuilt from the log") {
		t.Errorf("overview: %d\n%s", w.Code, w.Body)
	}
	if w := get(linkWorker(p.key(0))); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "Being rebuilt") {
		t.Errorf("a worker that may exist: %d\n%s", w.Code, w.Body)
	}
}

func TestDepsAreNeeded(t *testing.T) {
	if _, err := New(Deps{}); !errors.Is(err, ErrDeps) {
		t.Errorf("no dependencies: %v", err)
	}
}
