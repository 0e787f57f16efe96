package mesh

import (
	"context"
	"errors"
	"fmt"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// announceDepth is how many blocks below the present height are still passed on: validators commit before observers do.
const announceDepth = 16

// maxRemembered bounds the ids of transactions and of blocks that are remembered.
const (
	maxRememberedTransactions = 1 << 18
	maxRememberedBlocks       = 1 << 12
)

// checks decide what becomes of a message. Accept: it is handed over and passed on. Reject: it is provably wrong, nobody
// honest would have passed it on, and its sender loses score. Ignore: old, known, from the future, or not decidable here.
type checks struct {
	cfg    Config
	self   peer.ID
	lanes  *lanes
	table  *table
	txs    *recent // that were accepted
	blocks *recent // likewise
}

func newChecks(c Config, self peer.ID, t *table) *checks {
	return &checks{
		cfg: c, self: self, table: t, lanes: newLanes(c.Checks, max(c.MaxWaiting/4, 1)),
		txs: newRecent(maxRememberedTransactions, c.Remember), blocks: newRecent(maxRememberedBlocks, c.Remember),
	}
}

// form is the check of size and shape. It runs before any other and leaves what it has read at the message.
func (c *checks) form(_ context.Context, from peer.ID, m *pubsub.Message) (result pubsub.ValidationResult) {
	defer c.caught(m, from, &result)
	var err error
	switch m.GetTopic() {
	case PresenceTopic:
		m.ValidatorData, err = parsePresence(m.GetData())
	case TransactionsTopic:
		m.ValidatorData, err = parseBatch(m.GetData())
	case AnnounceTopic:
		var a Announcement
		a, err = parseAnnounce(c.cfg.Chain, m.GetData())
		a.From = m.GetFrom().String()
		m.ValidatorData = a
	default:
		err = malformed("topic %q", m.GetTopic())
	}
	return c.decide(m, from, err)
}

// decide turns an error into what becomes of the message.
func (c *checks) decide(m *pubsub.Message, from peer.ID, err error) pubsub.ValidationResult {
	switch {
	case err == nil:
		return pubsub.ValidationAccept
	case errors.Is(err, ErrNotNow):
		return pubsub.ValidationIgnore
	}
	c.cfg.Logger.Debug("gossip rejected", "topic", m.GetTopic(), "from", from, "error", err)
	return pubsub.ValidationReject
}

// caught is deferred by checks. One that panics has met a message that nobody thought of: it is dropped, and not held
// against its sender, for whom it may be as new.
func (c *checks) caught(m *pubsub.Message, from peer.ID, result *pubsub.ValidationResult) {
	if p := recover(); p != nil {
		c.cfg.Logger.Error("gossip check panicked", "topic", m.GetTopic(), "from", from, "panic", fmt.Sprint(p))
		*result = pubsub.ValidationIgnore
	}
}

// guarded runs a check in its turn.
func (c *checks) guarded(check func(context.Context, *pubsub.Message) error) pubsub.ValidatorEx {
	return func(ctx context.Context, from peer.ID, m *pubsub.Message) (result pubsub.ValidationResult) {
		defer c.caught(m, from, &result)
		if !c.lanes.enter(ctx, from) {
			return pubsub.ValidationIgnore
		}
		defer c.lanes.leave()
		return c.decide(m, from, check(ctx, m))
	}
}

func (c *checks) presence(_ context.Context, m *pubsub.Message) error {
	p := m.ValidatorData.(*ledgerv1.Presence)
	author, err := PeerOf(p.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if author != m.GetFrom() {
		return malformed("presence of %s by %s", author, m.GetFrom())
	}
	return c.table.see(author, p)
}

// transactions checks what was not seen before, and leaves that at the message.
func (c *checks) transactions(ctx context.Context, m *pubsub.Message) error {
	b := m.ValidatorData.(batch)
	var fresh batch
	for i, id := range b.ids {
		if c.txs.has(id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotNow, err)
		}
		err := c.cfg.Ports.CheckTransaction(b.txs[i])
		if errors.Is(err, ErrNotNow) {
			continue
		}
		if err != nil {
			return fmt.Errorf("transaction %d: %w", i, err)
		}
		fresh.txs, fresh.ids = append(fresh.txs, b.txs[i]), append(fresh.ids, id)
	}
	if len(fresh.txs) == 0 && m.ReceivedFrom != c.self { // one's own are not fresh: Submit has seen them
		return fmt.Errorf("%w: nothing new", ErrNotNow)
	}
	for _, id := range fresh.ids {
		c.txs.add(id)
	}
	m.ValidatorData = fresh
	return nil
}

func (c *checks) announcement(_ context.Context, m *pubsub.Message) error {
	a := m.ValidatorData.(Announcement)
	if own := c.cfg.Ports.Height(); a.Header.Height+announceDepth < own {
		return fmt.Errorf("%w: block %d, have %d", ErrNotNow, a.Header.Height, own)
	}
	if c.blocks.has(a.Hash) && m.ReceivedFrom != c.self {
		return fmt.Errorf("%w: known block", ErrNotNow)
	}
	set := c.cfg.Ports.Validators()
	if set == nil || set.Version != a.Header.ValidatorsVersion {
		return fmt.Errorf("%w: validators of version %d", ErrNotNow, a.Header.ValidatorsVersion)
	}
	if err := light.VerifyCertificate(a.HeaderBytes, set, a.Certificate); err != nil {
		return err
	}
	if !c.blocks.add(a.Hash) && m.ReceivedFrom != c.self {
		return fmt.Errorf("%w: known block", ErrNotNow)
	}
	return nil
}

// forget takes back that a message was seen, since its reader never got it.
func (c *checks) forget(m *pubsub.Message) {
	switch d := m.ValidatorData.(type) {
	case batch:
		for _, id := range d.ids {
			c.txs.forget(id)
		}
	case Announcement:
		c.blocks.forget(seal.Hash(d.Hash))
	}
}
