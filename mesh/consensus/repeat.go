package consensus

import (
	"sync"

	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"
)

// The library sends what it has to say about a block once. A peer whose stream was just breaking, or that was just
// starting, never hears it, and a leader that comes back with a proposal in its log of votes never proposes it again:
// blocks then stand still until the leader is complained of. So what was said last is repeated for as long as its block is
// not final. To say the same again is always safe, and a peer that is a block further answers with what is missing here.

// maxRests is how many looks lie between two repetitions at most.
const maxRests = 8

// said is what this validator has said last about a block: the proposal, if it leads, and its votes.
type said struct {
	mu           sync.Mutex // held while frames are repeated, so that nothing later is overtaken
	view, height uint64
	frames       [3][]byte // proposal, prepare, commit
	looks, next  int       // at this height; the look at which it is repeated next
}

// note remembers a message that is about to be sent. What was said in a view counts no more when another one is asked for.
func (s *said) note(m *message, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := m.GetContent().(type) {
	case *smartbftprotos.Message_PrePrepare:
		s.keep(c.PrePrepare.GetView(), c.PrePrepare.GetSeq(), 0, frame)
	case *smartbftprotos.Message_Prepare:
		if !c.Prepare.GetAssist() {
			s.keep(c.Prepare.GetView(), c.Prepare.GetSeq(), 1, frame)
		}
	case *smartbftprotos.Message_Commit:
		if !c.Commit.GetAssist() {
			s.keep(c.Commit.GetView(), c.Commit.GetSeq(), 2, frame)
		}
	case *smartbftprotos.Message_ViewChange, *smartbftprotos.Message_ViewData, *smartbftprotos.Message_NewView:
		s.forget()
	}
}

// keep must be called with the lock held.
func (s *said) keep(view, height uint64, kind int, frame []byte) {
	if s.view != view || s.height != height {
		s.forget()
		s.view, s.height = view, height
	}
	s.frames[kind] = frame
}

// forget must be called with the lock held.
func (s *said) forget() {
	s.view, s.height, s.frames, s.looks, s.next = 0, 0, [3][]byte{}, 0, 2
}

// begun forgets what was said in an earlier view than the one that runs.
func (s *said) begun(view uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view < view {
		s.forget()
	}
}

// again is called at every look, and says what is to be repeated: after the second look that saw the same block in
// flight, and then ever less often.
func (s *said) again(tip uint64, send func(frame []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.height != tip+1 {
		return
	}
	if s.looks++; s.looks < s.next {
		return
	}
	s.next = s.looks + min(s.looks, maxRests)
	for _, f := range s.frames {
		if f != nil {
			send(f)
		}
	}
}

// remember notes what a log of votes says was said about the block after the last one. The library repeats the last of
// it, and only that.
func (in *instance) remember(entries [][]byte) {
	for _, e := range entries {
		saved := new(smartbftprotos.SavedMessage)
		if proto.Unmarshal(e, saved) != nil { // it was read before
			continue
		}
		p := saved.GetProposedRecord()
		if p == nil {
			continue
		}
		in.restored = p.GetPrePrepare().GetSeq()
		if in.engine.members().leader(p.GetPrePrepare().GetView()) == in.node {
			in.recall(&message{Content: &smartbftprotos.Message_PrePrepare{PrePrepare: p.GetPrePrepare()}})
		}
		in.recall(&message{Content: &smartbftprotos.Message_Prepare{Prepare: p.GetPrepare()}})
	}
}

func (in *instance) recall(m *message) {
	if frame, err := frameOf(m); err == nil {
		in.said.note(m, frame)
	}
}

// repeat is one look at what was said.
func (in *instance) repeat() {
	in.said.again(in.engine.height.Load(), func(frame []byte) {
		for _, node := range in.engine.members().nodes {
			if node != in.node {
				in.send(node, frame)
			}
		}
	})
}
