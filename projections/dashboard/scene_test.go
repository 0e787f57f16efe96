package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"html"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// scene is a dashboard over a real read model that follows a plant's log.
type scene struct {
	t      testing.TB
	plant  *plant
	model  *readmodel.Model
	runner *projections.Runner
	dash   *Dashboard
	server *httptest.Server
	client *http.Client
}

// newScene serves a dashboard. Change may plug in more than the read model.
func newScene(t testing.TB, change func(*Deps)) *scene {
	t.Helper()
	s := &scene{t: t, plant: newPlant(t)}
	s.plant.at = time.Now().Add(-2 * time.Minute).UnixMicro()
	log := retold{s.plant.log}
	var err error
	if s.model, err = readmodel.Open(t.Context(), "", log, readmodel.Options{}); err != nil {
		t.Fatal(err)
	}
	if s.runner, err = projections.NewRunner(log, projections.Options{Coalesce: -1}, s.model); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.runner.Run(ctx); err != nil && !errors.Is(err, events.ErrClosed) {
			t.Error(err)
		}
	})
	deps := Deps{Model: s.model, Runner: s.runner, Log: s.plant.log, Blobs: s.plant, Version: "1.2.3", Node: "north"}
	if change != nil {
		change(&deps)
	}
	if s.dash, err = New(deps); err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewServer(s.dash)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Jar: jar}
	t.Cleanup(func() {
		s.dash.Close()
		s.client.CloseIdleConnections()
		s.server.Close()
		stop()
		wg.Wait()
		if err := s.model.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// retold is a log whose records carry the time of their command, so that a scene can lie in the past.
type retold struct{ *memlog.Log }

func (l retold) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		var last time.Time
		for tick, err := range l.Log.Tail(ctx, after, f) {
			if err == nil && tick.Event != nil {
				if e, err := events.DecodeEnvelope(*tick.Event); err == nil && e.GetCommand().GetAtUs() > 0 {
					last = time.UnixMicro(e.Command.AtUs).UTC()
				}
				if !last.IsZero() {
					tick.Event.Time = last
				}
			}
			if !yield(tick, err) {
				return
			}
		}
	}
}

// settle waits until the read model shows everything that is in the log.
func (s *scene) settle() {
	s.t.Helper()
	head, err := s.plant.log.Head(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	if err := s.runner.WaitFor(ctx, s.model.Name(), head); err != nil {
		s.t.Fatal(err)
	}
}

// answered is what a request got, with the page where it ended up.
type answered struct {
	status int
	header http.Header
	path   string
	body   string
}

func (s *scene) get(path string) answered {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil, nil)
}

func (s *scene) post(path string, pairs ...string) answered {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return s.do(http.MethodPost, path, form, nil)
}

func (s *scene) do(method, path string, form url.Values, header http.Header) answered {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, res.Request.URL.RequestURI(), string(body)}
}

// page gets a page that must be there, and holds its text to what is wanted.
func (s *scene) page(path string, wants ...string) string {
	s.t.Helper()
	a := s.get(path)
	if a.status != http.StatusOK {
		s.t.Fatalf("GET %s: %d\n%s", path, a.status, a.body)
	}
	for _, want := range wants {
		if !strings.Contains(a.body, want) {
			s.t.Errorf("GET %s: no %q in\n%s", path, want, a.body)
		}
	}
	return a.body
}

var links = regexp.MustCompile(`<a [^>]*?href="([^"#]+)"`)

// crawl follows the links from the first screen, some of each kind of page, and returns the pages that it saw. Every
// link must lead to something.
func (s *scene) crawl(perKind int) []string {
	s.t.Helper()
	kinds, seen, queue := map[string]int{}, map[string]bool{"/": true}, []string{"/"}
	var pages []string
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		a := s.get(at)
		if a.status != http.StatusOK {
			s.t.Errorf("%s leads to %d\n%.600s", at, a.status, a.body)
			continue
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue
		}
		pages = append(pages, at)
		for _, m := range links.FindAllStringSubmatch(a.body, -1) {
			to := html.UnescapeString(m[1])
			u, err := url.Parse(to)
			if err != nil || seen[to] || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
				continue
			}
			kind := kindOf(u)
			if kinds[kind] >= perKind {
				continue
			}
			kinds[kind]++
			seen[to] = true
			queue = append(queue, to)
		}
	}
	return pages
}

// kindOf tells pages of one sort by their path without ids, and the names of their parameters.
func kindOf(u *url.URL) string {
	parts := strings.Split(u.Path, "/")
	for i, p := range parts {
		if i > 1 && strings.ContainsAny(p, "0123456789") {
			parts[i] = "*"
			if room, _, ok := strings.Cut(p, "-"); ok {
				parts[i] = room + "-*"
			}
		}
	}
	return strings.Join(parts, "/") + "?" + strings.Join(slices.Sorted(maps.Keys(u.Query())), "&")
}

