package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/logserver"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/gateway/operator"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// serveFlags are those that serve and dev share.
type serveFlags struct {
	dataDir, listen, node, blobURL  string
	policyFile, tokenFile           string
	tlsCert, tlsKey, addressFile    string
	trustedProxies                  []string
	secureCookies                   bool
	maxConnections, handshakesPerIP int
	pingInterval                    time.Duration
	api                             operator.Config // its limits
	logURL, logAddressFile          string
	logServer                       logserver.Flags
	tracesEndpoint                  string
	tracesRatio                     float64
	mesh                            meshFlags
	logFormat, logLevel             string
	configFile                      string
	printConfig                     bool
}

func (f *serveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "", "folder of the log, blobs and keys; empty: everything is in memory and lost at the end")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:7420", "address of the API and of the worker door; without tokens a loopback one")
	flags.StringVar(&f.node, "node", "node", "name of this process in the log")
	flags.StringVar(&f.blobURL, "blob-url", "", "bucket of large blobs, any gocloud.dev URL; default: a folder in the data folder")
	flags.StringVar(&f.policyFile, "policy", "", "file with the deployment's policy (JSON of shardy.event.v1.Policy)")
	flags.StringVar(&f.tokenFile, "tokens", "", "file with the API's bearer tokens (JSON: [{Name, SHA256, Role, Tenants}])")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "certificate, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "key of the certificate, PEM")
	flags.StringVar(&f.addressFile, "address-file", "", "write the address that is served to this file once it is")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxy", nil, "prefix whose X-Forwarded-For is believed, for example 10.0.0.0/8")
	flags.BoolVar(&f.secureCookies, "secure-cookies", false, "a proxy in front speaks TLS: browsers send the dashboard's cookies over TLS only (implied by --tls-cert)")
	flags.IntVar(&f.maxConnections, "max-connections", 20_000, "workers at once")
	flags.IntVar(&f.handshakesPerIP, "handshakes-per-ip", 10, "handshakes a second and address")
	flags.Float64Var(&f.api.RequestRate, "request-rate", 5000, "API requests a second and token, without tokens unlimited; negative: no limit")
	flags.IntVar(&f.api.RequestBurst, "request-burst", 0, "API requests of a token at once; 0: twice the rate")
	flags.DurationVar(&f.pingInterval, "ping-interval", 20*time.Second, "how often a quiet worker is pinged; one that was silent for two and a half of them is gone")
	flags.IntVar(&f.api.MaxRequests, "max-requests", 512, "API requests at work at once, streams aside")
	flags.IntVar(&f.api.MaxRequestBytes, "max-request-bytes", 20<<20, "size of one API request, at least 65536")
	flags.IntVar(&f.api.MaxStreams, "max-streams", 1024, "watches, downloads and tails at once")
	flags.IntVar(&f.api.MaxStreamsToken, "max-streams-per-token", 256, "the same, of one token")
	flags.Float64Var(&f.api.Visitors.Rate, "visitor-rate", 50, "units a second and address for questions about the ledger, which need no token; negative: no limit")
	flags.StringVar(&f.logURL, "log", "", "keep the event log elsewhere: connection string of EventStoreDB, KurrentDB or shardy log serve (esdb://user:password@host:2113?tls=true); --data-dir still holds keys and blobs")
	f.logServer.Register(flags, "log-")
	flags.StringVar(&f.logAddressFile, "log-address-file", "", "write the address that the log is served on to this file once it is")
	flags.StringVar(&f.tracesEndpoint, "traces-endpoint", "", "OpenTelemetry collector over HTTP (OTLP), for example http://127.0.0.1:4318; empty: no traces")
	flags.Float64Var(&f.tracesRatio, "traces-ratio", 1, "part of the traces that is sent, above 0 and at most 1")
	f.mesh.register(flags)
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.configFile, configFlag, "", "JSON file whose fields have the names of these flags (a flag wins over SHARDY_<FLAG>, that over the file)")
	flags.BoolVar(&f.printConfig, printFlag, false, "check the configuration, print what is in force and where it is from, and end")
}

// load completes the flags from environment and file and turns them into a configuration. It reports whether the
// command is to go on with it.
func (f *serveFlags) load(cmd *cobra.Command) (cfg orchestrator.Config, ok bool, err error) {
	all, err := settle(cmd, os.Getenv)
	if err != nil {
		return cfg, false, err
	}
	if f.printConfig {
		if err := printSettings(cmd, all); err != nil {
			return cfg, false, err
		}
	}
	if cfg, err = f.config(cmd.ErrOrStderr()); err == nil {
		err = cfg.Validate()
	}
	for _, s := range all {
		cfg.Settings = append(cfg.Settings, orchestrator.Setting{Name: s.Name, Value: fmt.Sprint(s.Value), Source: s.Source})
	}
	return cfg, err == nil && !f.printConfig, err
}

