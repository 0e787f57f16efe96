package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// hostile are texts that want out of where they are shown.
var hostile = []string{
	`<script>window.pwned=1</script>`,
	`"><img src=x onerror=window.pwned=1>`,
	`' onmouseover='window.pwned=1`,
	"javascript:window.pwned=1",
	"\u202egnp.exe \u2066isolated\u2069 \u200bzero",
	"\x1b[31mred\x1b[0m\x00\x07\r\n\r\nevent: evil\ndata: x",
	`{{.}} ${1} {{template "layout"}} </title></svg></style>`,
	`<div hx-get="/logout" hx-trigger="load" data-hx-get="/logout"></div>`,
	strings.Repeat("W", 10_000),
	strings.Repeat("\u0301", 5000),
	"\xff\xfe not text",
}

// cut bounds a text to what the rooms take.
func cut(s string, most int) string {
	if len(s) <= most {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:most], "?")
}

// hostileScene has hostile text in every field that a stranger, or an operator, can fill.
func hostileScene(t testing.TB) *scene {
	acts := &fakeActions{}
	s := newScene(t, func(d *Deps) {
		d.Actions = acts
		d.Version, d.Node = hostile[0], hostile[1]
		d.Diagnostics = func(context.Context) ([]Section, error) {
			var out []Section
			for _, h := range hostile {
				out = append(out, Section{
					Title: h, Note: h, Rows: []SectionRow{{h, h, h}}, Columns: []string{h, h}, Table: [][]string{{h, h}}, Text: h,
				})
			}
			return out, nil
		}
		d.Live = func([]byte) (LiveWorker, bool) { return LiveWorker{Node: hostile[1]}, true }
	})
	p := s.plant
	s.fleet()
	for i, h := range hostile {
		key := slices.Repeat([]byte{byte(i + 50)}, 32)
		h := cut(h, 64)
		s.join(key, 96_000, 61_000, &eventv1.Profile{Cores: 8, Arch: h, Os: h, Engine: h, Agent: h})
		p.must(actors.WorkerAddress(key), workerCmd(&eventv1.DrainWorker{By: h, Reason: cut(hostile[i], 256)}))
	}
	for _, h := range hostile {
		p.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
			spec.Tenant = cut(h, 64)
			spec.Labels = []*eventv1.Label{{Key: cut(h, 63), Value: cut(h, 63)}}
		})
	}
	s.settle()
	return s
}

func hostileScreens() []string {
	at := []string{"/", "/workers", "/projections", "/diagnostics", "/nowhere/" + "%3Cscript%3E", "/workers?key=%3Cscript%3E%22%27", "/?span=%3Cscript%3E"}
	for i := range hostile {
		at = append(at, linkWorker(slices.Repeat([]byte{byte(i + 50)}, 32)))
	}
	return at
}

func TestHostileTextIsText(t *testing.T) {
	s := hostileScene(t)
	for _, path := range append(hostileScreens(), s.crawl(5)...) {
		checkPage(t, path, s.get(path).body)
	}
	s.do("POST", linkWorker(make([]byte, 32))+"/drain", map[string][]string{"reason": {hostile[0]}, "back": {"//evil.example"}}, nil)
}

// checkPage parses a page and holds that it runs nothing and leads nowhere but here.
func checkPage(t *testing.T, path, body string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				t.Errorf("%s: %v", path, z.Err())
			}
			return
		case html.TextToken:
			if text := string(z.Text()); strings.ContainsAny(text, "\x1b\x00\x07\u202e\u2066\u200b") {
				t.Errorf("%s: text that acts: %.80q", path, text)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			checkTag(t, path, z.Token())
		}
	}
}

func checkTag(t *testing.T, path string, tag html.Token) {
	t.Helper()
	for _, a := range tag.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "style", strings.HasPrefix(a.Key, "data-hx-"), a.Key == "srcdoc":
			t.Errorf("%s: <%s %s=%.80q>", path, tag.Data, a.Key, a.Val)
		case strings.HasPrefix(a.Key, "hx-") && !slices.Contains([]string{"hx-sse:connect", "hx-swap", "hx-trigger"}, a.Key):
			t.Errorf("%s: <%s %s=%.80q>", path, tag.Data, a.Key, a.Val)
		case slices.Contains([]string{"href", "src", "action"}, a.Key):
			if a.Val != "" && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") || strings.HasPrefix(a.Val, "//") {
				t.Errorf("%s: <%s %s=%.80q> leads away", path, tag.Data, a.Key, a.Val)
			}
		}
	}
	if tag.Data == "script" && !slices.ContainsFunc(tag.Attr, func(a html.Attribute) bool { return a.Key == "src" && strings.HasPrefix(a.Val, "/static/") }) {
		t.Errorf("%s: a script of its own", path)
	}
	if tag.Data == "iframe" || tag.Data == "object" || tag.Data == "embed" || tag.Data == "base" {
		t.Errorf("%s: <%s>", path, tag.Data)
	}
}

func TestHostileTextInABrowser(t *testing.T) {
	b := browser(t)
	s := hostileScene(t)
	tab := open(t, b, s.server.URL)
	tab.expected = []string{"404 (Not Found)"}
	for i, l := range []look{looks[0], looks[3]} {
		tab.as(l)
		for _, path := range hostileScreens()[:len(hostileScreens())-10*i] {
			tab.do(chromedp.Navigate(s.server.URL + path))
			if ask1[bool](tab, `!!document.querySelector("[hx-sse\\:connect]")`) {
				tab.await(`document.querySelector("[data-live-state]").dataset.state === "live"`)
			}
			if ask1[bool](tab, `"pwned" in window`) {
				t.Errorf("%s ran what a stranger wrote", path)
			}
			tab.fits(path)
		}
		tab.do(chromedp.Navigate(s.server.URL + "/diagnostics"))
		tab.shot("hostile-diagnostics-" + l.scheme)
		tab.do(chromedp.Navigate(s.server.URL + hostileScreens()[15]))
		tab.shot("hostile-worker-" + l.scheme)
	}
}

// FuzzRequests holds that no address, form or cookie makes the handler fail.
func FuzzRequests(f *testing.F) {
	f.Add("GET", "/workers?tier=2", "", "")
	f.Add("POST", "/workers/00/drain", "reason=x", "shardy_flash=AAAA")
	f.Add("GET", "/live/workers?since=1", "", "shardy_theme=dark")
	f.Add("POST", "/login", "token=x&next=//evil", "shardy_session=00")
	s := newScene(f, func(d *Deps) { d.Actions = &fakeActions{} })
	s.fleet()
	s.settle()
	f.Fuzz(func(t *testing.T, method, path, body, cookie string) {
		r, err := http.NewRequest(method, "http://localhost/"+strings.TrimPrefix(path, "/"), strings.NewReader(body))
		if err != nil || strings.HasPrefix(r.URL.Path, "/live") {
			t.Skip()
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		s.dash.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %q %q: 500\n%s", method, path, body, w.Body)
		}
		if to := w.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			t.Fatalf("%s %q %q leads to %q", method, path, body, to)
		}
	})
}
