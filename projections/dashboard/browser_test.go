package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// browser starts Chromium, or skips the test where there is none. In CI there must be one.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium: install it for the tests of pages")
		}
		t.Skip("no Chromium: the tests of pages are skipped")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// tab is a page in a browser, and what it complains about.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string

	mu         sync.Mutex
	complaints []string
	expected   []string // complaints that hold one of these are none
}

func open(t *testing.T, browser context.Context, home string) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser)
	t.Cleanup(stop)
	b := &tab{t: t, ctx: ctx, home: home}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// hear notes errors, broken policies and requests to other hosts.
func (b *tab) hear(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.complain("exception: %s", e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			b.complain("console %s: %s", e.Type, e.Args[0].Value)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Source == "security" {
			b.complain("log %s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && !strings.HasPrefix(e.Request.URL, b.home) && u.Scheme != "about" && u.Scheme != "data" {
			b.complain("request to %s", e.Request.URL)
		}
	}
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	for _, e := range b.expected {
		if strings.Contains(text, e) {
			return
		}
	}
	b.complaints = append(b.complaints, text)
}

// content reports what the page has complained about since the last time.
func (b *tab) content(where string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("%s: %s", where, c)
	}
	b.complaints = nil
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 30*time.Second)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func ask1[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 30*time.Second)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// await waits until a script says true, also across a navigation.
func (b *tab) await(script string) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var ok bool
		if ok, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool](script)); err == nil && ok {
			return
		}
	}
	b.t.Fatalf("waited in vain for %s: %v\n%s", script, err, ask1[string](b, "document.body.innerText"))
}

// look is a size and a colour scheme.
type look struct {
	width, height int64
	scheme        string
}

var looks = []look{{390, 844, "light"}, {390, 844, "dark"}, {1440, 900, "light"}, {1440, 900, "dark"}}

func (b *tab) as(l look) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(l.width, l.height))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// shot saves a picture of the page where SHARDY_SCREENSHOTS says.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("SHARDY_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// widest tells what is wider than the window, if anything is.
const widest = `(() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return "";
  let worst = null;
  for (const e of document.querySelectorAll("body *")) {
    const right = e.getBoundingClientRect().right;
    if (right > most + 1 && (!worst || right > worst.getBoundingClientRect().right)) worst = e;
  }
  return document.documentElement.scrollWidth + " of " + most + " px" + (worst ? ": " + worst.outerHTML.slice(0, 300) : "");
})()`

// clipped tells which table is cut off at the right.
const clipped = `(() => {
  for (const s of document.querySelectorAll(".sheet, .panel")) if (s.scrollWidth > s.clientWidth + 1) return s.scrollWidth + " of " + s.clientWidth + " px: " + s.innerText.slice(0, 200);
  return "";
})()`

// fits holds that a page does not scroll sideways and has complained about nothing.
func (b *tab) fits(where string) {
	b.t.Helper()
	if wide := ask1[string](b, widest); wide != "" {
		b.t.Errorf("%s scrolls sideways: %s", where, wide)
	}
	if cut := ask1[string](b, clipped); cut != "" {
		b.t.Errorf("%s is cut off: %s", where, cut)
	}
	b.content(where)
}

// screensOf are the pages that are held to every look, by the name of their picture.
func screensOf(s *scene) [][2]string {
	return [][2]string{
		{"overview", "/"},
		{"overview-hour", "/?span=1h"},
		{"workers", "/workers"},
		{"workers-none", "/workers?state=banned"},
		{"worker", linkWorker(s.plant.key(3))},
		{"projections", "/projections"},
		{"diagnostics", "/diagnostics"},
		{"not-found", "/nowhere"},
	}
}

