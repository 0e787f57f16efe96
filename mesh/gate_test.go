package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

func gateOf(t *testing.T, c Config) *gate {
	t.Helper()
	c.Key, c.Chain = keyOf(0), "test-1"
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return newGate(c, nil, nil, func(peer.ID) bool { return false })
}

// TestDoor bounds how often one address may knock; loopback may always.
func TestDoor(t *testing.T) {
	g := gateOf(t, Config{DialsPerIP: 2, DialBurstPerIP: 3})
	now := time.Now()
	knocks := func(s string, at time.Time, n int) (in int) {
		for range n {
			if g.knock(netip.MustParseAddr(s), at) {
				in++
			}
		}
		return in
	}
	for _, tt := range []struct {
		addr  string
		after time.Duration
		want  int
	}{
		{"203.0.113.7", 0, 3},
		{"203.0.113.8", 0, 3},           // another's knocking does not count
		{"203.0.113.7", time.Second, 2}, // a second later
		{"2001:db8::1", 0, 3},
		{"2001:db8::ffff", 0, 0}, // the same /64
		{"2001:db8:0:1::1", 0, 3},
		{"127.0.0.1", 0, 50},
		{"::1", 0, 50},
	} {
		if got := knocks(tt.addr, now.Add(tt.after), 50); got != tt.want {
			t.Errorf("%s after %v: %d of 50 let in, want %d", tt.addr, tt.after, got, tt.want)
		}
	}
	for i := range 3 * maxDoors {
		g.knock(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if n := len(g.doors); n > maxDoors {
		t.Errorf("%d addresses remembered", n)
	}
}

func TestAddressesOfPrivateNetworks(t *testing.T) {
	open, closed := gateOf(t, Config{}), gateOf(t, Config{PublicOnly: true})
	for s, public := range map[string]bool{
		"/ip4/127.0.0.1/tcp/1": false, "/ip4/10.0.0.1/tcp/1": false, "/ip4/192.168.3.3/tcp/1": false, "/ip6/::1/tcp/1": false,
		"/ip4/8.8.8.8/tcp/1": true,
	} {
		a := multiaddr.StringCast(s)
		if !open.InterceptAddrDial("", a) || closed.InterceptAddrDial("", a) != public {
			t.Errorf("%s: public %v", s, public)
		}
	}
}

// TestBlocked closes a connection and the door, for good, for a while, and from the start.
func TestBlocked(t *testing.T) {
	ctx := context.Background()
	a := open(t, 0)
	h := stranger(t, 70)
	if err := h.Connect(ctx, infoOf(a.Mesh)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "connected", func() bool { return a.connected(h.ID()) })
	if err := a.Block(h.ID(), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "closed on both sides", func() bool {
		return !a.connected(h.ID()) && h.Network().Connectedness(a.self) != network.Connected
	})
	refused := a.Status().Refused
	_ = h.Connect(ctx, infoOf(a.Mesh)) // may succeed for a moment: the refusal comes after the handshake
	eventually(t, "refused", func() bool {
		return a.Status().Refused > refused && h.Network().Connectedness(a.self) != network.Connected
	})
	a.Unblock(h.ID())
	eventually(t, "forgiven", func() bool { return h.Connect(ctx, infoOf(a.Mesh)) == nil && a.connected(h.ID()) })

	if err := a.Block(h.ID(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	eventually(t, "over by itself", func() bool { return h.Connect(ctx, infoOf(a.Mesh)) == nil && a.connected(h.ID()) })
	if len(a.gate.blocks()) != 0 {
		t.Error("a block that is over is still there")
	}

	b := open(t, 1, func(c *Config) { c.Block = []string{h.ID().String()} })
	if err := b.host.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err == nil {
		t.Error("a blocked peer was dialed")
	}
}

// TestPrivate lets validators and guests in, and nobody else.
func TestPrivate(t *testing.T) {
	guest, strange := stranger(t, 71), stranger(t, 72)
	a := open(t, 0, func(c *Config) { c.Private, c.Allow = true, []string{guest.ID().String()} })
	b := open(t, 1, meets(a))
	if err := guest.Connect(context.Background(), infoOf(a.Mesh)); err != nil {
		t.Fatal(err)
	}
	_ = strange.Connect(context.Background(), infoOf(a.Mesh))
	eventually(t, "the stranger is sent away", func() bool {
		return a.Status().Refused > 0 && strange.Network().Connectedness(a.self) != network.Connected
	})
	eventually(t, "validator and guest are in", func() bool { return a.connected(b.self) && a.connected(guest.ID()) })
	a.elect(setOf(2, 0, 2, 3, 4))
	eventually(t, "who is no validator any more is shown out", func() bool { return !a.connected(b.self) && a.connected(guest.ID()) })
}

// TestForValidators resets a stranger's stream, and follows the set when it changes.
func TestForValidators(t *testing.T) {
	ctx := context.Background()
	a := open(t, 0)
	h := stranger(t, 73)
	a.host.SetStreamHandler(ConsensusProtocol, a.ForValidators(func(s network.Stream) {
		_, _ = s.Write([]byte("in"))
		_ = s.Close()
	}))
	ask := func() (string, error) {
		if err := h.Connect(ctx, infoOf(a.Mesh)); err != nil {
			return "", err
		}
		s, err := h.NewStream(ctx, a.self, ConsensusProtocol)
		if err != nil {
			return "", err
		}
		if _, err := s.Write([]byte("hello")); err != nil {
			return "", err
		}
		b, err := io.ReadAll(s)
		return string(b), err
	}
	_, err := ask()
	var reset *network.StreamError
	if !errors.As(err, &reset) || reset.ErrorCode != network.StreamGated {
		t.Fatalf("a stranger: %v", err)
	}
	a.elect(setOf(2, 0, 1, 2, 73))
	if got, err := ask(); got != "in" || err != nil || !a.IsValidator(h.ID()) {
		t.Fatalf("a validator: %q, %v", got, err)
	}
}

// TestStreamLimits opens more streams than a protocol allows one peer.
func TestStreamLimits(t *testing.T) {
	ctx := context.Background()
	a := open(t, 0)
	h := stranger(t, 74)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	a.host.SetStreamHandler(BlockSyncProtocol, func(s network.Stream) {
		_, _ = s.Write([]byte{1})
		<-hold
		_ = s.Reset()
	})
	if err := h.Connect(ctx, infoOf(a.Mesh)); err != nil {
		t.Fatal(err)
	}
	served := 0
	for range 40 {
		s, err := h.NewStream(ctx, a.self, BlockSyncProtocol)
		if err != nil {
			continue
		}
		if _, err := s.Write([]byte{1}); err != nil {
			continue
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err == nil {
			served++
		}
	}
	if served != 16 {
		t.Errorf("%d streams of one peer served, want 16", served)
	}
}

// TestPeersOfOneAddress: how many connections an address may have, whoever they are of.
func TestPeersOfOneAddress(t *testing.T) {
	c, err := Config{Key: keyOf(0), Chain: "test-1", PeersPerIP: 3}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newResources(c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for addr, want := range map[string]int{
		"/ip4/203.0.113.7/tcp/1": 6, "/ip4/203.0.113.8/tcp/1": 6, "/ip6/2001:db8::1/tcp/1": 6, "/ip4/127.0.0.1/tcp/1": 20,
	} {
		got := 0
		var scopes []network.ConnManagementScope
		for range 20 {
			scope, err := r.OpenConnection(network.DirInbound, true, multiaddr.StringCast(addr))
			if err == nil {
				got++
				scopes = append(scopes, scope)
			}
		}
		for _, s := range scopes {
			s.Done()
		}
		if got != want {
			t.Errorf("%s: %d connections, want %d", addr, got, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	for i := range 5 {
		id, err := PeerOf(public(keyOf(i)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := KeyOf(id)
		if err != nil || !key.Equal(public(keyOf(i))) {
			t.Errorf("%s: key %x, %v", id, key, err)
		}
	}
	if _, err := PeerOf(nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("no key: %v", err)
	}
	rsa, err := peer.Decode("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeyOf(rsa); !errors.Is(err, ErrIdentity) {
		t.Errorf("a hash of a key: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := Config{Key: keyOf(0), Chain: "test-1"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"no key":             func(c *Config) { c.Key = nil },
		"no chain":           func(c *Config) { c.Chain = "" },
		"a chain in capital": func(c *Config) { c.Chain = "Test" },
		"a long chain":       func(c *Config) { c.Chain = fmt.Sprintf("%033d", 1) },
		"a name with a bell": func(c *Config) { c.Node = "a\a" },
		"nowhere to listen":  func(c *Config) { c.Listen = []string{"here"} },
		"no peer to meet":    func(c *Config) { c.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} },
		"an odd guest":       func(c *Config) { c.Allow = []string{"me"} },
		"marks crossed":      func(c *Config) { c.LowPeers, c.HighPeers = 50, 40 },
		"a negative time":    func(c *Config) { c.Linger = -1 },
		"a huge message":     func(c *Config) { c.MaxMessage = 1 << 30 },
		"a slow allowance":   func(c *Config) { c.BytesPerSecond = 1_000 },
		"expiry too short":   func(c *Config) { c.PresenceExpiry = time.Millisecond },
	} {
		c := good
		edit(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: New: %v", name, err)
		}
	}
}
