package dashboard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// listener reads one stream of server-sent events.
type listener struct {
	t     testing.TB
	stop  context.CancelFunc
	lines *bufio.Scanner
	body  io.Closer
}

// sse is one event as a browser sees it.
type sse struct{ id, event, data string }

func (s *scene) listen(path, lastID string) *listener {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	l := &listener{t: s.t, stop: stop, lines: bufio.NewScanner(res.Body), body: res.Body}
	l.lines.Buffer(nil, 8<<20)
	s.t.Cleanup(l.close)
	return l
}

func (l *listener) close() {
	l.stop()
	l.body.Close()
}

// next returns the next event with data; false at the end of the stream.
func (l *listener) next() (sse, bool) {
	var e sse
	var data []string
	for l.lines.Scan() {
		line := l.lines.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && len(data) > 0:
			e.data = strings.Join(data, "\n")
			return e, true
		case line == "":
			e = sse{}
		case name == "id":
			e.id = value
		case name == "event":
			e.event = value
		case name == "data":
			data = append(data, value)
		}
	}
	return sse{}, false
}

// await reads events until one says what is wanted.
func (l *listener) await(want string) sse {
	l.t.Helper()
	stuck := time.AfterFunc(20*time.Second, l.stop)
	defer stuck.Stop()
	for {
		e, ok := l.next()
		if !ok {
			l.t.Fatalf("the stream ended without %q", want)
		}
		if strings.Contains(e.data, want) {
			return e
		}
	}
}

// quiet holds that nothing comes for a time.
func (l *listener) quiet(d time.Duration) {
	l.t.Helper()
	time.AfterFunc(d, l.stop)
	if e, ok := l.next(); ok {
		l.t.Fatalf("an event that nobody needs: id %s\n%s", e.id, e.data)
	}
}

func fastScene(t testing.TB, change func(*Deps)) *scene {
	return newScene(t, func(d *Deps) {
		d.Limits.RenderEvery = 20 * time.Millisecond
		if change != nil {
			change(d)
		}
	})
}

func TestLivePageTellsChangesAndResumes(t *testing.T) {
	s := fastScene(t, nil)
	s.fleet()
	s.settle()
	key := s.plant.key(0)
	body := s.page(linkWorker(key))
	at := strings.ReplaceAll(between(body, `hx-sse:connect="`, `" hx-swap`), "&amp;", "&")
	if !strings.HasPrefix(at, "/live/workers/") {
		t.Fatalf("live from %q", at)
	}
	s.listen(at, "").quiet(300 * time.Millisecond) // the page has just been rendered

	l := s.listen(at, "")
	s.plant.must(actors.WorkerAddress(key), workerCmd(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: 4321}}))
	e := l.await("4\u202f321")
	l.close()
	if pos, _, _ := strings.Cut(e.id, "-"); pos != fmt.Sprint(uint64(s.model.Position())) {
		t.Errorf("event id %s, the read model is at %d", e.id, s.model.Position())
	}
	s.listen(at, e.id).quiet(300 * time.Millisecond) // came back and missed nothing

	s.plant.must(actors.WorkerAddress(key), workerCmd(&eventv1.DrainWorker{By: "otto", Reason: "a new disk"}))
	s.settle()
	back := s.listen(at, e.id)
	if got := back.await("Draining"); strings.Contains(got.data, "<html") || !strings.Contains(got.data, "4\u202f321") {
		t.Errorf("the fragment is not the live block:\n%s", got.data)
	}
}

