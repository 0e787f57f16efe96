package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
)

// ErrConfig says that a Config cannot be run.
var ErrConfig = errors.New("node: bad configuration")

// Config is what a Node needs. Zero numbers mean their defaults.
type Config struct {
	// Key is the orchestrator's: its peer id, its account, and, if the chain says so, its vote. Required.
	Key ed25519.PrivateKey
	// Genesis is encoded. It may be empty when Dir has a chain, and must be the same then.
	Genesis []byte
	// Dir gets the folders chain, votes and download, and the files book and accusations. Required.
	Dir string

	// Mesh says how others are met. Key, Chain and Ports are filled in, Ports.Capacity excepted; so are Book and Logger
	// when they are empty.
	Mesh mesh.Config

	// Heartbeat is how long a silent leader is waited for (consensus.Config), 3 s.
	Heartbeat time.Duration
	// FreshLog is the operator's word that this key has never voted although the log of its votes is not here.
	FreshLog bool

	// Trusted is a block that somebody whom the operator trusts has named: a snapshot behind it may be gone on from.
	Trusted chain.Trusted
	// SnapshotBlocks: a snapshot at every multiple of this height, 1,000.
	SnapshotBlocks uint64
	// KeepBlocks is how many blocks are kept, in whole segments; 0: all.
	KeepBlocks uint64
	// SegmentBytes is from when a segment of blocks is full, 64 MiB.
	SegmentBytes int64
	// SnapshotBehind is how many blocks behind the others a snapshot is taken although the blocks can be had, 10,000.
	SnapshotBehind uint64

	// Attested verifies attestations of results. Nil: proof.Statement.Verify.
	Attested proof.Attested

	// Meet is how long Open waits at most for others to say how far the chain is, 3 s; what is left of catching up then
	// goes on behind it.
	Meet time.Duration
	// Waiting bounds the transactions submitted here that are in no block yet, 20,000; one sender may have a tenth.
	Waiting int

	// Logger gets what an operator should know. Nil: slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Heartbeat == 0 {
		c.Heartbeat = 3 * time.Second
	}
	if c.Meet == 0 {
		c.Meet = 3 * time.Second
	}
	if c.Waiting == 0 {
		c.Waiting = 20_000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports what of a configuration is out of bounds; the rooms that it is composed of look at the rest.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case len(c.Key) != ed25519.PrivateKeySize:
		return fmt.Errorf("%w: key of %d bytes", ErrConfig, len(c.Key))
	case c.Dir == "":
		return fmt.Errorf("%w: no folder", ErrConfig)
	case c.Heartbeat < 100*time.Millisecond || c.Heartbeat > time.Minute:
		return fmt.Errorf("%w: heartbeat of %s, want 100 ms to 1 min", ErrConfig, c.Heartbeat)
	case c.Meet < 0 || c.Meet > time.Hour:
		return fmt.Errorf("%w: %s to meet others, want 1 h at most", ErrConfig, c.Meet)
	case c.Waiting < 10 || c.Waiting > 1<<20:
		return fmt.Errorf("%w: %d transactions wait, want 10 to %d", ErrConfig, c.Waiting, 1<<20)
	}
	return nil
}
