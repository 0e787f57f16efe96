package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var everybody = tokens{
	"viewer-token":   {Name: "vera", Role: RoleViewer},
	"operator-token": {Name: "otto", Role: RoleOperator},
	"admin-token":    {Name: "ada", Role: RoleAdmin},
	"client-token":   {Name: "acme", Role: RoleViewer, Tenants: []string{"acme"}},
	"other-token":    {Name: "other", Role: RoleViewer, Tenants: []string{"other"}},
}

func guardedScene(t testing.TB) *scene {
	return newScene(t, func(d *Deps) {
		d.Access = everybody
		d.Actions = &fakeActions{}
		d.Limits.LoginsMinute = 100
	})
}

func TestLoginLeadsWhereOneWanted(t *testing.T) {
	s := guardedScene(t)
	a := s.get("/workers?tier=2")
	if a.path != "/login?next=%2Fworkers%3Ftier%3D2" || !strings.Contains(a.body, `value="/workers?tier=2"`) {
		t.Fatalf("ended at %s\n%s", a.path, a.body)
	}
	if a := s.post("/login", "token", "wrong", "next", "/"); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "not known here") {
		t.Errorf("a wrong token: %d\n%s", a.status, a.body)
	}
	a = s.post("/login", "token", " viewer-token ", "next", "/workers?tier=2")
	if a.status != http.StatusOK || a.path != "/workers?tier=2" || !strings.Contains(a.body, "vera") {
		t.Fatalf("after the login: %d at %s\n%s", a.status, a.path, a.body)
	}
	if a := s.post("/logout"); !strings.HasPrefix(a.path, "/login") {
		t.Errorf("after the logout at %s", a.path)
	}
	if a := s.get("/workers"); !strings.HasPrefix(a.path, "/login") {
		t.Errorf("logged out, and still at %s", a.path)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	for _, next := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "evil", "", "/a\r\nSet-Cookie: x=1", "/" + strings.Repeat("a", 3000)} {
		if got := localPath(next); got != "/" {
			t.Errorf("localPath(%.40q) = %.40q", next, got)
		}
	}
	if got := localPath("/jobs?state=open#x"); got != "/jobs?state=open#x" {
		t.Errorf("a path of ours became %q", got)
	}
}

func TestCookiesAreClosed(t *testing.T) {
	s := guardedScene(t)
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := s.login("viewer-token")
	cookie := a.header.Get("Set-Cookie")
	for _, want := range []string{"shardy_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	if strings.Contains(cookie, "Secure") || strings.Contains(cookie, "viewer-token") {
		t.Errorf("cookie %q without TLS", cookie)
	}
	s.dash.deps.Secure = true
	if cookie := s.login("viewer-token").header.Get("Set-Cookie"); !strings.Contains(cookie, "Secure") {
		t.Errorf("cookie %q behind TLS", cookie)
	}
}

func TestRolesAndTenants(t *testing.T) {
	s := guardedScene(t)
	s.fleet()
	s.plant.submit(nil)
	s.plant.work()
	s.settle()
	at := linkWorker(s.plant.key(0))
	for _, c := range []struct {
		token, method, path string
		want                int
	}{
		{"client-token", "GET", "/", 200},
		{"client-token", "GET", "/workers", 403},
		{"client-token", "GET", at, 403},
		{"client-token", "GET", "/projections", 403},
		{"client-token", "GET", "/diagnostics", 403},
		{"client-token", "GET", "/live/workers", 403},
		{"client-token", "POST", at + "/drain", 403},
		{"viewer-token", "GET", at, 200},
		{"viewer-token", "POST", at + "/drain", 403},
		{"viewer-token", "POST", "/projections/read-model/rebuild", 403},
		{"operator-token", "POST", at + "/drain", 200},
		{"operator-token", "POST", "/projections/read-model/rebuild", 403},
		{"admin-token", "POST", at + "/ban", 200},
		{"", "POST", at + "/ban", 401},
		{"", "GET", "/live/workers", 401},
	} {
		s.post("/logout")
		if c.token != "" {
			s.login(c.token)
		}
		if a := s.do(c.method, c.path, url.Values{"reason": {"why"}}, nil); a.status != c.want {
			t.Errorf("%s: %s %s: %d, want %d", c.token, c.method, c.path, a.status, c.want)
		}
	}
	s.login("viewer-token")
	if strings.Contains(s.page(at), "Drain") || strings.Contains(s.page("/projections"), "Rebuild") {
		t.Error("a viewer is offered what it may not do")
	}
	s.post("/logout")
	s.login("other-token")
	body := s.page("/")
	if strings.Contains(body, "Workers by tier") || strings.Contains(body, `href="/workers"`) {
		t.Errorf("a client sees the fleet\n%s", body)
	}
	if n := strings.Count(body, `<span class="n zero">0</span>`); n != len(jobStates) {
		t.Errorf("a client counts jobs of others\n%s", body)
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	acts := &fakeActions{}
	s := newScene(t, func(d *Deps) { d.Actions = acts })
	s.fleet()
	s.settle()
	at := linkWorker(s.plant.key(0))
	for _, h := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Origin": {"https://evil.example"}}} {
		if a := s.do("POST", at+"/ban", url.Values{"reason": {"why"}}, h); a.status != http.StatusForbidden {
			t.Errorf("%v: %d, want 403", h, a.status)
		}
	}
	if got := acts.said(); len(got) > 0 {
		t.Errorf("done all the same: %q", got)
	}
}

