package mesh

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

const mebibyte = 1 << 20

// ErrConfig is what New and Validate wrap.
var ErrConfig = errors.New("mesh: bad configuration")

// Config of a mesh. The zero value of a field means the default that is named with it; Key and Chain have none.
type Config struct {
	// Key is the orchestrator's ed25519 key: its peer id, its validator key and its receipts' are one. Required.
	Key ed25519.PrivateKey
	// Chain is the chain id, 1 to 32 of [a-z0-9-]. Required.
	Chain string
	// Node and Version are what others see of this orchestrator, at most 64 printable characters. Default: empty.
	Node, Version string

	// Listen are the multiaddrs to listen on. Default /ip4/127.0.0.1/tcp/0: whoever serves others says so.
	Listen []string
	// Announce are the multiaddrs told to others in place of those listened on, without /p2p. Default: those listened on.
	Announce []string
	// Bootstrap are multiaddrs with /p2p that are dialed again whenever they are lost.
	Bootstrap []string
	// Book is the file of peers met before. Default: none is kept.
	Book string
	// MDNS finds orchestrators in the local network, for development.
	MDNS bool
	// NoDHT leaves the Kademlia table out: peers are then found by bootstrap, book, presence and mDNS alone.
	NoDHT bool

	// Private refuses peers that are neither validators nor in Allow.
	Private bool
	// Allow and Block are peer ids.
	Allow, Block []string
	// PublicOnly refuses to dial addresses of private networks and of this host, so that nobody can use this orchestrator
	// to knock at doors inside its network.
	PublicOnly bool

	// LowPeers and HighPeers are the water marks of the connection manager; validators and Bootstrap do not count.
	// Default 96 and 192.
	LowPeers, HighPeers int
	// MaxMemory bounds what libp2p reserves, in bytes. Default 256 MiB.
	MaxMemory int64
	// MaxFiles bounds the descriptors of libp2p. Default 4,096.
	MaxFiles int
	// DialsPerIP and DialBurstPerIP: accepted connections per second and address (/32, /64 of IPv6); loopback is exempt.
	// Default 4 and 8.
	DialsPerIP, DialBurstPerIP int
	// PeersPerIP is how many peers of one address are usual: more lose score, twice as many connections are refused.
	// Loopback is exempt. Default 5.
	PeersPerIP int
	// DialTimeout bounds one dial. Default 10 s.
	DialTimeout time.Duration
	// RedialEvery is how often lost peers are looked after. Default 5 s.
	RedialEvery time.Duration
	// RedialCap is the longest wait between two dials of one peer. Default 1 min.
	RedialCap time.Duration
	// BookEvery is how often the book is saved. Default 1 min.
	BookEvery time.Duration
	// PingEvery is how often latencies are measured. Default 30 s.
	PingEvery time.Duration

	// PresenceEvery is how often this orchestrator says that it lives. Default 5 s.
	PresenceEvery time.Duration
	// PresenceExpiry is when one that has said nothing is gone. Default four times PresenceEvery.
	PresenceExpiry time.Duration
	// PresenceSkew is how far another's clock may be off. Default 1 min.
	PresenceSkew time.Duration
	// MaxOrchestrators bounds the table of the living; validators always have a place. Default 1,024.
	MaxOrchestrators int

	// Linger is how long a transaction waits for company. Default 20 ms.
	Linger time.Duration
	// QueueTransactions bounds the transactions that wait to be sent. Default 8,192.
	QueueTransactions int
	// MaxMessage is the largest gossip message in bytes. Default 1 MiB.
	MaxMessage int
	// MessagesPerSecond and BytesPerSecond are what one peer may send by gossip, with two seconds' worth of burst.
	// Default 1,000 and 16 MiB.
	MessagesPerSecond, BytesPerSecond int
	// CheckTimeout bounds the wait for a check and the check. Default 5 s.
	CheckTimeout time.Duration
	// Checks is how many messages are checked at once. Default: the number of processors.
	Checks int
	// MaxWaiting bounds the messages that wait for a check, of all peers; one peer may hold a quarter. Default
	// 1,024.
	MaxWaiting int
	// Remember is how long transactions and blocks that came by gossip are remembered. Default 10 min.
	Remember time.Duration

	// Logger gets one line per failure. Default: slog.Default.
	Logger *slog.Logger

	Ports Ports
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return c, fmt.Errorf("%w: key of %d bytes", ErrConfig, len(c.Key))
	}
	if !chainID(c.Chain) {
		return c, fmt.Errorf("%w: chain %q, want 1 to 32 of [a-z0-9-]", ErrConfig, c.Chain)
	}
	if !printable(c.Node, maxName) || !printable(c.Version, maxName) {
		return c, fmt.Errorf("%w: node %q or version %q: at most %d printable characters", ErrConfig, c.Node, c.Version, maxName)
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	setDefault(&c.LowPeers, 96)
	setDefault(&c.HighPeers, 2*c.LowPeers)
	setDefault(&c.MaxMemory, 256*mebibyte)
	setDefault(&c.MaxFiles, 4_096)
	setDefault(&c.DialsPerIP, 4)
	setDefault(&c.DialBurstPerIP, 2*c.DialsPerIP)
	setDefault(&c.PeersPerIP, 5)
	setDefault(&c.DialTimeout, 10*time.Second)
	setDefault(&c.RedialEvery, 5*time.Second)
	setDefault(&c.RedialCap, time.Minute)
	setDefault(&c.BookEvery, time.Minute)
	setDefault(&c.PingEvery, 30*time.Second)
	setDefault(&c.PresenceEvery, 5*time.Second)
	setDefault(&c.PresenceExpiry, 4*c.PresenceEvery)
	setDefault(&c.PresenceSkew, time.Minute)
	setDefault(&c.MaxOrchestrators, 1_024)
	setDefault(&c.Linger, 20*time.Millisecond)
	setDefault(&c.QueueTransactions, 8_192)
	setDefault(&c.MaxMessage, mebibyte)
	setDefault(&c.MessagesPerSecond, 1_000)
	setDefault(&c.BytesPerSecond, 16*mebibyte)
	setDefault(&c.CheckTimeout, 5*time.Second)
	setDefault(&c.Checks, runtime.GOMAXPROCS(0))
	setDefault(&c.MaxWaiting, 1_024)
	setDefault(&c.Remember, 10*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, c.inRange()
}

func (c Config) inRange() error {
	for _, r := range []struct {
		name            string
		value, from, to int64
	}{
		{"low peers", int64(c.LowPeers), 1, 10_000},
		{"high peers", int64(c.HighPeers), int64(c.LowPeers), 20_000},
		{"max memory", c.MaxMemory, 64 * mebibyte, 1 << 40},
		{"max files", int64(c.MaxFiles), 64, 1 << 20},
		{"dials per ip", int64(c.DialsPerIP), 1, 10_000},
		{"dial burst per ip", int64(c.DialBurstPerIP), 1, 10_000},
		{"peers per ip", int64(c.PeersPerIP), 1, 10_000},
		{"max orchestrators", int64(c.MaxOrchestrators), 1, 1 << 16},
		{"queue of transactions", int64(c.QueueTransactions), MaxBatch, 1 << 20},
		{"max message", int64(c.MaxMessage), 2 * maxTransaction, 16 * mebibyte},
		{"messages per second", int64(c.MessagesPerSecond), 1, 1 << 20},
		{"bytes per second", int64(c.BytesPerSecond), int64(c.MaxMessage), 1 << 34},
		{"checks", int64(c.Checks), 1, 1_024},
		{"max waiting", int64(c.MaxWaiting), 8, 1 << 16},
		{"dial timeout", int64(c.DialTimeout), int64(10 * time.Millisecond), int64(10 * time.Minute)},
		{"redial every", int64(c.RedialEvery), int64(10 * time.Millisecond), int64(time.Hour)},
		{"redial cap", int64(c.RedialCap), int64(c.RedialEvery), int64(24 * time.Hour)},
		{"book every", int64(c.BookEvery), int64(10 * time.Millisecond), int64(24 * time.Hour)},
		{"ping every", int64(c.PingEvery), int64(100 * time.Millisecond), int64(time.Hour)},
		{"presence every", int64(c.PresenceEvery), int64(50 * time.Millisecond), int64(time.Hour)},
		{"presence expiry", int64(c.PresenceExpiry), int64(c.PresenceEvery), int64(24 * time.Hour)},
		{"presence skew", int64(c.PresenceSkew), int64(time.Second), int64(time.Hour)},
		{"linger", int64(c.Linger), int64(time.Millisecond), int64(10 * time.Second)},
		{"check timeout", int64(c.CheckTimeout), int64(10 * time.Millisecond), int64(time.Minute)},
		{"remember", int64(c.Remember), int64(time.Second), int64(24 * time.Hour)},
	} {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%w: %s %d, want %d to %d", ErrConfig, r.name, r.value, r.from, r.to)
		}
	}
	for _, a := range [][]string{c.Listen, c.Announce} {
		if _, err := multiaddrs(a); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if _, err := AddrInfos(c.Bootstrap); err != nil {
		return fmt.Errorf("%w: bootstrap: %w", ErrConfig, err)
	}
	for _, ids := range [][]string{c.Allow, c.Block} {
		if _, err := peerIDs(ids); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func chainID(s string) bool {
	if len(s) < 1 || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func multiaddrs(list []string) ([]multiaddr.Multiaddr, error) {
	out := make([]multiaddr.Multiaddr, 0, len(list))
	for _, s := range list {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", s, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// AddrInfos reads multiaddrs with /p2p, one peer an entry.
func AddrInfos(list []string) ([]peer.AddrInfo, error) {
	var all []multiaddr.Multiaddr
	for _, s := range list {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", s, err)
		}
		if _, id := peer.SplitAddr(a); id == "" {
			return nil, fmt.Errorf("address %q does not end in /p2p/<peer id>", s)
		}
		all = append(all, a)
	}
	return peer.AddrInfosFromP2pAddrs(all...)
}

func peerIDs(list []string) ([]peer.ID, error) {
	out := make([]peer.ID, 0, len(list))
	for _, s := range list {
		id, err := peer.Decode(s)
		if err != nil {
			return nil, fmt.Errorf("peer id %q: %w", s, err)
		}
		out = append(out, id)
	}
	return out, nil
}