func TestLivePagesOfEqualRightsShareTheirRendering(t *testing.T) {
	s := guardedScene(t)
	s.fleet()
	s.settle()
	s.login("viewer-token")
	a, b := s.listen("/live/workers", ""), s.listen("/live/workers?", "")
	s.login("admin-token")
	c := s.listen("/live/workers", "")
	for _, l := range []*listener{a, b, c} {
		if e := l.await("Tier 3"); strings.Contains(e.data, "vera") || strings.Contains(e.data, "ada") {
			t.Error("a shared rendering names a viewer")
		}
	}
	if streams, rooms := s.dash.live.count(); streams != 3 || rooms != 2 {
		t.Errorf("%d streams in %d rooms, want 3 in 2", streams, rooms)
	}
	a.close()
	b.close()
	c.close()
	until(t, "the rooms are empty", func() bool { streams, rooms := s.dash.live.count(); return streams == 0 && rooms == 0 })
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestLiveStreamsAreBounded(t *testing.T) {
	s := fastScene(t, func(d *Deps) { d.Limits.Streams, d.Limits.StreamsViewer = 3, 3 })
	for range 3 {
		s.listen("/live/workers", "")
	}
	if a := s.get("/live/workers"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", a.status)
	}
}

func TestCloseAndLogoutEndStreams(t *testing.T) {
	s := guardedScene(t)
	s.login("viewer-token")
	l := s.listen("/live/workers", "")
	l.await("No worker here")
	s.post("/logout")
	if e, ok := l.next(); ok {
		t.Errorf("after the logout: %v", e)
	}
	s.login("viewer-token")
	l = s.listen("/live/workers", "")
	l.await("No worker here")
	s.dash.Close()
	if e, ok := l.next(); ok {
		t.Errorf("after Close: %v", e)
	}
	if a := s.get("/live/workers"); a.status != http.StatusServiceUnavailable {
		t.Errorf("a stream after Close: %d, want 503", a.status)
	}
	s.page("/workers", "No worker here") // pages themselves are still answered
}

func TestSlowReadersAreDropped(t *testing.T) {
	s := fastScene(t, func(d *Deps) { d.Limits.WriteTimeout, d.Limits.KeepAlive = 100*time.Millisecond, 5*time.Millisecond })
	s.fleet()
	s.settle()
	server := httptest.NewUnstartedServer(s.dash)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if err := c.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
			t.Error(err)
		}
		return ctx
	}
	server.Start()
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(1024); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /live/ HTTP/1.1\r\nHost: %s\r\n\r\n", server.Listener.Addr())
	until(t, "the reader is in", func() bool { streams, _ := s.dash.live.count(); return streams == 1 })
	// It never reads. The overview changes with every job, until its connection is full.
	until(t, "the reader is out", func() bool {
		s.plant.submit(nil)
		streams, _ := s.dash.live.count()
		return streams == 0
	})
}

func TestHostileTextCannotEndAnEvent(t *testing.T) {
	s := fastScene(t, func(d *Deps) {
		d.Diagnostics = func(context.Context) ([]Section, error) {
			return nil, nil
		}
	})
	w := &recorded{}
	sw := &streamWriter{w: w, rc: http.NewResponseController(w), timeout: time.Second}
	if err := sw.event("7", "", []byte("a\r\n\r\nevent: evil\rdata: x\n\nid: 9")); err != nil && !errors.Is(err, http.ErrNotSupported) {
		t.Fatal(err)
	}
	want := "id: 7\ndata: a\ndata: \ndata: event: evil\ndata: data: x\ndata: \ndata: id: 9\n\n"
	if got := w.String(); got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	_ = s
}

// recorded is a response that is only written to.
type recorded struct{ strings.Builder }

func (*recorded) Header() http.Header { return http.Header{} }
func (*recorded) WriteHeader(int)     {}
func (*recorded) Flush()              {}

// TestLivePageUnderLoad opens a page while events flow as fast as they can be written: renderings stay within their
// bounds, and the page ends up at the last event.
func TestLivePageUnderLoad(t *testing.T) {
	s := newScene(t, nil) // the product's limits
	s.fleet()
	s.settle()
	listeners := make([]*listener, 5)
	for i := range listeners {
		listeners[i] = s.listen("/live/", "")
	}
	begin, jobs := time.Now(), 0
	for time.Since(begin) < 2*time.Second {
		s.plant.submit(nil)
		s.plant.work()
		jobs++
	}
	head, err := s.plant.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seconds := time.Since(begin).Seconds()
	t.Logf("%.0f events/s", float64(head)/seconds)
	want := `<span class="n">` + thousands(jobs) + `</span>`
	for _, l := range listeners {
		n := 0
		stuck := time.AfterFunc(20*time.Second, l.stop)
		for {
			e, ok := l.next()
			if !ok {
				t.Fatal("the stream ended")
			}
			n++
			if strings.Contains(e.data, want) {
				break
			}
		}
		stuck.Stop()
		if most := int(time.Since(begin).Seconds()*2) + 2; n > most {
			t.Errorf("%d renderings in %.1f s, at most %d", n, time.Since(begin).Seconds(), most)
		}
	}
}
