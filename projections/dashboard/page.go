package dashboard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// audience says who may see a page.
type audience bool

const (
	everyone audience = false // clients too: the page shows them their tenants' things only
	staff    audience = true  // viewers, operators and admins without tenants
)

// page is one screen. See the package doc.
type page struct {
	name  string        // of its template file and among all pages
	route string        // pattern of net/http without a method, for example /workers/{key}
	title string        //
	nav   string        // entry of the navigation that is lit
	needs audience      //
	live  bool          // rendered again when the read model moves
	chain bool          // rendered again when the ledger has a new block; such a page does not follow the read model
	every time.Duration // a live page that is also rendered again after this time; 0: it is not
	view  func(context.Context, *ask) (any, error)
}

// follows reports whether a page changes while it is looked at.
func (p page) follows() bool { return p.live || p.chain || p.every > 0 }

// titled is a view that has its own title.
type titled interface{ PageTitle() string }

// action is what a form posts to. It returns what to tell the viewer, and where: a local path, or "" for the page
// that the form was on.
type action struct {
	route string // pattern of net/http without a method
	role  Role   // the least that may do it
	needs audience
	do    func(context.Context, *ask) (done, to string, err error)
}

// raw is an answer that is no page: a picture, a download. It writes the answer itself when it returns nil, and has
// written nothing when it returns an error.
type raw struct {
	route string
	needs audience
	serve func(http.ResponseWriter, *http.Request, *ask) error
}

// ask is what a page is asked for.
type ask struct {
	Viewer Viewer
	Path   map[string]string // the route's {names}
	URL    *url.URL          // path and query of the page
	Query  url.Values        // of the URL; do not change it
	Form   url.Values        // of an action
	Now    time.Time
	frag   bool
}

// reason returns the reason that a form must give, or a refusal.
func (q *ask) reason() (string, error) {
	s := strings.TrimSpace(q.Form.Get("reason"))
	if s == "" {
		return "", &Refusal{Code: "REASON", Text: "Say why: the reason becomes part of the record."}
	}
	if len(s) > maxReason {
		return "", &Refusal{Code: "REASON", Text: fmt.Sprintf("The reason is too long: at most %d bytes.", maxReason)}
	}
	return s, nil
}

const maxReason = 256

// with returns the page's own URL with some parameters changed; an empty value removes one. The place in a list goes
// away unless it is set.
func (q *ask) with(pairs ...string) string {
	query := url.Values{}
	for k, v := range q.Query {
		if k != "after" {
			query[k] = v
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			query.Del(pairs[i])
			continue
		}
		query.Set(pairs[i], pairs[i+1])
	}
	if len(query) == 0 {
		return q.URL.EscapedPath()
	}
	return q.URL.EscapedPath() + "?" + query.Encode()
}

// maxQuery bounds the bytes of a URL's query.
const maxQuery = 4096

