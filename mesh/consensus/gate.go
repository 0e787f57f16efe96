package consensus

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
)

// Bounds of what one peer may make the gate hold.
const (
	maxHeldMessages = 64
	maxHeldBytes    = 3 * MaxBatchBytes
	rememberedViews = 8
	digestLength    = 64
	maxReason       = 256
)

// The library listens for so many blocks after the last one. What is for a later one waits at most so many ticks for its
// turn: when no block comes meanwhile, the library had better learn how far the others are.
const (
	listened = 2
	maxTurn  = 3
)

// How long a message of a kind may be. A NewView is as long as a frame.
const (
	maxSmall     = 4 << 10
	maxProposal  = MaxBatchBytes + MaxBatchCount*binary.MaxVarintLen32 + light.MaxHeaderBytes + light.MaxMetadataBytes + maxSmall
	maxStatement = 2*maxProposal + 64<<10 // of the last block, with its votes, and the one in flight
)

type message = smartbftprotos.Message

// admitted is a message that the library may have now.
type admitted struct {
	from uint64
	m    *message
	size int
}

// gate decides which messages of peers reach the library, and when. It is pure: no clock, lock or goroutine; time is the
// number of calls of Tick.
//
// The library forgets what comes early, and it gives up on a new view that it gets twice or late. So
//
//   - a ViewData or NewView waits until quorum-1 validators have asked for that view here;
//   - what belongs to a view that is about to begin waits until it has begun;
//   - everything above a block that changes the validators waits until the library has begun anew;
//   - while the library synchronizes, everything above the last block waits until it has begun again, and at other times
//     what is for none of the two blocks that it listens for waits a little: a validator that is behind would else chase
//     the others from block to block;
//   - a NewView passes once for its leader and view, in ascending order, when every statement in it is signed by another
//     validator and none is so old that the library would go backwards.
//
// What cannot come from an honest validator is dropped.
type gate struct {
	self    uint64
	members *members
	signed  func(*smartbftprotos.SignedViewData) bool // by its signer
	tip     func() uint64                             // height of the last committed block
	expire  int                                       // ticks that a message is held at most

	now      int
	view     uint64 // that runs in the library
	next     uint64 // its NewView was let in and it has not begun; 0: none
	nextAt   int    // tick
	changing uint64 // height of the block after which the validators change; 0: none
	pausing  bool   // the library synchronizes
	pauseEnd int    // tick at which it has begun again at the latest

	peers map[uint64]*gatePeer
	held  []heldMessage // in order of arrival
}

// gatePeer is what is remembered of one peer.
type gatePeer struct {
	asked    []uint64 // views that it asked for last, at most rememberedViews
	viewData uint64   // newest view for which its ViewData was let in
	newView  uint64   // newest view for which its NewView was looked at
	held     int
	bytes    int
}

type heldMessage struct {
	admitted
	view uint64 // of a ViewData or NewView: waits for quorum-1 requests
	at   int    // tick
}

func newGate(self uint64, m *members, expire int, tip func() uint64, signed func(*smartbftprotos.SignedViewData) bool) *gate {
	g := &gate{self: self, tip: tip, signed: signed, expire: expire, peers: map[uint64]*gatePeer{}}
	g.setMembers(m)
	return g
}

// setMembers makes another set of validators the present one.
func (g *gate) setMembers(m *members) {
	g.members = m
	for node := range g.peers {
		if m.keys[node] == (Key{}) {
			delete(g.peers, node)
		}
	}
	for _, node := range m.nodes {
		if node != g.self && g.peers[node] == nil {
			g.peers[node] = new(gatePeer)
		}
	}
	g.held = slices.DeleteFunc(g.held, func(h heldMessage) bool { return g.peers[h.from] == nil })
}

// Admit takes a message of a peer and returns what the library gets now.
func (g *gate) Admit(from uint64, m *message, size int) []admitted {
	p := g.peers[from]
	if p == nil || size > longest(m) {
		return nil
	}
	switch c := m.GetContent().(type) {
	case *smartbftprotos.Message_ViewChange:
		if len(c.ViewChange.GetReason()) > maxReason || c.ViewChange.GetNextView() == 0 {
			return nil
		}
		p.ask(c.ViewChange.GetNextView())
		return append([]admitted{{from, m, size}}, g.release()...)
	case *smartbftprotos.Message_ViewData:
		vd := viewDataOf(c.ViewData)
		if vd == nil || vd.NextView <= max(g.view, p.viewData) || g.members.leader(vd.NextView) != g.self ||
			c.ViewData.GetSigner() != from || !g.signed(c.ViewData) {
			return nil
		}
		g.hold(from, m, vd.NextView, size)
		return g.release()
	case *smartbftprotos.Message_NewView:
		view := newViewOf(c.NewView)
		if view <= max(g.view, p.newView) || g.members.leader(view) != from {
			return nil
		}
		g.hold(from, m, view, size)
		return g.release()
	}
	if !g.plausible(from, m) {
		return nil
	}
	if wait, turn := g.early(m); wait || turn {
		g.hold(from, m, 0, size)
		return nil
	}
	return []admitted{{from, m, size}}
}

