package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Mesh is this orchestrator among others. All methods are safe for concurrent use.
type Mesh struct {
	cfg       Config
	self      peer.ID
	key       ed25519.PublicKey
	started   time.Time
	gate      *gate
	members   *members
	bandwidth *metrics.BandwidthCounter
	host      host.Host
	table     *table
	checks    *checks
	gossip    *gossip
	book      *book
	calls     *calls
	routes    *dht.IpfsDHT // nil: off
	local     mdns.Service // nil: off

	outgoing     chan []byte   // transactions, from Submit to batches
	joined       chan struct{} // wakes the heart
	found        chan peer.AddrInfo
	closing      chan struct{}
	lastSequence atomic.Uint64

	once    sync.Once
	stop    context.CancelFunc // of the goroutines below
	silence context.CancelFunc // of pubsub, after them
	work    sync.WaitGroup
	err     error // of Close
}

// New starts an orchestrator's side of the mesh. It returns when it listens; it has met nobody yet.
func New(c Config) (*Mesh, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := prepare(c)
	if err != nil {
		return nil, err
	}
	if m.host, err = newHost(m.cfg, m.gate, m.bandwidth); err != nil {
		return nil, err
	}
	if err := m.start(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// prepare makes all that needs no host.
func prepare(c Config) (*Mesh, error) {
	if c.Ports.Height == nil {
		c.Ports.Height = func() uint64 { return 0 }
	}
	if c.Ports.Capacity == nil {
		c.Ports.Capacity = func() Capacity { return Capacity{} }
	}
	m := &Mesh{
		cfg: c, key: c.Key.Public().(ed25519.PublicKey), started: time.Now(), bandwidth: metrics.NewBandwidthCounter(),
		outgoing: make(chan []byte, c.QueueTransactions), joined: make(chan struct{}, 1), found: make(chan peer.AddrInfo, 64),
		closing: make(chan struct{}), stop: func() {}, silence: func() {},
	}
	var err error
	if m.self, err = PeerOf(m.key); err != nil {
		return nil, err
	}
	allow, err := peerIDs(c.Allow)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	block, err := peerIDs(c.Block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m.members = &members{now: c.Ports.Validators}
	m.gate = newGate(c, allow, block, m.members.has)
	m.table = newTable(c, m.members.has)
	m.checks = newChecks(c, m.self, m.table)
	if m.book, err = openBook(c.Book); err != nil {
		c.Logger.Warn("peer book unreadable, starting an empty one", "file", c.Book, "error", err)
	}
	return m, nil
}

// start sets everything going on the host.
func (m *Mesh) start() error {
	boot, err := AddrInfos(m.cfg.Bootstrap)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m.calls = newCalls(boot)
	for _, b := range boot {
		m.host.ConnManager().Protect(b.ID, "bootstrap")
	}
	speaking, silence := context.WithCancel(context.Background())
	m.silence = silence
	if m.gossip, err = newGossip(speaking, m.host, m.cfg, m.checks, m.members.has); err != nil {
		return err
	}
	events, err := m.gossip.topics[PresenceTopic].EventHandler()
	if err != nil {
		return fmt.Errorf("mesh: topic %s: %w", PresenceTopic, err)
	}
	if err := m.discover(); err != nil {
		events.Cancel()
		return err
	}
	ctx, stop := context.WithCancel(speaking)
	m.stop = stop
	for _, f := range []func(context.Context){
		m.beat, m.batches, m.keepCalling, m.keepBook, m.keepPinging, m.meet,
		func(ctx context.Context) { m.gossip.joins(ctx, events, m.joined) },
		func(ctx context.Context) { m.gossip.read(ctx, m.self, PresenceTopic, m.takePresence) },
		func(ctx context.Context) { m.gossip.read(ctx, m.self, TransactionsTopic, m.takeTransactions) },
		func(ctx context.Context) { m.gossip.read(ctx, m.self, AnnounceTopic, m.takeAnnouncement) },
	} {
		m.work.Go(func() { f(ctx) })
	}
	return nil
}

// Close ends every goroutine and connection, and saves the book. It may be called twice.
func (m *Mesh) Close() error {
	m.once.Do(func() {
		close(m.closing)
		m.stop()
		m.work.Wait()
		var errs []error
		if m.book != nil && m.gossip != nil {
			m.writeBook()
			errs = append(errs, m.book.save())
		}
		m.silence()
		if m.local != nil {
			errs = append(errs, m.local.Close())
		}
		if m.routes != nil {
			errs = append(errs, m.routes.Close())
		}
		errs = append(errs, m.host.Close())
		m.err = errors.Join(errs...)
	})
	return m.err
}

// Host is for the rooms that serve streams.
func (m *Mesh) Host() host.Host { return m.host }

// PeerID is this orchestrator's.
func (m *Mesh) PeerID() string { return m.self.String() }

// Orchestrators returns who lives, by what they say of themselves. This one is not among them.
func (m *Mesh) Orchestrators() []Orchestrator {
	out := m.table.living()
	for i := range out {
		if out[i].Peer == m.PeerID() {
			return append(out[:i], out[i+1:]...)
		}
	}
	return out
}

func (m *Mesh) takePresence(msg *pubsub.Message) {
	if p, ok := msg.ValidatorData.(*ledgerv1.Presence); ok {
		m.calls.learn(msg.GetFrom(), p.Addresses)
	}
}

func (m *Mesh) takeTransactions(msg *pubsub.Message) {
	if b, ok := msg.ValidatorData.(batch); ok && m.cfg.Ports.Transactions != nil {
		m.cfg.Ports.Transactions(b.txs)
	}
}

func (m *Mesh) takeAnnouncement(msg *pubsub.Message) {
	if a, ok := msg.ValidatorData.(Announcement); ok && m.cfg.Ports.Announced != nil {
		m.cfg.Ports.Announced(a)
	}
}
