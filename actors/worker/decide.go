package worker

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Decide answers a command under rules version 1.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	if err := checkTime(cmd.AtUs); err != nil {
		return actors.Decision{}, err
	}
	if k, ok := cmd.Kind.(*eventv1.Command_ConnectWorker); ok {
		return s.connect(k.ConnectWorker, cmd.AtUs)
	}
	if !s.Registered() {
		return actors.Decision{}, ErrNotRegistered
	}
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_ReportProfile:
		return s.report(k.ReportProfile)
	case *eventv1.Command_RecordChallenge:
		return s.challenge(k.RecordChallenge, cmd.AtUs)
	case *eventv1.Command_AdmitWorker:
		return s.admit(k.AdmitWorker, cmd.AtUs)
	case *eventv1.Command_DisconnectWorker:
		return s.disconnect(k.DisconnectWorker)
	case *eventv1.Command_RecordWork:
		return s.work(k.RecordWork)
	case *eventv1.Command_DrainWorker:
		return s.drain(k.DrainWorker)
	case *eventv1.Command_BanWorker:
		return s.ban(k.BanWorker)
	case *eventv1.Command_ReinstateWorker:
		return s.reinstate(k.ReinstateWorker)
	default:
		return actors.Decision{}, fmt.Errorf("worker: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
}

// connect records a session; one that is open is replaced, because the door has closed it.
func (s State) connect(c *eventv1.ConnectWorker, atUs int64) (actors.Decision, error) {
	if err := s.checkConnect(c); err != nil {
		return actors.Decision{}, err
	}
	if s.Banned {
		return actors.Decision{}, ErrBanned
	}
	d := actors.Decision{Reply: ConnectReply{
		Tier: s.Tier, Profile: s.Profile, Proven: s.Proven, ProofValid: s.ProofValid(atUs), Drained: s.Drained,
	}}
	if !s.Registered() || !bytes.Equal(s.Owner, c.Owner) {
		d.Facts = append(d.Facts, &eventv1.WorkerRegistered{Key: c.Key, Owner: c.Owner})
	}
	if !s.Connected || !bytes.Equal(s.Session, c.Session) {
		d.Facts = append(d.Facts, &eventv1.WorkerConnected{Session: c.Session, Group: c.Group, Node: c.Node})
	}
	return d, nil
}

// disconnect ends the session that is open; the end of an older one is old news.
func (s State) disconnect(c *eventv1.DisconnectWorker) (actors.Decision, error) {
	if err := checkText("why", c.Why, MaxReason); err != nil {
		return actors.Decision{}, err
	}
	if !s.Connected || !bytes.Equal(s.Session, c.Session) {
		return actors.Decision{}, nil
	}
	return decided(&eventv1.WorkerDisconnected{Session: c.Session, Why: c.Why}), nil
}

func (s State) report(c *eventv1.ReportProfile) (actors.Decision, error) {
	if err := admission.CheckProfile(c.Profile); err != nil {
		return s.refuse(err)
	}
	if proto.Equal(c.Profile, s.Profile) {
		return actors.Decision{}, nil
	}
	return decided(&eventv1.ProfileReported{Profile: c.Profile}), nil
}

// challenge adds to the standing proof, or begins one: all that is proven in a series expires together.
func (s State) challenge(c *eventv1.RecordChallenge, atUs int64) (actors.Decision, error) {
	if err := checkChallenge(c); err != nil {
		return actors.Decision{}, err
	}
	if s.Profile == nil {
		return actors.Decision{}, ErrNoProfile
	}
	if bytes.Equal(c.Nonce, s.Nonce) { // a repeat: nonces are used once
		return actors.Decision{}, nil
	}
	if c.Failure != eventv1.RejectionReason_REJECTION_REASON_UNSPECIFIED {
		return decided(&eventv1.ChallengeFailed{Kind: c.Kind, Nonce: c.Nonce, Reason: c.Failure, Detail: c.Detail}), nil
	}
	return decided(&eventv1.ChallengePassed{
		Kind: c.Kind, Nonce: c.Nonce, Work: c.Work, ElapsedUs: c.ElapsedUs, Proven: s.prove(c, atUs),
	}), nil
}

// prove is the proof with the challenge in it. Of several challenges of a kind the best counts: noise only ever makes a
// machine slower.
func (s *State) prove(c *eventv1.RecordChallenge, atUs int64) *eventv1.Proven {
	p := &eventv1.Proven{}
	if s.Proven != nil && atUs < s.Proven.ExpiresUs {
		p = proto.Clone(s.Proven).(*eventv1.Proven)
	} else {
		ttl := c.ProofTtlS
		if ttl == 0 {
			ttl = DefaultProofTTL
		}
		p.ExpiresUs = atUs + int64(ttl)*1_000_000
	}
	if c.Kind == eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY {
		p.MemoryBytes = max(p.MemoryBytes, min(c.Work, s.Profile.MaxAllocationBytes))
		return p
	}
	p.Mflops = max(p.Mflops, min(c.Work/c.ElapsedUs, s.Profile.Mflops)) // FLOP per microsecond are milli-GFLOPS
	p.FuelPerMs = max(p.FuelPerMs, perMs(c.Fuel, c.ElapsedUs))
	return p
}

