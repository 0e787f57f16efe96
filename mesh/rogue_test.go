package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"google.golang.org/protobuf/proto"
)

// rogue speaks gossip by hand, so that it can say anything.
type rogue struct {
	t   *testing.T
	h   host.Host
	key crypto.PrivKey
	out network.Stream
	seq atomic.Uint64
}

func stranger(t *testing.T, n int) host.Host {
	t.Helper()
	key, err := privateKey(keyOf(n))
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(
		libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New), libp2p.Muxer(yamux.ID, yamux.DefaultTransport), libp2p.DisableRelay(),
		libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func infoOf(m *Mesh) peer.AddrInfo { return peer.AddrInfo{ID: m.self, Addrs: m.host.Addrs()} }

// newRogue connects to a victim, subscribes, and waits until the victim speaks to it as well.
func newRogue(t *testing.T, n int, victim *Mesh) *rogue {
	t.Helper()
	r := &rogue{t: t, h: stranger(t, n)}
	r.key = r.h.Peerstore().PrivKey(r.h.ID())
	for _, id := range spoken {
		r.h.SetStreamHandler(id, func(s network.Stream) { _, _ = io.Copy(io.Discard, s) })
	}
	if err := r.h.Connect(context.Background(), infoOf(victim)); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.out, err = r.h.NewStream(context.Background(), victim.self, pubsub.GossipSubID_v12); err != nil {
		t.Fatal(err)
	}
	hello := &pb.RPC{}
	for _, topic := range []string{PresenceTopic, TransactionsTopic, AnnounceTopic} {
		hello.Subscriptions = append(hello.Subscriptions, &pb.RPC_SubOpts{Topicid: new(topic), Subscribe: new(true)})
	}
	r.rpc(hello)
	eventually(t, "the victim knows the rogue", func() bool {
		for _, id := range victim.gossip.topics[PresenceTopic].ListPeers() {
			if id == r.h.ID() {
				return true
			}
		}
		return false
	})
	return r
}

func (r *rogue) rpc(m *pb.RPC) {
	r.t.Helper()
	if err := r.write(m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rogue) write(m *pb.RPC) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = r.out.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	return err
}

// message is signed by the rogue, as any author must.
func (r *rogue) message(topic string, data []byte, edits ...func(*pb.Message)) *pb.Message {
	m := &pb.Message{
		From: []byte(r.h.ID()), Data: data, Topic: new(topic), Seqno: binary.BigEndian.AppendUint64(nil, r.seq.Add(1)),
	}
	b, err := proto.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	if m.Signature, err = r.key.Sign(append([]byte(pubsub.SignPrefix), b...)); err != nil {
		r.t.Fatal(err)
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func (r *rogue) say(topic string, data []byte, edits ...func(*pb.Message)) {
	r.t.Helper()
	r.rpc(&pb.RPC{Publish: []*pb.Message{r.message(topic, data, edits...)}})
}

// TestRogueCanSpeak holds that what the other tests refuse is not refused for being badly sent.
func TestRogueCanSpeak(t *testing.T) {
	victim := open(t, 0)
	r := newRogue(t, 90, victim.Mesh)
	r.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, 1))))
	eventually(t, "the transaction", func() bool { return len(victim.transactions()) == 1 })
	if !bytes.Equal(victim.transactions()[0], transaction(t, 50, 1)) {
		t.Fatal("another transaction came")
	}
}
