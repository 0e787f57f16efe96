package operator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ErrConfig refuses a configuration.
var ErrConfig = errors.New("operator API configuration")

// Role is what a token's bearer may do. See procedures.go for the whole table.
type Role string

// The roles.
const (
	Admin    Role = "admin"    // everything
	Operator Role = "operator" // all tenants' work, workers and dead letters; neither the policy nor answers of ringers
	Client   Role = "client"   // the work of its own tenants
	Viewer   Role = "viewer"   // reads all, but no content
)

// Token is a bearer's right. The secret itself is never stored.
type Token struct {
	Name    string   // who it is, for the record: at most 64 characters
	SHA256  string   // of the secret, hex
	Role    Role     //
	Tenants []string // of a client, at least one
}

// HashToken is what a configuration stores of a secret.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Config describes the API. The zero value means the defaults.
type Config struct {
	// Listen is the address that the handler is served on. Without tokens it must be a loopback address: then
	// everyone on this machine is an admin.
	Listen string
	Tokens []Token

	MaxRequestBytes int           // of one decoded request. Default 20 MiB, at least 64 KiB
	MaxRequests     int           // at work at once, streams aside. Default 512
	MaxStreams      int           // watches, downloads and tails at once. Default 1,024
	MaxStreamsToken int           // the same, of one token. Default 256
	WatchQueue      int           // updates that a watch may lag behind. Default 65,536
	RequestRate     float64       // requests a second and token; without tokens there is no limit. Default 5,000; negative: none
	RequestBurst    int           // Default twice RequestRate
	ReadTimeout     time.Duration // for a request's body. Default 30 s
	WriteTimeout    time.Duration // for one write of a reply. Default 30 s
	Trials          int           // module admissions at once. Default 2
	Visitors        Visitors      // limits of LedgerService, which needs no token
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxRequestBytes, 20<<20)
	orDefault(&c.MaxRequests, 512)
	orDefault(&c.MaxStreams, 1024)
	orDefault(&c.MaxStreamsToken, 256)
	orDefault(&c.WatchQueue, 65_536)
	orDefault(&c.RequestRate, 5000)
	orDefault(&c.RequestBurst, int(2*c.RequestRate))
	orDefault(&c.ReadTimeout, 30*time.Second)
	orDefault(&c.WriteTimeout, 30*time.Second)
	orDefault(&c.Trials, 2)
	c.Visitors = c.Visitors.withDefaults()
	return c
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	c = c.withDefaults()
	for name, bad := range map[string]bool{
		"max request bytes": c.MaxRequestBytes < 64<<10, "max requests": c.MaxRequests < 1,
		"max streams": c.MaxStreams < 1, "max streams of a token": c.MaxStreamsToken < 1,
		"watch queue": c.WatchQueue < 1, "request rate": math.IsNaN(c.RequestRate) || math.IsInf(c.RequestRate, 0), "request burst": c.RequestRate > 0 && c.RequestBurst < 1,
		"read timeout": c.ReadTimeout < 0, "write timeout": c.WriteTimeout < 0, "trials": c.Trials < 1,
	} {
		if bad {
			return fmt.Errorf("%w: %s is out of range", ErrConfig, name)
		}
	}
	if len(c.Tokens) == 0 && !loopback(c.Listen) {
		return fmt.Errorf("%w: without tokens the API serves only a loopback address, not %q", ErrConfig, c.Listen)
	}
	if err := c.Visitors.validate(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, t := range c.Tokens {
		if err := t.validate(); err != nil {
			return err
		}
		if seen[t.Name] || seen[t.SHA256] {
			return fmt.Errorf("%w: token %q: name or secret is there twice", ErrConfig, t.Name)
		}
		seen[t.Name], seen[t.SHA256] = true, true
	}
	return nil
}

func (t Token) validate() error {
	if t.Name == "" || len(t.Name) > 64 {
		return fmt.Errorf("%w: a token's name has 1 to 64 characters", ErrConfig)
	}
	if sum, err := hex.DecodeString(t.SHA256); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%w: token %q: not a SHA-256 in hex", ErrConfig, t.Name)
	}
	if !slices.Contains([]Role{Admin, Operator, Client, Viewer}, t.Role) {
		return fmt.Errorf("%w: token %q: unknown role %q", ErrConfig, t.Name, t.Role)
	}
	if (t.Role == Client) != (len(t.Tenants) > 0) {
		return fmt.Errorf("%w: token %q: clients, and only they, have tenants", ErrConfig, t.Name)
	}
	for _, tenant := range t.Tenants {
		if err := checkTenant(tenant); err != nil {
			return fmt.Errorf("%w: token %q: %w", ErrConfig, t.Name, err)
		}
	}
	return nil
}

// loopback reports whether the host of an address (with or without port) can only mean this machine.
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
