// Package logserver is how commands serve an event log to others: the flags that say to whom, and the life of the server.
//
// It promises that a log which strangers can reach asks them who they are. Limits: everything else about the protocol is
// events/esdbserver's.
package logserver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/shardy-network/orchestrator/events/esdbserver"
)

// ErrFlags refuses flags that make no sense together, or name files that do not.
var ErrFlags = errors.New("log server")

// Flags say where a log is served, and to whom.
type Flags struct {
	Listen                    string
	users                     string
	tlsCert, tlsKey, clientCA string
	advertise                 string
	readOnly                  bool
}

// Register adds the flags. Their names begin with prefix.
func (f *Flags) Register(flags *pflag.FlagSet, prefix string) {
	flags.StringVar(&f.Listen, prefix+"listen", f.Listen, "serve the event log over EventStoreDB's gRPC protocol on this address, for example 127.0.0.1:2113; without users a loopback one")
	flags.StringVar(&f.users, prefix+"users", "", "file with those who may call (JSON: [{\"name\", \"hash\", \"role\"}]; roles reader, writer, cluster; hashes from shardy log hash-password)")
	flags.StringVar(&f.tlsCert, prefix+"tls-cert", "", "certificate of the log server, PEM")
	flags.StringVar(&f.tlsKey, prefix+"tls-key", "", "key of the certificate, PEM")
	flags.StringVar(&f.clientCA, prefix+"client-ca", "", "authority whose client certificates are taken, PEM; their common names are users")
	flags.StringVar(&f.advertise, prefix+"advertise", "", "host:port that clients are told to call; default: where it listens")
	flags.BoolVar(&f.readOnly, prefix+"read-only", false, "refuse every write by clients")
}

// Config is what the flags say.
func (f *Flags) Config(logger *slog.Logger) (esdbserver.Config, error) {
	cfg := esdbserver.Config{ReadOnly: f.readOnly, Advertise: f.advertise, Logger: logger}
	if f.Listen == "" {
		if f.users != "" || f.tlsCert != "" || f.tlsKey != "" || f.clientCA != "" || f.advertise != "" || f.readOnly {
			return cfg, fmt.Errorf("%w: it is not served: no address to listen on", ErrFlags)
		}
		return cfg, nil
	}
	var err error
	if f.users != "" {
		if cfg.Users, err = readUsers(f.users); err != nil {
			return cfg, err
		}
	}
	if cfg.TLS, err = f.tls(); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

func (f *Flags) tls() (*tls.Config, error) {
	if f.tlsCert == "" && f.tlsKey == "" && f.clientCA == "" {
		return nil, nil
	}
	if f.tlsCert == "" || f.tlsKey == "" {
		return nil, fmt.Errorf("%w: TLS needs both a certificate and a key", ErrFlags)
	}
	pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFlags, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.clientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(f.clientCA)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFlags, err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s holds no certificate", ErrFlags, f.clientCA)
	}
	return cfg, nil
}

// user is one of the users' file.
type user struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // empty: by certificate alone
	Role string `json:"role"`
}

// maxUsersBytes bounds the users' file.
const maxUsersBytes = 1 << 20

func readUsers(name string) ([]esdbserver.User, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFlags, err)
	}
	defer file.Close()
	d := json.NewDecoder(io.LimitReader(file, maxUsersBytes))
	d.DisallowUnknownFields()
	var rows []user
	if err := d.Decode(&rows); err != nil {
		return nil, fmt.Errorf("%w: users %s: %w", ErrFlags, name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: users %s: the file names none", ErrFlags, name)
	}
	users := make([]esdbserver.User, len(rows))
	for i, r := range rows {
		role, err := esdbserver.ParseRole(r.Role)
		if err != nil {
			return nil, fmt.Errorf("%w: users %s: %s: %w", ErrFlags, name, r.Name, err)
		}
		users[i] = esdbserver.User{Name: r.Name, Hash: r.Hash, Role: role}
	}
	return users, nil
}