func perMs(fuel, elapsedUs uint64) uint64 {
	hi, lo := bits.Mul64(fuel, 1000)
	if hi >= elapsedUs {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, elapsedUs)
	return q
}

func (s State) admit(c *eventv1.AdmitWorker, atUs int64) (actors.Decision, error) {
	if s.Banned {
		return s.refuse(&admission.Rejection{Reason: eventv1.RejectionReason_REJECTION_REASON_BANNED, Detail: "the worker is banned"})
	}
	tier, err := admission.PassesAdmission(s.Profile, s.Proven, c.Policy, atUs)
	if err != nil {
		return s.refuse(s.reason(err))
	}
	sure := admission.Sure(s.Profile, s.Proven)
	chunk := admission.ChunkBytes(sure, c.Policy)
	d := actors.Decision{Reply: AdmitReply{Tier: uint32(tier), Proven: sure, ChunkBytes: chunk}}
	if s.Tier == uint32(tier) && s.ChunkBytes == chunk && proto.Equal(s.Sure, sure) {
		return d, nil // admitted already: a reconnect writes nothing
	}
	if s.Tier != 0 && s.Tier != uint32(tier) {
		d.Facts = append(d.Facts, &eventv1.TierChanged{From: s.Tier, To: uint32(tier), Why: "tested again"})
	}
	d.Facts = append(d.Facts, &eventv1.WorkerAdmitted{Tier: uint32(tier), Proven: sure, ChunkBytes: chunk})
	return d, nil
}

// reason is the failed challenge where that is why the proof is missing.
func (s *State) reason(err error) error {
	var r *admission.Rejection
	if s.Failure == nil || !errors.As(err, &r) || r.Reason != eventv1.RejectionReason_REJECTION_REASON_NO_PROOF {
		return err
	}
	return &admission.Rejection{Reason: s.Failure.Reason, Detail: s.Failure.Detail}
}

// refuse records why the worker is not admitted, once for the same reason.
func (s State) refuse(err error) (actors.Decision, error) {
	var r *admission.Rejection
	if !errors.As(err, &r) {
		return actors.Decision{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	d := actors.Decision{Reply: AdmitReply{Rejection: r}}
	if s.Tier == 0 && s.Rejected != nil && s.Rejected.Reason == r.Reason && s.Rejected.Detail == r.Detail {
		return d, nil
	}
	d.Facts = []events.Fact{&eventv1.AdmissionRejected{Reason: r.Reason, Detail: r.Detail}}
	return d, nil
}

// work adds to the record, and voids the proof of a worker that has become far slower than it.
func (s State) work(c *eventv1.RecordWork) (actors.Decision, error) {
	if proto.Size(c.Delta) == 0 && c.FastestFuelPerMs == 0 {
		return actors.Decision{}, nil
	}
	d := decided(&eventv1.ReliabilityChanged{Delta: c.Delta, FastestFuelPerMs: c.FastestFuelPerMs})
	if s.Tier == 0 || s.Proven == nil || c.FastestFuelPerMs == 0 {
		return d, nil
	}
	speed := s.Speed.add(c.FastestFuelPerMs)
	if why := speed.drift(s.Proven.FuelPerMs); why != "" {
		d.Facts = append(d.Facts, &eventv1.TierChanged{From: s.Tier, Why: why})
	}
	return d, nil
}

func (s State) drain(c *eventv1.DrainWorker) (actors.Decision, error) {
	if err := checkAct(c.By, c.Reason); err != nil || s.Drained {
		return actors.Decision{}, err
	}
	return decided(&eventv1.WorkerDrained{By: c.By, Reason: c.Reason}), nil
}

func (s State) ban(c *eventv1.BanWorker) (actors.Decision, error) {
	if err := checkAct(c.By, c.Reason); err != nil || s.Banned {
		return actors.Decision{}, err
	}
	return decided(&eventv1.WorkerBanned{By: c.By, Reason: c.Reason}), nil
}

// reinstate ends a drain and a ban.
func (s State) reinstate(c *eventv1.ReinstateWorker) (actors.Decision, error) {
	if err := checkAct(c.By, c.Reason); err != nil || !s.Banned && !s.Drained {
		return actors.Decision{}, err
	}
	return decided(&eventv1.WorkerReinstated{By: c.By, Reason: c.Reason}), nil
}

func checkAct(by, reason string) error {
	if err := checkText("by", by, MaxReason); err != nil {
		return err
	}
	return checkText("reason", reason, MaxReason)
}

func decided(f events.Fact) actors.Decision { return actors.Decision{Facts: []events.Fact{f}} }