// busyScene has workers, verified jobs, a liar, mismatches and dead letters.
func busyScene(t testing.TB, change func(*Deps)) *scene {
	s := newScene(t, func(d *Deps) {
		d.Figures = func(context.Context) (Figures, error) {
			return Figures{Tiers: []TierFigures{{1, 3, 3}, {2, 3, 1}, {3, 2, 0}}, WaitingSlots: 12, InFlight: 34, Sessions: 8}, nil
		}
		d.Live = func([]byte) (LiveWorker, bool) { return LiveWorker{Credits: 2, InFlight: 3}, true }
		d.Actions = &fakeActions{}
		d.Diagnostics = func(context.Context) ([]Section, error) { return testSections, nil }
		if change != nil {
			change(d)
		}
	})
	p := s.plant
	p.at = time.Now().Add(-5 * time.Minute).UnixMicro()
	s.fleet()
	wave := 0
	for p.at < time.Now().Add(-20*time.Second).UnixMicro() {
		p.lies = func(w int, _ actors.Task) bool { return w == 3 && wave%13 == 5 }
		for range 4 + (wave*wave)%9 {
			p.submit(nil)
		}
		p.work()
		p.refereed()
		p.at += 3_700_000
		if wave%30 == 11 {
			p.deadLetter(nil)
		}
		wave++
	}
	p.lies = func(int, actors.Task) bool { return false }
	p.pipeline("primes below a million", [][]byte{[]byte("one"), []byte("two"), []byte("three"), []byte("four")}, nil)
	p.work()
	for range 5 {
		p.submit(nil)
	}
	for i := range p.workers {
		agreed := uint64(300 + 17*i)
		tally := &eventv1.Tally{Agreed: agreed, TimedOut: uint64(i), Fuel: agreed * 1_000_000}
		if i == 3 {
			tally.Contradicted, tally.Rejected = 21, 2
		}
		p.must(actors.WorkerAddress(p.key(i)), workerCmd(&eventv1.RecordWork{Delta: tally}))
	}
	s.settle()
	return s
}

var testSections = []Section{
	{Title: "Host", Rows: []SectionRow{{"Shards", "256", ""}, {"Entities in memory", "1 204", ""}, {"Deadlines armed", "34", ""}, {"Restarts after panics", "0", ""}, {"Conflicts", "0", ""}, {"Events appended", "81 231", ""}}},
	{Title: "Worker door", Rows: []SectionRow{{"Sessions", "8", ""}, {"Handshakes refused", "2", ""}, {"Tasks delivered", "40 119", ""}, {"Results recorded", "40 031", ""}, {"Results rejected", "2", ""}, {"Stale messages", "11", ""}}},
	{Title: "Busiest shards", Columns: []string{"Shard", "Entities#", "Mailbox#", "Restarts#"}, Table: [][]string{{"17", "31", "4", "0"}, {"201", "29", "2", "0"}, {"44", "27", "0", "1"}}},
	{Title: "Configuration", Note: "Secrets are not shown.", Rows: []SectionRow{
		{"listen", "127.0.0.1:7420", "flag"}, {"data_dir", "/var/lib/shardy", "file /etc/shardy/shardy.yaml"}, {"tokens", "3 (hidden)", "environment"}, {"log.linger", "1 ms", "default"},
	}},
}

var notWord = regexp.MustCompile(`[^A-Za-z]+`)

func kindOfPath(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return path
	}
	u.RawQuery = ""
	return kindOf(u)
}

func TestPagesInABrowser(t *testing.T) {
	b := browser(t)
	s := busyScene(t, nil)
	tab := open(t, b, s.server.URL)
	tab.expected = []string{"404 (Not Found)"} // of the page that is not found
	screens := screensOf(s)
	for _, path := range s.crawl(1) {
		if !slices.ContainsFunc(screens, func(x [2]string) bool { return kindOfPath(x[1]) == kindOfPath(path) }) {
			screens = append(screens, [2]string{strings.Trim(notWord.ReplaceAllString(path, "-"), "-"), path})
		}
	}
	for i, l := range looks {
		if os.Getenv("SHARDY_SCREENSHOTS") == "" && (i == 0 || i == 3) {
			continue // each size and each scheme once; contrast has its own test
		}
		tab.as(l)
		for _, screen := range screens {
			where := fmt.Sprintf("%s %d %s", screen[0], l.width, l.scheme)
			tab.do(chromedp.Navigate(s.server.URL + screen[1]))
			if ask1[bool](tab, `!!document.querySelector("[hx-sse\\:connect]")`) {
				tab.await(`document.querySelector("[data-live-state]").dataset.state === "live"`)
			}
			tab.fits(where)
			tab.shot(strings.ReplaceAll(where, " ", "-"))
		}
	}
}

