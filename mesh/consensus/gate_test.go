package consensus

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
)

func viewChange(view uint64) *message {
	return &message{Content: &smartbftprotos.Message_ViewChange{ViewChange: &smartbftprotos.ViewChange{NextView: view}}}
}

// statement is what a validator says about a view: it has decided seq, in an earlier view. In these tests the signature
// is the signer's number.
func statement(signer, view, seq uint64) *smartbftprotos.SignedViewData {
	last := &smartbftprotos.Proposal{}
	if seq > 0 {
		last.Metadata = marshal(&smartbftprotos.ViewMetadata{ViewId: view - 1, LatestSequence: seq})
	}
	return &smartbftprotos.SignedViewData{
		RawViewData: marshal(&smartbftprotos.ViewData{NextView: view, LastDecision: last}), Signer: signer, Signature: fmt.Append(nil, signer),
	}
}

func falsely(s *smartbftprotos.SignedViewData) *smartbftprotos.SignedViewData {
	s.Signature = []byte("false")
	return s
}

func viewData(s *smartbftprotos.SignedViewData) *message {
	return &message{Content: &smartbftprotos.Message_ViewData{ViewData: s}}
}

func newView(statements ...*smartbftprotos.SignedViewData) *message {
	return &message{Content: &smartbftprotos.Message_NewView{NewView: &smartbftprotos.NewView{SignedViewData: statements}}}
}

func prePrepare(view, seq uint64) *message {
	return &message{Content: &smartbftprotos.Message_PrePrepare{PrePrepare: &smartbftprotos.PrePrepare{
		View: view, Seq: seq, Proposal: &smartbftprotos.Proposal{},
	}}}
}

var someDigest = strings.Repeat("d", digestLength)

func prepare(view, seq uint64) *message {
	return &message{Content: &smartbftprotos.Message_Prepare{Prepare: &smartbftprotos.Prepare{View: view, Seq: seq, Digest: someDigest}}}
}

func commitOf(signer, view, seq uint64) *message {
	return &message{Content: &smartbftprotos.Message_Commit{Commit: &smartbftprotos.Commit{
		View: view, Seq: seq, Digest: someDigest, Signature: &smartbftprotos.Signature{Signer: signer},
	}}}
}

// gateOfFour is the gate of validator a of four; nodes are in the order of their numbers, view v is led by nodes[v%4].
func gateOfFour(self int) (*gate, []uint64, *uint64) {
	m, err := newMembers(testSet(1, 0, 1, 2, 3))
	if err != nil {
		panic(err)
	}
	tip := new(uint64)
	g := newGate(m.nodes[self], m, 10, func() uint64 { return *tip }, func(s *smartbftprotos.SignedViewData) bool {
		return string(s.Signature) == fmt.Sprint(s.Signer)
	})
	return g, m.nodes, tip
}

// scene feeds messages and compares what comes out, by name.
type scene struct {
	t     *testing.T
	g     *gate
	nodes []uint64
	names map[*message]string
}

func (s *scene) name(name string, m *message) *message {
	s.names[m] = name
	return m
}

func (s *scene) expect(out []admitted, want ...string) {
	s.t.Helper()
	var got []string
	for _, a := range out {
		got = append(got, s.names[a.m])
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("the library gets %q, want %q", got, want)
	}
}

func (s *scene) from(i int, m *message, want ...string) {
	s.t.Helper()
	s.expect(s.g.Admit(s.nodes[i], m, 100), want...)
}

func newScene(t *testing.T, self int) (*scene, *uint64) {
	g, nodes, tip := gateOfFour(self)
	return &scene{t, g, nodes, map[*message]string{}}, tip
}

// TestNewViewWaits: a NewView that is faster than the requests for its view waits for them, and what belongs to the view
// waits until it has begun.
func TestNewViewWaits(t *testing.T) {
	s, tip := newScene(t, 3)
	*tip = 7
	n := s.nodes
	nv := s.name("new view", newView(statement(n[1], 1, 7), statement(n[2], 1, 7), statement(n[3], 1, 6)))
	s.from(1, nv)
	s.from(1, s.name("ask 1", viewChange(1)), "ask 1")
	s.from(2, s.name("ask 2", viewChange(1)), "ask 2", "new view")

	s.from(1, s.name("proposal", prePrepare(1, 8)))
	s.from(2, s.name("prepare", prepare(1, 8)))
	s.from(2, s.name("old commit", commitOf(n[2], 0, 7)), "old commit") // finishes what is in flight
	s.from(1, s.name("commit", commitOf(n[1], 1, 8)))
	s.expect(s.g.Begun(1), "proposal", "prepare", "commit")
	s.from(2, s.name("later", prepare(1, 9)), "later")
	s.from(1, nv) // a replay
	s.from(1, newView(statement(n[1], 1, 8), statement(n[2], 1, 8), statement(n[3], 1, 8)))
}

