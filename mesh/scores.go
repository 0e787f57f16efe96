package mesh

import (
	"net"
	"net/netip"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// What scores lead to. A provably wrong message costs invalidWeight times the square of their number, fading within an
// hour: the third silences gossip with the peer, the fourth publishing to it, the sixth makes it unheard.
const (
	gossipThreshold   = -500
	publishThreshold  = -1_000
	graylistThreshold = -2_500
	invalidWeight     = -100
	memberScore       = 100 // of a validator; it keeps a mesh of strangers from closing round this orchestrator
)

// scoreParams are close to those of chains with as little traffic as ours. Penalties for too few deliveries are off: the
// mesh is small and quiet, and silence would be punished.
func scoreParams(perIP int, member func(peer.ID) bool) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	topics := map[string]*pubsub.TopicScoreParams{}
	for _, name := range []string{PresenceTopic, TransactionsTopic, AnnounceTopic} {
		topics[name] = &pubsub.TopicScoreParams{
			TopicWeight:                    1,
			TimeInMeshWeight:               0.0027, // at most 10 in an hour
			TimeInMeshQuantum:              time.Second,
			TimeInMeshCap:                  3_600,
			FirstMessageDeliveriesWeight:   0.5,
			FirstMessageDeliveriesDecay:    pubsub.ScoreParameterDecay(10 * time.Minute),
			FirstMessageDeliveriesCap:      20,
			InvalidMessageDeliveriesWeight: invalidWeight,
			InvalidMessageDeliveriesDecay:  pubsub.ScoreParameterDecay(time.Hour),
		}
	}
	p := &pubsub.PeerScoreParams{
		Topics:        topics,
		TopicScoreCap: 100,
		AppSpecificScore: func(id peer.ID) float64 {
			if member(id) {
				return memberScore
			}
			return 0
		},
		AppSpecificWeight:           1,
		IPColocationFactorWeight:    -100,
		IPColocationFactorThreshold: perIP,
		IPColocationFactorWhitelist: loopback(),
		BehaviourPenaltyWeight:      -10,
		BehaviourPenaltyThreshold:   6,
		BehaviourPenaltyDecay:       pubsub.ScoreParameterDecay(time.Hour),
		DecayInterval:               pubsub.DefaultDecayInterval,
		DecayToZero:                 pubsub.DefaultDecayToZero,
		RetainScore:                 6 * time.Hour, // a new connection does not wash clean
	}
	return p, &pubsub.PeerScoreThresholds{
		GossipThreshold:             gossipThreshold,
		PublishThreshold:            publishThreshold,
		GraylistThreshold:           graylistThreshold,
		AcceptPXThreshold:           1_000_000, // peer exchange is off
		OpportunisticGraftThreshold: 3.5,
	}
}

func loopback() []*net.IPNet {
	var out []*net.IPNet
	for _, s := range []string{"127.0.0.0/8", "::1/128"} {
		p := netip.MustParsePrefix(s)
		out = append(out, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return out
}
