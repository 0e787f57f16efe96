package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
)

// Deps is what the dashboard is plugged into. Model, Runner and Log are needed; a screen whose source is missing says
// so, or is not offered.
type Deps struct {
	// Model answers the lists and pages. Its projection runs in Runner under Model.Name().
	Model *readmodel.Model
	// Runner keeps the projections: *projections.Runner.
	Runner Runner
	// Log is the event log: events.Log.
	Log Log
	// Blobs holds inputs and outputs: *blobs.Store. Optional: without it content is not shown.
	Blobs Blobs
	// Access knows the tokens. Nil: there are none; then everyone is an admin, and only requests for a loopback
	// host are answered.
	Access Access
	// Actions carries out what an operator asks for. Nil: the screens are for reading only.
	Actions Actions
	// Figures counts what is in memory: connected workers, waiting slots. Optional.
	Figures func(ctx context.Context) (Figures, error)
	// Live looks up a connected worker by its key. Optional.
	Live func(key []byte) (LiveWorker, bool)
	// Explain says why a job waits: (*host.Host).Explain. Optional.
	Explain func(ctx context.Context, job string) ([]string, error)
	// Ledger is the ledger that this orchestrator shares with others. Nil: there is none, and no screen of it is offered.
	Ledger Ledger
	// Mesh is who this orchestrator is connected with. Nil: nobody.
	Mesh Mesh
	// Diagnostics lists what only the process knows: shards, mailboxes, counters, configuration. Secrets are already
	// redacted. Build, memory and goroutines are added here. Optional.
	Diagnostics func(ctx context.Context) ([]Section, error)

	Version string // of the program
	Node    string // name of this process
	// Secure says that browsers reach this handler by TLS although the requests that arrive here do not: a proxy is
	// in front. Cookies are then Secure in any case.
	Secure bool
	// Address names who asks, for the count of attempts to log in: behind a proxy the connection does not tell.
	// Default: the peer of the connection.
	Address func(r *http.Request) string
	// Limits bound what the handler spends on its visitors. The zero value is right for most.
	Limits Limits
	// Logger hears of failures. Default: slog.Default().
	Logger *slog.Logger
}

// Limits bound what the dashboard spends.
type Limits struct {
	Streams       int           // live pages at once. Default 512
	StreamsViewer int           // the same, of one viewer name. Default 64
	Renders       int           // renderings of live pages at once. Default 2
	Requests      int           // requests at work at once, streams aside. Default 128
	RenderEvery   time.Duration // least time between two renderings of a live page. Default 500 ms
	WriteTimeout  time.Duration // for one write to a live page: slower readers are dropped. Default 10 s
	KeepAlive     time.Duration // silence after which a live page gets an empty line. Default 15 s
	PageTimeout   time.Duration // for building a page. Default 10 s
	Sessions      int           // logins at once; the oldest one goes. Default 1,024
	SessionAge    time.Duration // Default 12 h
	LoginsMinute  int           // attempts a minute and address. Default 10
	BodyBytes     int64         // of a posted form. Default 256 KiB
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Streams, 512)
	orDefault(&l.StreamsViewer, 64)
	orDefault(&l.Renders, 2)
	orDefault(&l.Requests, 128)
	orDefault(&l.RenderEvery, 500*time.Millisecond)
	orDefault(&l.WriteTimeout, 10*time.Second)
	orDefault(&l.KeepAlive, 15*time.Second)
	orDefault(&l.PageTimeout, 10*time.Second)
	orDefault(&l.Sessions, 1024)
	orDefault(&l.SessionAge, 12*time.Hour)
	orDefault(&l.LoginsMinute, 10)
	orDefault(&l.BodyBytes, 256<<10)
	return l
}

// ErrDeps refuses dependencies that cannot make a dashboard.
var ErrDeps = errors.New("dashboard")

// Dashboard is the handler of the screens. Close ends its live streams.
type Dashboard struct {
	deps      Deps
	limits    Limits
	log       *slog.Logger
	assets    *assets
	screens   map[string]*screen // by page name
	live      *live
	sessions  *sessions
	logins    *attempts
	atWork    chan struct{} // a slot for each request at work
	rates     rates
	paintings paintings              // pictures of pipelines
	self      atomic.Pointer[[]byte] // this orchestrator's account, once it is known
	flashKey  [32]byte
	begin     time.Time
	handler   http.Handler
}

// New builds the screens. It fails only for dependencies that are missing.
func New(deps Deps) (*Dashboard, error) {
	if deps.Model == nil || deps.Runner == nil || deps.Log == nil {
		return nil, fmt.Errorf("%w: Model, Runner and Log are needed", ErrDeps)
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	limits := deps.Limits.withDefaults()
	d := &Dashboard{
		deps: deps, limits: limits, log: deps.Logger, screens: map[string]*screen{}, begin: time.Now(),
		sessions: newSessions(limits), logins: newAttempts(limits.LoginsMinute), atWork: make(chan struct{}, limits.Requests),
	}
	if _, err := rand.Read(d.flashKey[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDeps, err)
	}
	var err error
	if d.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDeps, err)
	}
	d.live = newLive(d)
	if d.handler, err = d.routes(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDeps, err)
	}
	return d, nil
}

// ServeHTTP answers a request for a screen, its live stream, an action or a static file.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }

// Close ends the live streams and waits for them. It may be called more than once.
func (d *Dashboard) Close() error {
	d.live.close()
	return nil
}