// TestViewDataWaits: the next leader gets statements about its view when it has joined it.
func TestViewDataWaits(t *testing.T) {
	s, _ := newScene(t, 1)
	n := s.nodes
	s.from(2, s.name("data 2", viewData(statement(n[2], 1, 0))))
	s.from(3, s.name("data 3", viewData(statement(n[3], 1, 0))))
	s.from(3, viewData(statement(n[3], 1, 0))) // again
	s.from(2, s.name("ask 2", viewChange(1)), "ask 2")
	s.from(2, s.name("ask 2 again", viewChange(1)), "ask 2 again")
	s.from(3, s.name("ask 3", viewChange(1)), "ask 3", "data 2", "data 3")
	s.from(3, viewData(statement(n[3], 1, 0)))
}

// TestHeldIsLetGo: nothing is held for ever.
func TestHeldIsLetGo(t *testing.T) {
	s, _ := newScene(t, 3)
	n := s.nodes
	s.from(1, s.name("new view", newView(statement(n[1], 1, 0), statement(n[2], 1, 0), statement(n[3], 1, 0))))
	for range 9 {
		s.expect(s.g.Tick())
	}
	s.expect(s.g.Tick(), "new view")
	s.from(2, s.name("prepare", prepare(1, 1)))
	for range 9 {
		s.expect(s.g.Tick())
	}
	s.expect(s.g.Tick(), "prepare")
}

// TestForgedNewView: what would make the library panic, go back or believe a liar stays outside.
func TestForgedNewView(t *testing.T) {
	_, n, _ := gateOfFour(3)
	inFlight := func(s *smartbftprotos.SignedViewData, p *smartbftprotos.Proposal) *smartbftprotos.SignedViewData {
		vd := new(smartbftprotos.ViewData)
		mustUnmarshal(s.RawViewData, vd)
		vd.InFlightProposal, vd.InFlightPrepared = p, true
		s.RawViewData = marshal(vd)
		return s
	}
	good := func(i int) *smartbftprotos.SignedViewData { return statement(n[i], 1, 7) }
	for name, m := range map[string]*message{
		"nothing":                   newView(),
		"too few":                   newView(good(1), good(2)),
		"one twice":                 newView(good(1), good(2), good(2)),
		"one twice beside a quorum": newView(good(1), good(2), good(3), good(3)),
		"too many":                  newView(good(0), good(1), good(2), good(3), good(3)),
		"false signature":           newView(good(1), good(2), falsely(good(3))),
		"a stranger's":              newView(good(1), good(2), statement(12345, 1, 7)),
		"another view":              newView(good(1), good(2), statement(n[3], 5, 7)),
		"of the past":               newView(statement(n[1], 1, 5), statement(n[2], 1, 5), statement(n[3], 1, 5)),
		"no statement": newView(good(1), good(2), &smartbftprotos.SignedViewData{
			RawViewData: []byte{0xff}, Signer: n[3], Signature: fmt.Append(nil, n[3]),
		}),
		"no last decision": newView(good(1), good(2), &smartbftprotos.SignedViewData{
			RawViewData: marshal(&smartbftprotos.ViewData{NextView: 1}), Signer: n[3], Signature: fmt.Append(nil, n[3]),
		}),
		"in flight without metadata": newView(good(1), good(2), inFlight(good(3), &smartbftprotos.Proposal{Header: []byte("h")})),
		"in flight with bad metadata": newView(good(1), good(2), inFlight(good(3), &smartbftprotos.Proposal{
			Metadata: []byte{0xff},
		})),
	} {
		t.Run(name, func(t *testing.T) {
			s, tip := newScene(t, 3)
			*tip = 7
			s.from(0, s.name("ask 0", viewChange(1)), "ask 0")
			s.from(2, s.name("ask 2", viewChange(1)), "ask 2")
			s.from(1, m)
			// another one of the same view is not looked at: a liar would have signatures verified for ever
			if late := s.name("late", newView(good(1), good(2), good(3))); name == "nothing" {
				s.from(1, late, "late")
			} else {
				s.from(1, late)
			}
			// and a true one of the view that comes then is let in
			s.from(0, s.name("ask 0 again", viewChange(2)), "ask 0 again")
			s.from(1, s.name("ask 1", viewChange(2)), "ask 1")
			s.from(2, s.name("true", newView(statement(n[1], 2, 7), statement(n[2], 2, 7), statement(n[3], 2, 7))), "true")
		})
	}
	t.Run("not of the leader", func(t *testing.T) {
		s, _ := newScene(t, 3)
		s.from(0, viewChange(1), "")
		s.from(2, viewChange(1), "")
		s.from(2, newView(good(1), good(2), good(3)))
	})
}

