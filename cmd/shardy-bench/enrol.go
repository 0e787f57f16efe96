package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// keyOf is the key of a run's worker, or with index -1 of the owner of all workers of a process.
func keyOf(run string, process, index int) ed25519.PrivateKey {
	b := append([]byte("shardy-bench\x00"), run...)
	b = binary.BigEndian.AppendUint64(b, uint64(process))
	b = binary.BigEndian.AppendUint64(b, uint64(index))
	sum := sha256.Sum256(b)
	return ed25519.NewKeyFromSeed(sum[:])
}

const ownerIndex = -1

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// claim is the profile of every worker of a run.
func claim() *eventv1.Profile {
	return &eventv1.Profile{
		Mflops: 4000, MaxAllocationBytes: 512 << 20, ChunkBytes: 4 << 20, Cores: 2, Arch: "any", Os: "any",
		Engine: "echo", Agent: "shardy-bench",
	}
}

// member is a worker that the deployment knows from before.
type member struct {
	key   ed25519.PublicKey
	owner ed25519.PublicKey // nil: none
}

// members lists the workers of so many processes.
func members(run string, processes, each int, owned bool) []member {
	var all []member
	for p := range processes {
		var owner ed25519.PublicKey
		if owned {
			owner = public(keyOf(run, p, ownerIndex))
		}
		for i := range each {
			all = append(all, member{public(keyOf(run, p, i)), owner})
		}
	}
	return all
}

// enrol writes the workers' history into a log that no server has opened yet: each was measured an hour ago and its
// proof still stands, so that the server admits it without another test. The history is what the worker's own rules
// answer to the commands of a first visit; an audit finds nothing to say about it.
func enrol(ctx context.Context, dir string, all []member) (err error) {
	log, err := pebblelog.Open(orchestrator.LogDir(dir), pebblelog.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	lanes, ctx := errgroup.WithContext(ctx)
	lanes.SetLimit(256)
	at := time.Now().Add(-time.Hour).UnixMicro()
	for _, m := range all {
		lanes.Go(func() error {
			drafts, err := visit(m, at)
			if err != nil {
				return fmt.Errorf("enrol worker %x: %w", m.key, err)
			}
			_, err = log.Append(ctx, actors.WorkerAddress(m.key).Stream(), events.Absent, drafts...)
			return err
		})
	}
	return lanes.Wait()
}

// visit is the record of a worker's first session.
func visit(m member, at int64) ([]events.Draft, error) {
	session := m.key[:worker.SessionSize]
	to := actors.WorkerAddress(m.key)
	e := worker.Room.Open(to.ID)
	var all []events.Draft
	for i, cmd := range []*eventv1.Command{
		{Kind: &eventv1.Command_ConnectWorker{ConnectWorker: &eventv1.ConnectWorker{Key: m.key, Owner: m.owner, Session: session}}},
		{Kind: &eventv1.Command_ReportProfile{ReportProfile: &eventv1.ReportProfile{Profile: claim()}}},
		{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: &eventv1.RecordChallenge{
			// One unit of fuel: an echo has no fuel rate that its work could be compared with.
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE, Nonce: []byte("compute"), Work: 4_000_000_000, Fuel: 1, ElapsedUs: 1_000_000,
		}}},
		{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: &eventv1.RecordChallenge{
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY, Nonce: []byte("memory"), Work: 512 << 20, ElapsedUs: 1_000_000,
		}}},
		{Kind: &eventv1.Command_DisconnectWorker{DisconnectWorker: &eventv1.DisconnectWorker{Session: session, Why: "gone home"}}},
	} {
		cmd.AtUs = at + int64(i)
		d, err := e.Decide(actors.Rules, cmd)
		if err != nil {
			return nil, err
		}
		drafts, err := events.Encode(events.Origin{
			ID: events.NewCommandID([]byte(to.Stream()), []byte{byte(i)}), Command: cmd, Node: "before", Rules: actors.Rules,
		}, d.Facts)
		if err != nil {
			return nil, err
		}
		for _, f := range d.Facts {
			if err := e.Evolve(f); err != nil {
				return nil, err
			}
		}
		all = append(all, drafts...)
	}
	return all, nil
}
