package mesh

import (
	"maps"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// traffic Counts what happens to messages. It is a tracer of pubsub: its methods must not block.
type traffic struct {
	self   peer.ID
	forget func(*pubsub.Message) // of a message that its reader was too slow for

	mu     sync.Mutex
	topics map[string]*Counts
}

// Counts are of one topic, since the start.
type Counts struct {
	In         int64            `json:"in"`         // accepted, from others
	Out        int64            `json:"out"`        // published by this orchestrator
	Bytes      int64            `json:"bytes"`      // of those accepted
	Duplicates int64            `json:"duplicates"` // came again
	Rejected   int64            `json:"rejected"`   // provably wrong: cost the sender score
	Ignored    int64            `json:"ignored"`    // old, known, not wanted
	Throttled  int64            `json:"throttled"`  // too many at once
	Overflowed int64            `json:"overflowed"` // accepted and forwarded, but the reader was too slow
	NotSent    int64            `json:"not_sent"`   // to a peer whose queue was full
	Reasons    map[string]int64 `json:"reasons,omitempty"`
}

func newTraffic(self peer.ID, forget func(*pubsub.Message)) *traffic {
	t := &traffic{self: self, forget: forget, topics: map[string]*Counts{}}
	for _, name := range []string{PresenceTopic, TransactionsTopic, AnnounceTopic} {
		t.topics[name] = &Counts{Reasons: map[string]int64{}}
	}
	return t
}

func (t *traffic) edit(topic string, f func(*Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.topics[topic]; ok { // others' topics are not counted: their names are theirs to choose
		f(c)
	}
}

func (t *traffic) of(topic string) Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := *t.topics[topic]
	c.Reasons = maps.Clone(c.Reasons)
	return c
}

func (t *traffic) published(topic string) {
	t.edit(topic, func(c *Counts) { c.Out++ })
}

func (t *traffic) DeliverMessage(m *pubsub.Message) {
	t.edit(m.GetTopic(), func(c *Counts) {
		if m.ReceivedFrom != t.self {
			c.In++
			c.Bytes += int64(len(m.GetData()))
		}
	})
}

var (
	throttling = []string{pubsub.RejectValidationThrottled, pubsub.RejectValidationQueueFull}
	innocent   = []string{pubsub.RejectValidationIgnored, pubsub.RejectSelfOrigin, pubsub.RejectBlacklstedPeer, pubsub.RejectBlacklistedSource}
)

func (t *traffic) RejectMessage(m *pubsub.Message, reason string) {
	t.edit(m.GetTopic(), func(c *Counts) {
		switch {
		case slices.Contains(throttling, reason):
			c.Throttled++
		case slices.Contains(innocent, reason):
			c.Ignored++
		default:
			c.Rejected++
		}
		c.Reasons[reason]++
	})
}

func (t *traffic) DuplicateMessage(m *pubsub.Message) {
	t.edit(m.GetTopic(), func(c *Counts) { c.Duplicates++ })
}

func (t *traffic) UndeliverableMessage(m *pubsub.Message) {
	if m.ReceivedFrom == t.self {
		return
	}
	t.edit(m.GetTopic(), func(c *Counts) { c.Overflowed++ })
	t.forget(m)
}

func (t *traffic) DropRPC(rpc *pubsub.RPC, _ peer.ID) {
	for _, m := range rpc.GetPublish() {
		t.edit(m.GetTopic(), func(c *Counts) { c.NotSent++ })
	}
}

func (t *traffic) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (t *traffic) OnClosedOutboundStream(peer.ID)                       {}
func (t *traffic) Join(string)                                          {}
func (t *traffic) Leave(string)                                         {}
func (t *traffic) Graft(peer.ID, string)                                {}
func (t *traffic) Prune(peer.ID, string)                                {}
func (t *traffic) ValidateMessage(*pubsub.Message)                      {}
func (t *traffic) ThrottlePeer(peer.ID)                                 {}
func (t *traffic) RecvRPC(*pubsub.RPC)                                  {}
func (t *traffic) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (t *traffic) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
