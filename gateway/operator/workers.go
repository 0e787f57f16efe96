package operator

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// workerView folds a worker's facts.
type workerView struct {
	w                 *operatorv1.Worker
	connected         bool
	draining, banned  bool
	rejected          bool
	known             bool
	stateDetail, last string
}

func (v *workerView) apply(f events.Fact, atUs int64) {
	w := v.w
	v.known = true
	switch f := f.(type) {
	case *eventv1.ProfileReported:
		w.Claim = f.Profile
	case *eventv1.ChallengePassed:
		w.Proven = f.Proven
	case *eventv1.ChallengeFailed:
		v.last = "challenge failed: " + plain(f.Reason.String(), "REJECTION_REASON_")
	case *eventv1.WorkerAdmitted:
		w.Tier, w.Proven, v.rejected, v.last = f.Tier, f.Proven, false, ""
	case *eventv1.AdmissionRejected:
		v.rejected, w.Tier = true, 0
		v.last = plain(f.Reason.String(), "REJECTION_REASON_") + ": " + f.Detail
	case *eventv1.TierChanged:
		w.Tier, v.last = f.To, f.Why
	case *eventv1.WorkerConnected:
		w.Group, w.LastSeenUs, v.connected = f.Group, atUs, true
	case *eventv1.WorkerDisconnected:
		w.LastSeenUs, v.connected, v.last = atUs, false, f.Why
	case *eventv1.ReliabilityChanged:
		w.Record, w.LastSeenUs = addTally(w.Record, f.Delta), atUs
	case *eventv1.WorkerDrained:
		v.draining, v.stateDetail = true, f.Reason
	case *eventv1.WorkerBanned:
		v.banned, v.stateDetail = true, f.Reason
	case *eventv1.WorkerReinstated:
		v.banned, v.draining, v.stateDetail = false, false, ""
	}
}

// finish names the state: the strongest reason why the worker gets no work comes first.
func (v *workerView) finish() *operatorv1.Worker {
	w := v.w
	w.Detail = v.last
	switch {
	case v.banned:
		w.State, w.Detail = "banned", v.stateDetail
	case v.draining:
		w.State, w.Detail = "draining", v.stateDetail
	case v.rejected:
		w.State = "rejected"
	case v.connected:
		w.State = "connected"
	default:
		w.State = "disconnected"
	}
	return w
}

func addTally(a, b *eventv1.Tally) *eventv1.Tally {
	return &eventv1.Tally{
		Agreed: a.GetAgreed() + b.GetAgreed(), Contradicted: a.GetContradicted() + b.GetContradicted(),
		Rejected: a.GetRejected() + b.GetRejected(), TimedOut: a.GetTimedOut() + b.GetTimedOut(),
		Dropped: a.GetDropped() + b.GetDropped(), Failed: a.GetFailed() + b.GetFailed(), Fuel: a.GetFuel() + b.GetFuel(),
		RingersPassed: a.GetRingersPassed() + b.GetRingersPassed(), RingersFailed: a.GetRingersFailed() + b.GetRingersFailed(),
	}
}

func checkKey(key []byte) error {
	if len(key) != ed25519.PublicKeySize {
		return refuse("key", "32 bytes")
	}
	return nil
}

func (a *API) addLive(w *operatorv1.Worker) {
	if a.deps.Live == nil {
		return
	}
	if l, ok := a.deps.Live(w.Key); ok {
		w.Credits, w.InFlight = l.Credits, l.InFlight
	}
}

// readWorker folds a worker's stream.
func (a *API) readWorker(ctx context.Context, key []byte) (*workerView, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	v := &workerView{w: &operatorv1.Worker{Key: key}}
	stream := actors.WorkerAddress(key).Stream()
	err := a.readFacts(ctx, stream, events.Span{}, func(f events.Fact, r events.Record) bool {
		v.apply(f, r.Time.UnixMicro())
		return true
	})
	if err == nil && !v.known {
		err = fmt.Errorf("%w: %s", errNotFound, stream)
	}
	return v, err
}

// GetWorker shows a worker.
func (a *API) GetWorker(ctx context.Context, req *operatorv1.GetWorkerRequest) (*operatorv1.GetWorkerResponse, error) {
	v, err := a.readWorker(ctx, req.Key)
	if err != nil {
		return nil, err
	}
	w := v.finish()
	a.addLive(w)
	return &operatorv1.GetWorkerResponse{Worker: w}, nil
}

// DrainWorker lets a worker finish what it has and gives it nothing new.
func (a *API) DrainWorker(ctx context.Context, req *operatorv1.DrainWorkerRequest) (*operatorv1.DrainWorkerResponse, error) {
	err := a.ruleWorker(ctx, req.Key, req.Reason, false, &eventv1.Command{Kind: &eventv1.Command_DrainWorker{
		DrainWorker: &eventv1.DrainWorker{By: callerOf(ctx).name, Reason: req.Reason},
	}})
	return &operatorv1.DrainWorkerResponse{}, err
}

// BanWorker takes a worker's work away and refuses it from now on.
func (a *API) BanWorker(ctx context.Context, req *operatorv1.BanWorkerRequest) (*operatorv1.BanWorkerResponse, error) {
	err := a.ruleWorker(ctx, req.Key, req.Reason, true, &eventv1.Command{Kind: &eventv1.Command_BanWorker{
		BanWorker: &eventv1.BanWorker{By: callerOf(ctx).name, Reason: req.Reason},
	}})
	return &operatorv1.BanWorkerResponse{}, err
}

// ReinstateWorker ends a drain or a ban.
func (a *API) ReinstateWorker(ctx context.Context, req *operatorv1.ReinstateWorkerRequest) (*operatorv1.ReinstateWorkerResponse, error) {
	err := a.ruleWorker(ctx, req.Key, req.Reason, false, &eventv1.Command{Kind: &eventv1.Command_ReinstateWorker{
		ReinstateWorker: &eventv1.ReinstateWorker{By: callerOf(ctx).name, Reason: req.Reason},
	}})
	return &operatorv1.ReinstateWorkerResponse{}, err
}

func (a *API) ruleWorker(ctx context.Context, key []byte, reason string, needed bool, cmd *eventv1.Command) error {
	if err := checkReason(reason, needed); err != nil {
		return err
	}
	if _, err := a.readWorker(ctx, key); err != nil {
		return err
	}
	_, err := a.deps.Orchestrator.Do(ctx, actors.WorkerAddress(key), cmd)
	return err
}
