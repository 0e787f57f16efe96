package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	"pgregory.net/rapid"
)

func TestIdentityGroups(t *testing.T) {
	key, owner := []byte("0123456789abcdef"), bytes.Repeat([]byte{1}, 32)
	group := func(owner []byte, ip string) string { return identityGroup(key, owner, netip.MustParseAddr(ip)) }
	for _, alone := range []string{"127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd00::1", "fe80::1%eth0"} {
		if g := group(nil, alone); g != "" {
			t.Errorf("%s is in group %q", alone, g)
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"203.0.113.1", "203.0.113.254", true},
		{"203.0.113.1", "203.0.114.1", false},
		{"2001:db8:1::1", "2001:db8:1:ffff::2", true},
		{"2001:db8:1::1", "2001:db8:2::1", false},
	} {
		if got := group(nil, c.a) == group(nil, c.b); got != c.same {
			t.Errorf("%s and %s: same group %v", c.a, c.b, got)
		}
	}
	if group(owner, "203.0.113.1") != group(owner, "127.0.0.1") {
		t.Error("an owner's workers are in two groups")
	}
	if identityGroup([]byte("another key 0000"), nil, netip.MustParseAddr("203.0.113.1")) == group(nil, "203.0.113.1") {
		t.Error("the hash does not depend on the key")
	}
}

func TestForwardedForIsBelievedFromTrustedProxiesAlone(t *testing.T) {
	d := &Door{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, c := range []struct{ remote, header, want string }{
		{"203.0.113.9:1", "1.2.3.4", "203.0.113.9"},
		{"10.0.0.1:1", "1.2.3.4", "1.2.3.4"},
		{"10.0.0.1:1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"},
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"10.0.0.1:1", "nonsense", "10.0.0.1"},
		{"10.0.0.1:1", "6.6.6.6, nonsense", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:1", "1.2.3.4", "1.2.3.4"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		if got := d.clientIP(r).String(); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.remote, c.header, got, c.want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:1"
	r.Header.Set("X-Forwarded-For", "2001:db8:1:2:3:4:5:6")
	if got := d.AddressOf(r).String(); got != "2001:db8:1:2::/64" {
		t.Errorf("an IPv6 host behind a proxy counts as %s", got)
	}
	if r.RemoteAddr = "@"; d.AddressOf(r).IsValid() {
		t.Error("a peer without an address has one")
	}
}

func TestGuardCountsByHost(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	cfg, err := Config{
		Key: key, GroupKey: make([]byte, 16), MaxConnections: 10, MaxConnectionsPerIP: 3, HandshakesPerIPPerSecond: 100, HandshakeBurstPerIP: 100,
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	g, now := newGuard(cfg), time.Unix(1000, 0)
	a, sibling, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("203.0.113.1")
	for i, ip := range []netip.Addr{a, sibling, a} {
		if err := g.admit(ip, false, now); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := g.admit(sibling, false, now); err == nil {
		t.Fatal("a fourth connection of one /64")
	}
	if err := g.admit(b, false, now); err != nil {
		t.Fatal(err)
	}
	g.leave(a)
	if err := g.admit(sibling, false, now); err != nil {
		t.Fatalf("after one left: %v", err)
	}
	for range 6 {
		if err := g.admit(netip.MustParseAddr("127.0.0.1"), false, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.admit(netip.MustParseAddr("127.0.0.1"), false, now); err == nil || g.connections() != 10 {
		t.Fatalf("%v with %d open", err, g.connections())
	}
	for _, ip := range []netip.Addr{a, sibling, sibling, b} {
		g.leave(ip)
	}
	g.sweep(now.Add(2 * time.Minute))
	if len(g.hosts) != 0 {
		t.Fatalf("%d hosts remembered", len(g.hosts))
	}
}

// One worker of a host is measured at a time, and never more hosts than there are places.
func TestTurns(t *testing.T) {
	turns := newTurns(2)
	hosts := []netip.Prefix{netip.MustParsePrefix("1.0.0.0/32"), netip.MustParsePrefix("2.0.0.0/32"), netip.MustParsePrefix("3.0.0.0/32")}
	var mu sync.Mutex
	var all sync.WaitGroup
	running := map[netip.Prefix]int{}
	total := 0
	for i := range 60 {
		all.Go(func() {
			h := hosts[i%3]
			done, err := turns.take(t.Context(), h)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			running[h]++
			total++
			if running[h] > 1 || total > 2 {
				t.Errorf("%d of one host, %d in all", running[h], total)
			}
			mu.Unlock()
			mu.Lock()
			running[h]--
			total--
			mu.Unlock()
			done()
		})
	}
	all.Wait()
	if len(turns.hosts) != 0 {
		t.Fatalf("%d hosts remembered", len(turns.hosts))
	}
	done, _ := turns.take(t.Context(), hosts[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.take(ctx, hosts[0]); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	done()
}

// The fast scan finds exactly what a slow one does, wherever the bytes lie in memory.
func TestFiniteScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xf0, 0xff}), 0, 80).Draw(t, "bytes")
		b = b[min(len(b), rapid.IntRange(0, 8).Draw(t, "offset")):]
		for kind, size := range map[eventv1.ElementType]int{
			eventv1.ElementType_ELEMENT_TYPE_F32: 4, eventv1.ElementType_ELEMENT_TYPE_F64: 8,
		} {
			whole := b[:len(b)/size*size]
			want := true
			for i := 0; i < len(whole); i += size {
				e := whole[i : i+size]
				top, next := e[size-1]&0x7f, e[size-2]
				want = want && (top != 0x7f || size == 4 && next&0x80 == 0 || size == 8 && next&0xf0 != 0xf0)
			}
			if got := allFinite(kind, whole); got != want {
				t.Fatalf("%s %x: %v, want %v", kind, whole, got, want)
			}
		}
	})
}

func TestInputCacheStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newInputCache(1000)
		for range rapid.IntRange(0, 3000).Draw(t, "puts") {
			n := rapid.IntRange(0, 300).Draw(t, "size")
			key := [32]byte{byte(rapid.IntRange(0, 255).Draw(t, "key")), byte(n), byte(n >> 8)}
			c.put(key, make([]byte, n))
			if got, ok := c.get(key); n <= 250 && (!ok || len(got) != n) {
				t.Fatal("the newest is not there")
			}
			total := uint64(0)
			for _, v := range c.m {
				total += uint64(len(v))
			}
			if total != c.size || total > 1000 || len(c.order)-c.head != len(c.m) {
				t.Fatalf("%d bytes, counted %d, %d in order, %d kept", total, c.size, len(c.order)-c.head, len(c.m))
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	good := Config{Key: key, GroupKey: make([]byte, 16)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no key":             func(c *Config) { c.Key = nil },
		"short group key":    func(c *Config) { c.GroupKey = c.GroupKey[1:] },
		"frames above 1 GiB": func(c *Config) { c.MaxFrame = 2 << 30 },
		"tier 3 below":       func(c *Config) { c.MaxFrame, c.MaxFrameTier3 = 2<<20, 1<<20 },
		"tiny queue":         func(c *Config) { c.MaxQueue = 1 },
		"negative timeout":   func(c *Config) { c.WriteTimeout = -1 },
		"frantic pings":      func(c *Config) { c.PingInterval = time.Millisecond },
		"credits":            func(c *Config) { c.MaxCredits = 1 << 20 },
		"benchmark":          func(c *Config) { c.Benchmark.Parallel = -1 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
