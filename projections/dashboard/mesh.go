package dashboard

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) meshPages() []page {
	return []page{{name: "mesh", route: "/mesh", title: "Mesh", nav: "mesh", needs: staff, every: 2 * time.Second, view: d.mesh}}
}

type meshView struct {
	Said          saying
	Tone          tone
	Figures       []figure
	Facts         []fact
	Peers         table
	More          string // how many peers are not shown
	Topics        table
	Orchestrators table
	Listen        []string
}

// The bounds of what is shown of a mesh.
const (
	maxPeers         = 200
	maxOrchestrators = 200
	maxTopics        = 32
	maxListen        = 16
)

func (d *Dashboard) mesh(ctx context.Context, q *ask) (any, error) {
	if d.deps.Mesh == nil {
		return nil, errNoMesh
	}
	m, err := d.deps.Mesh.GetMesh(ctx, &operatorv1.GetMeshRequest{})
	if err != nil {
		return nil, err
	}
	v := &meshView{
		Facts: meshFacts(m, q.Now), Peers: peerTable(m), Topics: topicTable(m), Orchestrators: orchestratorTable(m),
		Figures: []figure{
			{Name: "Peers", Value: thousands(len(m.GetPeers())), Href: "#peers"},
			{Name: "Orchestrators", Value: thousands(len(m.GetOrchestrators())), Href: "#orchestrators"},
			{Name: "Received", Value: sizeOf(m.GetBytesIn()), Href: "#topics"},
			{Name: "Sent", Value: sizeOf(m.GetBytesOut()), Href: "#topics"},
		},
	}
	if n := len(m.GetPeers()); n > maxPeers {
		v.More = thousands(n-maxPeers) + " more peers are not shown."
	}
	for _, a := range m.GetListen()[:min(len(m.GetListen()), maxListen)] {
		v.Listen = append(v.Listen, clip(plain(a), 300))
	}
	v.Said, v.Tone = meshSaying(m)
	return v, nil
}

// meshSaying says whether enough validators are near.
func meshSaying(m *operatorv1.GetMeshResponse) (saying, tone) {
	others := m.GetValidators()
	if m.GetValidator() && others > 0 {
		others--
	}
	peers := plural(len(m.GetPeers()), "peer")
	switch {
	case len(m.GetPeers()) == 0 && others == 0:
		return saying{say("Nobody is connected, and nobody needs to be: this is the only validator.")}, toneVerified
	case len(m.GetPeers()) == 0:
		return saying{say("Nobody is connected. Give an address of another orchestrator with --mesh-bootstrap.")}, toneDead
	case others == 0:
		return saying{say("%s connected.", peers)}, toneVerified
	case m.GetValidatorsReached() < others:
		return saying{say("%s connected, among them %d of the %d other validators.", peers, m.GetValidatorsReached(), others)}, toneMismatch
	}
	return saying{say("%s connected, among them all %d other validators.", peers, others)}, toneVerified
}

func meshFacts(m *operatorv1.GetMeshResponse, now time.Time) []fact {
	part := "observer"
	if m.GetValidator() {
		part = "validator"
	}
	up := none()
	if m.GetSinceUs() > 0 {
		up = duration(now.Sub(time.UnixMicro(m.GetSinceUs())).Truncate(time.Second))
	}
	return []fact{
		{"Peer id", idCell(m.GetPeer(), "")},
		{"Chain", text(m.GetChainId()).with(part)},
		{"Height", count(m.GetHeight())},
		{"Up for", up},
		{"Peers in the book", count(m.GetKnown())},
		{"Routes", count(m.GetRoutes()).with("in the Kademlia table")},
		{"Refused by the gate", count(m.GetRefused()).with("connections, dials and streams")},
		{"Cut off", count(m.GetCut()).with("messages beyond an allowance")},
		{"Waiting to be sent", count(m.GetQueued()).with("transactions")},
	}
}

func peerTable(m *operatorv1.GetMeshResponse) table {
	t := table{
		Caption: "Peers", Compact: true, Columns: columns("Peer", "Direction~", "Latency#", "Score#", "Height#", "In#~", "Out#~", "Connected~"),
		Empty: empty{Title: "No peer", Text: "This orchestrator is alone. It finds others by their addresses:", Command: "shardy serve --mesh --mesh-bootstrap http://other-host:7420"},
	}
	peers := slices.Clone(m.GetPeers())
	slices.SortFunc(peers, func(a, b *operatorv1.MeshPeer) int {
		return cmp.Or(-compareBool(a.GetValidator(), b.GetValidator()), cmp.Compare(a.GetNode(), b.GetNode()), cmp.Compare(a.GetPeer(), b.GetPeer()))
	})
	for _, p := range peers[:min(len(peers), maxPeers)] {
		latency := cell{Text: "–", Title: "Not measured yet"}
		if p.GetLatencyUs() > 0 {
			latency = duration(time.Duration(p.GetLatencyUs()) * time.Microsecond)
		}
		height := count(p.GetHeight())
		if behind := m.GetHeight() - min(m.GetHeight(), p.GetHeight()); behind > 0 {
			height = height.with(thousands(behind) + " behind")
		}
		t.add(domID(p.GetPeer()), peerName(p), text(p.GetDirection()).with(first(p.GetAddresses())), latency, scoreCell(p.GetScore()), height,
			bytesCell(p.GetBytesIn()), bytesCell(p.GetBytesOut()), microsCell(p.GetSinceUs()))
	}
	return t
}

