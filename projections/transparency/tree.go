package transparency

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// Options tune a tree. The zero value is right for most.
type Options struct {
	// SignEvery and SignAfter say when a checkpoint is signed: after so many new leaves, and at the latest so long
	// after a new leaf. Default: 65,536 and 5 s.
	SignEvery int64
	SignAfter time.Duration
	// MaxPending bounds the leaves that are kept in memory while they cannot be written. Default: 262,144 (8 MiB).
	MaxPending int64
	// Origin names the log in its checkpoints. Default: [Origin] of the key.
	Origin string
	// Logger hears of damage, and of a log that contradicts what was signed. Default: slog.Default().
	Logger *slog.Logger

	folder folder // tests inject faults here
}

func (o Options) withDefaults() Options {
	if o.SignEvery <= 0 {
		o.SignEvery = 1 << 16
	}
	if o.SignAfter <= 0 {
		o.SignAfter = 5 * time.Second
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 4 << 16
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

var (
	// ErrReadOnly refuses to add to a tree that was opened without a key.
	ErrReadOnly = errors.New("tree was opened to be read")
	// ErrNone says that no checkpoint was signed yet.
	ErrNone = errors.New("no checkpoint was signed yet")
	// ErrNotLeaf says that no leaf is where one was asked for.
	ErrNotLeaf = errors.New("no such leaf")
)

// head is what readers see: the last published checkpoint and the tree below it. It never changes.
type head struct {
	kept      Kept
	edge      *edge
	positions []events.Position
}

// Tree is the Merkle tree over a log, kept up to date by a [projections.Runner].
//
// What Apply takes in is in memory; the tree's own goroutine writes it down, signs checkpoints and ends with Close.
type Tree struct {
	log   Log
	key   ed25519.PrivateKey // nil: read only
	opts  Options
	dir   folder
	cache *tileCache
	head  atomic.Pointer[head] // nil: nothing is signed

	mu        sync.Mutex // guards what follows; held while the folder is written
	live      *edge
	at        events.Position   // taken in up to here
	positions []events.Position // of the last record of every full tile of level 0; only ever appended to
	tiles     []file            // full tiles that are not written yet
	written   int64             // leaves that the size record on disk covers
	writtenAt events.Position
	kept      []Kept
	keptBytes int64 // length of the good part of the file of checkpoints
	checked   int   // how many of kept the live tree was found to lead to
	passed    *edge // of the live tree at the last of kept, until it is published again
	dueSince  time.Time
	stopped   error // nothing is added or signed any more
	closed    bool

	healing sync.Mutex // guards gone; held while a tile is replaced
	gone    bool       // the folder is closed

	wake  chan struct{} // of capacity 1: something became due
	quit  chan struct{}
	ended chan struct{}
}

var (
	_ projections.Projection = (*Tree)(nil)
	_ projections.Batcher    = (*Tree)(nil)
)

// Open opens the tree in a folder and makes it when it is not there; an empty name keeps it in memory. Without a key the
// tree is only read, and the folder may be in use by another process.
//
// Open reads the last records of the log that the tree knows, and the whole log when the folder is damaged. A log that
// no longer leads to the checkpoints that were signed, checkpoints that another key signed, and a damaged file of
// checkpoints do not fail Open: the tree goes on to answer what it can, and Err tells why it adds and signs no more.
func Open(ctx context.Context, dir string, log Log, key ed25519.PrivateKey, opts Options) (*Tree, error) {
	if key != nil && len(key) != ed25519.PrivateKeySize {
		return nil, checkpoint.ErrKey
	}
	t := &Tree{
		log: log, key: key, opts: opts.withDefaults(), cache: newTileCache(), live: new(edge), dir: opts.folder,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	if t.opts.Origin == "" && key != nil {
		t.opts.Origin = Origin(key.Public().(ed25519.PublicKey))
	}
	switch {
	case t.dir != nil:
	case dir == "":
		t.dir = newMemory()
	default:
		d, err := openDisk(dir, key != nil)
		if err != nil {
			return nil, fmt.Errorf("tree: %w", err)
		}
		t.dir = d
	}
	if err := t.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tree: %w", err), t.dir.close())
	}
	if key == nil {
		close(t.ended)
		return t, nil
	}
	go t.work()
	return t, nil
}

// Name is "transparency".
func (t *Tree) Name() string { return "transparency" }

// Filter passes all leaves.
func (t *Tree) Filter() events.Filter { return events.Filter{} }

// Batch asks the runner for a few batches a second: what is signed is signed every few seconds.
func (t *Tree) Batch() projections.Batch {
	return projections.Batch{MinCoalesce: 500 * time.Millisecond, Records: 32 << 10}
}

// Position is the place up to which the log was taken in.
func (t *Tree) Position() events.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// Err tells why the tree adds and signs no more: nil, or ErrHistory, ErrSignature or ErrCheckpoint with the details.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped
}

// stop must be called with the lock held, or before anyone else has the tree.
func (t *Tree) stop(err error) {
	if t.stopped == nil {
		t.stopped = err
		t.opts.Logger.Error("transparency stopped: nothing is signed any more", "error", err)
	}
}

// Apply takes in a batch.
func (t *Tree) Apply(_ context.Context, batch []events.Record, upTo events.Position) error {
	hashes := make([]tlog.Hash, len(batch))
	var buf []byte
	for i := range batch {
		hashes[i], buf = hashLeaf(buf, &batch[i])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.key == nil:
		return ErrReadOnly
	case t.closed:
		return events.ErrClosed
	case t.stopped != nil:
		return t.stopped
	case t.live.size-t.written+int64(len(batch)) > t.opts.MaxPending:
		if err := t.write(); err != nil {
			return fmt.Errorf("tree: %w", err)
		}
	}
	for i := range batch {
		t.add(hashes[i], batch[i].Pos)
		if err := t.check(); err != nil {
			t.stop(err)
			return err
		}
	}
	t.at = upTo
	if t.dueSince.IsZero() && (t.live.size > t.signedSize() || t.at != t.writtenAt) {
		t.dueSince = time.Now()
		t.signal()
	}
	if t.live.size-max(t.signedSize(), t.written) >= t.opts.SignEvery {
		t.signal()
	}
	return nil
}

func (t *Tree) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// add must be called with the lock held, like all that follows.
func (t *Tree) add(leaf tlog.Hash, pos events.Position) {
	t.live.add(leaf, func(level int, n int64, hashes []tlog.Hash) {
		if level == 0 {
			t.positions = append(t.positions, pos)
		}
		t.tiles = append(t.tiles, file{tileName(level, n), joined(hashes)})
	})
}

// check holds the live tree against the next checkpoint that it must lead to.
func (t *Tree) check() error {
	if t.checked == len(t.kept) || t.kept[t.checked].Checkpoint.Size != t.live.size {
		return nil
	}
	c := t.kept[t.checked].Checkpoint
	if t.live.root() != c.Root {
		return fmt.Errorf("%w: of %d leaves", ErrHistory, c.Size)
	}
	if t.checked++; t.checked == len(t.kept) {
		t.passed = t.live.clone()
	}
	return nil
}

// signedSize is the size of the last signed checkpoint.
func (t *Tree) signedSize() int64 {
	if n := len(t.kept); n > 0 {
		return t.kept[n-1].Checkpoint.Size
	}
	return 0
}

// Reset begins anew from the log. What was signed stays signed: if the log no longer leads to it, the tree stops. A tree
// that had stopped because of its log goes on when the log was put right.
func (t *Tree) Reset(ctx context.Context) error {
	t.mu.Lock()
	if t.key == nil {
		t.mu.Unlock()
		return ErrReadOnly
	}
	if t.stopped != nil && !errors.Is(t.stopped, ErrHistory) {
		defer t.mu.Unlock()
		return t.stopped
	}
	s := &stored{dir: t.dir, edge: t.live.clone(), positions: t.positions[:t.live.size>>tileHeight], at: t.at}
	kept := slices.Clone(t.kept)
	t.mu.Unlock()
	other, err := contradiction(ctx, t.log, s, kept)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = nil
	if other != nil {
		t.stop(other)
	}
	t.begin()
	return t.stopped
}

// begin forgets the live tree.
func (t *Tree) begin() {
	t.live, t.at, t.positions, t.tiles, t.written, t.writtenAt, t.checked = new(edge), 0, nil, nil, 0, 0, 0
	t.dueSince, t.passed = time.Time{}, nil
	t.cache.clear()
}

// closePatience is how long Close reads what the runner has not handed over.
const closePatience = 3 * time.Second

// Close takes in what the log has got since the runner ended, writes it down, signs a last checkpoint, and ends. The
// runner must have ended, and the log should still be open.
func (t *Tree) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		<-t.ended
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.quit)
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.key != nil && t.stopped == nil {
		t.catchUp()
	}
	if t.key != nil && t.stopped == nil {
		err = t.settle()
	}
	t.healing.Lock()
	defer t.healing.Unlock()
	t.gone = true
	return errors.Join(err, t.dir.close())
}

// catchUp takes in what there is, as far as there is time. The rest is for the next start.
func (t *Tree) catchUp() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err := scan(ctx, t.log, t.at, 0, func(records []events.Record, hashes []tlog.Hash) error {
		for i := range records {
			t.add(hashes[i], records[i].Pos)
			if err := t.check(); err != nil {
				t.stop(err)
				return err
			}
			t.at = records[i].Pos
		}
		if t.live.size-t.written > t.opts.MaxPending {
			return errEnough
		}
		return nil
	})
	if err != nil && t.stopped == nil {
		t.opts.Logger.Debug("last records are left for the next start", "error", err)
	}
}
