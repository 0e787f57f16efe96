package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const mebibyte = 1 << 20

// ErrConfig is what New and Validate wrap.
var ErrConfig = errors.New("agent: bad configuration")

// Config of an agent. The zero value of a field means the default that is named with it; Server, Runner and one of Key
// and KeyFile have none.
type Config struct {
	// Server is the orchestrator's base URL: http or https. The session is at /ws/worker below it, blobs at /blob/.
	Server string
	// Key is the worker's identity. KeyFile names a file that holds it, made if it is not there (see LoadKey).
	Key     ed25519.PrivateKey
	KeyFile string
	// OwnerKey, if set, proves who owns the worker.
	OwnerKey ed25519.PrivateKey

	// Runner runs modules. The agent does not close it.
	Runner Runner
	// Runners is how many tasks run at once. Default: the number of processors.
	Runners int
	// Prefetch is how many tasks are asked for per runner, the running one included. Default 2.
	Prefetch int
	// Profile is the claim. Missing figures are filled in: mflops by Measure, the others by what is known of this
	// machine.
	Profile *eventv1.Profile
	// Measure finds out how many milli-GFLOPS the runner makes. Default: none, 4,000 are claimed.
	Measure func(ctx context.Context, r Runner) (mflops uint64, err error)
	// MaxAllocation is the largest memory of a module that the runner allows, in bytes. Default 512 MiB.
	MaxAllocation uint64
	// Version of the software, for the profile. Default "shardy".
	Version string

	// MaxPayload is the largest input that is taken, in bytes. Default 64 MiB.
	MaxPayload uint64
	// MaxBlob is the largest module that is fetched, in bytes. Default 16 MiB.
	MaxBlob uint64
	// CacheBytes bounds the modules kept in memory. Default 64 MiB.
	CacheBytes uint64
	// CacheDir, if set, keeps modules on disk too; they are checked when they are read.
	CacheDir string

	// MinBackoff and MaxBackoff bound the pause before the next connection: a random part of MinBackoff doubled with
	// every failure. Defaults 250 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// HandshakeTimeout bounds the way to Welcome. Default 15 s.
	HandshakeTimeout time.Duration
	// DrainTimeout bounds how long Run goes on with what it has after its context has ended. Default 60 s.
	DrainTimeout time.Duration

	// Unsigned leaves out the attestation, for measurements of an orchestrator whose policy does not ask for one.
	Unsigned bool
	// Dishonesty, if set, may change a result before it is signed. It exists for demonstrations and tests of
	// verification: an agent that has it is a liar.
	Dishonesty func(t Task, r *Result)

	// OnReceipt, if set, is given every receipt that the orchestrator signs, on the goroutine that reads: it MUST NOT wait
	// for the agent, and MUST NOT change what it is given.
	OnReceipt func(Receipt)
	// OnSession, if set, hears of every session that was admitted.
	OnSession func(tier uint32)
	// HTTP fetches blobs. Default: a client with a timeout of 60 s.
	HTTP *http.Client
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return c, fmt.Errorf("%w: server %q is no http or https URL", ErrConfig, c.Server)
	case len(c.Key) == 0 && c.KeyFile == "":
		return c, fmt.Errorf("%w: neither key nor key file", ErrConfig)
	case len(c.Key) != 0 && len(c.Key) != ed25519.PrivateKeySize:
		return c, fmt.Errorf("%w: key of %d bytes", ErrConfig, len(c.Key))
	case len(c.OwnerKey) != 0 && len(c.OwnerKey) != ed25519.PrivateKeySize:
		return c, fmt.Errorf("%w: owner key of %d bytes", ErrConfig, len(c.OwnerKey))
	case c.Runner == nil:
		return c, fmt.Errorf("%w: no runner", ErrConfig)
	}
	c.Server = strings.TrimSuffix(c.Server, "/")
	setDefault(&c.Runners, runtime.GOMAXPROCS(0))
	setDefault(&c.Prefetch, 2)
	setDefault(&c.MaxAllocation, 512*mebibyte)
	setDefault(&c.Version, "shardy")
	setDefault(&c.MaxPayload, 64*mebibyte)
	setDefault(&c.MaxBlob, 16*mebibyte)
	setDefault(&c.CacheBytes, 64*mebibyte)
	setDefault(&c.MinBackoff, 250*time.Millisecond)
	setDefault(&c.MaxBackoff, max(30*time.Second, c.MinBackoff))
	setDefault(&c.HandshakeTimeout, 15*time.Second)
	setDefault(&c.DrainTimeout, time.Minute)
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: time.Minute}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Runners < 0 || c.Runners > 4096 || c.Prefetch < 0 || c.Prefetch > 4096:
		return c, fmt.Errorf("%w: %d runners, prefetch %d", ErrConfig, c.Runners, c.Prefetch)
	case c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff:
		return c, fmt.Errorf("%w: backoff %s to %s", ErrConfig, c.MinBackoff, c.MaxBackoff)
	case c.HandshakeTimeout < 0 || c.DrainTimeout < 0:
		return c, fmt.Errorf("%w: negative timeout", ErrConfig)
	case c.MaxPayload > 1024*mebibyte || c.MaxBlob > 1024*mebibyte:
		return c, fmt.Errorf("%w: payload or blob limit above 1 GiB", ErrConfig)
	}
	return c, nil
}

// credits is how many tasks the agent holds at once.
func (c Config) credits() uint32 { return uint32(c.Runners * c.Prefetch) }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
