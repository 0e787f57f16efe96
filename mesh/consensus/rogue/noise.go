package rogue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio/pbio"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// pause leaves the machine to others; false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func junk(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// troubled are the validators that are troubled.
func (w *wire) troubled() []consensus.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]consensus.Key(nil), w.others...)
}

// any returns a frame of those that are kept: a NewView every third time.
func (w *wire) any() (frame []byte, isNewView bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.newViews) > 0 && mathrand.IntN(3) == 0 {
		return w.newViews[mathrand.IntN(len(w.newViews))], true
	}
	if len(w.kept) == 0 {
		return nil, false
	}
	return w.kept[mathrand.IntN(len(w.kept))], false
}

// repeat says what was said before, in its own name.
func (r *Rogue) repeat(ctx context.Context) {
	for pause(ctx, 5*time.Millisecond) {
		if !r.has(Repeat) {
			continue
		}
		for _, to := range r.wire.troubled() {
			for range 8 {
				frame, isNewView := r.wire.any()
				if frame == nil || !r.wire.Transport.Send(to, frame) {
					continue
				}
				r.did(repeated)
				if isNewView {
					r.did(newViews)
				}
			}
		}
	}
}

// garbage says what is no message on the streams of the ordering, and what nearly is one.
func (r *Rogue) garbage(ctx context.Context) {
	for pause(ctx, 10*time.Millisecond) {
		if !r.has(Flood) {
			continue
		}
		for _, to := range r.wire.troubled() {
			var frame []byte
			switch old, _ := r.wire.any(); {
			case old != nil && mathrand.IntN(2) == 0:
				frame = append([]byte(nil), old...)
				frame[1+mathrand.IntN(len(frame)-1)] ^= byte(1 << mathrand.IntN(8))
			case mathrand.IntN(2) == 0:
				frame = append([]byte{2}, junk(60_000)...)
			default:
				frame = append([]byte{byte(mathrand.IntN(5))}, junk(1+mathrand.IntN(2000))...)
			}
			if r.wire.Transport.Send(to, frame) {
				r.did(frames)
			}
		}
	}
}

// victims are all who are connected.
func (r *Rogue) victims() []peer.ID { return r.mesh.Host().Network().Peers() }

// streams opens streams of every protocol, says nonsense and leaves them.
func (r *Rogue) streams(ctx context.Context) {
	var left []network.Stream
	leave := func(most int) {
		for len(left) > most {
			_ = left[0].Reset()
			left = left[1:]
		}
	}
	defer leave(0)
	for pause(ctx, 20*time.Millisecond) {
		if !r.has(Flood) {
			leave(0) // its own limits would keep it from the streams that it needs
			continue
		}
		for _, id := range r.victims() {
			for _, p := range []protocol.ID{mesh.ConsensusProtocol, mesh.BlockSyncProtocol, mesh.SnapshotProtocol} {
				s := r.stream(ctx, id, p)
				if s == nil {
					continue
				}
				r.did(streamsOpened)
				if p == mesh.ConsensusProtocol { // a length beyond all bounds
					_, _ = s.Write(binary.AppendUvarint(nil, 1<<40))
				} else {
					_, _ = s.Write(junk(3))
				}
				left = append(left, s)
			}
		}
		leave(100)
	}
}

func (r *Rogue) stream(ctx context.Context, id peer.ID, p protocol.ID) network.Stream {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := r.mesh.Host().NewStream(ctx, id, p)
	if err != nil {
		return nil
	}
	_ = s.SetDeadline(time.Now().Add(2 * time.Second))
	return s
}

// requests asks for as many blocks as may be asked for, and reads nothing.
func (r *Rogue) requests(ctx context.Context) {
	for pause(ctx, 10*time.Millisecond) {
		if !r.has(Flood) {
			continue
		}
		for _, id := range r.victims() {
			s := r.stream(ctx, id, mesh.BlockSyncProtocol)
			if s == nil {
				continue
			}
			_ = pbio.NewDelimitedWriter(s).WriteMsg(&ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Range{
				Range: &ledgerv1.RangeRequest{From: 1, Count: 128, MaxBytes: 4 << 20},
			}})
			_ = s.CloseWrite()
			r.did(asked)
			if mathrand.IntN(2) == 0 {
				_ = s.Reset()
			}
		}
	}
}

// gossip says transactions that are forged, of another chain or expired, and blocks that nobody has agreed on.
func (r *Rogue) gossip(ctx context.Context) {
	for n := uint64(0); pause(ctx, 5*time.Millisecond); n++ {
		if !r.has(Flood) {
			continue
		}
		var txs [][]byte
		for range mesh.MaxBatch {
			txs = append(txs, r.wrong())
		}
		if r.mesh.PublishTransactions(ctx, txs) == nil {
			r.did(said)
		}
		if n%10 == 0 && r.mesh.Host().Network() != nil {
			_ = r.mesh.PublishPresence(ctx)
		}
	}
}

// wrong is a transaction that nobody should take.
func (r *Rogue) wrong() []byte {
	t := &ledgerv1.Transaction{
		ChainId: r.chain.ID(), Sender: r.cfg.Key[32:], Salt: junk(16), ValidUntil: r.chain.Height() + 10,
		Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: junk(32), Amount: 1}}}},
	}
	switch mathrand.IntN(4) {
	case 0:
		t.ChainId = "another"
	case 1:
		t.ValidUntil = 1
	case 2:
		t.ValidUntil += 1 << 40
	}
	b := ledger.Sign(t, r.cfg.Key)
	if mathrand.IntN(2) == 0 {
		s := new(ledgerv1.SignedTransaction)
		if proto.Unmarshal(b, s) == nil {
			s.Signature[5] ^= 1
			b, _ = proto.Marshal(s)
		}
	}
	return b
}
