package settlement

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/events"
)

// maxWaiting is how many deeds may wait to be sent before Apply waits for them: as many as may be on their way at once.
const maxWaiting = 2048

// Settlement pays for what the log has verified. It is a projection: a runner feeds it, and Run does the rest.
type Settlement struct {
	config Config
	rules  settle.Config
	shelf  shelf
	pace   *pacer
	now    func() time.Time
	blocks Blocks

	kick    chan struct{} // of capacity 1: the sender has something to look at
	doubted chan struct{} // of capacity 1: there is a doubt

	storing sync.Mutex // held while the file is written

	mu        sync.Mutex // guards what follows
	book      *settle.Settler
	title     title
	history   bool          // records from before the book may still come
	memory    horizon       // of the ledger, while they do
	stale     bool          // the chain has no block from the time of the book yet, and history waits for one
	dirty     bool          // the file is older than the book
	stored    storing       // how the last write went
	road      []*trip       // transactions that are in no block, in order
	gap       bool          // blocks were passed over before the next one
	waits     time.Time     // since when deeds wait; zero: none do
	room      chan struct{} // closed and replaced when fewer wait
	retry     backoff       // of what the node did not take
	anchor    anchoring
	poor      *Poverty
	refusal   *Refused
	heard     time.Duration // how old the last record was when it was heard
	trouble   error         // the last failure of the node, the disk or a port; nil once that went well
	failed    error         // it ended for good
	resubmits uint64
	quiet     map[string]time.Time // when a matter was last logged
}

// storing is how writing the file went.
type storing struct {
	at    time.Time
	took  time.Duration
	bytes int
}

// Open reads the book, or begins one, and holds it against chain, key and log.
func Open(ctx context.Context, c Config) (*Settlement, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return nil, fmt.Errorf("settlement: %w", err)
	}
	return open(ctx, c, disk{c.File}, time.Now, threadTime)
}

func open(ctx context.Context, c Config, shelf shelf, now func() time.Time, spent func() time.Duration) (*Settlement, error) {
	c = c.withDefaults()
	rules, err := c.rules()
	if err != nil {
		return nil, err
	}
	s := &Settlement{
		config: c, rules: rules, shelf: shelf, now: now,
		pace: newPacer(c.Share*float64(runtime.GOMAXPROCS(0)), now, spent),
		kick: make(chan struct{}, 1), doubted: make(chan struct{}, 1), room: make(chan struct{}),
		quiet: map[string]time.Time{},
	}
	s.anchor.next = now().Add(c.AnchorEvery)
	switch b, err := shelf.read(); {
	case errors.Is(err, os.ErrNotExist):
		err = s.begin()
		if err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("settlement: %w", err)
	default:
		if err := s.resume(ctx, b); err != nil {
			return nil, err
		}
	}
	s.blocks = c.Ledger.Follow(s.book.Height() + 1)
	signal(s.kick)
	signal(s.doubted)
	return s, nil
}

// begin makes a new book. It is on disk before anything is heard, so that the log from before it is known for good.
func (s *Settlement) begin() (err error) {
	if s.book, err = settle.New(s.rules); err != nil {
		return err
	}
	s.book.Committed(s.config.Ledger.State().Height(), nil)
	s.title = title{genesis: s.config.Ledger.Genesis(), sender: [32]byte(s.rules.Sender), born: s.now()}
	s.history, s.dirty = true, true
	s.anchor.next = s.now() // so that a chain on which nothing else happens has a block from after the book
	if err := s.store(); err != nil {
		return fmt.Errorf("settlement: %w", err)
	}
	return nil
}