func TestOpenDashboardAnswersOnlyThisMachine(t *testing.T) {
	s := newScene(t, nil)
	r, err := http.NewRequest("GET", s.server.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("by another name: %d, want 403", res.StatusCode)
	}
}

func TestLoginAttemptsAreBounded(t *testing.T) {
	s := newScene(t, func(d *Deps) { d.Access = everybody })
	limited := false
	for range 20 {
		if a := s.login("guess"); a.status == http.StatusTooManyRequests {
			limited = true
		} else if limited {
			t.Fatalf("%d after it was limited", a.status)
		}
	}
	if !limited {
		t.Error("twenty guesses in a row were all answered")
	}
	if a := s.login("viewer-token"); a.status != http.StatusTooManyRequests {
		t.Errorf("the right token after all the guesses: %d, want 429", a.status)
	}
}

// TestGuessesOfOneLeaveOthersIn: behind a proxy all come by one connection, and whoever knows the proxy tells them apart.
func TestGuessesOfOneLeaveOthersIn(t *testing.T) {
	from := "6.6.6.6/32"
	s := newScene(t, func(d *Deps) {
		d.Access = everybody
		d.Address = func(*http.Request) string { return from }
	})
	for range 20 {
		s.login("guess")
	}
	if a := s.login("viewer-token"); a.status != http.StatusTooManyRequests {
		t.Errorf("who guesses: %d, want 429", a.status)
	}
	from = "1.2.3.4/32"
	if a := s.login("viewer-token"); a.status != http.StatusOK {
		t.Errorf("somebody else: %d, want the overview", a.status)
	}
}

func TestAttemptsForgetAfterAMinuteAndStayBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttempts(2)
		for i := range 3 {
			if ok := a.allow("1.2.3.4"); ok != (i < 2) {
				t.Errorf("attempt %d: %v", i, ok)
			}
		}
		for i := range 3 * maxAddresses {
			a.allow(fmt.Sprint(i))
		}
		if len(a.tries) > maxAddresses+1 {
			t.Errorf("%d addresses are remembered", len(a.tries))
		}
		time.Sleep(time.Minute)
		if !a.allow("1.2.3.4") {
			t.Error("refused a minute later")
		}
	})
}

func TestSessionsEndAndStayBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(Limits{Sessions: 3, SessionAge: time.Hour})
		var ids []string
		for i := range 5 {
			id, err := s.begin(Viewer{Name: fmt.Sprint(i), Role: RoleViewer})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if s.count() != 3 || len(s.order) != 3 {
			t.Errorf("%d sessions, %d in order", s.count(), len(s.order))
		}
		if _, ok := s.find(ids[1]); ok {
			t.Error("the oldest session stands")
		}
		newest, ok := s.find(ids[4])
		if !ok || newest.viewer.Name != "4" {
			t.Fatal("the newest session is not found")
		}
		s.end(ids[4])
		select {
		case <-newest.ended:
		default:
			t.Error("a logout does not end what the session holds open")
		}
		time.Sleep(time.Hour)
		if _, ok := s.find(ids[3]); ok {
			t.Error("a session outlives its age")
		}
		if _, err := s.begin(Viewer{Role: RoleViewer}); err != nil || s.count() != 1 {
			t.Errorf("%d sessions after all have expired: %v", s.count(), err)
		}
	})
}

func TestThemeIsRemembered(t *testing.T) {
	s := newScene(t, nil)
	for _, theme := range []string{"dark", "light", "auto"} {
		a := s.post("/theme", "theme", theme, "next", "/workers")
		if a.path != "/workers" || !strings.Contains(a.body, `<html lang="en" data-theme="`+theme+`">`) {
			t.Errorf("%s: at %s\n%.200s", theme, a.path, a.body)
		}
	}
	if a := s.post("/theme", "theme", `"><script>`); !strings.Contains(a.body, `data-theme="auto"`) {
		t.Errorf("a theme that is none:\n%.200s", a.body)
	}
}

func TestLargeFormsAreRefused(t *testing.T) {
	s := newScene(t, func(d *Deps) { d.Actions = &fakeActions{} })
	if a := s.post(linkWorker(make([]byte, 32))+"/drain", "reason", strings.Repeat("a", 300<<10)); a.status != http.StatusBadRequest {
		t.Errorf("%d, want 400", a.status)
	}
	if a := s.post("/login", "token", strings.Repeat("a", 300<<10)); a.status != http.StatusOK {
		t.Errorf("open, and the login says %d", a.status)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	s := newScene(t, nil)
	for _, path := range []string{"/", "/nowhere", "/workers", s.dash.assets.URL("app.js"), "/live/nowhere"} {
		h := s.get(path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("the policy %q lets too much in", policy)
	}
}
