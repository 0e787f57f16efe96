package consensus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func testHost(t *testing.T, i int) host.Host {
	t.Helper()
	k, err := crypto.UnmarshalEd25519PrivateKey(testKey(i))
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(k), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(),
		libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New), libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// testHosts are hosts of n validators, whose addresses are in the set.
func testHosts(t *testing.T, set *ledgerv1.ValidatorSet, n int) []host.Host {
	t.Helper()
	var hosts []host.Host
	for i := range n {
		h := testHost(t, i)
		hosts = append(hosts, h)
		for _, v := range set.Validators {
			if k, _ := KeyOf(v.Key); k == testID(i) {
				for _, a := range h.Addrs() {
					v.Addresses = append(v.Addresses, a.String())
				}
			}
		}
	}
	return hosts
}

func TestOverLibp2p(t *testing.T) {
	net := newNetwork(t, 4, nil)
	hosts := testHosts(t, net.genesis, 4)
	net.tune = func(c *Config) {
		for i := range hosts {
			if testKey(i).Equal(c.Key) {
				c.Transport = NewStreams(hosts[i], c.Log)
			}
		}
	}
	nodes := net.startAll()
	txs := toyTxs(0, 3000)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	net.agree(nodes)

	leader := net.leader()
	net.stop(leader)
	rest := without(nodes, leader)
	more := toyTxs(10000, 500)
	net.submit(rest, more...)
	net.awaitTxs(rest, more)
	back := net.start(leader.index)
	net.awaitRole(back, Validator)
	last := toyTxs(20000, 200)
	all := append(rest, back)
	net.submit(all, last...)
	net.awaitTxs(all, last)
	net.agree(all)
}

