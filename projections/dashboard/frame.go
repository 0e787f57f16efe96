package dashboard

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// frame is the dot of every template.
type frame struct {
	Title   string
	Nav     string // entry that is lit
	Viewer  Viewer // without a name in live blocks
	Open    bool   // there are no tokens, so that nobody logs in
	Acts    bool   // there are actions
	Theme   string // auto, light, dark
	Path    string // of this page, with its query
	Flash   *flash
	LiveURL string // empty: the page stays as it is
	Now     time.Time
	Node    string
	Version string
	Ledger  bool // there is one
	Mesh    bool // there is one
	// Rebuilding says that the read model is not complete yet.
	Rebuilding bool
	View       any
}

// May reports whether to offer an action that needs a role.
func (f frame) May(role string) bool { return f.Acts && f.Viewer.Can(role) }

// group is a part of the navigation.
type group struct {
	Title   string
	Entries []entry
}

// Groups is the navigation for this viewer.
func (f frame) Groups() []group {
	var out []group
	for _, g := range navigation {
		own := group{Title: g.Title}
		for _, e := range g.Entries {
			if (!e.staff || f.Viewer.Staff()) && f.has(e.only) {
				own.Entries = append(own.Entries, e)
			}
		}
		if len(own.Entries) > 0 {
			out = append(out, own)
		}
	}
	return out
}

func (f frame) has(s source) bool {
	switch s {
	case ofLedger:
		return f.Ledger
	case ofMesh:
		return f.Mesh
	}
	return true
}

// screen is a page with its templates.
type screen struct {
	page      page
	templates *template.Template
}

type templates struct {
	layout *template.Template
}

func loadTemplates(a *assets) (templates, error) {
	t := template.New("layout").Funcs(template.FuncMap{
		"asset": a.URL, "now": time.Now,
		"ago": ago, "exact": exact, "lasting": lasting, "bytes": sizeOf, "count": anyCount, "rate": rateOf, "gflops": gflops,
		"short": shortID, "shorthex": shortKey, "plain": plain, "clip": func(n int, s string) string { return clip(plain(s), n) },
		"words": words, "iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"micros": time.UnixMicro,
		"badge":  func(t, s string) badge { return badge{tone(t), s} }, "when": when,
		"job": linkJob, "pipeline": linkPipeline, "worker": linkWorker, "stream": linkStream,
	})
	t, err := t.ParseFS(templateFiles, "templates/layout.html", "templates/partials.html", "templates/work.html", "templates/evidence.html")
	return templates{t}, err
}

// screen parses a page's own file over the layout.
func (t templates) screen(p page) (*screen, error) {
	own, err := t.layout.Clone()
	if err != nil {
		return nil, err
	}
	if own, err = own.ParseFS(templateFiles, "templates/"+p.name+".html"); err != nil {
		return nil, fmt.Errorf("page %s: %w", p.name, err)
	}
	return &screen{p, own}, nil
}

// frame fills in what every page shows of the request.
func (d *Dashboard) frame(w http.ResponseWriter, r *http.Request, p page) frame {
	f := frame{
		Title: p.title, Nav: p.nav, Viewer: visitOf(r.Context()).Viewer, Open: d.deps.Access == nil, Acts: d.deps.Actions != nil,
		Theme: "auto", Path: r.URL.RequestURI(), Now: time.Now(), Node: d.deps.Node, Version: d.deps.Version,
		Ledger: d.deps.Ledger != nil, Mesh: d.deps.Mesh != nil, Rebuilding: d.rebuilding(),
	}
	if c, err := r.Cookie(themeCookie); err == nil {
		f.Theme = themeOf(c.Value)
	}
	f.Flash = d.takeFlash(w, r)
	return f
}

// send renders a whole page, and only then begins the answer.
func (d *Dashboard) send(w http.ResponseWriter, status int, s *screen, f frame) error {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, "layout", f); err != nil {
		return fmt.Errorf("page %s: %w", s.page.name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader is gone when this fails
	return nil
}

// renderBare answers with a page that needs no right: login, an error.
func (d *Dashboard) renderBare(w http.ResponseWriter, r *http.Request, status int, name, title string, view any) {
	f := d.frame(w, r, page{name: name, title: title})
	if name == "error" && f.Viewer.Role > 0 {
		f.Nav = "none" // of its entries; the navigation is there
	}
	f.View = view
	if err := d.send(w, status, d.screens[name], f); err != nil {
		d.log.Error("dashboard page failed", "page", name, "error", err)
		http.Error(w, title, status)
	}
}

// renderLive renders the live block of a page.
func (s *screen) renderLive(f frame) ([]byte, error) {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, "live", f); err != nil {
		return nil, fmt.Errorf("page %s: %w", s.page.name, err)
	}
	return []byte(strings.TrimSpace(b.String())), nil
}
