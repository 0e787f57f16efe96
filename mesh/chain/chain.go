package chain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events/durable"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

type ledgerHash = ledger.Hash

// The refusals of a chain.
var (
	ErrConfig   = errors.New("chain: bad configuration")
	ErrClosed   = errors.New("chain: closed")
	ErrLocked   = durable.ErrLocked
	ErrGenesis  = errors.New("chain: another genesis")
	ErrDamaged  = errors.New("chain: damaged on disk")
	ErrFailed   = errors.New("chain: the disk failed, open it anew")
	ErrNotFound = errors.New("chain: not there")
	ErrPruned   = errors.New("chain: no longer there")
	ErrRefused  = errors.New("chain: block refused")
	ErrGap      = errors.New("chain: block does not follow")
	ErrFork     = errors.New("chain: another block is committed at this height")
	ErrTrust    = errors.New("chain: snapshot of validators that are not known here, a trusted height and hash is needed")
)

// Config says where a chain is kept. Zero numbers mean their defaults.
type Config struct {
	Dir     string
	Genesis []byte // encoded; may be empty when the folder has one, and must be the same then

	SnapshotBlocks uint64        // a snapshot at every multiple of this height, 1,000
	Trusted        Trusted       // from where a snapshot may lead on
	KeepSnapshots  int           // 2
	KeepBlocks     uint64        // how many blocks are kept, in whole segments; 0: all. What follows the oldest snapshot stays
	SegmentBytes   int64         // from when a segment is full, 64 MiB
	CacheBytes     int           // of verified transactions, 64 MiB
	ClockAhead     time.Duration // how far the time of a proposal may be ahead of the own clock, 5 s

	Attested proof.Attested   // verifies attestations; nil: proof.Statement.Verify
	Now      func() time.Time // clock for proposals; nil: the system's
	Log      *slog.Logger     // gets what an operator should know; nil: nothing
}

func (c Config) withDefaults() Config {
	if c.SnapshotBlocks == 0 {
		c.SnapshotBlocks = 1000
	}
	if c.KeepSnapshots == 0 {
		c.KeepSnapshots = 2
	}
	if c.Attested == nil {
		c.Attested = proof.Statement.Verify
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.ClockAhead == 0 {
		c.ClockAhead = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
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
	case c.Dir == "":
		return fmt.Errorf("%w: no folder", ErrConfig)
	case c.KeepSnapshots < 1 || c.KeepSnapshots > 1000:
		return fmt.Errorf("%w: %d snapshots, want 1 to 1000", ErrConfig, c.KeepSnapshots)
	case c.SegmentBytes < 1 || c.SegmentBytes > maxSegment/2:
		return fmt.Errorf("%w: segments of %d bytes, want %d at most", ErrConfig, c.SegmentBytes, maxSegment/2)
	case c.CacheBytes < 1 || c.ClockAhead < 0:
		return fmt.Errorf("%w: cache and clock cannot be negative", ErrConfig)
	}
	return nil
}

// view is the chain after a block. Nothing changes it.
type view struct {
	state    ledger.State
	block    *ledgerv1.CertifiedBlock
	receipts []*ledgerv1.Receipt // nil when the block came with a snapshot
	changed  chan struct{}       // closed when there is a later one
}

// Chain is an open chain. Its methods may be called from several goroutines, until Close.
type Chain struct {
	cfg     Config
	id      string // of the chain
	genesis ledgerHash
	origin  *ledgerv1.CertifiedBlock // block 0
	workers int

	lock      *os.File
	segments  *segments
	changes   *changes
	snapshots *snapshots
	verified  *verified
	recent    *recent
	drafts    drafts

	view   atomic.Pointer[view]
	commit sync.Mutex // held while a block is made a part of the chain
	failed error      // guarded by commit: why nothing may be written any more

	exports chan view     // to the goroutine that writes snapshots; holds one
	stop    chan struct{} // closed by Close
	closing sync.Once
	writer  sync.WaitGroup // the goroutine that writes snapshots
}

// Open opens a chain and makes its state.
func Open(cfg Config) (_ *Chain, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	lock, err := durable.Lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	if err := durable.Sweep(cfg.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open chain: %w", err), lock.Close())
	}
	c := &Chain{
		cfg: cfg, lock: lock, workers: runtime.GOMAXPROCS(0), verified: newVerified(cfg.CacheBytes, cfg.Attested), recent: newRecent(),
		exports: make(chan view, 1), stop: make(chan struct{}),
	}
	if err := c.open(); err != nil {
		if c.segments != nil {
			err = errors.Join(err, c.segments.close())
		}
		if c.changes != nil {
			err = errors.Join(err, c.changes.file.Close())
		}
		return nil, errors.Join(fmt.Errorf("open chain: %w", err), lock.Close())
	}
	c.writer.Add(1)
	go c.writeSnapshots()
	c.orderSnapshot() // one that a crash has prevented
	return c, nil
}

// readGenesis returns the genesis that the folder is of, and leaves it there when it is new.
func (c *Chain) readGenesis() ([]byte, error) {
	path := filepath.Join(c.cfg.Dir, "genesis")
	there, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(c.cfg.Genesis) == 0 {
			return nil, fmt.Errorf("%w: none is given, and the folder has none", ErrGenesis)
		}
		if _, _, err := ledger.Genesis(c.cfg.Genesis); err != nil {
			return nil, err
		}
		return c.cfg.Genesis, durable.Replace(path, c.cfg.Genesis)
	case err != nil:
		return nil, err
	case len(c.cfg.Genesis) > 0 && !bytes.Equal(there, c.cfg.Genesis):
		return nil, fmt.Errorf("%w: the folder is of %x, given is %x", ErrGenesis, sha256.Sum256(there), sha256.Sum256(c.cfg.Genesis))
	}
	return there, nil
}

// Close ends the goroutine of the chain and closes its files. Whoever waits for something is told ErrClosed.
func (c *Chain) Close() error {
	var err error
	c.closing.Do(func() {
		close(c.stop)
		c.writer.Wait()
		c.commit.Lock()
		defer c.commit.Unlock()
		c.failed = ErrClosed
		err = errors.Join(c.segments.close(), c.changes.file.Close(), c.lock.Close())
	})
	return err
}