// Pausing says that the library synchronizes. It begins again, or Tick ends the pause after so many ticks: not every
// synchronization ends with a view that begins.
func (g *gate) Pausing(ticks int) { g.pausing, g.pauseEnd = true, g.now+ticks }

// Moved says that another block is final.
func (g *gate) Moved() []admitted {
	if len(g.held) == 0 {
		return nil
	}
	return g.release()
}

// Begun says that a view runs in the library now, after a change of the view or of the validators.
func (g *gate) Begun(view uint64) []admitted {
	g.view, g.changing, g.pausing = view, 0, false
	if g.next <= view {
		g.next = 0
	}
	return g.release()
}

// Changing says that the block at this height changes the validators: no message about a later one is of use until the
// library has begun anew.
func (g *gate) Changing(height uint64, m *members) {
	g.changing = height
	g.setMembers(m)
}

// Tick passes time. What was held for too long is let go: the library cannot use it, but may learn from it that it lags.
func (g *gate) Tick() []admitted {
	g.now++
	if g.now >= g.pauseEnd {
		g.pausing = false
	}
	if g.next > 0 && g.now-g.nextAt >= g.expire {
		g.next = 0
	}
	return g.release()
}

// longest is how many bytes an honest validator needs for a message.
func longest(m *message) int {
	switch m.GetContent().(type) {
	case *smartbftprotos.Message_NewView:
		return math.MaxInt // a frame is bounded
	case *smartbftprotos.Message_ViewData:
		return maxStatement
	case *smartbftprotos.Message_PrePrepare:
		return maxProposal
	}
	return maxSmall
}

// plausible refuses what an honest validator never sends.
func (g *gate) plausible(from uint64, m *message) bool {
	switch c := m.GetContent().(type) {
	case *smartbftprotos.Message_PrePrepare:
		return from == g.members.leader(c.PrePrepare.GetView()) && c.PrePrepare.GetProposal() != nil &&
			len(c.PrePrepare.GetPrevCommitSignatures()) == 0
	case *smartbftprotos.Message_Prepare:
		return len(c.Prepare.GetDigest()) == digestLength
	case *smartbftprotos.Message_Commit:
		return len(c.Commit.GetDigest()) == digestLength && c.Commit.GetSignature().GetSigner() == from
	case *smartbftprotos.Message_HeartBeat, *smartbftprotos.Message_HeartBeatResponse,
		*smartbftprotos.Message_StateTransferRequest, *smartbftprotos.Message_StateTransferResponse:
		return true
	}
	return false
}

// early reports whether a message belongs to what is about to begin, or to a block whose turn has not come: the library
// listens for the block after the last one, and for the one after that.
func (g *gate) early(m *message) (begin, turn bool) {
	view, height, ok := placeOf(m)
	if !ok {
		return false, false
	}
	if g.next > 0 && view == g.next || g.changing > 0 && height > g.changing {
		return true, false
	}
	if m.GetHeartBeat() != nil || view < g.view {
		return false, false
	}
	return g.pausing && height > g.tip(), view == g.view && height > g.tip()+listened
}

// past reports whether a message that was held is of no use any more: the library takes one of an earlier view for a
// fault of the leader that sent it before it led.
func (g *gate) past(m *message) bool {
	view, height, ok := placeOf(m)
	return ok && m.GetHeartBeat() == nil && (view < g.view || height <= g.tip())
}

func placeOf(m *message) (view, height uint64, ok bool) {
	switch c := m.GetContent().(type) {
	case *smartbftprotos.Message_PrePrepare:
		return c.PrePrepare.GetView(), c.PrePrepare.GetSeq(), true
	case *smartbftprotos.Message_Prepare:
		return c.Prepare.GetView(), c.Prepare.GetSeq(), true
	case *smartbftprotos.Message_Commit:
		return c.Commit.GetView(), c.Commit.GetSeq(), true
	case *smartbftprotos.Message_HeartBeat:
		return c.HeartBeat.GetView(), c.HeartBeat.GetSeq(), true
	}
	return 0, 0, false
}

// hold keeps a message. Of a peer's statements about views only the newest of each kind is kept.
func (g *gate) hold(from uint64, m *message, view uint64, size int) {
	p := g.peers[from]
	if view > 0 {
		same := func(h heldMessage) bool {
			return h.from == from && h.view > 0 && (h.m.GetNewView() != nil) == (m.GetNewView() != nil)
		}
		if slices.ContainsFunc(g.held, func(h heldMessage) bool { return same(h) && h.view >= view }) {
			return
		}
		g.drop(same)
	} else if p.held >= maxHeldMessages || p.bytes+size > maxHeldBytes {
		return
	} else {
		p.held++
		p.bytes += size
	}
	g.held = append(g.held, heldMessage{admitted{from, m, size}, view, g.now})
}

