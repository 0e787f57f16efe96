package dashboard

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// attempts bounds how often an address may try to log in.
type attempts struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	since time.Time // the minute began
	tries map[string]int
}

// maxAddresses bounds the addresses that are told apart in a minute. When there are more they share one count.
const maxAddresses = 4096

func newAttempts(limit int) *attempts {
	return &attempts{limit: limit, now: time.Now, tries: map[string]int{}}
}

// allow counts an attempt.
func (a *attempts) allow(address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.now(); now.Sub(a.since) >= time.Minute {
		clear(a.tries)
		a.since = now
	}
	if _, known := a.tries[address]; !known && len(a.tries) >= maxAddresses {
		address = ""
	}
	a.tries[address]++
	return a.tries[address] <= a.limit
}

// address is who tries to log in.
func (d *Dashboard) address(r *http.Request) string {
	if d.deps.Address != nil {
		return d.deps.Address(r)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// loginView is the page that asks for a token.
type loginView struct {
	Next  string
	Wrong string
}

// localPath returns a path on this host to go to, or the overview.
func localPath(p string) string {
	if len(p) > 2048 || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") {
		return linkOverview()
	}
	return p
}

func (d *Dashboard) showLogin(w http.ResponseWriter, r *http.Request) {
	if _, ok := d.identify(r); ok {
		http.Redirect(w, r, localPath(r.URL.Query().Get("next")), http.StatusSeeOther)
		return
	}
	d.renderBare(w, r, http.StatusOK, "login", "Log in", loginView{Next: localPath(r.URL.Query().Get("next"))})
}

const maxToken = 512 // bytes of a token that is looked at

func (d *Dashboard) login(w http.ResponseWriter, r *http.Request) {
	if d.deps.Access == nil {
		http.Redirect(w, r, linkOverview(), http.StatusSeeOther)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		d.fail(w, r, badRequest("the form could not be read"))
		return
	}
	next := localPath(r.PostForm.Get("next"))
	again := func(status int, why string) {
		d.renderBare(w, r, status, "login", "Log in", loginView{Next: next, Wrong: why})
	}
	from := d.address(r)
	if !d.logins.allow(from) {
		w.Header().Set("Retry-After", "60")
		again(http.StatusTooManyRequests, "Too many attempts from this address. Wait a minute.")
		return
	}
	token := strings.TrimSpace(r.PostForm.Get("token"))
	if token == "" || len(token) > maxToken {
		again(http.StatusUnauthorized, "This token is not known here.")
		return
	}
	v, err := d.deps.Access.Identify(r.Context(), token)
	if errors.Is(err, ErrDenied) || err == nil && v.Role == 0 {
		d.log.Warn("dashboard login refused", "address", from)
		again(http.StatusUnauthorized, "This token is not known here.")
		return
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	id, err := d.sessions.begin(v)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	d.setCookie(w, r, sessionCookie, id, d.limits.SessionAge, false)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (d *Dashboard) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		d.sessions.end(c.Value)
	}
	d.setCookie(w, r, sessionCookie, "", 0, false)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// theme remembers light or dark. It works without a script; app.js spares the trip.
func (d *Dashboard) theme(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		d.fail(w, r, badRequest("the form could not be read"))
		return
	}
	d.setCookie(w, r, themeCookie, themeOf(r.PostForm.Get("theme")), 365*24*time.Hour, true)
	http.Redirect(w, r, localPath(r.PostForm.Get("next")), http.StatusSeeOther)
}

// themeOf returns one of the themes: "auto" follows the system.
func themeOf(s string) string {
	if s == "light" || s == "dark" {
		return s
	}
	return "auto"
}
