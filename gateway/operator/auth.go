package operator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
)

// caller is whoever sent a request.
type caller struct {
	name    string
	role    Role
	tenants []string      // of a client
	limit   *rate.Limiter // nil: none
	streams *counter
}

// sees reports whether things of this tenant exist for the caller.
func (c *caller) sees(tenant string) bool {
	return c.role != Client || slices.Contains(c.tenants, tenant)
}

func (c *caller) is(set roles) bool { return roleBits[c.role]&set != 0 }

type callerKey struct{}

func withCaller(ctx context.Context, c *caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf returns the caller that the gate let in. Without one the request has no rights at all.
func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{}
}

// nobody has no rights but to what is public.
var nobody = &caller{}

// guard knows the tokens.
type guard struct {
	hashes  [][sha256.Size]byte
	callers []*caller
	open    *caller // set when there are no tokens
}

func newGuard(cfg Config) *guard {
	g := &guard{}
	newCaller := func(name string, role Role, tenants []string) *caller {
		c := &caller{name: name, role: role, tenants: tenants, streams: newCounter(cfg.MaxStreamsToken)}
		if cfg.RequestRate > 0 && len(cfg.Tokens) > 0 {
			c.limit = rate.NewLimiter(rate.Limit(cfg.RequestRate), cfg.RequestBurst)
		}
		return c
	}
	if len(cfg.Tokens) == 0 {
		g.open = newCaller("local", Admin, nil)
	}
	for _, t := range cfg.Tokens {
		var h [sha256.Size]byte
		sum, _ := hex.DecodeString(t.SHA256) // Config.Validate has decoded it before
		copy(h[:], sum)
		g.hashes = append(g.hashes, h)
		g.callers = append(g.callers, newCaller(t.Name, t.Role, t.Tenants))
	}
	return g
}

// identify finds the bearer of a request's token. It compares all hashes, so that time tells nothing.
func (g *guard) identify(h http.Header) (*caller, error) {
	if g.open != nil {
		return g.open, nil
	}
	scheme, secret, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return nil, errNoToken
	}
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i := range g.hashes {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], g.hashes[i][:]), i, found)
	}
	if found < 0 {
		return nil, errBadToken
	}
	return g.callers[found], nil
}

// gate lets a request in before its message is read. What anyone may call is on the allowance of an address, unless the
// request brings a token that counts.
func (g *guard) gate(ctx context.Context, spec connect.Spec, _ connect.Peer, h http.Header) (context.Context, error) {
	c, err := g.identify(h)
	if v := visitOf(ctx); v != nil && procedures[spec.Procedure]&byAnyone != 0 {
		if err != nil || g.open != nil {
			if err := v.from.spend(1); err != nil {
				return nil, toConnect(err)
			}
			return withCaller(ctx, cmp.Or(c, nobody)), nil
		}
		v.token = true
	}
	if err != nil {
		return nil, toConnect(err)
	}
	if err := c.may(spec.Procedure); err != nil {
		return nil, toConnect(err)
	}
	return withCaller(ctx, c), nil
}
