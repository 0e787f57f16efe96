package mesh

import (
	"errors"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
)

func typed(err error) bool { return errors.Is(err, ErrMalformed) || errors.Is(err, ErrTooLarge) }

func FuzzBatch(f *testing.F) {
	f.Add(encoded(f, batchOf(transaction(f, 1, 1), transaction(f, 2, 1))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBatch(raw)
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if len(b.txs) == 0 || len(b.txs) > MaxBatch || len(b.ids) != len(b.txs) {
			t.Fatalf("%d transactions, %d ids", len(b.txs), len(b.ids))
		}
		seen := map[seal.Hash]bool{}
		for i, tx := range b.txs {
			if len(tx) > maxTransaction || seen[b.ids[i]] {
				t.Fatalf("transaction %d of %d bytes, twice %v", i, len(tx), seen[b.ids[i]])
			}
			seen[b.ids[i]] = true
		}
	})
}

func FuzzAnnounce(f *testing.F) {
	f.Add(encoded(f, announceOf(certified(f, 3, 1, 0, 1, 2))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := parseAnnounce("test-1", raw)
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if a.Header.ChainId != "test-1" || a.Hash != seal.HeaderHash(a.HeaderBytes) || a.Certificate == nil {
			t.Fatalf("%+v", a)
		}
	})
}

func FuzzPresence(f *testing.F) {
	f.Add(encoded(f, presenceOf(1, time.UnixMicro(1_800_000_000_000_000))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := parsePresence(raw)
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if _, err := PeerOf(p.Key); err != nil {
			t.Fatal(err)
		}
		if _, err := multiaddrs(p.Addresses); err != nil || len(p.Idle) > 3 || len(p.Addresses) > maxAddresses {
			t.Fatalf("%v: %v", err, p)
		}
	})
}

func FuzzBootstrap(f *testing.F) {
	f.Add([]byte(`{"peer_id":"x","chain":"test-1","addresses":["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWMm1c4pzeLPGkkCJMAgFbsfQ8xmVDusg272icWsaNHWzN"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseBootstrap(raw, "test-1")
		if err != nil {
			if !errors.Is(err, ErrBootstrap) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if infos, err := AddrInfos(list); err != nil || len(infos) == 0 {
			t.Fatalf("%d peers, %v", len(infos), err)
		}
	})
}

// TestMessageID: of a presence the author counts, else anybody could have it taken for seen by signing it first.
func TestMessageID(t *testing.T) {
	id := func(topic, from, data string) string {
		return messageID(&pb.Message{Topic: new(topic), From: []byte(from), Data: []byte(data)})
	}
	if id(PresenceTopic, "a", "x") == id(PresenceTopic, "b", "x") {
		t.Error("two authors of one presence")
	}
	if id(TransactionsTopic, "a", "x") != id(TransactionsTopic, "b", "x") {
		t.Error("transactions pass twice when two send them")
	}
	if id(TransactionsTopic, "a", "x") == id(AnnounceTopic, "a", "x") || id(TransactionsTopic, "a", "x") == id(TransactionsTopic, "a", "y") {
		t.Error("different messages, one id")
	}
}

// TestPresenceSignedByAnotherFirst: the rogue of TestMessageID for real.
func TestPresenceSignedByAnotherFirst(t *testing.T) {
	victim := open(t, 0)
	author, thief := newRogue(t, 101, victim.Mesh), newRogue(t, 102, victim.Mesh)
	data := encoded(t, presenceOf(101, time.Now()))
	thief.say(PresenceTopic, data)
	eventually(t, "the thief is caught", func() bool { return victim.Status().Topics[0].Rejected == 1 })
	author.say(PresenceTopic, data)
	eventually(t, "the author is heard", func() bool { return len(victim.Orchestrators()) == 1 })
}
