package orchestrator

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/projections/traces"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrConfig refuses a configuration.
var ErrConfig = errors.New("orchestrator configuration")

// Config of an orchestrator. The zero value runs in memory on the default address.
type Config struct {
	// DataDir holds the log, the blobs and the keys. Empty: everything is in memory and ends with the process.
	DataDir string
	// BlobURL is where large blobs go: any bucket URL. Default: the folder blobs in DataDir.
	BlobURL string
	// Listen is the address of API and worker door. Default 127.0.0.1:7420. Without tokens it must be a loopback one.
	Listen string
	// TLSCert and TLSKey are PEM files. Both or none.
	TLSCert, TLSKey string
	// SecureCookies says that a proxy in front speaks TLS: the dashboard's cookies then never travel without it.
	SecureCookies bool
	// Node names this process in the log: at most 32 letters, digits and dashes. Default "node".
	Node string
	// Policy, if set, replaces the deployment's policy at the start when it differs.
	Policy *eventv1.Policy
	// Tokens of the API.
	Tokens []operator.Token
	// API limits what clients may ask for. Listen and Tokens are filled in.
	API operator.Config
	// Door tunes the worker door. Key, GroupKey and Node are filled in.
	Door gateway.Config
	// Sandbox tunes the child processes that try modules, prepare challenges and referee.
	Sandbox sandbox.Config
	// LogURL names an event log elsewhere: the connection string of EventStoreDB, KurrentDB or another process's log. It
	// needs a DataDir, for the keys and the blobs. Default: the log in DataDir.
	LogURL string
	// LogListen is where the log is served to others over EventStoreDB's protocol, and LogServer to whom. Empty: it is not.
	LogListen string
	LogServer esdbserver.Config
	// Log tunes the embedded log.
	Log pebblelog.Options
	// Mesh shares a ledger with other orchestrators. It needs a DataDir. Nil: without.
	Mesh *MeshConfig
	// Traces are sent if an endpoint is set. Node, Version and Logger are filled in.
	Traces traces.Config
	// DrainTimeout bounds the wait for workers at the end. Default 5 s.
	DrainTimeout time.Duration
	// Challenges kept ready for workers that join. Default 16.
	Challenges int
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Version is shown by the API and on the screens.
	Version string
	// Settings are shown on the screens.
	Settings []Setting
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,31}$`)

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:7420"
	}
	if c.Node == "" {
		c.Node = "node"
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 5 * time.Second
	}
	if c.Challenges == 0 {
		c.Challenges = 16
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.BlobURL == "" {
		c.BlobURL = "mem://"
		if c.DataDir != "" {
			c.BlobURL = filepath.Join(c.DataDir, "blobs")
		}
	}
	return c
}

// Validate reports the first value that is out of range. The rooms check theirs when they are built.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case !nodeName.MatchString(c.Node):
		return fmt.Errorf("%w: node %q: at most 32 letters, digits and dashes", ErrConfig, c.Node)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("%w: TLS needs both a certificate and a key", ErrConfig)
	case c.LogURL != "" && c.DataDir == "":
		return fmt.Errorf("%w: a log elsewhere needs a data folder for the keys and the blobs", ErrConfig)
	case c.Mesh != nil && c.DataDir == "":
		return fmt.Errorf("%w: the mesh needs a data folder: a key that has voted must not forget it", ErrConfig)
	case c.DrainTimeout < 0:
		return fmt.Errorf("%w: negative drain timeout", ErrConfig)
	case c.Challenges < 0 || c.Challenges > 1024:
		return fmt.Errorf("%w: %d challenges, at most 1,024", ErrConfig, c.Challenges)
	}
	if c.LogListen != "" {
		if err := c.LogServer.Validate(); err != nil {
			return err
		}
	}
	if c.Traces.Endpoint != "" {
		if err := c.Traces.Validate(); err != nil {
			return err
		}
	}
	if c.Policy != nil {
		if err := policy.Validate(c.Policy); err != nil {
			return err
		}
	}
	return c.api().Validate()
}

// api is the configuration of the API.
func (c Config) api() operator.Config {
	c.API.Listen, c.API.Tokens = c.Listen, c.Tokens
	return c.API
}

// LogDir is where a data folder keeps the event log.
func LogDir(dataDir string) string { return filepath.Join(dataDir, "log") }
