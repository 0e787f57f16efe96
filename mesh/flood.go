package mesh

import (
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// maxAllowances bounds the peers whose allowance is remembered; those that were silent longest are forgotten first.
const maxAllowances = 4_096

// allowances holds what each peer may send by gossip. It cuts what is too much off an RPC before anything of it is
// decoded, verified or remembered, so that a message that came from a flooder too often can still come from another peer.
type allowances struct {
	messages, bytes int          // a second
	cut             atomic.Int64 // messages

	mu    sync.Mutex
	peers map[peer.ID]*allowance
}

type allowance struct {
	messages, bytes *rate.Limiter
	last            time.Time
}

func newAllowances(messages, bytes int) *allowances {
	return &allowances{messages: messages, bytes: bytes, peers: map[peer.ID]*allowance{}}
}

// inspect is called by the one goroutine of pubsub that handles RPCs.
func (a *allowances) inspect(from peer.ID, rpc *pubsub.RPC) error {
	if len(rpc.Publish) == 0 {
		return nil
	}
	now := time.Now()
	own := a.of(from, now)
	kept := rpc.Publish[:0]
	for _, m := range rpc.Publish {
		size := len(m.GetData()) + len(m.GetKey()) + len(m.GetSignature()) + len(m.GetTopic())
		if !own.messages.AllowN(now, 1) || !own.bytes.AllowN(now, size) {
			a.cut.Add(1)
			continue
		}
		kept = append(kept, m)
	}
	clear(rpc.Publish[len(kept):])
	rpc.Publish = kept
	return nil
}

func (a *allowances) of(p peer.ID, now time.Time) *allowance {
	a.mu.Lock()
	defer a.mu.Unlock()
	own, ok := a.peers[p]
	if !ok {
		if len(a.peers) >= maxAllowances {
			a.forget()
		}
		own = &allowance{
			messages: rate.NewLimiter(rate.Limit(a.messages), 2*a.messages),
			bytes:    rate.NewLimiter(rate.Limit(a.bytes), 2*a.bytes),
		}
		a.peers[p] = own
	}
	own.last = now
	return own
}

// forget drops the peer that was silent longest.
func (a *allowances) forget() {
	var oldest peer.ID
	var at time.Time
	for p, own := range a.peers {
		if oldest == "" || own.last.Before(at) {
			oldest, at = p, own.last
		}
	}
	delete(a.peers, oldest)
}
