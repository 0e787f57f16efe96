package mesh

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Status is what people see of a mesh. Its JSON is what the command line and the dashboard read.
type Status struct {
	Peer          string        `json:"peer"`
	Chain         string        `json:"chain"`
	Node          string        `json:"node"`
	Version       string        `json:"version"`
	Since         time.Time     `json:"since"`
	Validator     bool          `json:"validator"` // this orchestrator is one
	Height        uint64        `json:"height"`
	Listen        []string      `json:"listen"` // multiaddrs with /p2p
	Peers         []PeerStatus  `json:"peers"`
	Topics        []TopicStatus `json:"topics"`
	Bandwidth     Bandwidth     `json:"bandwidth"`
	Orchestrators int           `json:"orchestrators"` // that live, others than this
	Validators    int           `json:"validators"`    // of the present set
	Reached       int           `json:"reached"`       // of these, others that are connected
	Routes        int           `json:"routes"`        // peers in the Kademlia table
	Book          int           `json:"book"`          // peers in the book
	Refused       int64         `json:"refused"`       // connections, dials and streams by the gate
	Cut           int64         `json:"cut"`           // gossip messages beyond their sender's allowance
	Queued        int           `json:"queued"`        // transactions that wait to be sent
}

// PeerStatus is one connected peer.
type PeerStatus struct {
	Peer      string        `json:"peer"`
	Node      string        `json:"node"` // as it calls itself
	Validator bool          `json:"validator"`
	Addresses []string      `json:"addresses"` // of its connections
	Direction string        `json:"direction"` // inbound or outbound, of the oldest connection
	Since     time.Time     `json:"since"`
	Latency   time.Duration `json:"latency_ns"` // 0: not measured yet
	Score     float64       `json:"score"`
	Height    uint64        `json:"height"` // as it says
	Agent     string        `json:"agent"`
	Protocols []string      `json:"protocols"`
	In        int64         `json:"in_bytes"`
	Out       int64         `json:"out_bytes"`
}

// TopicStatus is one topic and what happened to its messages since the start.
type TopicStatus struct {
	Name  string `json:"name"`
	Peers int    `json:"peers"` // connected, that have subscribed
	Counts
}

// Bandwidth is in bytes, and bytes per second.
type Bandwidth struct {
	In      int64   `json:"in"`
	Out     int64   `json:"out"`
	InRate  float64 `json:"in_rate"`
	OutRate float64 `json:"out_rate"`
}

// Status takes a picture.
func (m *Mesh) Status() Status {
	s := Status{
		Peer: m.PeerID(), Chain: m.cfg.Chain, Node: m.cfg.Node, Version: m.cfg.Version, Since: m.started,
		Validator: m.members.has(m.self), Height: m.cfg.Ports.Height(), Listen: m.Bootstrap().Addresses,
		Peers: []PeerStatus{}, Topics: []TopicStatus{}, Orchestrators: len(m.Orchestrators()),
		Book: m.book.size(), Refused: m.gate.refused.Load(), Cut: m.gossip.allowances.cut.Load(), Queued: len(m.outgoing),
	}
	for _, id := range m.members.all() {
		s.Validators++
		if m.connected(id) {
			s.Reached++
		}
	}
	if m.routes != nil {
		s.Routes = m.routes.RoutingTable().Size()
	}
	total := m.bandwidth.GetBandwidthTotals()
	s.Bandwidth = Bandwidth{In: total.TotalIn, Out: total.TotalOut, InRate: total.RateIn, OutRate: total.RateOut}
	for _, id := range m.host.Network().Peers() {
		if p, ok := m.peerStatus(id); ok {
			s.Peers = append(s.Peers, p)
		}
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.Peer, b.Peer) })
	for _, name := range []string{PresenceTopic, TransactionsTopic, AnnounceTopic} {
		if t, ok := m.gossip.topics[name]; ok {
			s.Topics = append(s.Topics, TopicStatus{Name: name, Peers: len(t.ListPeers()), Counts: m.gossip.traffic.of(name)})
		}
	}
	return s
}

func (m *Mesh) peerStatus(id peer.ID) (PeerStatus, bool) {
	conns := m.host.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return PeerStatus{}, false // gone meanwhile
	}
	oldest := slices.MinFunc(conns, func(a, b network.Conn) int { return a.Stat().Opened.Compare(b.Stat().Opened) })
	p := PeerStatus{
		Peer: id.String(), Validator: m.members.has(id), Score: m.gossip.score(id), Since: oldest.Stat().Opened,
		Latency: m.host.Peerstore().LatencyEWMA(id), Direction: "outbound",
	}
	if oldest.Stat().Direction == network.DirInbound {
		p.Direction = "inbound"
	}
	for _, c := range conns {
		p.Addresses = append(p.Addresses, c.RemoteMultiaddr().String())
	}
	if o, ok := m.table.find(id); ok {
		p.Node, p.Height = o.Node, o.Height
	}
	if agent, err := m.host.Peerstore().Get(id, "AgentVersion"); err == nil {
		p.Agent = shown(agent)
	}
	if list, err := m.host.Peerstore().GetProtocols(id); err == nil {
		for _, name := range list {
			p.Protocols = append(p.Protocols, shown(string(name)))
		}
		slices.Sort(p.Protocols)
	}
	b := m.bandwidth.GetBandwidthForPeer(id)
	p.In, p.Out = b.TotalIn, b.TotalOut
	return p, true
}

// shown is a peer's own text, if it can be shown to people.
func shown(text any) string {
	s, ok := text.(string)
	if !ok || !printable(s, 4*maxName) {
		return "?"
	}
	return s
}