var pathNames = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`)

// askOf reads a request for a route.
func askOf(r *http.Request, route string, prefix string) (*ask, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, badRequest("the address is too long")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the address could not be read")
	}
	for k, v := range query {
		if k == "" || len(v) > 32 {
			return nil, badRequest("the address could not be read")
		}
	}
	q := &ask{Viewer: visitOf(r.Context()).Viewer, Path: map[string]string{}, Query: query, Now: time.Now()}
	for _, m := range pathNames.FindAllStringSubmatch(route, -1) {
		q.Path[m[1]] = r.PathValue(m[1])
	}
	path := strings.TrimPrefix(r.URL.EscapedPath(), prefix)
	if q.URL, err = url.Parse(path); err != nil {
		return nil, badRequest("the address could not be read")
	}
	return q, nil
}

// routes builds the router. Every handler behind it sees a request that may see it.
func (d *Dashboard) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{file...}", d.assets.serve)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, d.assets.URL("mark.svg"), http.StatusMovedPermanently)
	})
	mux.HandleFunc("GET /login", d.showLogin)
	mux.HandleFunc("POST /login", d.login)
	mux.HandleFunc("POST /logout", d.logout)
	mux.HandleFunc("POST /theme", d.theme)
	templates, err := loadTemplates(d.assets)
	if err != nil {
		return nil, err
	}
	if d.screens["login"], err = templates.screen(page{name: "login"}); err != nil {
		return nil, err
	}
	if d.screens["error"], err = templates.screen(page{name: "error"}); err != nil {
		return nil, err
	}
	for _, s := range d.subjects() {
		for _, p := range s.pages {
			if d.screens[p.name], err = templates.screen(p); err != nil {
				return nil, err
			}
			mux.Handle("GET "+p.route, d.guarded(p.needs, d.servePage(d.screens[p.name])))
			if p.follows() {
				mux.Handle("GET /live"+p.route, d.guarded(p.needs, d.serveLive(d.screens[p.name])))
			}
		}
		for _, a := range s.actions {
			mux.Handle("POST "+a.route, d.guarded(a.needs, d.serveAction(a)))
		}
		for _, x := range s.raws {
			mux.Handle("GET "+x.route, d.guarded(x.needs, d.serveRaw(x)))
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { d.fail(w, r, errNotFound) })
	return d.doors(mux), nil
}

// doors is what every request passes: headers, the loopback rule, cross-origin protection, identity.
func (d *Dashboard) doors(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.fail(w, r, errForeignForm) }))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secureHeaders(w.Header())
		if d.deps.Access == nil && !loopback(r.Host) {
			http.Error(w, "without tokens the dashboard answers only requests for a loopback address", http.StatusForbidden)
			return
		}
		if v, ok := d.identify(r); ok {
			r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
		}
		inner.ServeHTTP(w, r)
	})
}

// policy lets a page load its own scripts, styles, pictures and streams, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func secureHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	h.Set("Cache-Control", "no-store")
}

// guarded lets only those in who may see what is behind it.
func (d *Dashboard) guarded(needs audience, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := visitOf(r.Context())
		if v.Role == 0 {
			if r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/live/") {
				http.Redirect(w, r, linkLogin(r.URL.RequestURI()), http.StatusSeeOther)
				return
			}
			d.fail(w, r, errNoSession)
			return
		}
		if needs == staff && !v.Staff() {
			d.fail(w, r, errForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// work takes a slot for a request, or refuses it.
func (d *Dashboard) work(w http.ResponseWriter, r *http.Request, do func(context.Context) error) {
	select {
	case d.atWork <- struct{}{}:
		defer func() { <-d.atWork }()
	default:
		d.fail(w, r, errBusy)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.limits.PageTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		d.fail(w, r, err)
	}
}

func (d *Dashboard) servePage(s *screen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.work(w, r, func(ctx context.Context) error {
			q, err := askOf(r, s.page.route, "")
			if err != nil {
				return err
			}
			at := d.place(s.page)
			view, err := s.page.view(ctx, q)
			if err != nil {
				return err
			}
			f := d.frame(w, r, s.page)
			f.View = view
			if t, ok := view.(titled); ok {
				f.Title = t.PageTitle()
			}
			if s.page.follows() {
				f.LiveURL = liveURL(q.URL.EscapedPath(), q.Query, at)
			}
			return d.send(w, http.StatusOK, s, f)
		})
	})
}

// liveURL is where the changes of a page come from that was rendered at the given place.
func liveURL(path string, query url.Values, at events.Position) string {
	query = cloneQuery(query)
	query.Set(sinceParam, fmt.Sprint(uint64(at)))
	return "/live" + path + "?" + query.Encode()
}

func cloneQuery(query url.Values) url.Values {
	out := make(url.Values, len(query)+1)
	maps.Copy(out, query)
	return out
}

func (d *Dashboard) serveAction(a action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.work(w, r, func(ctx context.Context) error {
			if visitOf(r.Context()).Role < a.role {
				return errForbidden
			}
			r.Body = http.MaxBytesReader(w, r.Body, d.limits.BodyBytes)
			if err := r.ParseForm(); err != nil {
				return badRequest("the form could not be read, or is too large")
			}
			q, err := askOf(r, a.route, "")
			if err != nil {
				return err
			}
			q.Form = r.PostForm
			done, to, err := a.do(ctx, q)
			f := flash{flashDone, done}
			if refusal, ok := errors.AsType[*Refusal](err); ok {
				f = flash{flashRefused, refusal.Text}
			} else if err != nil {
				return err
			}
			if to == "" {
				to = r.PostForm.Get("back")
			}
			if f.Text != "" {
				d.setFlash(w, r, f)
			}
			http.Redirect(w, r, localPath(to), http.StatusSeeOther)
			return nil
		})
	})
}

func (d *Dashboard) serveRaw(x raw) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.work(w, r, func(ctx context.Context) error {
			q, err := askOf(r, x.route, "")
			if err != nil {
				return err
			}
			return x.serve(w, r.WithContext(ctx), q)
		})
	})
}
