package operator

import (
	"context"
	"net/http"
	"slices"
)

// Bearer is whoever a token belongs to, for rooms of this process that let people in beside the API.
type Bearer struct {
	Name    string
	Role    Role
	Tenants []string // of a client

	caller *caller
}

func newBearer(c *caller) *Bearer {
	return &Bearer{Name: c.name, Role: c.role, Tenants: slices.Clone(c.tenants), caller: c}
}

// Open returns the bearer that everyone on this machine is, or nil when there are tokens.
func (a *API) Open() *Bearer {
	if a.guard.open == nil {
		return nil
	}
	return newBearer(a.guard.open)
}

// Identify finds the bearer of a token.
func (a *API) Identify(secret string) (*Bearer, error) {
	c, err := a.guard.identify(http.Header{"Authorization": {"Bearer " + secret}})
	if err != nil {
		return nil, toConnect(err)
	}
	return newBearer(c), nil
}

// Named finds the bearer whose token has this name, or nil.
func (a *API) Named(name string) *Bearer {
	if a.guard.open != nil {
		return a.Open()
	}
	for _, c := range a.guard.callers {
		if c.name == name {
			return newBearer(c)
		}
	}
	return nil
}

// Act returns a context in which the API's methods are called in the bearer's name, if its role and its rate allow the
// procedure.
func (a *API) Act(ctx context.Context, b *Bearer, procedure string) (context.Context, error) {
	if b == nil || b.caller == nil {
		return nil, toConnect(errNoToken)
	}
	if err := b.caller.may(procedure); err != nil {
		return nil, toConnect(err)
	}
	return withCaller(ctx, b.caller), nil
}

// Protect lets those who may see what belongs to no tenant reach the handler, as bearers of tokens.
func (a *API) Protect(next http.Handler) http.Handler {
	h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := a.guard.identify(r.Header)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		if !c.is(readers) {
			http.Error(w, errRole.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}))
	if a.guard.open != nil {
		h = localOnly(h)
	}
	return h
}

// Local keeps other origins and names from a handler when the API needs no token; it does nothing otherwise.
func (a *API) Local(next http.Handler) http.Handler {
	if a.guard.open != nil {
		return localOnly(next)
	}
	return next
}

// may refuses a procedure that the caller's role or rate does not allow.
func (c *caller) may(procedure string) error {
	if !c.is(procedures[procedure]) {
		return errRole
	}
	if c.limit != nil && !c.limit.Allow() {
		return errRate
	}
	return nil
}
