package rogue

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// maxKept bounds what is remembered to be repeated.
const maxKept = 4096

// frameConsensus is the first byte of a frame that holds a message of the ordering.
const frameConsensus = 1

// wire is a transport that changes what passes.
type wire struct {
	consensus.Transport
	r *Rogue

	mu       sync.Mutex
	others   []consensus.Key
	kept     [][]byte // frames that were sent or heard
	newViews [][]byte // of these
	next     int      // of kept, when it is full
}

func newWire(r *Rogue, t consensus.Transport) *wire { return &wire{Transport: t, r: r} }

// Receive keeps what others say.
func (w *wire) Receive(f func(consensus.Key, []byte) error) {
	w.Transport.Receive(func(from consensus.Key, frame []byte) error {
		w.keep(frame)
		return f(from, frame)
	})
}

// Peers notes whom to trouble.
func (w *wire) Peers(validators []*ledgerv1.Validator, maxFrame int) {
	w.mu.Lock()
	w.others = nil
	for _, v := range validators {
		if k, ok := consensus.KeyOf(v.Key); ok && !bytes.Equal(v.Key, w.r.cfg.Key[32:]) {
			w.others = append(w.others, k)
		}
	}
	w.mu.Unlock()
	w.Transport.Peers(validators, maxFrame)
}

// Send changes what is said, where a vice is on.
func (w *wire) Send(to consensus.Key, frame []byte) bool {
	w.keep(frame)
	if len(frame) < 2 || frame[0] != frameConsensus || !w.r.has(Propose) && !w.r.has(Vote) {
		return w.Transport.Send(to, frame)
	}
	m := new(smartbftprotos.Message)
	if proto.Unmarshal(frame[1:], m) != nil {
		return w.Transport.Send(to, frame)
	}
	done := true
	for _, m := range w.changed(to, m) {
		b, err := proto.Marshal(m)
		done = err == nil && w.Transport.Send(to, append([]byte{frameConsensus}, b...)) && done
	}
	return done
}

// changed are the messages that are said in place of one.
func (w *wire) changed(to consensus.Key, m *smartbftprotos.Message) []*smartbftprotos.Message {
	if p := m.GetPrePrepare().GetProposal(); p != nil && w.r.has(Propose) {
		w.spoil(to, p)
		w.r.did(proposals)
	}
	if c := m.GetCommit(); c != nil && !c.Assist && w.r.has(Vote) {
		if second := w.second(m); second != nil {
			w.r.did(votes)
			return []*smartbftprotos.Message{m, second}
		}
	}
	return []*smartbftprotos.Message{m}
}

// spoil makes another block of a proposal for each validator: of a wrong state for half of them.
func (w *wire) spoil(to consensus.Key, p *smartbftprotos.Proposal) {
	h, err := light.ParseHeader("", p.Header)
	if err != nil {
		return
	}
	if to[0]&1 == 0 {
		wrong := sha256.Sum256(append(h.State, to[:]...))
		h.State = wrong[:]
	} else {
		h.TimeUs += 1 + int64(to[1])
	}
	if b, err := (proto.MarshalOptions{Deterministic: true}).Marshal(h); err == nil {
		p.Header = b
	}
}

// second is a vote for a block that there is not, at the place of one that there is.
func (w *wire) second(m *smartbftprotos.Message) *smartbftprotos.Message {
	other := proto.CloneOf(m)
	c := other.GetCommit()
	note := c.GetSignature().GetMsg()
	if len(note) != 2*sha256.Size+8 {
		return nil
	}
	block := sha256.Sum256(note[:32])
	v := &ledgerv1.Vote{
		Height: c.Seq, View: c.View, Block: block[:], Metadata: note[32:64], ValidatorsVersion: binary.BigEndian.Uint64(note[64:]),
	}
	c.Signature.Value = seal.SignVote(w.r.chain.ID(), v, w.r.cfg.Key)
	c.Signature.Msg = slices.Concat(v.Block, note[32:])
	return other
}

func (w *wire) keep(frame []byte) {
	if len(frame) < 2 || frame[0] != frameConsensus || len(frame) > 64<<10 {
		return
	}
	m := new(smartbftprotos.Message)
	isNewView := proto.Unmarshal(frame[1:], m) == nil && m.GetNewView() != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	if isNewView && len(w.newViews) < 64 {
		w.newViews = append(w.newViews, frame)
	}
	if len(w.kept) < maxKept {
		w.kept = append(w.kept, frame)
		return
	}
	w.kept[w.next] = frame
	w.next = (w.next + 1) % maxKept
}
