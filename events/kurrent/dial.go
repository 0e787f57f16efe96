package kurrent

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// maxMessage is the most that one message of a server may hold.
const maxMessage = 17 << 20

// dialer makes connections to nodes.
type dialer struct {
	cfg     *esdb.Configuration
	seeds   []string
	cluster bool // seeds are asked for the node to talk to
	opts    []grpc.DialOption
}

func newDialer(cfg *esdb.Configuration) (*dialer, error) {
	d := &dialer{cfg: cfg, seeds: []string{cfg.Address}, cluster: cfg.DnsDiscover || len(cfg.GossipSeeds) > 0}
	if len(cfg.GossipSeeds) > 0 {
		d.seeds = nil
		for _, s := range cfg.GossipSeeds {
			d.seeds = append(d.seeds, net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))))
		}
	}
	d.opts = []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
	}
	if cfg.KeepAliveInterval >= 0 {
		k := keepalive.ClientParameters{Time: cfg.KeepAliveInterval, PermitWithoutStream: true}
		if cfg.KeepAliveTimeout >= 0 {
			k.Timeout = cfg.KeepAliveTimeout
		}
		d.opts = append(d.opts, grpc.WithKeepaliveParams(k))
	}
	if cfg.DisableTLS {
		d.opts = append(d.opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
		return d, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs, InsecureSkipVerify: cfg.SkipCertificateVerification}
	if cfg.UserCertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.UserCertFile, cfg.UserKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: user certificate: %w", ErrURI, err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	d.opts = append(d.opts, grpc.WithTransportCredentials(credentials.NewTLS(t)))
	if cfg.Username != "" {
		d.opts = append(d.opts, grpc.WithPerRPCCredentials(login(base64.StdEncoding.EncodeToString([]byte(cfg.Username+":"+cfg.Password)))))
	}
	return d, nil
}

func (d *dialer) dial(addr string) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient(addr, d.opts...)
	if err != nil {
		return nil, unavailable("dial: %v", err)
	}
	return cc, nil
}

// login is a user and a password in base64. It is sent over TLS alone.
type login string

func (l login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + string(l)}, nil
}

func (login) RequireTransportSecurity() bool { return true }

func (login) String() string   { return "login" }
func (login) GoString() string { return "login" }

// find returns the address of the node to talk to: the leader for writes, for reads what the configuration prefers.
func (d *dialer) find(ctx context.Context, writes bool) (string, error) {
	if !d.cluster {
		return d.seeds[0], nil
	}
	seeds := slices.Clone(d.seeds)
	rand.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
	var last error
	for _, seed := range seeds {
		addr, err := d.ask(ctx, seed, writes)
		if err == nil {
			return addr, nil
		}
		last = err
	}
	return "", last
}

// ask asks one seed for the members of its cluster.
func (d *dialer) ask(ctx context.Context, seed string, writes bool) (string, error) {
	cc, err := d.dial(seed)
	if err != nil {
		return "", err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d.cfg.GossipTimeout)*time.Second)
	defer cancel()
	info, err := gossip.NewGossipClient(cc).Read(ctx, &shared.Empty{})
	if err != nil {
		return "", typed(err, nil, "")
	}
	prefer := d.cfg.NodePreference
	if writes {
		prefer = esdb.NodePreferenceLeader
	}
	m := pick(info.GetMembers(), prefer)
	if m == nil {
		return "", unavailable("no member of the cluster can be talked to")
	}
	e := m.GetHttpEndPoint()
	if e.GetAddress() == "" || e.GetPort() == 0 || e.GetPort() > 65535 {
		return "", unavailable("a member of the cluster has no address")
	}
	return net.JoinHostPort(e.GetAddress(), strconv.Itoa(int(e.GetPort()))), nil
}

// ranks are the states in which a member can be talked to, the best first.
var ranks = map[esdb.NodePreference][]gossip.MemberInfo_VNodeState{
	esdb.NodePreferenceLeader:   {gossip.MemberInfo_Leader, gossip.MemberInfo_Follower, gossip.MemberInfo_ReadOnlyReplica},
	esdb.NodePreferenceFollower: {gossip.MemberInfo_Follower, gossip.MemberInfo_Leader, gossip.MemberInfo_ReadOnlyReplica},
	esdb.NodePreferenceReadOnlyReplica: {
		gossip.MemberInfo_ReadOnlyReplica, gossip.MemberInfo_PreReadOnlyReplica,
		gossip.MemberInfo_ReadOnlyLeaderless, gossip.MemberInfo_Follower, gossip.MemberInfo_Leader,
	},
}

func pick(members []*gossip.MemberInfo, prefer esdb.NodePreference) *gossip.MemberInfo {
	members = slices.Clone(members)
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	states, ok := ranks[prefer]
	if !ok { // random
		states = ranks[esdb.NodePreferenceReadOnlyReplica]
	}
	for _, want := range states {
		for _, m := range members {
			if !m.GetIsAlive() {
				continue
			}
			if m.GetState() == want || !ok && slices.Contains(states, m.GetState()) {
				return m
			}
		}
	}
	return nil
}
