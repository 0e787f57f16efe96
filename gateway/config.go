package gateway

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

const mebibyte = 1 << 20

// ErrConfig is what New and Validate wrap.
var ErrConfig = errors.New("gateway: bad configuration")

// Config of a door. The zero value of a field means the default that is named with it; Key and GroupKey have none.
type Config struct {
	// Node names this process in WorkerConnected.
	Node string
	// Key signs receipts; workers see it as server_key. Required.
	Key ed25519.PrivateKey
	// GroupKey keys the hashes that stand for addresses and owners in facts. At least 16 bytes, kept for as long as
	// the log, the same on every process. Required.
	GroupKey []byte
	// TrustedProxies may name the peer in X-Forwarded-For. Default: none, the header is ignored.
	TrustedProxies []netip.Prefix
	// Origins are the web origins, beside the door's own, whose pages may open a worker ("https://host").
	Origins []string

	// MaxFrame is the largest payload in bytes for tiers below 3. Default 16 MiB.
	MaxFrame uint64
	// MaxFrameTier3 is the largest payload for tier 3. Default 64 MiB.
	MaxFrameTier3 uint64
	// MaxConnections is the limit of open sessions. Default 20,000.
	MaxConnections int
	// MaxConnectionsPerIP is the limit per address prefix (/32 of IPv4, /64 of IPv6). Default 64; loopback is exempt.
	MaxConnectionsPerIP int
	// HandshakesPerSecond, HandshakeBurst: over all addresses. Default 2,000 and the same again as burst.
	HandshakesPerSecond, HandshakeBurst int
	// HandshakesPerIPPerSecond, HandshakeBurstPerIP: per address prefix. Default 10 and 40; loopback is exempt.
	HandshakesPerIPPerSecond, HandshakeBurstPerIP int
	// HandshakeTimeout bounds the way from the upgrade to the profile. Default 10 s.
	HandshakeTimeout time.Duration
	// CommandTimeout bounds one command to a worker's entity. Default 10 s.
	CommandTimeout time.Duration
	// PingInterval is how often a session is pinged; one that was silent for two and a half of them is closed.
	// Default 20 s.
	PingInterval time.Duration
	// PayloadTimeout bounds the time between a TaskResult and the end of its payload. Default 30 s.
	PayloadTimeout time.Duration
	// WriteTimeout bounds one write to a worker. Default 10 s.
	WriteTimeout time.Duration
	// MaxQueue is how many bytes may wait to be written to one worker; beyond that it is SLOW_READER. Default 32 MiB.
	MaxQueue int
	// MaxBytesInFlight bounds the results being checked and staged, over all sessions. Default 512 MiB.
	MaxBytesInFlight uint64
	// SessionBytesInFlight bounds them for one session. Default 64 MiB.
	SessionBytesInFlight uint64
	// MaxCredits caps what a worker asks for. Default 256.
	MaxCredits uint32
	// MessagesPerSecond is the limit of one session, payloads included; a second's worth of burst. Default 20,000.
	MessagesPerSecond int
	// MaxOutput is the size of the largest output of a job that names none. Default MaxFrame.
	MaxOutput uint64
	// ReconnectGrace is how long a task that was delivered before a restart waits for its worker. Default 15 s.
	ReconnectGrace time.Duration
	// CloseLinger bounds the time for last words. Default 1 s.
	CloseLinger time.Duration
	// InputCache is how many bytes of inputs are kept for the second replica. Default 64 MiB.
	InputCache uint64
	// SettleTimeout bounds how long a result waits for a store that is busy or away. Default 30 s.
	SettleTimeout time.Duration
	// ReceiptInterval is how long recorded results wait for others before one signature is made for all of them; a full
	// receipt does not wait. Default 5 s.
	ReceiptInterval time.Duration

	Benchmark BenchmarkConfig
}