func TestMenuOnANarrowScreen(t *testing.T) {
	b := browser(t)
	s := newScene(t, nil)
	tab := open(t, b, s.server.URL)
	tab.as(look{390, 844, "light"})
	tab.do(chromedp.Navigate(s.server.URL + "/workers"))
	shown := `getComputedStyle(document.querySelector("#nav")).display !== "none"`
	if ask1[bool](tab, shown) {
		t.Error("the menu is open before anybody asked")
	}
	tab.do(chromedp.Click(chromedp.CSS(".menu")))
	tab.await(shown)
	tab.shot("menu-390")
	tab.do(chromedp.Click(chromedp.CSS(`#nav a[href="/projections"]`)))
	tab.await(`location.pathname === "/projections"`)
	tab.content("menu")
}

// lastIDs notes what browsers name when they come back to a stream.
type lastIDs struct {
	next http.Handler
	mu   sync.Mutex
	ids  []string
}

func (l *lastIDs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/live/") {
		l.mu.Lock()
		l.ids = append(l.ids, r.Header.Get("Last-Event-ID"))
		l.mu.Unlock()
	}
	l.next.ServeHTTP(w, r)
}

func (l *lastIDs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.ids...)
}

func TestLiveUpdatesInABrowser(t *testing.T) {
	b := browser(t)
	s := newScene(t, nil)
	ids := &lastIDs{next: s.dash}
	server := httptest.NewServer(ids)
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.dash.Close() })
	s.fleet()
	s.settle()
	tab := open(t, b, server.URL)
	tab.expected = []string{"ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION", "Failed to load resource", "network error"}
	tab.as(looks[2])
	tab.do(chromedp.Navigate(server.URL + linkWorker(s.plant.key(0))))
	tab.await(`document.querySelector("[data-live-state]").dataset.state === "live"`)
	said := func(n string) string {
		return `document.querySelector("#live").innerText.includes("` + n + `")`
	}
	agree := func(n uint64) {
		s.plant.must(actors.WorkerAddress(s.plant.key(0)), workerCmd(&eventv1.RecordWork{Delta: &eventv1.Tally{Agreed: n}}))
	}
	agree(7001)
	tab.await(said("7\u202f001"))

	// The server drops the connection: the page comes back with the last id that it saw, and goes on.
	server.CloseClientConnections()
	until(t, "the page is back", func() bool { return len(ids.all()) >= 2 })
	agree(10)
	tab.await(said("7\u202f011"))
	if again := ids.all(); again[len(again)-1] == "" {
		t.Errorf("came back without an id: %q", again)
	}

	// A pause ends the stream; going on shows what was missed.
	tab.do(chromedp.Click(chromedp.CSS("[data-live-toggle]")))
	until(t, "the stream has ended", func() bool { streams, _ := s.dash.live.count(); return streams == 0 })
	agree(100)
	s.settle()
	if ask1[bool](tab, said("7\u202f111")) {
		t.Error("a paused page changed")
	}
	tab.do(chromedp.Click(chromedp.CSS("[data-live-toggle]")))
	tab.await(said("7\u202f111"))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	tab.content("live")
}

