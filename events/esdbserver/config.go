package esdbserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// Role is what a caller may do.
type Role uint8

const (
	// RoleNone may do nothing.
	RoleNone Role = iota
	// RoleReader may read and follow everything.
	RoleReader
	// RoleWriter may also write to streams that are not protected, and read groups.
	RoleWriter
	// RoleCluster may write everything: a process of the product.
	RoleCluster
)

// String names the role.
func (r Role) String() string {
	switch r {
	case RoleReader:
		return "reader"
	case RoleWriter:
		return "writer"
	case RoleCluster:
		return "cluster"
	default:
		return "none"
	}
}

// ParseRole reads what String writes.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{RoleReader, RoleWriter, RoleCluster} {
		if r.String() == s {
			return r, nil
		}
	}
	return RoleNone, fmt.Errorf("role %q is none of reader, writer, cluster", s)
}

// User is someone who may call. A client certificate that a CA of Config.TLS has signed is the user whom its common
// name says.
type User struct {
	Name string
	Hash string // of the password, made by HashPassword; empty: by certificate alone
	Role Role
}

// Config tunes a server. The zero value serves the log in plain text, to callers on the same machine alone, who may do
// everything.
type Config struct {
	// TLS makes the server speak TLS. With ClientCAs it also takes client certificates.
	TLS *tls.Config
	// Users are those who may call. Without any, and without Anonymous, Serve takes only listeners of the same machine.
	Users []User
	// Anonymous is the role of callers who say no name. Default: RoleCluster without Users, RoleNone with some.
	Anonymous Role
	// ReadOnly refuses every write, whoever asks.
	ReadOnly bool
	// Protected are the prefixes of streams that only RoleCluster may write, delete or give metadata. Streams whose
	// names begin with "$" are always protected. Default: DefaultProtected; an empty non-nil slice protects no more.
	Protected []string
	// Advertise is the host:port that clients are told to call. Default: where the listener listens.
	Advertise string

	MaxConns          int // connections; more are closed at once. Default: 1024
	MaxStreamsPerConn int // calls in flight on one connection; more wait at the client. Default: 100, as EventStoreDB
	MaxSubscriptions  int // followers in total, groups' readers among them. Default: 8192
	MaxGroups         int // persistent subscriptions. Default: 256
	MaxMessageBytes   int // of one message from a client, at least 2 MiB. Default: 4 MiB
	// CallTimeout bounds every call that is not made to last. Default: 30 s.
	CallTimeout time.Duration
	// KeepaliveMin is the shortest pause between a client's pings; who pings faster is cut off. Default: 2 s.
	KeepaliveMin time.Duration
	// KeepaliveAfter is after how much silence the server pings; who does not answer within as long is cut off.
	// Default: 20 s.
	KeepaliveAfter time.Duration
	// Logger hears of failures that no caller can be blamed for. Default: slog.Default().
	Logger *slog.Logger
}

// DefaultProtected are the product's own streams.
func DefaultProtected() []string {
	return []string{"job-", "assignment-", "worker-", "pipeline-", "module-", "policy-", "shard-"}
}

// minMessage leaves room for the largest append in one message.
const minMessage = 2 * events.MaxAppendBytes

// Validate refuses settings out of range.
func (c Config) Validate() error {
	if c.MaxConns < 0 || c.MaxStreamsPerConn < 0 || c.MaxSubscriptions < 0 || c.MaxGroups < 0 ||
		c.CallTimeout < 0 || c.KeepaliveMin < 0 || c.KeepaliveAfter < 0 {
		return errors.New("log server: limits must not be negative")
	}
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < minMessage || c.MaxMessageBytes > 64<<20) {
		return errors.New("log server: messages must be 2 to 64 MiB")
	}
	if c.Anonymous > RoleCluster {
		return errors.New("log server: unknown role of anonymous callers")
	}
	if c.Advertise != "" {
		if _, _, err := splitHostPort(c.Advertise); err != nil {
			return fmt.Errorf("log server: advertise: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, u := range c.Users {
		switch {
		case u.Name == "" || strings.Contains(u.Name, ":"):
			return fmt.Errorf("log server: user name %q", u.Name)
		case seen[u.Name]:
			return fmt.Errorf("log server: user %q twice", u.Name)
		case u.Role == RoleNone || u.Role > RoleCluster:
			return fmt.Errorf("log server: user %q has no role", u.Name)
		case u.Hash == "" && (c.TLS == nil || c.TLS.ClientCAs == nil):
			return fmt.Errorf("log server: user %q has no password, and there are no client certificates", u.Name)
		}
		if u.Hash != "" {
			if _, err := parseHash(u.Hash); err != nil {
				return fmt.Errorf("log server: user %q: %w", u.Name, err)
			}
		}
		seen[u.Name] = true
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Protected == nil {
		c.Protected = DefaultProtected()
	}
	def(&c.MaxConns, 1024)
	def(&c.MaxStreamsPerConn, 100)
	def(&c.MaxSubscriptions, 8192)
	def(&c.MaxGroups, 256)
	def(&c.MaxMessageBytes, 4<<20)
	def(&c.CallTimeout, 30*time.Second)
	def(&c.KeepaliveMin, 2*time.Second)
	def(&c.KeepaliveAfter, 20*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if c.TLS.ClientCAs != nil && c.TLS.ClientAuth == tls.NoClientCert {
			c.TLS.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	return c
}

// open reports that nobody has to say who he is.
func (c Config) open() bool { return len(c.Users) == 0 && c.Anonymous == RoleNone }

func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// sameMachine reports whether only callers on this machine can reach the address.
func sameMachine(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return !ok || t.IP.IsLoopback()
}