// config turns the flags into a configuration.
func (f *serveFlags) config(stderr io.Writer) (orchestrator.Config, error) {
	cfg := orchestrator.Config{
		DataDir: f.dataDir, Listen: f.listen, Node: f.node, BlobURL: f.blobURL, TLSCert: f.tlsCert, TLSKey: f.tlsKey,
		SecureCookies: f.secureCookies, Version: version(),
	}
	var err error
	if cfg.Logger, err = logger(stderr, f.logFormat, f.logLevel); err != nil {
		return cfg, err
	}
	if f.policyFile != "" {
		data, err := os.ReadFile(f.policyFile)
		if err != nil {
			return cfg, err
		}
		cfg.Policy = new(eventv1.Policy)
		if err := protojson.Unmarshal(data, cfg.Policy); err != nil {
			return cfg, cli.Usage(fmt.Errorf("policy %s: %w", f.policyFile, err))
		}
	}
	if f.tokenFile != "" {
		if cfg.Tokens, err = readTokens(f.tokenFile); err != nil {
			return cfg, err
		}
	}
	cfg.LogURL, cfg.LogListen = f.logURL, f.logServer.Listen
	if cfg.LogServer, err = f.logServer.Config(cfg.Logger); err != nil {
		return cfg, cli.Usage(err)
	}
	if cfg.Mesh, err = f.mesh.config(); err != nil {
		return cfg, err
	}
	cfg.API = f.api
	cfg.Traces.Endpoint, cfg.Traces.Ratio = f.tracesEndpoint, f.tracesRatio
	cfg.Door.MaxConnections, cfg.Door.HandshakesPerIPPerSecond = f.maxConnections, f.handshakesPerIP
	if f.pingInterval <= 0 {
		return cfg, cli.Usage(fmt.Errorf("--ping-interval %s: 100ms to 1h", f.pingInterval))
	}
	cfg.Door.PingInterval = f.pingInterval
	for _, p := range f.trustedProxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return cfg, cli.Usage(fmt.Errorf("--trusted-proxy: %w", err))
		}
		cfg.Door.TrustedProxies = append(cfg.Door.TrustedProxies, prefix)
	}
	return cfg, nil
}

func readTokens(name string) ([]operator.Token, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var tokens []operator.Token
	d := json.NewDecoder(io.LimitReader(f, 16<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(&tokens); err != nil {
		return nil, cli.Usage(fmt.Errorf("tokens %s: %w", name, err))
	}
	if len(tokens) == 0 {
		return nil, cli.Usage(fmt.Errorf("tokens %s: the file names none", name))
	}
	return tokens, nil
}

func logger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, cli.Usage(fmt.Errorf("--log-level: %w", err))
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	case "text":
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: l, NoColor: !isTerminal(w)})), nil
	}
	return nil, cli.Usage(errors.New("--log-format: text or json"))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an orchestrator",
		Long: "Run an orchestrator: take jobs over the API, hand them to workers, keep every step in the log.\n\n" +
			"Each flag can also be a variable of the environment (--max-streams: SHARDY_MAX_STREAMS) or a field of the JSON\n" +
			"file that --config names ({\"max-streams\": 1024}). A flag wins over a variable, a variable over the file.",
		Example: "  shardy serve --data-dir /var/lib/shardy --listen 127.0.0.1:7420\n  shardy serve --config /etc/shardy.json --print-config",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, ok, err := f.load(cmd)
			if !ok {
				return err
			}
			ignoreFileSizeSignal()
			o, err := orchestrator.New(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for file, addr := range map[string]string{f.addressFile: o.Addr(), f.logAddressFile: o.LogAddr()} {
				if file == "" || addr == "" {
					continue
				}
				if err := announce(file, addr); err != nil {
					return errors.Join(err, o.Close())
				}
			}
			return o.Run(cmd.Context())
		},
	}
	f.register(cmd)
	return cmd
}

// announce writes the address whole: the connection is accepted from here on, even if it is served a moment later.
func announce(name, addr string) error {
	part := name + ".part"
	if err := os.WriteFile(part, []byte(addr+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(part, filepath.Clean(name))
}
