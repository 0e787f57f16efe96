package mesh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	validateQueue = 1_024           // messages that wait for their author's signature to be verified
	outboundQueue = 1_024           // RPCs to one peer
	readerQueue   = 512             // messages that wait for a port
	seenFor       = 2 * time.Minute // message ids are remembered; transactions and blocks longer, see Config.Remember
	maxControl    = 128 << 10       // bytes of control in an RPC
	maxSubscribed = 16              // subscriptions in an RPC
	scoresEvery   = time.Second
)

// spoken leaves out floodsub and the first gossipsub, which know no scores.
var spoken = []protocol.ID{pubsub.GossipSubID_v13, pubsub.GossipSubID_v12, pubsub.GossipSubID_v11}

// gossip is pubsub with the three topics.
type gossip struct {
	ps         *pubsub.PubSub
	topics     map[string]*pubsub.Topic // immutable
	subs       map[string]*pubsub.Subscription
	allowances *allowances
	traffic    *traffic

	mu     sync.Mutex
	scores map[peer.ID]float64 // as pubsub told them last
}

// newGossip joins the topics whose ports are plugged. It lives until ctx ends.
func newGossip(ctx context.Context, h host.Host, c Config, k *checks, member func(peer.ID) bool) (*gossip, error) {
	g := &gossip{
		topics: map[string]*pubsub.Topic{}, subs: map[string]*pubsub.Subscription{},
		allowances: newAllowances(c.MessagesPerSecond, c.BytesPerSecond), traffic: newTraffic(h.ID(), k.forget),
	}
	params, thresholds := scoreParams(c.PeersPerIP, member)
	ps, err := pubsub.NewGossipSub(
		ctx, h,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(c.MaxMessage),
		pubsub.WithMaxControlMessageSize(min(maxControl, c.MaxMessage)),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithValidateThrottle(2*c.MaxWaiting),
		pubsub.WithSeenMessagesTTL(seenFor),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(false),
		pubsub.WithGossipSubParams(routerParams()),
		pubsub.WithGossipSubProtocols(spoken, pubsub.GossipSubDefaultFeatures),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(PresenceTopic, TransactionsTopic, AnnounceTopic), maxSubscribed,
		)),
		pubsub.WithAppSpecificRpcInspector(g.allowances.inspect),
		pubsub.WithDefaultValidator(pubsub.ValidatorEx(k.form), pubsub.WithValidatorInline(true)),
		pubsub.WithRawTracer(g.traffic),
		pubsub.WithPeerScore(params, thresholds),
		pubsub.WithPeerScoreInspect(pubsub.PeerScoreInspectFn(g.keepScores), scoresEvery),
	)
	if err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	g.ps = ps
	if err := g.join(PresenceTopic, c, k.guarded(k.presence)); err != nil {
		return nil, err
	}
	if c.Ports.CheckTransaction != nil {
		if err := g.join(TransactionsTopic, c, k.guarded(k.transactions)); err != nil {
			return nil, err
		}
	}
	if c.Ports.Validators != nil {
		if err := g.join(AnnounceTopic, c, k.guarded(k.announcement)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// messageID is the first 20 bytes of a hash of topic, data and, where the author matters, author: otherwise another could
// sign the same data first and have the author's own message taken for seen.
func messageID(m *pb.Message) string {
	h := sha256.New()
	h.Write([]byte(m.GetTopic()))
	h.Write([]byte{0})
	if m.GetTopic() == PresenceTopic {
		h.Write(m.GetFrom())
		h.Write([]byte{0})
	}
	h.Write(m.GetData())
	return string(h.Sum(nil)[:20])
}

func routerParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout, p.Dlazy = 8, 6, 12, 6, 3, 12
	p.HistoryLength, p.HistoryGossip = 10, 3
	return p
}

func (g *gossip) join(name string, c Config, check pubsub.ValidatorEx) error {
	err := g.ps.RegisterTopicValidator(name, check,
		pubsub.WithValidatorTimeout(c.CheckTimeout), pubsub.WithValidatorConcurrency(c.MaxWaiting))
	if err != nil {
		return fmt.Errorf("mesh: topic %s: %w", name, err)
	}
	t, err := g.ps.Join(name)
	if err != nil {
		return fmt.Errorf("mesh: topic %s: %w", name, err)
	}
	s, err := t.Subscribe(pubsub.WithBufferSize(readerQueue))
	if err != nil {
		return fmt.Errorf("mesh: topic %s: %w", name, err)
	}
	g.topics[name], g.subs[name] = t, s
	return nil
}

func (g *gossip) publish(ctx context.Context, topic string, b []byte) error {
	t, ok := g.topics[topic]
	if !ok {
		return ErrOff
	}
	err := t.Publish(ctx, b)
	var refused pubsub.ValidationError
	switch {
	case err == nil:
		g.traffic.published(topic)
		return nil
	case errors.As(err, &refused) && refused.Reason == pubsub.RejectValidationIgnored:
		return fmt.Errorf("%w: %s", ErrNotNow, topic)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %s: %s", ErrMalformed, topic, refused.Reason)
	case errors.Is(err, context.Canceled):
		return ErrClosed
	}
	return fmt.Errorf("mesh: publish %s: %w", topic, err)
}

// read hands over the messages of a topic one after the other, those of this orchestrator excepted.
func (g *gossip) read(ctx context.Context, self peer.ID, topic string, take func(*pubsub.Message)) {
	s, ok := g.subs[topic]
	if !ok {
		return
	}
	for {
		m, err := s.Next(ctx)
		if err != nil {
			return // ctx has ended, or pubsub has
		}
		if m.ReceivedFrom != self {
			take(m)
		}
	}
}

// joins wakes the heart whenever a peer joins the topic of presence.
func (g *gossip) joins(ctx context.Context, events *pubsub.TopicEventHandler, wake chan<- struct{}) {
	defer events.Cancel()
	for {
		e, err := events.NextPeerEvent(ctx)
		if err != nil {
			return
		}
		if e.Type == pubsub.PeerJoin {
			select {
			case wake <- struct{}{}:
			default: // it is awake already
			}
		}
	}
}

func (g *gossip) keepScores(s map[peer.ID]float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scores = s
}

func (g *gossip) score(id peer.ID) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.scores[id]
}
