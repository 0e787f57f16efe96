package projections

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestFacts(t *testing.T) {
	known := &eventv1.WorkerDrained{Reason: "maintenance"}
	data, err := proto.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	batch := []events.Record{
		{Draft: events.Draft{Type: "FromTheFuture", Data: []byte{0xff}}},
		{Draft: events.Draft{Type: events.TypeOf(known), Data: data}},
	}
	facts, err := Facts(batch)
	if err != nil || len(facts) != 2 || facts[0] != nil || !proto.Equal(facts[1], known) {
		t.Fatalf("%v, %v", facts, err)
	}
	batch[1].Data = []byte{0xff}
	if _, err := Facts(batch); !errors.Is(err, events.ErrMalformed) {
		t.Fatalf("damage: %v", err)
	}
}
