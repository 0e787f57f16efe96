package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/mesh"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// intruder is a peer that follows the protocols of the mesh as far as it likes: its own checks let everything pass.
type intruder struct {
	*mesh.Mesh
	fed *federation
	key ed25519.PrivateKey
}

// intruder connects one to all of some orchestrators.
func (f *federation) intruder(key ed25519.PrivateKey, to ...*member) *intruder {
	f.Helper()
	own := &ledgerv1.ValidatorSet{Version: 1, Validators: []*ledgerv1.Validator{{Key: public(key)}}}
	m, err := mesh.New(mesh.Config{
		Key: key, Chain: f.chain, Node: "rogue", NoDHT: true, Logger: slog.New(slog.DiscardHandler),
		Ports: mesh.Ports{
			CheckTransaction: func([]byte) error { return nil }, Transactions: func([][]byte) {},
			Validators: func() *ledgerv1.ValidatorSet { return own }, Announced: func(mesh.Announcement) {}, Height: func() uint64 { return 0 },
		},
	})
	f.must(err)
	f.Cleanup(func() { _ = m.Close() })
	r := &intruder{m, f, key}
	r.meet(to...)
	return r
}

// meet dials, as often as it takes: whoever was thrown out comes again.
func (r *intruder) meet(to ...*member) {
	for _, o := range to {
		ctx, cancel := context.WithTimeout(r.fed.Context(), patience(5*time.Second))
		_ = r.Connect(ctx, o.address()) // some do not want it any more
		cancel()
	}
}

// say publishes transactions of any content.
func (r *intruder) say(txs ...[]byte) {
	r.fed.Helper()
	ctx, cancel := context.WithTimeout(r.fed.Context(), patience(5*time.Second))
	defer cancel()
	_ = r.PublishTransactions(ctx, txs) // that one's own peer refuses what nobody would take is fine
}

// stream opens a stream of a protocol to an orchestrator, writes, and waits for a moment for its end. It returns how much
// was taken.
func (r *intruder) stream(to *member, protocol string, data []byte) (taken int) {
	ctx, cancel := context.WithTimeout(r.fed.Context(), patience(2*time.Second))
	defer cancel()
	id, err := mesh.PeerOf(to.public())
	r.fed.must(err)
	// The protocol's type is libp2p's; its list has exactly this one.
	protocols, err := r.Host().Peerstore().GetProtocols(id)
	if err != nil {
		return 0
	}
	for _, p := range protocols {
		if string(p) != protocol {
			continue
		}
		s, err := r.Host().NewStream(ctx, id, p)
		if err != nil {
			return 0
		}
		defer s.Reset()
		_ = s.SetDeadline(time.Now().Add(patience(500 * time.Millisecond)))
		taken, _ = s.Write(data) // it may be cut off
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(s, 1<<20))
		return taken
	}
	return 0
}

// gossip is a GossipSub message with a right signature of its author, as a frame with its length. Its content is
// anybody's choice.
func (r *intruder) gossip(topic string, data []byte) []byte {
	id, err := mesh.PeerOf(public(r.key))
	r.fed.must(err)
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.BytesType) // from
	m = protowire.AppendBytes(m, []byte(id))
	m = protowire.AppendTag(m, 2, protowire.BytesType) // data
	m = protowire.AppendBytes(m, data)
	m = protowire.AppendTag(m, 3, protowire.BytesType) // sequence number
	m = protowire.AppendBytes(m, binary.BigEndian.AppendUint64(nil, uint64(sequence.Add(1))))
	m = protowire.AppendTag(m, 4, protowire.BytesType) // topic
	m = protowire.AppendString(m, topic)
	signature := ed25519.Sign(r.key, append([]byte("libp2p-pubsub:"), m...))
	m = protowire.AppendTag(m, 5, protowire.BytesType)
	m = protowire.AppendBytes(m, signature)
	rpc := protowire.AppendTag(nil, 2, protowire.BytesType) // publish
	rpc = protowire.AppendBytes(rpc, m)
	return protowire.AppendBytes(nil, rpc)
}

// sequence numbers of gossip by hand are above those that libp2p gives.
var sequence atomic.Int64

func init() { sequence.Store(time.Now().Add(time.Hour).UnixNano()) }