// domID makes an id of what another orchestrator says: letters and digits of it.
func domID(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, clip(s, 80))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// shortPeer is the end of a peer id: they all begin alike.
func shortPeer(id string) string {
	if id = plain(id); len(id) > 10 && domID(id) == id {
		return "…" + id[len(id)-8:]
	}
	return clip(id, 14)
}

// peerName shows a peer by the name that it gives itself, and by its id.
func peerName(p *operatorv1.MeshPeer) cell {
	c := idCell(p.GetPeer(), "")
	c.Text = shortPeer(p.GetPeer())
	part := "observer"
	if p.GetValidator() {
		part = "validator"
	}
	if p.GetNode() != "" {
		id := c.Text
		c = text(p.GetNode())
		c.Title = clip(plain(p.GetPeer()), 256)
		return c.with(part + " · " + id)
	}
	return c.with(part)
}

func scoreCell(score float64) cell {
	c := cell{Text: strconv.FormatFloat(score, 'f', 1, 64), Title: "Of gossip: below zero a peer gets less and less"}
	if score < 0 {
		c.Text = "−" + strconv.FormatFloat(-score, 'f', 1, 64)
	}
	return c
}

func topicTable(m *operatorv1.GetMeshResponse) table {
	t := table{
		Caption: "Topics", Compact: true, Columns: columns("Topic", "Peers#~", "Accepted#", "Published#~", "Bytes#~", "Duplicates#~", "Rejected#", "Ignored#~", "Held back#~"),
		Empty: empty{Title: "No topic", Text: "Nothing is gossiped about."},
	}
	for i, x := range m.GetTopics()[:min(len(m.GetTopics()), maxTopics)] {
		held := x.GetThrottled() + x.GetOverflowed() + x.GetNotSent()
		back := tally(held)
		if held > 0 {
			back.Title = thousands(x.GetThrottled()) + " throttled, " + thousands(x.GetOverflowed()) + " overflowed, " + thousands(x.GetNotSent()) + " not sent"
		}
		t.add("topic-"+strconv.Itoa(i), text(x.GetName()), count(x.GetPeers()), count(x.GetAccepted()), count(x.GetPublished()), bytesCell(x.GetBytes()),
			tally(x.GetDuplicates()), tally(x.GetRejected()), tally(x.GetIgnored()), back)
	}
	return t
}

// said is a number that another orchestrator says of itself: one that cannot be is not written out.
func said(n uint32) cell {
	if most := uint32(99_999); n > most {
		return cell{Text: thousands(most) + "+", Title: thousands(n)}
	}
	return count(n)
}

func orchestratorTable(m *operatorv1.GetMeshResponse) table {
	t := table{
		Caption: "Orchestrators", Compact: true, Columns: columns("Orchestrator", "Height#~", "Idle of tier 1#", "Tier 2#", "Tier 3#", "Would take#~", "Version~", "Heard~"),
		Empty: empty{Title: "Nobody else says that it lives", Text: "Each orchestrator of a mesh says every few seconds what its workers could do."},
	}
	all := m.GetOrchestrators()
	for _, o := range all[:min(len(all), maxOrchestrators)] {
		who := hexCell(o.GetKey(), "")
		if len(o.GetKey()) == 32 {
			who.Href = linkAccount(o.GetKey())
		}
		part := "observer"
		if o.GetValidator() {
			part = "validator"
		}
		if o.GetNode() != "" {
			short := who.Text
			who.Text, who.Mono = clip(plain(o.GetNode()), 60), false
			part += " · " + short
		}
		idle := [3]cell{none(), none(), none()}
		for i := range idle {
			if i < len(o.GetIdle()) {
				idle[i] = said(o.Idle[i])
			}
		}
		t.add(domID(o.GetPeer()), who.with(part), count(o.GetHeight()), idle[0], idle[1], idle[2], count(o.GetFreeCredits()), text(o.GetVersion()), microsCell(o.GetSeenUs()))
	}
	return t
}
