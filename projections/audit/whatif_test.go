package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func whatIf(t interface{ Fatal(...any) }, log audit.Log, o audit.WhatIfOptions) audit.Comparison {
	c, err := audit.WhatIf(context.Background(), log, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func standard(name string, p *eventv1.JobPolicy) audit.Alternative {
	return audit.Alternative{Name: name, Policy: &eventv1.Policy{Standard: p}}
}

// TestTheSamePolicyChangesNothing: whatever happened, the recorded results under the recorded policy lead to the
// recorded verdicts, to the last slot, whoever's memory is short.
func TestTheSamePolicyChangesNothing(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		w := history(t, outer)
		c := whatIf(t, w.Log, audit.WhatIfOptions{
			Alternatives: []audit.Alternative{{Name: "same", Policy: &eventv1.Policy{}}},
			Workers:      rapid.IntRange(1, 3).Draw(t, "workers"), MaxOpen: rapid.SampledFrom([]int{1, 1000}).Draw(t, "open"),
		})
		p := c.Policies[0]
		if p.Account != c.Recorded || p.Changed != 0 || p.Resting != 0 || p.Wanting != 0 || p.Refused != 0 || len(p.Workers) != 0 {
			t.Fatalf("recorded %+v, again %+v", c.Recorded, p)
		}
		if c.Unreadable != 0 || c.Truth.Referee+c.Truth.Known+c.Truth.Margin+c.Truth.Unknown != c.Jobs {
			t.Fatalf("%+v", c)
		}
	})
}

// TestEveryRunSaysTheSame: goroutines and short memory do not show.
func TestEveryRunSaysTheSame(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		w := history(t, outer)
		o := audit.WhatIfOptions{MaxListed: 2, Alternatives: []audit.Alternative{
			standard("one", &eventv1.JobPolicy{Redundancy: 1, Margin: 1}), standard("three", &eventv1.JobPolicy{Redundancy: 3, Margin: 3, MaxReplicas: 9}),
		}}
		var first string
		for _, size := range [][2]int{{1, 1000}, {3, 1000}, {2, 1}} {
			o.Workers, o.MaxOpen = size[0], size[1]
			c := whatIf(t, w.Log, o)
			c.Seconds, c.EventsPerS = 0, 0
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = string(text)
			}
			if string(text) != first {
				t.Fatalf("%d workers, %d open:\n%s\n%s", size[0], size[1], text, first)
			}
		}
	})
}

// TestOneReplicaWouldHaveBelievedTheLiar: a cheaper policy costs wrong verdicts, and the liar is paid.
func TestOneReplicaWouldHaveBelievedTheLiar(t *testing.T) {
	w, id := audittest.Scene(t, "liar")
	for range 3 {
		w.Submit(true)
	}
	w.Work()
	c := whatIf(t, w.Log, audit.WhatIfOptions{Alternatives: []audit.Alternative{
		standard("cheap", &eventv1.JobPolicy{Redundancy: 1, Margin: 1}), standard("dear", &eventv1.JobPolicy{Redundancy: 3, Margin: 3}),
	}})
	if c.Jobs != 4 || c.Truth.Margin != 4 || c.Recorded.Executions != 10 || c.Recorded.Contradicted != 1 || c.Recorded.WrongAccepts != 0 {
		t.Fatalf("recorded: %+v", c)
	}
	cheap := c.Policies[0]
	if cheap.Executions != 4 || cheap.Verified != 4 || cheap.WrongAccepts != 1 || cheap.Contradicted != 0 || cheap.Rewarded != 0 || cheap.Changed != 1 || cheap.Resting != 3 {
		t.Errorf("one replica: %+v", cheap)
	}
	if i := slices.IndexFunc(cheap.Jobs, func(j audit.JobChange) bool { return j.Job == id }); i < 0 || !strings.Contains(cheap.Jobs[i].Then, "by single") {
		t.Errorf("changed: %+v", cheap.Jobs)
	}
	dear := c.Policies[1]
	if dear.Wanting != 4 || dear.Missing != 4 || dear.Verified != 0 || dear.Changed != 0 || dear.WrongAccepts != 0 {
		t.Errorf("three replicas: %+v", dear)
	}
	if len(cheap.Workers) == 0 || cheap.Workers[0].Contradicted != [2]uint64{1, 0} {
		t.Errorf("workers: %+v", cheap.Workers)
	}
}

