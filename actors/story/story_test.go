package story_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ledger is a small room: it counts what it is told.
type ledger struct{ Seen []string }

func room() *actors.Room[*ledger] {
	return &actors.Room[*ledger]{
		Name: "ledger",
		Zero: func(string) *ledger { return &ledger{} },
		Versions: map[uint32]actors.DecideFunc[*ledger]{actors.Rules: func(_ *ledger, c *eventv1.Command) (actors.Decision, error) {
			return actors.Decision{Facts: []events.Fact{&eventv1.ShardTaken{Node: c.GetTakeShard().GetNode()}}}, nil
		}},
		Evolve: func(l *ledger, f events.Fact) (*ledger, error) {
			return &ledger{append(l.Seen[:len(l.Seen):len(l.Seen)], f.(*eventv1.ShardTaken).Node)}, nil
		},
		React: func(*ledger, []events.Fact) []actors.Effect { return nil },
		Done:  func(*ledger) bool { return true },
	}
}

// failing is a test that may fail without failing the one that watches it.
type failing struct{}

type failure struct{ text string }

func (failing) Helper()                           {}
func (failing) Fatalf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// TestLawsHaveTeeth breaks each law of all rooms on purpose.
func TestLawsHaveTeeth(t *testing.T) {
	refusal := errors.New("no")
	for _, c := range []struct {
		name, want string
		spoil      func(*actors.Room[*ledger])
	}{
		{"nothing", "", func(*actors.Room[*ledger]) {}},
		{"deciding changes the state", "changed its state", func(r *actors.Room[*ledger]) {
			r.Versions[actors.Rules] = func(l *ledger, _ *eventv1.Command) (actors.Decision, error) {
				l.Seen = append(l.Seen, "smuggled")
				return actors.Decision{}, nil
			}
		}},
		{"deciding changes the command", "changed its command", func(r *actors.Room[*ledger]) {
			r.Versions[actors.Rules] = func(_ *ledger, c *eventv1.Command) (actors.Decision, error) {
				c.AtUs++
				return actors.Decision{}, nil
			}
		}},
		{"a refusal with facts", "came with facts", func(r *actors.Room[*ledger]) {
			r.Versions[actors.Rules] = func(*ledger, *eventv1.Command) (actors.Decision, error) {
				return actors.Decision{Facts: []events.Fact{&eventv1.ShardTaken{}}}, refusal
			}
		}},
		{"facts with effects beside them", "effects of its own", func(r *actors.Room[*ledger]) {
			r.Versions[actors.Rules] = func(*ledger, *eventv1.Command) (actors.Decision, error) {
				return actors.Decision{Facts: []events.Fact{&eventv1.ShardTaken{}}, Effects: []actors.Effect{actors.Disarm{}}}, nil
			}
		}},
		{"a fact that cannot be encoded", "encode ShardTaken", func(r *actors.Room[*ledger]) {
			r.Versions[actors.Rules] = func(*ledger, *eventv1.Command) (actors.Decision, error) {
				return actors.Decision{Facts: []events.Fact{&eventv1.ShardTaken{Node: "\xff"}}}, nil
			}
		}},
		{"replay that differs", "replay differs", func(r *actors.Room[*ledger]) {
			turns := 0
			r.Evolve = func(l *ledger, _ events.Fact) (*ledger, error) {
				turns++
				return &ledger{append(l.Seen, fmt.Sprint(turns))}, nil
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := room()
			c.spoil(r)
			got := func() (text string) {
				defer func() {
					if f, ok := recover().(failure); ok {
						text = f.text
					}
				}()
				_, _ = story.NewScene(failing{}, r).Do(actors.Address{Room: "ledger", ID: "x"}, &eventv1.TakeShard{Node: "n"})
				return ""
			}()
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestStoryTells(t *testing.T) {
	s := story.Of(t, room(), "x").Given(&eventv1.ShardTaken{Node: "a"}).
		When(&eventv1.TakeShard{Node: "b"}).Then(&eventv1.ShardTaken{Node: "b"}).Effects().Replies(nil).IsDone(true)
	if got := s.State().(*ledger).Seen; len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("got %v", got)
	}
	if h := s.History(); len(h) != 2 {
		t.Errorf("history: %s", story.SketchAll(h))
	}
}