func workerCmd(kind any) *eventv1.Command {
	switch k := kind.(type) {
	case *eventv1.ConnectWorker:
		return &eventv1.Command{Kind: &eventv1.Command_ConnectWorker{ConnectWorker: k}}
	case *eventv1.DisconnectWorker:
		return &eventv1.Command{Kind: &eventv1.Command_DisconnectWorker{DisconnectWorker: k}}
	case *eventv1.ReportProfile:
		return &eventv1.Command{Kind: &eventv1.Command_ReportProfile{ReportProfile: k}}
	case *eventv1.RecordChallenge:
		return &eventv1.Command{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: k}}
	case *eventv1.AdmitWorker:
		return &eventv1.Command{Kind: &eventv1.Command_AdmitWorker{AdmitWorker: k}}
	case *eventv1.RecordWork:
		return &eventv1.Command{Kind: &eventv1.Command_RecordWork{RecordWork: k}}
	case *eventv1.DrainWorker:
		return &eventv1.Command{Kind: &eventv1.Command_DrainWorker{DrainWorker: k}}
	case *eventv1.BanWorker:
		return &eventv1.Command{Kind: &eventv1.Command_BanWorker{BanWorker: k}}
	case *eventv1.ReinstateWorker:
		return &eventv1.Command{Kind: &eventv1.Command_ReinstateWorker{ReinstateWorker: k}}
	}
	return nil
}

// join lets a worker connect, claim a speed and prove another one. The tier follows from the proof.
func (s *scene) join(key []byte, claimed, proven uint64, profile *eventv1.Profile) {
	s.t.Helper()
	p, at := s.plant, actors.WorkerAddress(key)
	session := make([]byte, 16)
	if _, err := rand.Read(session); err != nil {
		s.t.Fatal(err)
	}
	if profile == nil {
		profile = &eventv1.Profile{Cores: 8, Arch: "amd64", Os: "linux", Engine: "wazero/1.12.0", Agent: "shardy/1.2.3"}
	}
	profile.Mflops, profile.MaxAllocationBytes, profile.ChunkBytes = claimed, 4<<30, 1<<20
	p.must(at, workerCmd(&eventv1.ConnectWorker{Key: key, Session: session, Group: "10.0.0.0/24", Node: "north"}))
	p.must(at, workerCmd(&eventv1.ReportProfile{Profile: profile}))
	work, elapsed := proven*1_000_000, uint64(1_000_000) // milli-GFLOPS over a second
	p.must(at, workerCmd(&eventv1.RecordChallenge{
		Kind: eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE, Nonce: session, Work: work, Fuel: work, ElapsedUs: elapsed, ProofTtlS: 86_400,
	}))
	p.must(at, workerCmd(&eventv1.RecordChallenge{
		Kind: eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY, Nonce: append([]byte("m"), session[1:]...), Work: 3 << 30, ElapsedUs: elapsed, ProofTtlS: 86_400,
	}))
	p.must(at, workerCmd(&eventv1.AdmitWorker{Policy: &eventv1.AdmissionPolicy{
		Tiers: []*eventv1.TierFloor{{Tier: 1, Mflops: 250, MemoryBytes: 64 << 20}, {Tier: 2, Mflops: 2000, MemoryBytes: 256 << 20}, {Tier: 3, Mflops: 40_000, MemoryBytes: 2 << 30}}, ProofTtlS: 86_400, MaxChunkBytes: 64 << 20,
	}}))
}

// fleet lets the plant's workers join: two of tier 3, three of tier 2, the rest of tier 1.
func (s *scene) fleet() {
	for i := range s.plant.workers {
		claimed, proven := uint64(900), uint64(620)
		switch {
		case i < 2:
			claimed, proven = 96_000, 61_000
		case i < 5:
			claimed, proven = 12_000, 7_400
		}
		s.join(s.plant.key(i), claimed, proven, nil)
	}
}

// tokens is an Access for tests: a token is the name of its viewer.
type tokens map[string]Viewer

func (a tokens) Identify(_ context.Context, token string) (Viewer, error) {
	v, ok := a[token]
	if !ok {
		return Viewer{}, ErrDenied
	}
	return v, nil
}

// login logs a client in with a token.
func (s *scene) login(token string) answered {
	s.t.Helper()
	return s.post("/login", "token", token, "next", "/")
}

// deeds records what the screens ask for.
type deeds struct {
	mu   sync.Mutex
	done []string
	err  error
}

func (d *deeds) note(parts ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	d.done = append(d.done, strings.Join(parts, " "))
	return nil
}

func (d *deeds) said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.done...)
}