// transports is what every Transport must do; both run through it.
func transports(t *testing.T, of func(i int) Transport, set *ledgerv1.ValidatorSet) {
	type got struct {
		from  Key
		frame string
	}
	var ends []Transport
	in := make([]chan got, 3)
	var once sync.Once
	gate := make(chan struct{})
	for i := range 3 {
		in[i] = make(chan got, 100000)
		ends = append(ends, of(i))
		ends[i].Receive(func(from Key, frame []byte) error {
			if string(frame) == "wait" {
				<-gate
			}
			in[i] <- got{from, string(frame)}
			return nil
		})
		ends[i].Peers(set.Validators, 1<<20)
	}
	t.Cleanup(func() {
		once.Do(func() { close(gate) })
		for _, e := range ends {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	expect := func(at, from int, frame string) {
		t.Helper()
		deadline := time.After(patience)
		for {
			select {
			case g := <-in[at]:
				if g.frame == "hello" && frame != "hello" {
					continue
				}
				if g.from != testID(from) || g.frame != frame {
					t.Fatalf("%d got %q of %s, want %q of %d", at, g.frame, g.from, frame, from)
				}
				return
			case <-deadline:
				t.Fatalf("%d did not get %q of %d", at, frame, from)
			}
		}
	}
	// frames may be lost until the streams are there
	meet := func(from, to int) {
		deadline := time.After(patience)
		for {
			ends[from].Send(testID(to), []byte("hello"))
			select {
			case g := <-in[to]:
				if g.from == testID(from) {
					return
				}
			case <-time.After(20 * time.Millisecond):
			case <-deadline:
				t.Fatalf("%d never heard of %d", to, from)
			}
		}
	}
	meet(0, 1)
	meet(2, 1)
	meet(1, 0)

	for i := range 500 {
		if !ends[0].Send(testID(1), binary.BigEndian.AppendUint32(nil, uint32(i))) {
			t.Fatal("a short queue has no room")
		}
	}
	for i := range 500 {
		expect(1, 0, string(binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	big := bytes.Repeat([]byte{7}, 1<<20)
	ends[0].Send(testID(1), big)
	expect(1, 0, string(big))

	if ends[0].Send(testID(7), []byte("who")) {
		t.Error("a stranger is spoken to")
	}
	// one peer that is not listened to keeps no other waiting, and its queue drops in the end
	ends[0].Send(testID(1), []byte("wait"))
	dropped := false
	for range 5000 {
		dropped = !ends[0].Send(testID(1), big) || dropped
	}
	if !dropped {
		t.Error("5,000 MiB are queued")
	}
	meet(2, 1)
	once.Do(func() { close(gate) })
	expect(1, 0, "wait")

	// who is removed is neither heard nor spoken to
	ends[1].Peers(testSet(2, 1, 2).Validators, 1<<20)
	if ends[1].Send(testID(0), []byte("gone")) {
		t.Error("a removed validator is spoken to")
	}
}

func TestTransports(t *testing.T) {
	t.Run("exchange", func(t *testing.T) {
		x := NewExchange()
		transports(t, func(i int) Transport { return x.Join(testID(i)) }, testSet(1, 0, 1, 2))
	})
	t.Run("streams", func(t *testing.T) {
		set := testSet(1, 0, 1, 2)
		hosts := testHosts(t, set, 3)
		transports(t, func(i int) Transport { return NewStreams(hosts[i], nil) }, set)
	})
}

// TestObserverIsSilent holds that who is no validator opens no stream, until it is one.
func TestObserverIsSilent(t *testing.T) {
	hosts := testHosts(t, testSet(1, 0, 1, 2), 3)
	s := NewStreams(hosts[2], nil)
	s.Receive(func(Key, []byte) error { return nil })
	defer s.Close()
	s.Peers(testSet(1, 0, 1).Validators, 100)
	if s.Send(testID(0), []byte("hello")) || len(s.senders) > 0 {
		t.Error("an observer speaks to a validator")
	}
	s.Peers(testSet(2, 0, 1, 2).Validators, 100)
	if !s.Send(testID(0), []byte("hello")) {
		t.Error("a new validator stays silent")
	}
}

// TestStranger holds that nobody but a validator is listened to, and that a validator that sends garbage loses its stream.
func TestStranger(t *testing.T) {
	set := testSet(1, 0, 1)
	hosts := testHosts(t, set, 3)
	s := NewStreams(hosts[0], nil)
	heard := make(chan string, 10)
	s.Receive(func(_ Key, frame []byte) error {
		heard <- string(frame)
		if string(frame) == "garbage" {
			return ErrFrame
		}
		return nil
	})
	s.Peers(set.Validators, 100)
	defer s.Close()
	speak := func(from int, bytes []byte) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		hosts[from].Peerstore().AddAddrs(hosts[0].ID(), hosts[0].Addrs(), time.Hour)
		st, err := hosts[from].NewStream(ctx, hosts[0].ID(), Protocol)
		if err != nil {
			return err
		}
		defer st.Reset()
		if _, err := st.Write(bytes); err != nil {
			return err
		}
		if err := st.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err = st.Read(make([]byte, 1))
		return err
	}
	if err := speak(2, append([]byte{5}, "hello"...)); err == nil {
		t.Error("a stranger is answered")
	}
	if err := speak(1, append([]byte{7}, "garbage"...)); err == nil {
		t.Error("garbage keeps its stream")
	}
	if f := <-heard; f != "garbage" {
		t.Errorf("heard %q", f)
	}
	if err := speak(1, append([]byte{5}, "hello"...)); err == nil {
		t.Error("a peer that broke the protocol is back at once")
	}
	select {
	case f := <-heard:
		t.Errorf("heard %q", f)
	default:
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3, 1, 9}, 10)
	f.Add(binary.AppendUvarint(nil, 1<<40), 1<<20)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(1, min(limit, 1<<20))
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			frame, err := readFrame(r, limit)
			if err != nil {
				return
			}
			if len(frame) == 0 || len(frame) > limit || !bytes.Contains(b, frame) {
				t.Fatalf("frame of %d bytes out of %d", len(frame), len(b))
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{frameTransaction, 't', '1'})
	f.Add(append([]byte{frameConsensus}, marshal(viewChange(3))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, tx, err := decodeFrame(b, 1000)
		if (err == nil) == (m == nil && tx == nil) || err != nil && !errors.Is(err, ErrFrame) {
			t.Fatalf("%v %v %v", m, tx, err)
		}
	})
}

func FuzzPayload(f *testing.F) {
	f.Add(encodePayload(toyTxs(0, 3)))
	f.Add([]byte{0x81, 0x00, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		txs, err := decodePayload(b)
		if err == nil && !bytes.Equal(encodePayload(txs), b) {
			t.Fatalf("%x is a second encoding of %q", b, txs)
		}
	})
}
