package kurrent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"

	"github.com/shardy-network/orchestrator/events"
)

// link is a connection to the node that appends, or reads, go to. It outlives the node.
type link struct {
	dialer   *dialer
	log      *slog.Logger
	writes   bool
	patience time.Duration

	mu      sync.Mutex       // guards what follows
	cc      *grpc.ClientConn // nil: a node must be found first
	found   bool             // the node was not named by the user: it may be wrong later
	finding chan struct{}    // not nil while somebody looks for a node; closed at the end
	lost    bool             // an outage was logged whose end was not
	closed  bool
}

func newLink(d *dialer, o Options, writes bool) *link {
	return &link{dialer: d, log: o.Logger.With("writes", writes), writes: writes, patience: o.Patience}
}

// conn returns a connection that is up. It waits for it as long as the link has patience, and not beyond ctx.
func (k *link) conn(ctx context.Context) (*grpc.ClientConn, error) {
	k.mu.Lock()
	cc := k.cc
	k.mu.Unlock()
	if cc != nil && cc.GetState() == connectivity.Ready {
		return cc, nil
	}
	patient, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	for {
		cc, err := k.node(patient)
		if err == nil {
			err = k.ready(patient, cc)
		}
		if err == nil {
			k.told(nil)
			return cc, nil
		}
		if cc != nil {
			k.forget(cc)
		}
		if patient.Err() != nil || pause(patient, retryPause) != nil {
			k.told(err)
			return nil, &unreachable{err}
		}
	}
}

// node returns the connection to the node that the link has, and finds one when it has none.
func (k *link) node(ctx context.Context) (*grpc.ClientConn, error) {
	for {
		k.mu.Lock()
		if k.closed {
			k.mu.Unlock()
			return nil, events.ErrClosed
		}
		if k.cc != nil {
			defer k.mu.Unlock()
			return k.cc, nil
		}
		if finding := k.finding; finding != nil {
			k.mu.Unlock()
			select {
			case <-finding:
				continue
			case <-ctx.Done():
				return nil, unavailable("no node was found in time")
			}
		}
		done := make(chan struct{})
		k.finding = done
		k.mu.Unlock()
		addr, err := k.dialer.find(ctx, k.writes)
		if err == nil {
			err = k.use(addr, k.dialer.cluster)
		}
		k.mu.Lock()
		k.finding = nil
		k.mu.Unlock()
		close(done)
		if err != nil {
			return nil, err
		}
	}
}

// use makes the link talk to another node.
func (k *link) use(addr string, found bool) error {
	cc, err := k.dialer.dial(addr)
	if err != nil {
		return err
	}
	k.mu.Lock()
	old := k.cc
	if k.closed {
		old = cc
	} else {
		k.cc, k.found = cc, found
	}
	k.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return nil
}

// follow goes where the node says that the leader is, unless the link has left that node already.
func (k *link) follow(from *grpc.ClientConn, leader string) error {
	k.mu.Lock()
	current := k.cc
	k.mu.Unlock()
	if current != from {
		return nil
	}
	k.log.Info("log has another leader", "address", leader)
	return k.use(leader, true)
}

// ready waits until the connection is up.
func (k *link) ready(ctx context.Context, cc *grpc.ClientConn) error {
	for {
		s := cc.GetState()
		switch s {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown: // somebody went to another node
			return unavailable("the node was left")
		case connectivity.Idle:
			cc.Connect()
		}
		if !cc.WaitForStateChange(ctx, s) {
			return k.reason(cc)
		}
	}
}

// reason asks a connection that is not up why.
func (k *link) reason(cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if cc.GetState() == connectivity.TransientFailure { // then it answers at once
		if _, err := serverfeatures.NewServerFeaturesClient(cc).GetSupportedMethods(ctx, &shared.Empty{}); err != nil {
			return typed(err, nil, "")
		}
	}
	return unavailable("the server does not answer")
}

// forget drops a node that was found by asking, so that the next call asks again.
func (k *link) forget(cc *grpc.ClientConn) {
	k.mu.Lock()
	if k.cc != cc || !k.found {
		k.mu.Unlock()
		return
	}
	k.cc = nil
	k.mu.Unlock()
	_ = cc.Close()
}

// told logs the beginning and the end of an outage.
func (k *link) told(err error) {
	k.mu.Lock()
	was := k.lost
	k.lost = err != nil
	closed := k.closed
	k.mu.Unlock()
	switch {
	case closed || was == (err != nil):
	case err != nil:
		k.log.Warn("log is unavailable", "error", err)
	default:
		k.log.Info("log is available again")
	}
}

// close closes the connection. No call may be in flight.
func (k *link) close() {
	k.mu.Lock()
	cc := k.cc
	k.cc, k.closed = nil, true
	k.mu.Unlock()
	if cc != nil {
		_ = cc.Close()
	}
}
