package mesh

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// userAgent is what identify tells others; the version is the product's own.
const userAgent = "shardy"

// newHost makes the libp2p host: TCP, Noise and Yamux, by name and nothing else. No relay: others' traffic is not ours.
func newHost(c Config, g *gate, bandwidth metrics.Reporter) (host.Host, error) {
	key, err := privateKey(c.Key)
	if err != nil {
		return nil, err
	}
	resources, err := newResources(c)
	if err != nil {
		return nil, err
	}
	connections, err := connmgr.NewConnManager(c.LowPeers, c.HighPeers, connmgr.WithGracePeriod(20*time.Second))
	if err != nil {
		return nil, fmt.Errorf("mesh: connection manager: %w", err)
	}
	agent := userAgent
	if c.Version != "" {
		agent += "/" + c.Version
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.NoListenAddrs, // listens below: a failure inside New leaves goroutines behind
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
		libp2p.Ping(true),
		libp2p.UserAgent(agent),
		libp2p.ConnectionGater(g),
		libp2p.ConnectionManager(connections),
		libp2p.ResourceManager(resources),
		libp2p.BandwidthReporter(bandwidth),
		libp2p.WithDialTimeout(c.DialTimeout),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(), // where this orchestrator is, its operator says, not its peers
	}
	if len(c.Announce) > 0 {
		announce, err := multiaddrs(c.Announce)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		options = append(options, libp2p.AddrsFactory(func([]multiaddr.Multiaddr) []multiaddr.Multiaddr { return announce }))
	}
	h, err := libp2p.New(options...)
	if err != nil {
		return nil, fmt.Errorf("mesh: host: %w", err)
	}
	listen, err := multiaddrs(c.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrConfig, err), h.Close())
	}
	for _, a := range listen { // one by one: together, one that succeeds would hide one that does not
		if err := h.Network().Listen(a); err != nil {
			return nil, errors.Join(fmt.Errorf("mesh: listen on %s: %w", a, err), h.Close())
		}
	}
	return h, nil
}