// resume goes on with a stored book.
func (s *Settlement) resume(ctx context.Context, b []byte) error {
	t, book, err := decodeFile(b)
	if err != nil {
		return err
	}
	if t.genesis != s.config.Ledger.Genesis() || !bytes.Equal(t.sender[:], s.rules.Sender) {
		return fmt.Errorf("%w: of another chain or key", ErrForeign)
	}
	if s.book, err = settle.Decode(s.rules, book); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := t.mark.check(ctx, s.config.Log); err != nil {
		return err
	}
	if err := s.remembered(s.config.Ledger.State().Height()); err != nil {
		return err
	}
	s.title, s.history = t, true
	for _, body := range s.book.Sent() {
		trip, err := begin(body)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		trip.stored = true
		s.road = append(s.road, trip)
	}
	s.stored = storing{at: s.now(), bytes: len(b)}
	return nil
}

// remembered refuses to go on at a height at which the ledger has forgotten what the book may have had paid.
func (s *Settlement) remembered(height uint64) error {
	memory := s.config.Ledger.State().Params().GetEvidenceBlocks()
	if at := s.book.Height(); height > at && height-at > memory {
		return fmt.Errorf("%w: it ends at block %d, the chain is at %d and remembers %d blocks", ErrForgotten, at, height, memory)
	}
	return nil
}

// check looks for the last record heard where it was.
func (m mark) check(ctx context.Context, log Log) error {
	if m.last == 0 {
		return nil
	}
	for r, err := range log.ReadAll(ctx, m.before, filter()) {
		if err != nil {
			return fmt.Errorf("settlement: reading the log: %w", err)
		}
		if r.Pos == m.last && r.ID == m.id {
			return nil
		}
		break
	}
	return fmt.Errorf("%w: the log does not hold its last record", ErrForeign)
}

func filter() events.Filter { return events.Filter{Types: settle.Types} }

// Run sends transactions, follows the blocks and asks the referee until ctx ends, and then returns nil, or until the book
// cannot be kept any more: ErrForgotten, or what the blocks end with. From then on Apply fails with that too.
func (s *Settlement) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	all.Go(func() { s.sending(ctx) })
	if s.config.Referee != nil {
		all.Go(func() { s.refereeing(ctx) })
	}
	err := s.following(ctx)
	if err != nil {
		s.mu.Lock()
		s.failed = err
		close(s.room) // whoever waits for it is told
		s.room = make(chan struct{})
		s.mu.Unlock()
	}
	stop(err)
	all.Wait()
	return err
}

// Close stores the book. The runner and Run must have ended.
func (s *Settlement) Close() error {
	s.mu.Lock()
	dirty := s.dirty
	s.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := s.store(); err != nil {
		return fmt.Errorf("settlement: %w", err)
	}
	return nil
}

// store writes the book as it is now. What was sealed before may be signed when it returns nil.
func (s *Settlement) store() error {
	s.storing.Lock()
	defer s.storing.Unlock()
	begin, end := s.now(), s.pace.work()
	s.mu.Lock()
	book, err := s.book.Encode()
	var file []byte
	if err == nil {
		file = s.title.encode(book)
	}
	sealed := len(s.road)
	inFile := append([]*trip(nil), s.road[:sealed]...)
	s.dirty = false
	s.mu.Unlock()
	if err == nil {
		err = s.shelf.write(file)
	}
	end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.dirty, s.trouble = true, err
		s.retry.failed(s.now())
		return err
	}
	for _, t := range inFile {
		t.stored = true
	}
	s.stored = storing{at: s.now(), took: s.now().Sub(begin), bytes: len(file)}
	return nil
}

// backoff is when to try again what failed.
type backoff struct {
	at   time.Time
	wait time.Duration
}

const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 30 * time.Second
)

func (b *backoff) failed(now time.Time) {
	b.wait = min(max(2*b.wait, minBackoff), maxBackoff)
	b.at = now.Add(b.wait)
}

func (b *backoff) succeeded() { *b = backoff{} }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loud reports whether a matter was not logged for a minute. It must be called with the lock held.
func (s *Settlement) loud(matter string) bool {
	now := s.now()
	if last, said := s.quiet[matter]; said && now.Sub(last) < time.Minute {
		return false
	}
	s.quiet[matter] = now
	return true
}

// key is the orchestrator's.
func (s *Settlement) key() ed25519.PrivateKey { return s.config.Key }
