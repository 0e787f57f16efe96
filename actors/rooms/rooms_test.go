package rooms_test

import (
	"errors"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestEveryFactHasItsRoom holds that each fact in the registry is folded by exactly one room. An empty fact may be
// refused for what it says, but only strangers refuse it as unknown.
func TestEveryFactHasItsRoom(t *testing.T) {
	for _, name := range events.Types() {
		var homes []string
		for _, kind := range rooms.All() {
			fact, err := events.NewFact(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := kind.Open("x-0").Evolve(fact); !errors.Is(err, actors.ErrUnknownFact) {
				homes = append(homes, kind.Prefix())
			}
		}
		if len(homes) != 1 {
			t.Errorf("%s is folded by %v: want one room", name, homes)
		}
	}
}

func TestRoomsAreFoundByStream(t *testing.T) {
	for _, c := range []struct{ stream, prefix, id string }{
		{actors.JobAddress("01h").Stream(), "job", "01h"},
		{actors.SlotAddress("01h", 3).Stream(), "assignment", "01h-3"},
		{actors.WorkerAddress([]byte{0xab}).Stream(), "worker", "ab"},
		{actors.PipelineAddress("01h").Stream(), "pipeline", "01h"},
		{"module-ab", "module", "ab"},
		{"policy-default", "policy", "default"},
		{"shard-17", "shard", "17"},
		{"job", "", ""},
		{"job-", "", ""},
		{"$projections-x", "", ""},
		{"stranger-1", "", ""},
		{"", "", ""},
	} {
		kind, id, ok := rooms.ByStream(c.stream)
		if ok != (c.prefix != "") || ok && (kind.Prefix() != c.prefix || id != c.id) {
			t.Errorf("%q: got id %q, %v", c.stream, id, ok)
		}
	}
}

func TestRoomsAreDistinctAndDecideByTodaysRules(t *testing.T) {
	seen := make(map[string]bool)
	for _, kind := range rooms.All() {
		if seen[kind.Prefix()] {
			t.Errorf("two rooms are called %s", kind.Prefix())
		}
		seen[kind.Prefix()] = true
		if found, ok := rooms.Of(kind.Prefix()); !ok || found != kind {
			t.Errorf("%s is not found by its name", kind.Prefix())
		}
		_, err := kind.Open("x-0").Decide(actors.Rules, &eventv1.Command{})
		if err == nil || errors.Is(err, actors.ErrUndecidable) {
			t.Errorf("%s: an empty command got %v: want a refusal by rules %d", kind.Prefix(), err, actors.Rules)
		}
		if _, err := kind.Open("x-0").Decide(actors.Rules+1000, &eventv1.Command{}); !errors.Is(err, actors.ErrUndecidable) {
			t.Errorf("%s: unknown rules got %v: want ErrUndecidable", kind.Prefix(), err)
		}
	}
}