// TestForgedMessages: what no honest validator sends.
func TestForgedMessages(t *testing.T) {
	s, _ := newScene(t, 1)
	n := s.nodes
	long := viewChange(1)
	long.GetViewChange().Reason = strings.Repeat("x", 1000)
	proof := prePrepare(0, 1)
	proof.GetPrePrepare().PrevCommitSignatures = []*smartbftprotos.Signature{{}}
	empty := prePrepare(0, 1)
	empty.GetPrePrepare().Proposal = nil
	short := prepare(0, 1)
	short.GetPrepare().Digest = "d"
	unsigned := commitOf(n[2], 0, 1)
	unsigned.GetCommit().Signature = nil
	for name, m := range map[string]*message{
		"reason": long, "view 0": viewChange(0), "proposal of a follower": prePrepare(0, 1), "digest": short,
		"unsigned": unsigned, "signed by another": commitOf(n[3], 0, 1), "nothing": {},
		"statement of another": viewData(statement(n[3], 1, 0)), "false statement": viewData(falsely(statement(n[2], 1, 0))),
		"statement to another leader": viewData(statement(n[2], 2, 0)),
	} {
		if out := s.g.Admit(n[2], m, 1); len(out) > 0 {
			t.Errorf("%s is let in", name)
		}
	}
	for name, m := range map[string]*message{"previous commits": proof, "no proposal": empty} {
		if out := s.g.Admit(n[0], m, 1); len(out) > 0 {
			t.Errorf("%s is let in", name)
		}
	}
	if out := s.g.Admit(4711, prepare(0, 1), 1); len(out) > 0 {
		t.Error("a stranger is let in")
	}
	if out := s.g.Admit(n[1], prepare(0, 1), 1); len(out) > 0 {
		t.Error("one comes in the own name")
	}
}

