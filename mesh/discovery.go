package mesh

import (
	"context"
	"fmt"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

const mdnsService = "_shardy._udp"

// discover starts the Kademlia table and, where asked for, mDNS. The table finds peers and nothing else: it keeps no values
// and no providers of others.
func (m *Mesh) discover() error {
	if !m.cfg.NoDHT {
		routes, err := dht.New(
			m.host,
			dht.Mode(dht.ModeServer),
			dht.ProtocolPrefix("/shardy"),
			dht.DisableValues(),
			dht.DisableProviders(),
		)
		if err != nil {
			return fmt.Errorf("mesh: routing table: %w", err)
		}
		m.routes = routes
		if err := routes.Bootstrap(context.Background()); err != nil { // only asks its own goroutine to begin
			return fmt.Errorf("mesh: routing table: %w", err)
		}
	}
	if m.cfg.MDNS {
		local := mdns.NewMdnsService(m.host, mdnsService, m)
		if err := local.Start(); err != nil {
			return fmt.Errorf("mesh: mdns: %w", err)
		}
		m.local = local
	}
	return nil
}
