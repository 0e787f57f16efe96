package worker

import (
	"fmt"
	"math"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Evolve folds a fact into the state. It refuses facts of other rooms.
func Evolve(s State, fact events.Fact) (State, error) {
	switch f := fact.(type) {
	case *eventv1.WorkerRegistered:
		s.Key, s.Owner = f.Key, f.Owner
	case *eventv1.WorkerConnected:
		s.Connected, s.Session, s.Group, s.Node = true, f.Session, f.Group, f.Node
	case *eventv1.WorkerDisconnected:
		s.Connected = false
	case *eventv1.ProfileReported:
		s.Profile, s.Rejected = f.Profile, nil
	case *eventv1.ChallengePassed:
		s.Proven, s.Nonce, s.Failure, s.Rejected = f.Proven, f.Nonce, nil, nil
	case *eventv1.ChallengeFailed:
		s.Nonce, s.Failure, s.Rejected = f.Nonce, f, nil
		if f.Kind == eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE && f.Reason == eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED {
			s.Proven = nil // a wrong answer taints the others; memory is proven up to the first size that fails
		}
	case *eventv1.WorkerAdmitted:
		s.Tier, s.Sure, s.ChunkBytes, s.Rejected, s.Speed = f.Tier, f.Proven, f.ChunkBytes, nil, Speed{}
	case *eventv1.AdmissionRejected:
		s.Tier, s.Sure, s.ChunkBytes, s.Rejected = 0, nil, 0, f
	case *eventv1.TierChanged:
		s.Tier = f.To
		if f.To == 0 {
			s.Proven, s.Sure, s.ChunkBytes, s.Speed = nil, nil, 0, Speed{}
		}
	case *eventv1.ReliabilityChanged:
		s.Record = s.Record.plus(f.Delta)
		if f.FastestFuelPerMs > 0 {
			s.Speed = s.Speed.add(f.FastestFuelPerMs)
		}
	case *eventv1.WorkerDrained:
		s.Drained = true
	case *eventv1.WorkerBanned:
		s.Banned, s.Tier, s.Sure, s.ChunkBytes = true, 0, nil, 0
	case *eventv1.WorkerReinstated:
		s.Drained, s.Banned, s.Rejected = false, false, nil
	default:
		return s, fmt.Errorf("worker %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

func (r Record) plus(t *eventv1.Tally) Record {
	return Record{
		Agreed:        sum(r.Agreed, t.GetAgreed()),
		Contradicted:  sum(r.Contradicted, t.GetContradicted()),
		Rejected:      sum(r.Rejected, t.GetRejected()),
		TimedOut:      sum(r.TimedOut, t.GetTimedOut()),
		Dropped:       sum(r.Dropped, t.GetDropped()),
		Failed:        sum(r.Failed, t.GetFailed()),
		Fuel:          sum(r.Fuel, t.GetFuel()),
		RingersPassed: sum(r.RingersPassed, t.GetRingersPassed()),
		RingersFailed: sum(r.RingersFailed, t.GetRingersFailed()),
	}
}

func sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
