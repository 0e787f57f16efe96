package consensus

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// What no block may exceed, whoever proposes it. Operators may configure less.
const (
	MaxBatchCount = 2048
	MaxBatchBytes = 2 << 20
	MaxTxBytes    = 64 << 10
)

// ErrConfig says that a Config cannot be run.
var ErrConfig = errors.New("bad configuration")

// Config is what an engine needs. Zero numbers mean their defaults.
type Config struct {
	Chain string             // id of the chain, 1 to 32 characters
	Key   ed25519.PrivateKey // votes; whether it is a validator's is decided by the chain
	Dir   string             // folder of the log of votes; must survive with the key

	Application Application
	Transport   Transport // closed by Close
	Puller      Puller

	BatchCount    int           // transactions of a block, 500; at most MaxBatchCount
	BatchBytes    int           // bytes of a block's transactions, 512 KiB; at most MaxBatchBytes
	BatchInterval time.Duration // how long a leader waits for a full block, 50 ms
	TxBytes       int           // longest transaction, 64 KiB
	PoolSize      int           // transactions that wait, 20,000

	// Heartbeat is how long a silent leader is waited for, and with it the time of recovery: 3 s. 2 s suits hosts of their
	// own in one place, 5 s and more shared or distant ones. All other patience is a multiple of it.
	Heartbeat time.Duration
	// Tick is the grain of timers, 100 ms; at most a tenth of Heartbeat.
	Tick time.Duration

	// FreshLog says, by the operator's word, that this key has never voted at the chain's present height although the log
	// of its votes is not here. Without it such a validator watches until one more block is final.
	FreshLog bool

	// OnEquivocation gets two votes of one validator that contradict each other; once for each validator and height. It
	// must not block.
	OnEquivocation func(*ledgerv1.VotePair)
	// OnFailure is called once, when the engine gives up: it neither votes nor follows any more.
	OnFailure func(error)
	// Log gets what an operator should know. Nil: nothing.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.BatchCount, 500)
	def(&c.BatchBytes, 512<<10)
	def(&c.TxBytes, MaxTxBytes)
	def(&c.PoolSize, 20000)
	if c.BatchInterval == 0 {
		c.BatchInterval = 50 * time.Millisecond
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 3 * time.Second
	}
	if c.Tick == 0 {
		c.Tick = min(100*time.Millisecond, c.Heartbeat/10)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports what of a configuration is out of bounds.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case len(c.Chain) == 0 || len(c.Chain) > 32:
		return fmt.Errorf("%w: chain id of %d characters, want 1 to 32", ErrConfig, len(c.Chain))
	case len(c.Key) != ed25519.PrivateKeySize:
		return fmt.Errorf("%w: no key", ErrConfig)
	case c.Dir == "":
		return fmt.Errorf("%w: no folder", ErrConfig)
	case c.Application == nil || c.Transport == nil || c.Puller == nil:
		return fmt.Errorf("%w: application, transport and puller must be there", ErrConfig)
	case c.BatchCount < 1 || c.BatchCount > MaxBatchCount:
		return fmt.Errorf("%w: %d transactions a block, want 1 to %d", ErrConfig, c.BatchCount, MaxBatchCount)
	case c.TxBytes < 1 || c.TxBytes > MaxTxBytes:
		return fmt.Errorf("%w: transactions of %d bytes, want 1 to %d", ErrConfig, c.TxBytes, MaxTxBytes)
	case c.BatchBytes < c.TxBytes || c.BatchBytes < c.BatchCount || c.BatchBytes > MaxBatchBytes:
		return fmt.Errorf("%w: %d bytes a block, want at least a transaction, and %d at most", ErrConfig, c.BatchBytes, MaxBatchBytes)
	case c.BatchInterval < time.Millisecond || c.BatchInterval > c.Heartbeat/2:
		return fmt.Errorf("%w: a block every %s, want 1 ms to half a heartbeat", ErrConfig, c.BatchInterval)
	case c.PoolSize < c.BatchCount || c.PoolSize > 1<<20:
		return fmt.Errorf("%w: %d transactions wait, want a block's at least, and %d at most", ErrConfig, c.PoolSize, 1<<20)
	case c.Heartbeat < 100*time.Millisecond || c.Heartbeat > time.Minute:
		return fmt.Errorf("%w: heartbeat of %s, want 100 ms to 1 min", ErrConfig, c.Heartbeat)
	case c.Tick < time.Millisecond || c.Tick > c.Heartbeat/10:
		return fmt.Errorf("%w: tick of %s, want 1 ms to a tenth of the heartbeat", ErrConfig, c.Tick)
	}
	return nil
}

// library is the configuration of SmartBFT. Leader rotation stays off: a follower one step behind drops the next leader's
// proposal for good. It synchronizes before it starts, not while: then it could not hear the answers.
func (c Config) library(self uint64) bft.Configuration {
	return bft.Configuration{
		SelfID:                        self,
		RequestBatchMaxCount:          uint64(c.BatchCount),
		RequestBatchMaxBytes:          uint64(c.BatchBytes),
		RequestBatchMaxInterval:       c.BatchInterval,
		IncomingMessageBufferSize:     256,
		RequestPoolSize:               2 * uint64(c.PoolSize), // the other half is for what followers forward
		RequestMaxBytes:               uint64(c.TxBytes),
		RequestPoolSubmitTimeout:      c.Heartbeat / 3,
		RequestForwardTimeout:         2 * c.Heartbeat / 3,
		RequestComplainTimeout:        2 * c.Heartbeat,
		RequestAutoRemoveTimeout:      20 * c.Heartbeat,
		ViewChangeResendInterval:      c.Heartbeat / 3,
		ViewChangeTimeout:             2 * c.Heartbeat,
		LeaderHeartbeatTimeout:        c.Heartbeat,
		LeaderHeartbeatCount:          10,
		NumOfTicksBehindBeforeSyncing: 10,
		CollectTimeout:                c.Heartbeat / 6,
	}
}

// maxFrame bounds what a validator of a set of n may send: the longest is a new view, which quotes from each of a quorum
// the last block and the one in flight.
func maxFrame(n int) int {
	return n*(2*(MaxBatchBytes+MaxBatchCount*4)+64<<10) + 1<<20
}
