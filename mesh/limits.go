package mesh

import (
	"fmt"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

// The protocols of streams. Their handlers live in other rooms; their limits live here.
const (
	ConsensusProtocol protocol.ID = "/shardy/consensus/1.0.0"
	BlockSyncProtocol protocol.ID = "/shardy/blocks/sync/1.0.0"
	SnapshotProtocol  protocol.ID = "/shardy/state/snapshot/1.0.0"
	kadProtocol       protocol.ID = "/shardy/kad/1.0.0"
)

// allowed is how many streams of a protocol may be open in each direction, in all and with one peer, and the memory that
// its handlers may reserve for one peer.
type allowed struct {
	id        protocol.ID
	all, peer int
	memory    int64
}

var protocolLimits = []allowed{
	// One long stream a direction and peer; room for the ones that a broken connection leaves behind.
	{ConsensusProtocol, 1_024, 8, 8 * mebibyte},
	// One request a stream: a joiner asks several at once.
	{BlockSyncProtocol, 256, 16, 64 * mebibyte},
	{SnapshotProtocol, 64, 8, 16 * mebibyte},
	{kadProtocol, 1_024, 64, 8 * mebibyte},
	{pubsub.GossipSubID_v13, 2_048, 8, 16 * mebibyte},
	{pubsub.GossipSubID_v12, 2_048, 8, 16 * mebibyte},
	{pubsub.GossipSubID_v11, 2_048, 8, 16 * mebibyte},
}

// newResources makes the resource manager. A zero limit would mean the default, not nothing: all are named.
func newResources(c Config) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	partial := rcmgr.PartialLimitConfig{
		Protocol:     map[protocol.ID]rcmgr.ResourceLimits{},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{},
	}
	most := rcmgr.LimitVal(2*c.HighPeers + 256)
	partial.System.Conns, partial.System.ConnsInbound, partial.System.ConnsOutbound = most, most, most
	partial.System.Streams, partial.System.StreamsInbound, partial.System.StreamsOutbound = 16*most, 16*most, 16*most
	for _, l := range protocolLimits {
		all, one := rcmgr.LimitVal(l.all), rcmgr.LimitVal(l.peer)
		partial.Protocol[l.id] = rcmgr.ResourceLimits{
			Streams: 2 * all, StreamsInbound: all, StreamsOutbound: all, Memory: rcmgr.LimitVal64(max(c.MaxMemory/2, l.memory)),
		}
		partial.ProtocolPeer[l.id] = rcmgr.ResourceLimits{
			Streams: 2 * one, StreamsInbound: one, StreamsOutbound: one, Memory: rcmgr.LimitVal64(l.memory),
		}
	}
	// Connections of one address: how many is said here, how often by the gate and, for those we make, by the waits of
	// redialing. libp2p's own rate of one in 5 s would hold for our dials as well, and four operators may share an address.
	v4 := []rcmgr.ConnLimitPerSubnet{{ConnCount: 2 * c.PeersPerIP, PrefixLength: 32}}
	v6 := []rcmgr.ConnLimitPerSubnet{
		{ConnCount: 2 * c.PeersPerIP, PrefixLength: 64},
		{ConnCount: 16 * c.PeersPerIP, PrefixLength: 48},
	}
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(partial.Build(scaling.Scale(c.MaxMemory, c.MaxFiles))),
		rcmgr.WithMetricsDisabled(), rcmgr.WithLimitPerSubnet(v4, v6), rcmgr.WithConnRateLimiters(&rate.Limiter{}))
	if err != nil {
		return nil, fmt.Errorf("mesh: resource limits: %w", err)
	}
	return m, nil
}
