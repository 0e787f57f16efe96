package esdbserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// caller is whoever sent a call.
type caller struct {
	name string
	role Role
}

type callerKey struct{}

// callerOf returns who was let in. Without that a call has no rights at all.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// gate knows the users. Hashing a password is slow on purpose, so that good ones are remembered, as HMACs under a key
// of this process, and few are hashed at a time.
type gate struct {
	anonymous Role
	users     map[string]user
	stranger  passwordHash // stands in for users that there are not, so that time tells nothing
	key       [32]byte
	slots     chan struct{} // one for each password that is being hashed

	mu   sync.RWMutex // guards good
	good map[[sha256.Size]byte]caller
}

type user struct {
	caller
	hash     passwordHash
	password bool // whether there is one
}

const (
	hashSlots = 2
	maxGood   = 1024 // at most one for each user is added, so that only a large config fills it
)

func newGate(cfg Config) *gate {
	g := &gate{
		anonymous: cfg.Anonymous, users: make(map[string]user, len(cfg.Users)),
		slots: make(chan struct{}, hashSlots), good: make(map[[sha256.Size]byte]caller),
		stranger: passwordHash{rounds: hashRounds, salt: make([]byte, saltSize), key: make([]byte, sha256.Size)},
	}
	if cfg.open() {
		g.anonymous = RoleCluster
	}
	rand.Read(g.key[:]) // never fails
	for _, u := range cfg.Users {
		h, err := parseHash(u.Hash) // Validate has parsed it before
		g.users[u.Name] = user{caller: caller{u.Name, u.Role}, hash: h, password: u.Hash != "" && err == nil}
		if err == nil {
			g.stranger.rounds = h.rounds
		}
	}
	return g
}

// identify finds out who calls: by password, else by certificate, else nobody.
func (g *gate) identify(ctx context.Context) (caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if auth := md.Get("authorization"); len(auth) > 0 && len(g.users) > 0 {
		name, password, ok := basic(auth[0])
		if !ok {
			return caller{}, refuse(codes.Unauthenticated, "malformed credentials", "exception", "authentication-failed")
		}
		return g.login(ctx, name, password)
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			if u, ok := g.users[info.State.VerifiedChains[0][0].Subject.CommonName]; ok {
				return u.caller, nil
			}
		}
	}
	return caller{name: "anonymous", role: g.anonymous}, nil
}

// basic takes HTTP basic credentials apart (RFC 7617).
func basic(header string) (name, password string, ok bool) {
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") || len(text) > 2*MaxPassword {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return "", "", false
	}
	name, password, ok = strings.Cut(string(b), ":")
	return name, password, ok && len(password) <= MaxPassword
}

func (g *gate) login(ctx context.Context, name, password string) (caller, error) {
	mac := hmac.New(sha256.New, g.key[:])
	mac.Write([]byte(name + ":" + password)) // names have no colon
	sum := [sha256.Size]byte(mac.Sum(nil))
	g.mu.RLock()
	c, ok := g.good[sum]
	g.mu.RUnlock()
	if ok {
		return c, nil
	}
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return caller{}, ctx.Err()
	}
	defer func() { <-g.slots }()
	u, known := g.users[name]
	h := u.hash
	if !known || !u.password {
		h, known = g.stranger, false
	}
	if !h.matches(password) || !known {
		return caller{}, refuse(codes.Unauthenticated, "wrong user or password", "exception", "authentication-failed")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.good) < maxGood {
		g.good[sum] = u.caller
	}
	return u.caller, nil
}

// needs is the role that a call needs at least. Asking what the server can do is free, for clients ask before they log
// in; writes are held to their streams too.
func needs(method string) Role {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	switch service {
	case featuresService, gossipService:
		return RoleNone
	case streamsService:
		if name == "Read" {
			return RoleReader
		}
	case groupsService:
		if name == "GetInfo" || name == "List" {
			return RoleReader
		}
	}
	return RoleWriter
}

// admit finds out who calls and whether he may call this method at all.
func (s *Server) admit(ctx context.Context, method string) (caller, error) {
	need := needs(method)
	if need == RoleNone {
		return caller{}, nil
	}
	who, err := s.gate.identify(ctx)
	if err != nil {
		return who, err
	}
	if who.role == RoleNone {
		return who, refuse(codes.Unauthenticated, "credentials are required", "exception", "not-authenticated")
	}
	if who.role < need {
		return who, denied("%s is a %s", who.name, who.role)
	}
	return who, nil
}

// mayWrite holds a write to its stream.
func (s *Server) mayWrite(ctx context.Context, stream string) error {
	who := callerOf(ctx)
	if s.cfg.ReadOnly {
		return denied("the server is read-only")
	}
	if of := strings.TrimPrefix(stream, metadataPrefix); of == configStream || isGroupStream(of) {
		return denied("stream %s is the server's own", printable(stream))
	}
	if who.role == RoleCluster {
		return nil
	}
	if who.role < RoleWriter || s.protected(stream) {
		return denied("%s may not write to stream %s", who.name, printable(stream))
	}
	return nil
}

// protected reports whether a stream is the cluster's. A stream's metadata belongs to the stream.
func (s *Server) protected(stream string) bool {
	stream = strings.TrimPrefix(stream, metadataPrefix)
	if strings.HasPrefix(stream, "$") {
		return true
	}
	for _, p := range s.cfg.Protected {
		if strings.HasPrefix(stream, p) {
			return true
		}
	}
	return false
}

func (s *Server) admitUnary(ctx context.Context, q any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	who, err := s.admit(ctx, info.FullMethod)
	if err == nil {
		var a any
		if a, err = handle(context.WithValue(ctx, callerKey{}, who), q); err == nil {
			return a, nil
		}
	}
	st, trailers := s.refused(ctx, info.FullMethod, "", err)
	if len(trailers) > 0 {
		_ = grpc.SetTrailer(ctx, trailers) // fails only when the call is over
	}
	return nil, st.Err()
}

func (s *Server) admitStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx := ss.Context()
	who, err := s.admit(ctx, info.FullMethod)
	if err == nil {
		if err = handle(srv, &admitted{ServerStream: ss, ctx: context.WithValue(ctx, callerKey{}, who)}); err == nil {
			return nil
		}
	}
	if info.FullMethod == "/"+streamsService+"/Append" {
		drain(ss)
	}
	st, trailers := s.refused(ctx, info.FullMethod, "", err)
	if len(trailers) > 0 {
		ss.SetTrailer(trailers)
	}
	return st.Err()
}

// admitted is a call whose context knows the caller.
type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (a *admitted) Context() context.Context { return a.ctx }
