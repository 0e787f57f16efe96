package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrDenied refuses a token that nobody has.
var ErrDenied = errors.New("unknown token")

// Role is what a viewer may do: each role may do what the ones before may.
type Role uint8

// The roles. A Viewer with tenants is a client: it sees the work of its tenants and may do what its role allows with
// it, and sees nothing of workers, projections and diagnostics.
const (
	RoleViewer   Role = iota + 1 // sees
	RoleOperator                 // acts on workers and work
	RoleAdmin                    // rebuilds projections, and sees what is hidden until a job is decided
)

func (r Role) String() string {
	switch r {
	case RoleViewer:
		return "viewer"
	case RoleOperator:
		return "operator"
	case RoleAdmin:
		return "admin"
	}
	return "nobody"
}

// Viewer is who looks at a page.
type Viewer struct {
	Name    string   // of the token, for the record
	Role    Role     //
	Tenants []string // nil: all
}

// Can reports whether the viewer has at least the named role. Templates ask it.
func (v Viewer) Can(role string) bool {
	for r := RoleViewer; r <= RoleAdmin; r++ {
		if r.String() == role {
			return v.Role >= r
		}
	}
	return false
}

// Staff reports whether the viewer may see what belongs to no tenant.
func (v Viewer) Staff() bool { return v.Role >= RoleViewer && v.Tenants == nil }

// Sees reports whether things of this tenant exist for the viewer.
func (v Viewer) Sees(tenant string) bool {
	return v.Role >= RoleViewer && (v.Tenants == nil || slices.Contains(v.Tenants, tenant))
}

// rights is equal for viewers who see the same.
func (v Viewer) rights() string {
	if v.Tenants == nil {
		return v.Role.String()
	}
	tenants := slices.Clone(v.Tenants)
	slices.Sort(tenants)
	return v.Role.String() + " of " + strings.Join(slices.Compact(tenants), "\x00")
}

// The cookies. They hold no secret that outlives the process.
const (
	sessionCookie = "shardy_session"
	flashCookie   = "shardy_flash"
	themeCookie   = "shardy_theme"
)

// session is one login.
type session struct {
	viewer  Viewer
	expires time.Time
	ended   chan struct{} // closed when it is logged out or pushed out
}

// sessions are the logins of this process. A cookie holds a random id; here is its hash. A session outlives the token
// that began it by at most its age, and never the process.
type sessions struct {
	limit int
	age   time.Duration
	now   func() time.Time

	mu    sync.Mutex
	byID  map[[sha256.Size]byte]*session
	order [][sha256.Size]byte // as they began; may name ended ones
}

func newSessions(l Limits) *sessions {
	return &sessions{limit: l.Sessions, age: l.SessionAge, now: time.Now, byID: map[[sha256.Size]byte]*session{}}
}

// begin returns the id of a new session.
func (s *sessions) begin(v Viewer) (id string, err error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", err
	}
	id = hex.EncodeToString(secret[:])
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	for len(s.byID) >= s.limit && len(s.order) > 0 {
		s.drop(s.order[0])
		s.order = s.order[1:]
	}
	s.byID[key] = &session{viewer: v, expires: s.now().Add(s.age), ended: make(chan struct{})}
	s.order = append(s.order, key)
	return id, nil
}

// sweep forgets what has expired. All live equally long, so that the oldest come first.
func (s *sessions) sweep() {
	now, n := s.now(), 0
	for _, key := range s.order {
		old, ok := s.byID[key]
		if ok && now.Before(old.expires) {
			break
		}
		s.drop(key)
		n++
	}
	s.order = append(s.order[:0], s.order[n:]...)
}

func (s *sessions) drop(key [sha256.Size]byte) {
	if old, ok := s.byID[key]; ok {
		close(old.ended)
		delete(s.byID, key)
	}
}

func (s *sessions) find(id string) (*session, bool) {
	if len(id) != 64 {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byID[sha256.Sum256([]byte(id))]
	if !ok || !s.now().Before(found.expires) {
		return nil, false
	}
	return found, true
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sha256.Sum256([]byte(id)))
}

// visit is who sent a request, and the session that says so, if there are sessions.
type visit struct {
	Viewer
	session *session
}

type visitKey struct{}

func visitOf(ctx context.Context) visit {
	v, _ := ctx.Value(visitKey{}).(visit)
	return v
}

// identify finds out who sent a request.
func (d *Dashboard) identify(r *http.Request) (visit, bool) {
	if d.deps.Access == nil {
		return visit{Viewer: Viewer{Name: "local", Role: RoleAdmin}}, true
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return visit{}, false
	}
	s, ok := d.sessions.find(c.Value)
	if !ok {
		return visit{}, false
	}
	return visit{Viewer: s.viewer, session: s}, true
}

// loopback reports whether a host, with or without port, can only mean this machine.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (d *Dashboard) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration, script bool) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", SameSite: http.SameSiteStrictMode, HttpOnly: !script,
		Secure: r.TLS != nil || d.deps.Secure, MaxAge: int(age / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