func TestKeyboard(t *testing.T) {
	b := browser(t)
	s := busyScene(t, nil)
	tab := open(t, b, s.server.URL)
	tab.as(looks[2])
	tab.do(chromedp.Navigate(s.server.URL + linkWorker(s.plant.key(0))))
	tab.do(chromedp.KeyEvent("\t"))
	if first := ask1[string](tab, `document.activeElement.className`); first != "skip" {
		t.Errorf("the first stop is %q, not the way to the content", first)
	}
	// Every control can be reached, in the order of the page, with a ring around it.
	reached := map[string]bool{}
	for range 60 {
		tab.do(chromedp.KeyEvent("\t"))
		reached[ask1[string](tab, `(document.activeElement.innerText || document.activeElement.name || "").trim()`)] = true
		if ring := ask1[string](tab, `document.activeElement === document.body ? "2px" : getComputedStyle(document.activeElement).outlineWidth`); ring == "0px" {
			t.Fatalf("no ring around %s", ask1[string](tab, `document.activeElement.outerHTML`))
		}
	}
	for _, want := range []string{"Overview", "Workers", "Dark", "Pause", "Drain…", "Ban…", "Jobs of this worker"} {
		if !reached[want] {
			t.Errorf("%q cannot be reached by Tab", want)
		}
	}
	tab.do(chromedp.KeyEvent("g"), chromedp.KeyEvent("w"))
	tab.await(`location.pathname === "/workers" && document.readyState === "complete"`)
	tab.do(chromedp.KeyEvent("/"))
	tab.await(`document.activeElement.type === "search"`)
	tab.do(chromedp.KeyEvent("gw")) // typing is not a shortcut
	if v := ask1[string](tab, `document.activeElement.value`); !strings.HasSuffix(v, "gw") {
		t.Errorf("typed %q", v)
	}
	tab.content("keyboard")
}

func TestThemeInABrowser(t *testing.T) {
	b := browser(t)
	s := newScene(t, nil)
	tab := open(t, b, s.server.URL)
	tab.as(looks[2])
	background := `getComputedStyle(document.documentElement).getPropertyValue("--bg")`
	tab.do(chromedp.Navigate(s.server.URL + "/workers"))
	light := ask1[string](tab, background)
	tab.do(chromedp.Click(chromedp.CSS(`button[value="dark"]`)))
	tab.await(background + ` !== "` + light + `"`)
	tab.do(chromedp.Navigate(s.server.URL + "/projections"))
	if ask1[string](tab, background) == light {
		t.Error("the next page has forgotten the choice")
	}
	tab.as(looks[3]) // the system wants dark, the viewer light
	tab.do(chromedp.Click(chromedp.CSS(`button[value="light"]`)))
	tab.await(background + ` === "` + light + `"`)
	tab.content("theme")
}

func TestFirstScreensInABrowser(t *testing.T) {
	b := browser(t)
	fresh, guarded := newScene(t, nil), guardedScene(t)
	tabs := map[*scene]*tab{fresh: open(t, b, fresh.server.URL), guarded: open(t, b, guarded.server.URL)}
	for _, l := range looks {
		for _, screen := range []struct {
			name string
			s    *scene
			path string
		}{{"fresh", fresh, "/"}, {"login", guarded, "/login"}, {"projections-fresh", fresh, "/projections"}} {
			tab := tabs[screen.s]
			tab.as(l)
			tab.do(chromedp.Navigate(screen.s.server.URL + screen.path))
			where := fmt.Sprintf("%s %d %s", screen.name, l.width, l.scheme)
			tab.fits(where)
			tab.shot(strings.ReplaceAll(where, " ", "-"))
		}
	}
	tab := tabs[guarded]
	tab.expected = []string{"401 (Unauthorized)"}
	tab.as(looks[2])
	tab.do(chromedp.Navigate(guarded.server.URL+"/workers"), chromedp.SendKeys(chromedp.CSS(`input[name="token"]`), "nonsense"), chromedp.Click(chromedp.CSS(".login button")))
	tab.await(`document.querySelector("[role=alert]") !== null`)
	tab.shot("login-wrong")
	tab.do(chromedp.SendKeys(chromedp.CSS(`input[name="token"]`), "viewer-token"), chromedp.Click(chromedp.CSS(".login button")))
	tab.await(`location.pathname === "/workers"`)
	tab.do(chromedp.Click(chromedp.CSS(`form[action="/logout"] button`)))
	tab.await(`location.pathname === "/login"`)
	tab.content("login")
}