// TestACommonLieIsFoundByTheReferee: the truth that a referee found shows what a smaller lead would have believed.
func TestACommonLieIsFoundByTheReferee(t *testing.T) {
	w := audittest.New(t)
	w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.Redundancy, s.Policy.Margin, s.Policy.MaxReplicas = 3, 3, 3 })
	w.Lie("a common lie")
	w.Lie("a common lie")
	w.Work()
	w.Refereed()
	c := whatIf(t, w.Log, audit.WhatIfOptions{Alternatives: []audit.Alternative{
		standard("lead of 2", &eventv1.JobPolicy{Redundancy: 2, Margin: 2}),
		standard("never a referee", &eventv1.JobPolicy{Referee: eventv1.RefereeMode_REFEREE_MODE_NEVER}),
	}})
	if c.Truth.Referee != 1 || c.Recorded.Referee != 1 || c.Recorded.Contradicted != 2 || c.Recorded.Rewarded != 1 {
		t.Fatalf("recorded: %+v", c.Recorded)
	}
	if p := c.Policies[0]; p.WrongAccepts != 1 || p.Rewarded != 2 || p.WronglyRewarded != 2 || p.Referee != 0 || p.Executions != 2 {
		t.Errorf("a lead of 2: %+v", p)
	}
	if p := c.Policies[1]; p.NoVerdict != 1 || p.WrongAccepts != 0 || p.Contradicted != 0 {
		t.Errorf("without a referee: %+v", p)
	}
}

// TestWhatTheRefereeWouldSayMustBeKnown: without a truth there is no answer to invent.
func TestWhatTheRefereeWouldSayMustBeKnown(t *testing.T) {
	w := audittest.New(t)
	w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.Margin = 1 })
	w.Lie("a lie")
	w.Work() // one against one, then the third decides with a lead of 1
	c := whatIf(t, w.Log, audit.WhatIfOptions{Alternatives: []audit.Alternative{standard("two at most", &eventv1.JobPolicy{MaxReplicas: 2})}})
	if p := c.Policies[0]; c.Truth.Unknown != 1 || p.Wanting != 1 || p.Unasked != 1 || p.Changed != 0 {
		t.Errorf("%+v, %+v", c.Truth, p)
	}
}

func TestEveryFateIsCompared(t *testing.T) {
	w := audittest.New(t)
	for _, s := range audittest.Scenes {
		s.Play(w)
		w.Tasks, w.Referees = nil, nil
	}
	c := whatIf(t, w.Log, audit.WhatIfOptions{Alternatives: []audit.Alternative{{Name: "default", Policy: policy.Default()}}})
	if c.Open != 1 || c.Cancelled != 1 || c.Jobs != uint64(len(audittest.Scenes))-1 || c.Unreadable != 0 { // edited brings two
		t.Errorf("%+v", c)
	}
	r := c.Recorded
	if r.Ringers != 1 || r.NoVerdict != 2 || r.Failed != 3 || r.Referee != 2 || r.WrongAccepts != 0 {
		t.Errorf("recorded: %+v", r)
	}
}

func TestPoliciesThatFitNoJob(t *testing.T) {
	w, _ := audittest.Scene(t, "verified")
	c := whatIf(t, w.Log, audit.WhatIfOptions{Alternatives: []audit.Alternative{standard("absurd", &eventv1.JobPolicy{Redundancy: 9})}})
	if p := c.Policies[0]; p.Refused != 1 || !strings.Contains(p.Why, "redundancy 9") || p.Executions != 0 {
		t.Errorf("%+v", p)
	}
	for _, n := range []int{0, audit.MaxAlternatives + 1} {
		if _, err := audit.WhatIf(t.Context(), w.Log, audit.WhatIfOptions{Alternatives: make([]audit.Alternative, n)}); !errors.Is(err, audit.ErrAlternatives) {
			t.Errorf("%d policies: %v", n, err)
		}
	}
	for want, p := range map[bool]*eventv1.JobPolicy{
		true: {Redundancy: 5, Margin: 5}, false: {MaxReplicas: 99},
	} {
		if err := audit.CheckAlternative(&eventv1.Policy{Standard: p}); (err == nil) != want {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// TestForgedJobsAreLeftOut: facts that no decision can have made take nothing down.
func TestForgedJobsAreLeftOut(t *testing.T) {
	w, _ := audittest.Scene(t, "liar")
	all := w.Records()
	all[0].Type = events.TypeOf(&eventv1.TaskVerified{})
	c := whatIf(t, audittest.Forged{All: all}, audit.WhatIfOptions{Alternatives: []audit.Alternative{standard("same", nil)}})
	if c.Jobs != 0 || c.Unreadable != 1 {
		t.Errorf("%+v", c)
	}
}

func BenchmarkWhatIf(b *testing.B) {
	w := audittest.New(b)
	for range 5000 {
		w.Submit(true)
		w.Work()
	}
	all := w.Records()
	o := audit.WhatIfOptions{Alternatives: []audit.Alternative{standard("dear", &eventv1.JobPolicy{Margin: 1})}}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		whatIf(b, audittest.Forged{All: all}, o)
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "log-events/s")
	b.ReportMetric(5000*float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}
