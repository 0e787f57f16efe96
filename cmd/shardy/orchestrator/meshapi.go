package orchestrator

import (
	"context"
	"time"

	"github.com/shardy-network/orchestrator/mesh"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// meshAPI shows the mesh in the shape that the API wants.
func meshAPI(m *mesh.Mesh) func(context.Context) (*operatorv1.GetMeshResponse, error) {
	return func(context.Context) (*operatorv1.GetMeshResponse, error) {
		return meshStatus(m.Status(), m.Orchestrators()), nil
	}
}

func meshStatus(s mesh.Status, living []mesh.Orchestrator) *operatorv1.GetMeshResponse {
	out := &operatorv1.GetMeshResponse{
		Peer: s.Peer, ChainId: s.Chain, Node: s.Node, Version: s.Version, SinceUs: microseconds(s.Since), Validator: s.Validator,
		Height: s.Height, Listen: s.Listen, Validators: count32(s.Validators), ValidatorsReached: count32(s.Reached),
		Routes: count32(s.Routes), Known: count32(s.Book), Refused: count(s.Refused), Cut: count(s.Cut), Queued: count(s.Queued),
		BytesIn: count(s.Bandwidth.In), BytesOut: count(s.Bandwidth.Out),
	}
	for _, p := range s.Peers {
		out.Peers = append(out.Peers, &operatorv1.MeshPeer{
			Peer: p.Peer, Node: p.Node, Validator: p.Validator, Addresses: p.Addresses, Direction: p.Direction,
			SinceUs: microseconds(p.Since), LatencyUs: p.Latency.Microseconds(), Score: p.Score, Height: p.Height, Agent: p.Agent,
			Protocols: p.Protocols, BytesIn: count(p.In), BytesOut: count(p.Out),
		})
	}
	for _, t := range s.Topics {
		out.Topics = append(out.Topics, &operatorv1.MeshTopic{
			Name: t.Name, Peers: count32(t.Peers), Accepted: count(t.In), Published: count(t.Out), Bytes: count(t.Bytes),
			Duplicates: count(t.Duplicates), Rejected: count(t.Rejected), Ignored: count(t.Ignored),
			Throttled: count(t.Throttled), Overflowed: count(t.Overflowed), NotSent: count(t.NotSent),
		})
	}
	for _, o := range living {
		out.Orchestrators = append(out.Orchestrators, &operatorv1.MeshOrchestrator{
			Peer: o.Peer, Key: o.Key, Validator: o.Validator, Node: o.Node, Version: o.Version, Height: o.Height,
			Idle: o.Capacity.Idle[:], FreeCredits: o.Capacity.FreeCredits, SeenUs: microseconds(o.Seen),
		})
	}
	return out
}

// microseconds since 1970; 0 for the zero time.
func microseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func count[T int | int64](n T) uint64 { return uint64(max(n, 0)) }

func count32(n int) uint32 { return uint32(min(count(n), 1<<32-1)) }