// TestChangingHolds: above a block that changes the validators everything waits for the new beginning, from the new
// validators too, and those who left are forgotten.
func TestChangingHolds(t *testing.T) {
	s, tip := newScene(t, 3)
	*tip = 9
	next, err := newMembers(testSet(2, 0, 1, 2, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	s.g.Changing(10, next)
	s.from(0, s.name("commit", commitOf(s.nodes[0], 0, 10)), "commit")
	s.from(0, s.name("prepare", prepare(0, 11)))
	five := nodeOf(testID(4))
	s.expect(s.g.Admit(five, s.name("of the fifth", prepare(0, 11)), 1))
	*tip = 10
	s.expect(s.g.Begun(0), "prepare", "of the fifth")
	before, err := newMembers(testSet(3, 0, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	s.g.Changing(11, before)
	s.expect(s.g.Admit(five, prepare(0, 12), 1))
}

// TestTurns: what is for a block that the library does not listen for yet waits for those before it, and for a while only:
// when none comes, the library learns how far the others are.
func TestTurns(t *testing.T) {
	s, tip := newScene(t, 3)
	*tip = 10
	for h := uint64(11); h <= 14; h++ {
		m := s.name(fmt.Sprint("proposal ", h), prePrepare(0, h))
		if h <= 12 {
			s.from(0, m, fmt.Sprint("proposal ", h))
		} else {
			s.from(0, m)
		}
	}
	s.from(1, s.name("commit 14", commitOf(s.nodes[1], 0, 14)))
	s.expect(s.g.Moved())
	*tip = 11
	s.expect(s.g.Moved(), "proposal 13")
	s.expect(s.g.Tick())
	*tip = 12
	s.expect(s.g.Moved(), "proposal 14", "commit 14")
	s.from(1, s.name("commit 20", commitOf(s.nodes[1], 0, 20)))
	s.expect(s.g.Tick())
	s.expect(s.g.Tick())
	s.expect(s.g.Tick(), "commit 20")
	s.from(1, s.name("commit 15", commitOf(s.nodes[1], 0, 15)))
	*tip = 15
	s.expect(s.g.Moved()) // it came too late to be of use
}

// TestPausing: while the library synchronizes, what is about blocks after the last one waits until it has begun again, or
// for as long as that can take. What was said in an earlier view is then of no use.
func TestPausing(t *testing.T) {
	s, tip := newScene(t, 3)
	*tip = 10
	s.g.Pausing(1 << 20)
	s.from(0, s.name("heartbeat", heartbeat(0, 12)), "heartbeat")
	s.from(0, prePrepare(0, 11))
	s.from(2, s.name("prepare 13", prepare(0, 13)))
	s.from(1, s.name("of the next view", prepare(1, 13)))
	*tip = 12
	s.expect(s.g.Moved())
	s.g.Pausing(5)
	s.expect(s.g.Begun(0), "prepare 13", "of the next view")
	s.from(2, s.name("prepare 14", prepare(0, 14)), "prepare 14")

	s.g.Pausing(2)
	s.from(2, s.name("prepare 14 again", prepare(0, 14)))
	s.expect(s.g.Tick())
	s.expect(s.g.Tick(), "prepare 14 again")

	s.g.Pausing(2)
	s.from(1, prepare(0, 13))
	s.expect(s.g.Begun(1))
}

func heartbeat(view, seq uint64) *message {
	return &message{Content: &smartbftprotos.Message_HeartBeat{HeartBeat: &smartbftprotos.HeartBeat{View: view, Seq: seq}}}
}

// TestGateIsBounded floods a gate that waits.
func TestGateIsBounded(t *testing.T) {
	s, _ := newScene(t, 3)
	next := s.g.members
	s.g.Changing(10, next)
	for i := range uint64(10000) {
		s.g.Admit(s.nodes[2], prepare(0, 11+i), 1000)
		s.g.Admit(s.nodes[2], viewChange(i+1), 100)
		s.g.Admit(s.nodes[i%3], newView(statement(s.nodes[1], i, 0)), 1000)
	}
	p := s.g.peers[s.nodes[2]]
	if p.held > maxHeldMessages || p.bytes > maxHeldBytes || len(p.asked) > rememberedViews || len(s.g.held) > maxHeldMessages+2*4 {
		t.Fatalf("held %d messages of %d bytes, %d views, %d in all", p.held, p.bytes, len(p.asked), len(s.g.held))
	}
}

// TestMessagesAreBounded: a message longer than its kind needs is none of an honest validator's, and what waits for a slow
// library is bounded in bytes.
func TestMessagesAreBounded(t *testing.T) {
	g, n, _ := gateOfFour(3)
	for name, c := range map[string]struct {
		m     *message
		limit int
	}{
		"prepare":     {prepare(0, 1), maxSmall},
		"commit":      {commitOf(n[0], 0, 1), maxSmall},
		"view change": {viewChange(1), maxSmall},
		"proposal":    {prePrepare(0, 1), maxProposal},
	} {
		if out := g.Admit(n[0], c.m, c.limit+1); len(out) > 0 {
			t.Errorf("%s of %d bytes is let in", name, c.limit+1)
		}
		if out := g.Admit(n[0], c.m, c.limit); len(out) != 1 {
			t.Errorf("%s of %d bytes is not let in", name, c.limit)
		}
	}
	if g.Admit(n[0], viewData(statement(n[0], 3, 0)), maxStatement+1); len(g.held) > 0 {
		t.Error("a statement that is too long is held")
	}
	largest := &smartbftprotos.Proposal{
		Payload: make([]byte, MaxBatchBytes+MaxBatchCount*3), Header: make([]byte, light.MaxHeaderBytes), Metadata: make([]byte, light.MaxMetadataBytes),
	}
	m := prePrepare(0, 1)
	m.GetPrePrepare().Proposal = largest
	if proto.Size(m)+1 > maxProposal {
		t.Errorf("a proposal may have %d bytes", proto.Size(m)+1)
	}

	release, busy := make(chan struct{}), make(chan struct{}, 100)
	in := newIngress(g, func(uint64, *message) { busy <- struct{}{}; <-release })
	in.take(n[0], prePrepare(0, 1), maxProposal)
	<-busy // the library does not come back
	took := make(chan int)
	go func() {
		for i := range 10 {
			in.take(n[0], prePrepare(0, 1), maxProposal)
			took <- i
		}
		close(took)
	}()
	for range 3 {
		<-took
	}
	in.mu.Lock()
	if b := in.boxes[n[0]]; b.bytes != 3*maxProposal || !b.full() {
		t.Errorf("%d bytes wait", b.bytes)
	}
	in.mu.Unlock()
	select {
	case i := <-took:
		t.Errorf("proposal %d is taken", i)
	default:
	}
	in.take(n[1], prepare(0, 1), 100) // another one's do not wait
	<-busy
	close(release)
	for range took {
	}
	in.shut()
	in.wait()
}

// TestGateLaws draws schedules of honest and forged messages: whatever comes, a NewView is let in at most once for each
// view, in ascending order, soundly signed by a quorum; the messages of one peer about one block and view keep their order; and in the end nothing is
// held.
func TestGateLaws(t *testing.T) { rapid.Check(t, gateLaws) }

func FuzzGate(f *testing.F) { f.Fuzz(rapid.MakeFuzz(gateLaws)) }

func gateLaws(t *rapid.T) {
	g, n, tip := gateOfFour(rapid.IntRange(0, 3).Draw(t, "self"))
	type stamp struct{ from, view, height uint64 }
	order := map[stamp][]*message{}
	newest := uint64(0)
	admit := func(out []admitted) {
		for _, a := range out {
			if nv := a.m.GetNewView(); nv != nil {
				view := newViewOf(nv)
				if view <= g.view || g.members.leader(view) != a.from {
					t.Fatalf("a NewView of view %d is let in while %d runs", view, g.view)
				}
				seen := map[uint64]bool{}
				for _, s := range nv.SignedViewData {
					if string(s.Signature) != fmt.Sprint(s.Signer) || seen[s.Signer] || !slices.Contains(n, s.Signer) {
						t.Fatal("an unsound NewView is let in")
					}
					seen[s.Signer] = true
				}
				if len(seen) < 3 {
					t.Fatal("a NewView of no quorum is let in")
				}
				newest = max(newest, view)
			}
			if a.m.GetPrepare() != nil {
				at := stamp{a.from, a.m.GetPrepare().View, a.m.GetPrepare().Seq}
				sent := order[at]
				i := slices.Index(sent, a.m)
				if i < 0 {
					t.Fatal("a message is let in twice or out of order")
				}
				order[at] = sent[i+1:]
			}
		}
	}
	draw := func(label string) uint64 { return rapid.Uint64Range(0, 6).Draw(t, label) }
	node := func(label string) uint64 { return n[rapid.IntRange(0, 3).Draw(t, label)] }
	stated := func() *smartbftprotos.SignedViewData {
		s := statement(node("signer"), draw("stated")+1, draw("decided"))
		if rapid.IntRange(0, 9).Draw(t, "forged") == 0 {
			return falsely(s)
		}
		return s
	}
	var sent []*message
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		from := node("from")
		var m *message
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			m = viewChange(draw("asked"))
		case 2:
			m = viewData(stated())
		case 3, 4: // mostly sound
			view, seq := draw("new")+1, draw("decided")
			from = g.members.leader(view)
			m = newView(statement(n[0], view, seq), statement(n[1], view, seq), statement(n[2], view, seq))
		case 5:
			m = newView(stated(), stated(), stated())
		case 6:
			m = prepare(draw("view"), draw("seq"))
			if from != g.self {
				at := stamp{from, m.GetPrepare().View, m.GetPrepare().Seq}
				order[at] = append(order[at], m)
			}
		case 7:
			admit(g.Begun(g.view + draw("begun")))
			continue
		case 8:
			switch rapid.IntRange(0, 2).Draw(t, "time") {
			case 0:
				admit(g.Tick())
			case 1:
				*tip += draw("blocks")
				admit(g.Moved())
			case 2:
				g.Pausing(int(draw("pause")))
			}
			continue
		case 9:
			if len(sent) == 0 {
				continue
			}
			m = proto.Clone(rapid.SampledFrom(sent).Draw(t, "replayed")).(*message)
			if m.GetPrepare() != nil {
				continue
			}
		}
		sent = append(sent, m)
		admit(g.Admit(from, m, proto.Size(m)))
	}
	for range g.expire {
		admit(g.Tick())
	}
	if len(g.held) > 0 {
		t.Fatalf("%d messages are held for ever", len(g.held))
	}
	for node, p := range g.peers {
		if p.held != 0 || p.bytes != 0 {
			t.Fatalf("%d messages of %d bytes of %d are counted but not held", p.held, p.bytes, node)
		}
	}
}

// FuzzGateBytes brings arbitrary messages in; nothing may panic.
func FuzzGateBytes(f *testing.F) {
	_, n, _ := gateOfFour(3)
	f.Add(marshal(newView(statement(n[1], 1, 7), statement(n[2], 1, 7), statement(n[3], 1, 7))), uint8(1))
	f.Add(marshal(viewData(statement(n[1], 3, 7))), uint8(1))
	f.Add(marshal(commitOf(n[2], 0, 1)), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, from uint8) {
		g, n, _ := gateOfFour(3)
		m := new(message)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		voteOfCommit(m.GetCommit())
		g.Admit(n[from%4], m, len(b))
		g.Admit(n[0], viewChange(1), 1)
		g.Admit(n[2], viewChange(1), 1)
		g.Begun(1)
		for range g.expire {
			g.Tick()
		}
	})
}
