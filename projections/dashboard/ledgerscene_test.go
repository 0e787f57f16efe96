package dashboard

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// knots is a mesh that is as the test says.
type knots struct{ *operatorv1.GetMeshResponse }

func (k knots) GetMesh(context.Context, *operatorv1.GetMeshRequest) (*operatorv1.GetMeshResponse, error) {
	return k.GetMeshResponse, nil
}

// deeds on the ledger whose pages are looked at, by their ids.
type ledgerDeeds struct {
	settlement, slash, votes, notes, results, anchor, void, validators, refused, many, batch []byte
	paidJob, lockedJob, unpaidJob, openJob                                                   string
	liar, rich, client                                                                       ed25519.PrivateKey
}

// ledgerScene is a dashboard with a ledger on which everything has happened that can.
func ledgerScene(t testing.TB, change func(*Deps)) (*scene, *mint, ledgerDeeds) {
	m := &mint{}
	s := newScene(t, func(d *Deps) {
		d.Ledger, d.Mesh = m, knots{testMesh()}
		if change != nil {
			change(d)
		}
	})
	w := s.plant
	s.fleet()
	var all ledgerDeeds
	all.client = seedKey(70)
	*m = *newMint(t, time.Now().Add(-3*time.Minute).UnixMicro(), append(slices.Clone(w.workers), all.client), nil) //nolint:govet // nobody holds the lock yet
	own := m.keys[0]
	all.liar, all.rich = w.workers[3], w.workers[7]
	jobs := make([]string, 4)
	for i := range jobs {
		jobs[i] = w.submit(nil)
	}
	w.work()
	all.openJob = w.submit(nil)
	all.paidJob, all.lockedJob, all.unpaidJob = jobs[0], jobs[1], jobs[3]
	m.must(all.client, sendTo(public(w.workers[0]), 1_250_000), sendTo(public(w.workers[1]), 90_000))
	all.settlement = m.must(own, lock(jobs[0], 10_000_000), payFor(decided(jobs[0], []ed25519.PrivateKey{w.workers[0], w.workers[6]}), 51_200))
	m.must(own, lock(jobs[1], 4_000_000))
	all.anchor = m.must(own, &ledgerv1.Action{Kind: &ledgerv1.Action_LogAnchor{LogAnchor: &ledgerv1.LogAnchor{Checkpoint: note(t, own, 8_120, 1)}}})
	verdict := decided(jobs[2], []ed25519.PrivateKey{w.workers[1], w.workers[5], w.workers[6], w.workers[7]}, w.workers[2], w.workers[3])
	m.must(own, lock(jobs[2], 4_000_000), payFor(verdict, 51_200))
	all.slash = m.must(own, punish(verdict))
	m.must(w.workers[5], &ledgerv1.Action{Kind: &ledgerv1.Action_Unstake{Unstake: &ledgerv1.Unstake{Amount: 400_000_000}}},
		&ledgerv1.Action{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: 3_100_000_001}}})
	void, err := proto.Marshal(&ledgerv1.SlashVoidBody{Orchestrator: public(own), Job: jobs[2], Worker: public(w.workers[2])})
	if err != nil {
		t.Fatal(err)
	}
	all.void = m.must(m.keys[1], &ledgerv1.Action{Kind: &ledgerv1.Action_VoidSlash{VoidSlash: &ledgerv1.SlashVoid{
		Body: void, Approvals: m.approve(seal.VoidText(testChain, void), 0, 1, 2, 3),
	}}})
	poor := m.tx(all.client, sendTo(public(own), 1), sendTo(public(own), 1<<40))
	m.add(poor, m.tx(own, sendTo(public(all.client), 5_000)), m.tx(seedKey(99), sendTo(public(own), 1)))
	id := poor.ID()
	all.refused = bytes.Clone(id[:])
	all.results = m.must(all.client, accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Results{Results: &ledgerv1.ResultPair{
		Job: jobs[3], Module: testModule[:], Input: testInput[:], First: signedResult(jobs[3], w.workers[4], 1, 7), Second: signedResult(jobs[3], w.workers[4], 1, 8),
	}}}))
	all.notes = m.must(all.client, accuse(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Checkpoints{Checkpoints: &ledgerv1.CheckpointPair{
		Orchestrator: public(all.client), First: note(t, all.client, 512, 1), Second: note(t, all.client, 512, 2),
	}}}))
	all.votes = m.must(own, twoVotes(m.keys[4], m.Height()))
	m.must(own, lock("a job of long ago", 7_000), &ledgerv1.Action{Kind: &ledgerv1.Action_Refund{Refund: &ledgerv1.Refund{
		Job: "a job of long ago", Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM,
	}}})
	var crowd []ledger.Checked
	for i := range 130 {
		crowd = append(crowd, m.tx(own, sendTo(public(seedKey(200+i)), uint64(10_000+i*i))))
	}
	moved, err := proto.Marshal(&ledgerv1.ValidatorChangeBody{Version: 3, Add: []*ledgerv1.Validator{{
		Key: public(m.keys[3]), Name: "west", Peer: []byte{3}, Addresses: []string{"/dns4/west.example/tcp/7430", "/ip4/192.0.2.44/tcp/7430"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	west := m.tx(m.keys[3], &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: &ledgerv1.ValidatorChange{
		Body: moved, Approvals: m.approve(seal.ValidatorsText(testChain, moved), 0, 2, 3),
	}}})
	id = west.ID()
	all.validators = bytes.Clone(id[:])
	var deeds []*ledgerv1.Action
	for i := range 32 {
		job := fmt.Sprintf("batched-%d", i)
		deeds = append(deeds, lock(job, 1_000_000), payFor(decided(job, []ed25519.PrivateKey{w.workers[0], w.workers[6]}), 51_200))
	}
	batch := m.tx(own, deeds...)
	id = batch.ID()
	all.batch = bytes.Clone(id[:])
	m.add(append(crowd, west, batch)...)
	id = crowd[128].ID()
	all.many = bytes.Clone(id[:])
	m.absent = 2
	for range 60 {
		m.add()
	}
	m.status = &operatorv1.SettlementStatus{
		Position: 8_102, LogHead: 8_120, Paid: 1_204, Refused: 2, Unpaid: 3, Open: 7, Waiting: 18, Sent: 2, Doubts: 1, LastRefusal: "insufficient balance: 90 to pay, 12 in escrow",
	}
	s.settle()
	return s, m, all
}

// approve has validators sign a text.
func (m *mint) approve(text []byte, who ...int) (out []*ledgerv1.ValidatorSignature) {
	for _, i := range who {
		out = append(out, &ledgerv1.ValidatorSignature{Validator: public(m.keys[i]), Signature: ed25519.Sign(m.keys[i], text)})
	}
	return out
}

// note is a signed checkpoint of the log of a key.
func note(t testing.TB, key ed25519.PrivateKey, size int64, root byte) []byte {
	t.Helper()
	b, err := checkpoint.Sign(checkpoint.Head{Origin: checkpoint.Origin(public(key)), Size: size, Root: sha256.Sum256([]byte{root})}, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testMesh() *operatorv1.GetMeshResponse {
	since := time.Now().Add(-26 * time.Hour).UnixMicro()
	peer := func(id, node string, validator bool, latency int64, score float64, height uint64, direction string) *operatorv1.MeshPeer {
		return &operatorv1.MeshPeer{
			Peer: "12D3KooW" + id, Node: node, Validator: validator, Addresses: []string{"/ip4/192.0.2.7/tcp/7430"}, Direction: direction, SinceUs: since, LatencyUs: latency,
			Score: score, Height: height, Agent: "shardy/1.2.3", BytesIn: 41_000_000, BytesOut: 39_200_000,
		}
	}
	return &operatorv1.GetMeshResponse{
		Peer: "12D3KooWNorthNorthNorthNorthNorthNorthNorthNorth01", ChainId: testChain, Node: "north", Version: "1.2.3", SinceUs: since, Validator: true, Height: 74,
		Listen: []string{"/ip4/192.0.2.1/tcp/7430/p2p/12D3KooWNorthNorthNorthNorthNorthNorthNorthNorth01", "/dns4/north.example/tcp/7430/p2p/12D3KooWNorthNorthNorthNorthNorthNorthNorthNorth01"},
		Peers: []*operatorv1.MeshPeer{
			peer("EastEastEastEastEastEastEastEastEastEastEast02", "east", true, 830, 12.4, 74, "outbound"),
			peer("SouthSouthSouthSouthSouthSouthSouthSouthSout03", "south", true, 41_250, 11.9, 73, "inbound"),
			peer("WatcherWatcherWatcherWatcherWatcherWatcherWa04", "lisbon", false, 0, -3.5, 70, "inbound"),
		},
		Topics: []*operatorv1.MeshTopic{
			{Name: "shardy.presence.v1", Peers: 3, Accepted: 90_211, Published: 31_004, Bytes: 21_000_000, Duplicates: 120_422, Ignored: 4},
			{Name: "shardy.blockchain.transactions.v1", Peers: 3, Accepted: 4_120, Published: 1_388, Bytes: 9_310_000, Duplicates: 5_012, Rejected: 2, Ignored: 9, Throttled: 3},
			{Name: "shardy.block.announce.v1", Peers: 3, Accepted: 73, Published: 1, Bytes: 31_000, Duplicates: 140},
		},
		Orchestrators: []*operatorv1.MeshOrchestrator{
			{Peer: "12D3KooWEast", Key: public(seedKey(1)), Validator: true, Node: "east", Version: "1.2.3", Height: 74, Idle: []uint32{3, 1, 0}, FreeCredits: 9, SeenUs: time.Now().UnixMicro()},
			{Peer: "12D3KooWLisbon", Key: public(seedKey(40)), Node: "lisbon", Version: "1.2.2", Height: 70, Idle: []uint32{12, 4, 2}, FreeCredits: 44, SeenUs: time.Now().Add(-4 * time.Second).UnixMicro()},
		},
		Validators: 4, ValidatorsReached: 2, Routes: 5, Known: 9, Refused: 12, Cut: 1, Queued: 0, BytesIn: 123_000_000, BytesOut: 117_600_000,
	}
}