// BenchmarkConfig says how workers are measured; what is measured is admission.Plan's business.
type BenchmarkConfig struct {
	// PrepareTimeout bounds fetching and compiling a challenge's module. Default 30 s.
	PrepareTimeout time.Duration
	// MaxRTT bounds what is deducted for the round trip, as does a quarter of the time measured: a worker may
	// answer pings late. Default 250 ms.
	MaxRTT time.Duration
	// Parallel is how many hosts are measured at once. Default: half of this machine's processors, at least 1.
	Parallel int
	// Wait bounds how long a worker waits for its turn, and for a challenge to be prepared. Default 2 min.
	Wait time.Duration
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
	if len(c.GroupKey) < 16 {
		return c, fmt.Errorf("%w: group key of %d bytes, at least 16", ErrConfig, len(c.GroupKey))
	}
	setDefault(&c.MaxFrame, 16*mebibyte)
	setDefault(&c.MaxFrameTier3, max(64*mebibyte, c.MaxFrame))
	setDefault(&c.MaxConnections, 20_000)
	setDefault(&c.MaxConnectionsPerIP, 64)
	setDefault(&c.HandshakesPerSecond, 2_000)
	setDefault(&c.HandshakeBurst, c.HandshakesPerSecond)
	setDefault(&c.HandshakesPerIPPerSecond, 10)
	setDefault(&c.HandshakeBurstPerIP, 4*c.HandshakesPerIPPerSecond)
	setDefault(&c.HandshakeTimeout, 10*time.Second)
	setDefault(&c.CommandTimeout, 10*time.Second)
	setDefault(&c.PingInterval, 20*time.Second)
	setDefault(&c.PayloadTimeout, 30*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.MaxQueue, 32*mebibyte)
	setDefault(&c.MaxBytesInFlight, 512*mebibyte)
	setDefault(&c.SessionBytesInFlight, 64*mebibyte)
	setDefault(&c.MaxCredits, 256)
	setDefault(&c.MessagesPerSecond, 20_000)
	setDefault(&c.MaxOutput, c.MaxFrame)
	setDefault(&c.ReconnectGrace, 15*time.Second)
	setDefault(&c.CloseLinger, time.Second)
	setDefault(&c.InputCache, 64*mebibyte)
	setDefault(&c.SettleTimeout, 30*time.Second)
	setDefault(&c.ReceiptInterval, 5*time.Second)
	var err error
	if c.Benchmark, err = c.Benchmark.withDefaults(); err != nil {
		return c, err
	}
	return c, c.check()
}

func (c Config) check() error {
	for _, v := range []struct {
		bad  bool
		what string
	}{
		{c.MaxFrame > 1024*mebibyte || c.MaxFrameTier3 > 1024*mebibyte, "frame limit above 1 GiB"},
		{c.MaxFrameTier3 < c.MaxFrame, "frame limit of tier 3 below that of the others"},
		{c.MaxConnections < 0 || c.MaxConnectionsPerIP < 0, "negative connection limit"},
		{c.HandshakesPerSecond < 0 || c.HandshakeBurst < 0, "negative handshake limit"},
		{c.HandshakesPerIPPerSecond < 0 || c.HandshakeBurstPerIP < 0, "negative handshake limit per address"},
		{c.HandshakeTimeout < 0 || c.CommandTimeout < 0 || c.PayloadTimeout < 0 || c.WriteTimeout < 0, "negative timeout"},
		{c.ReconnectGrace < 0 || c.CloseLinger < 0 || c.SettleTimeout < 0, "negative timeout"},
		{c.ReceiptInterval < 0 || c.ReceiptInterval > time.Minute, "receipt interval outside 0 .. 1 min"},
		{c.PingInterval < 100*time.Millisecond || c.PingInterval > time.Hour, "ping interval outside 100 ms .. 1 h"},
		{c.MaxQueue < mebibyte, "queue limit below 1 MiB"},
		{c.SessionBytesInFlight < c.MaxFrameTier3, "bytes in flight of a session below one frame"},
		{c.MaxBytesInFlight < c.SessionBytesInFlight, "bytes in flight below those of one session"},
		{c.MaxCredits > 1<<16, "credits above 65,536"},
		{c.MessagesPerSecond < 0, "negative message rate"},
		{c.MaxOutput > c.MaxFrameTier3, "output limit above the frame limit"},
	} {
		if v.bad {
			return fmt.Errorf("%w: %s", ErrConfig, v.what)
		}
	}
	return nil
}

func (b BenchmarkConfig) withDefaults() (BenchmarkConfig, error) {
	setDefault(&b.PrepareTimeout, 30*time.Second)
	setDefault(&b.MaxRTT, 250*time.Millisecond)
	setDefault(&b.Parallel, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&b.Wait, 2*time.Minute)
	switch {
	case b.PrepareTimeout < 0 || b.MaxRTT < 0 || b.Wait < 0:
		return b, fmt.Errorf("%w: negative timeout of the benchmark", ErrConfig)
	case b.Parallel < 0:
		return b, fmt.Errorf("%w: negative parallelism of the benchmark", ErrConfig)
	}
	return b, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
