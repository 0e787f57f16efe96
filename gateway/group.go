package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
)

// clientIP is the peer's address: the connection's, or, behind trusted proxies, the last one in X-Forwarded-For that
// is not a trusted proxy itself.
func (d *Door) clientIP(r *http.Request) netip.Addr {
	ip, ok := addrOf(r.RemoteAddr)
	if !ok || !d.trusted(ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := addrOf(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		ip = hop
		if !d.trusted(hop) {
			break
		}
	}
	return ip
}

// AddressOf is the address that limits count a request by, at this door and at others that have no proxies of their own
// to trust: see clientIP and host.
func (d *Door) AddressOf(r *http.Request) netip.Prefix { return host(d.clientIP(r)) }

func (d *Door) trusted(ip netip.Addr) bool {
	for _, p := range d.cfg.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// identityGroup names who a worker may be one and the same with: its owner if that is proven, else its network
// (/24, /48) unless that is loopback or private. Empty: the worker is its own group. It is a keyed hash, so that the
// log holds no addresses.
func identityGroup(groupKey, owner []byte, ip netip.Addr) string {
	switch {
	case len(owner) > 0:
		return groupHash(groupKey, "owner", owner)
	case !ip.IsValid() || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast():
		return ""
	}
	bits := 48
	if ip.Is4() {
		bits = 24
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return groupHash(groupKey, "net", []byte(prefix.String()))
}

func groupHash(key []byte, kind string, value []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write(value)
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// host is the address prefix that limits count by: an IPv6 host has a whole /64 at its hands.
func host(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}

func parseKey(id string) ([]byte, bool) {
	key, err := hex.DecodeString(id)
	return key, err == nil && len(key) == 32
}