// drop forgets held messages.
func (g *gate) drop(which func(heldMessage) bool) {
	g.held = slices.DeleteFunc(g.held, func(h heldMessage) bool {
		if !which(h) {
			return false
		}
		if h.view == 0 {
			g.peers[h.from].held--
			g.peers[h.from].bytes -= h.size
		}
		return true
	})
}

// release returns what need not wait any longer, in order of arrival.
func (g *gate) release() []admitted {
	var out []admitted
	kept := g.held[:0]
	for _, h := range g.held {
		if g.waits(h) {
			kept = append(kept, h)
			continue
		}
		if h.view == 0 {
			g.peers[h.from].held--
			g.peers[h.from].bytes -= h.size
			if !g.past(h.m) {
				out = append(out, h.admitted)
			}
		} else if h.view > g.view && g.enter(h) {
			out = append(out, h.admitted)
		}
	}
	clear(g.held[len(kept):])
	g.held = kept
	return out
}

// waits reports whether a held message has to wait on.
func (g *gate) waits(h heldMessage) bool {
	age := g.now - h.at
	if age >= g.expire {
		return false
	}
	if h.view > 0 {
		return h.view > g.view && g.asked(h.view) < g.members.quorum-1
	}
	begin, turn := g.early(h.m)
	return begin || turn && age < maxTurn
}

// enter reports whether a ViewData or NewView whose time has come is let in, and remembers it.
func (g *gate) enter(h heldMessage) bool {
	p := g.peers[h.from]
	if h.m.GetNewView() == nil {
		if h.view <= p.viewData {
			return false
		}
		p.viewData = h.view
		return true
	}
	if h.view <= p.newView {
		return false
	}
	p.newView = h.view // an honest leader sends one, and it is sound: another one is not looked at
	if !g.sound(h.m.GetNewView(), h.view) {
		return false
	}
	g.next, g.nextAt = h.view, g.now
	return true
}

// asked is how many peers have asked for a view.
func (g *gate) asked(view uint64) int {
	n := 0
	for _, p := range g.peers {
		if slices.Contains(p.asked, view) {
			n++
		}
	}
	return n
}

func (p *gatePeer) ask(view uint64) {
	if slices.Contains(p.asked, view) {
		return
	}
	if len(p.asked) == rememberedViews {
		p.asked = slices.Delete(p.asked, 0, 1)
	}
	p.asked = append(p.asked, view)
}

// sound verifies a NewView as far as the library does not: it counts statements of the past without their signatures,
// looks at repeated ones, and panics when the block in flight is behind its own height.
func (g *gate) sound(nv *smartbftprotos.NewView, view uint64) bool {
	statements := nv.GetSignedViewData()
	if len(statements) < g.members.quorum || len(statements) > len(g.members.nodes) {
		return false
	}
	var newest uint64
	seen := map[uint64]bool{}
	for _, s := range statements {
		vd := viewDataOf(s)
		if vd == nil || vd.NextView != view || seen[s.GetSigner()] || g.members.keys[s.GetSigner()] == (Key{}) || !g.signed(s) {
			return false
		}
		seen[s.GetSigner()] = true
		newest = max(newest, metadataOf(vd.GetLastDecision().GetMetadata()).GetLatestSequence())
	}
	return newest+1 >= g.tip()
}

// viewDataOf reads what a validator states about a view; nil for what the library would stumble over.
func viewDataOf(s *smartbftprotos.SignedViewData) *smartbftprotos.ViewData {
	vd := new(smartbftprotos.ViewData)
	if proto.Unmarshal(s.GetRawViewData(), vd) != nil || vd.NextView == 0 || vd.LastDecision == nil ||
		metadataOf(vd.LastDecision.Metadata) == nil {
		return nil
	}
	if f := vd.InFlightProposal; f != nil && (len(f.Metadata) == 0 || metadataOf(f.Metadata) == nil) {
		return nil
	}
	return vd
}

// newViewOf is the view that a NewView is for; 0 for none.
func newViewOf(nv *smartbftprotos.NewView) uint64 {
	if len(nv.GetSignedViewData()) == 0 {
		return 0
	}
	return viewDataOf(nv.SignedViewData[0]).GetNextView()
}

func metadataOf(b []byte) *smartbftprotos.ViewMetadata {
	md := new(smartbftprotos.ViewMetadata)
	if proto.Unmarshal(b, md) != nil {
		return nil
	}
	return md
}
