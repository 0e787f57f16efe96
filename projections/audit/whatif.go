package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// MaxAlternatives bounds the policies of one comparison.
const MaxAlternatives = 32

// ErrAlternatives refuses a comparison with no policies, or with too many.
var ErrAlternatives = errors.New("want 1 to 32 policies to compare")

// Alternative is a policy to try. A job keeps what the policy's part for its kind leaves at zero: an empty policy is the
// recorded one.
type Alternative struct {
	Name   string
	Policy *eventv1.Policy
}

// WhatIfOptions say how to compare.
type WhatIfOptions struct {
	Alternatives []Alternative
	// Workers is the number of goroutines. Default: one a core, at least 2.
	Workers int
	// MaxOpen bounds the jobs in memory at once; further ones are read again at the end. Default 200,000.
	MaxOpen int
	// MaxListed bounds the jobs, and the workers, that are listed for each policy. Default 20.
	MaxListed int
}

// Comparison is what would have become of a log's decided jobs under other policies. Its JSON is a documented contract;
// all of it but the speed is the same for every run.
type Comparison struct {
	Jobs       uint64       `json:"jobs"`       // decided ones: what is compared
	Open       uint64       `json:"open"`       // left out: not decided
	Cancelled  uint64       `json:"cancelled"`  // left out: nobody waited for their results
	Unreadable uint64       `json:"unreadable"` // left out: their facts do not fit each other
	Truth      Truth        `json:"truth"`
	Recorded   Account      `json:"recorded"`
	Policies   []AltAccount `json:"policies"` // in the order asked for
	Limits     []string     `json:"limits"`
	Events     uint64       `json:"events"` // read
	Seconds    float64      `json:"seconds"`
	EventsPerS float64      `json:"events_per_s"`
}

// Truth says by what the right result of how many jobs is known.
type Truth struct {
	Referee uint64 `json:"referee"` // the orchestrator ran the chunk itself
	Known   uint64 `json:"known"`   // a ringer's answer
	Margin  uint64 `json:"margin"`  // decided by a lead of two identity groups or more
	Unknown uint64 `json:"unknown"`
}

// Account sums up what became of jobs.
type Account struct {
	Executions uint64 `json:"executions"` // results that were used
	Fuel       uint64 `json:"fuel"`       // of these
	Verified   uint64 `json:"verified"`
	Failed     uint64 `json:"failed"`     // the module fails
	NoVerdict  uint64 `json:"no_verdict"` // no quorum, or every slot lost
	Ringers    uint64 `json:"ringers_failed"`
	Referee    uint64 `json:"referee_runs"`

	WrongAccepts        uint64 `json:"wrong_accepts"`        // verdicts for something else than the truth, where it is known
	Rewarded            uint64 `json:"rewarded"`             // results counted as agreed
	WronglyRewarded     uint64 `json:"wrongly_rewarded"`     // of these, not the truth
	Contradicted        uint64 `json:"contradicted"`         // results counted as contradicted
	WronglyContradicted uint64 `json:"wrongly_contradicted"` // of these, the truth
}

// AltAccount is what became of the jobs under another policy.
type AltAccount struct {
	Name string `json:"name"`
	Account
	Changed uint64         `json:"changed"`         // jobs with another verdict: another result, or none for another reason
	Resting uint64         `json:"rests_otherwise"` // jobs whose verdict is the same, on another basis or by other replicas
	Wanting uint64         `json:"wanting"`         // jobs that the recorded results cannot decide
	Missing uint64         `json:"missing"`         // results that those jobs lack at least
	Unasked uint64         `json:"unasked"`         // of the wanting ones, those that want a referee's answer
	Refused uint64         `json:"refused"`         // jobs that the policy does not fit
	Why     string         `json:"why,omitempty"`   // of the first refusal
	Jobs    []JobChange    `json:"jobs"`            // with another verdict, the first ones by id
	Workers []WorkerChange `json:"workers"`         // whose record would be another, the most different first
}

// JobChange is a job with another verdict.
type JobChange struct {
	Job      string `json:"job"`
	Recorded string `json:"recorded"`
	Then     string `json:"then"`
}

// WorkerChange is a worker with another record.
type WorkerChange struct {
	Worker       string    `json:"worker"`       // public key, hex
	Rewarded     [2]uint64 `json:"rewarded"`     // results: recorded, then
	Contradicted [2]uint64 `json:"contradicted"` // results: recorded, then
}

// whatIfLimits are what a comparison cannot know.
var whatIfLimits = []string{
	"Workers are taken to return the same results under another policy, in the same order.",
	"Where the truth is known by a lead of two or more, workers that collude could have made it.",
	"Jobs whose verdict nothing backs (one replica, a lead of one) have no known truth, and count as neither right nor wrong.",
	"A referee that was not asked is taken to answer with the truth, where it is known.",
	"Time limits and deliveries are not tried: only redundancy, margin, max_replicas and referee change a verdict.",
}

// WhatIf runs the recorded results of a log's decided jobs under other policies.
func WhatIf(ctx context.Context, log Log, o WhatIfOptions) (Comparison, error) {
	if len(o.Alternatives) == 0 || len(o.Alternatives) > MaxAlternatives {
		return Comparison{}, ErrAlternatives
	}
	if o.MaxListed < 1 {
		o.MaxListed = defaultMaxFound
	}
	opts := Options{Workers: o.Workers, MaxOpen: o.MaxOpen}.withDefaults()
	begun := time.Now()
	thinkers := make([]*thinker, opts.Workers)
	for i := range thinkers {
		thinkers[i] = newThinker(log, o, max(1, opts.MaxOpen/opts.Workers))
	}
	var order findings // audit replay names them
	if err := deal(ctx, log, events.Filter{Streams: []string{jobPrefix}}, thinkers, &order); err != nil {
		return Comparison{}, err
	}
	sum := thinkers[0]
	for _, t := range thinkers {
		if t != sum {
			sum.merge(t)
		}
	}
	c := sum.comparison(o)
	c.Seconds = time.Since(begun).Seconds()
	if c.Seconds > 0 {
		c.EventsPerS = float64(c.Events) / c.Seconds
	}
	return c, nil
}

// CheckAlternative refuses a policy that fits no job at all: a part that is out of bounds even where the rest is the
// built-in policy's.
func CheckAlternative(p *eventv1.Policy) error {
	base := policy.Default()
	for _, part := range []struct {
		name       string
		base, with *eventv1.JobPolicy
	}{{"standard", base.Standard, p.GetStandard()}, {"stress", base.Stress, p.GetStress()}, {"lite_test", base.LiteTest, p.GetLiteTest()}} {
		laid := overlay(part.base, part.with)
		laid.MaxReplicas = max(laid.MaxReplicas, part.with.GetRedundancy(), part.with.GetMargin())
		if part.with.GetMaxReplicas() > 0 {
			laid.MaxReplicas = part.with.MaxReplicas
		}
		if err := policy.CheckJob(laid); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// overlay is a job's policy with the other one's figures where it has any.
func overlay(base, with *eventv1.JobPolicy) *eventv1.JobPolicy {
	out := proto.CloneOf(base)
	to := out.ProtoReflect()
	with.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(f, v)
		return true
	})
	return out
}

// part is the policy's part for a kind of job.
func part(p *eventv1.Policy, kind eventv1.JobKind) *eventv1.JobPolicy {
	out, err := policy.ForKind(p, kind)
	if err != nil {
		return nil
	}
	return out
}

// comparison is what a thinker that has merged all others has to say.
func (t *thinker) comparison(o WhatIfOptions) Comparison {
	c := Comparison{
		Jobs: t.jobs, Open: t.open, Cancelled: t.cancelled, Unreadable: t.unreadable, Truth: t.truth, Recorded: t.recorded,
		Limits: whatIfLimits, Events: t.events,
	}
	for i := range o.Alternatives {
		a := t.alts[i]
		a.Name = o.Alternatives[i].Name
		a.Jobs = append([]JobChange{}, firstJobs(a.Jobs, o.MaxListed)...)
		a.Workers = t.changedWorkers(i, o.MaxListed)
		c.Policies = append(c.Policies, a)
	}
	return c
}

// changedWorkers are the workers whose record another policy would change, the most different first.
func (t *thinker) changedWorkers(alt, most int) []WorkerChange {
	out := []WorkerChange{}
	for _, key := range slices.Sorted(maps.Keys(t.workers)) {
		was, then := t.workers[key][0], t.workers[key][alt+1]
		if was != then {
			out = append(out, WorkerChange{
				Worker: hex.EncodeToString([]byte(key)), Rewarded: [2]uint64{was.agreed, then.agreed},
				Contradicted: [2]uint64{was.contradicted, then.contradicted},
			})
		}
	}
	slices.SortStableFunc(out, func(a, b WorkerChange) int {
		return cmp.Or(
			cmp.Compare(distance(b.Contradicted), distance(a.Contradicted)),
			cmp.Compare(distance(b.Rewarded), distance(a.Rewarded)), cmp.Compare(a.Worker, b.Worker),
		)
	})
	return out[:min(len(out), most)]
}

func distance(pair [2]uint64) uint64 { return max(pair[0], pair[1]) - min(pair[0], pair[1]) }

// compareVerdicts reports whether two verdicts say the same, and whether they rest on the same, whenever they were taken.
func compareVerdicts(a, b events.Fact) (same, alike bool) {
	switch a := a.(type) {
	case *eventv1.TaskVerified:
		b, ok := b.(*eventv1.TaskVerified)
		same = ok && bytes.Equal(a.Checksum, b.Checksum)
		return same, same && a.Basis == b.Basis && slices.Equal(a.Agreeing, b.Agreeing) && slices.Equal(a.Contradicted, b.Contradicted)
	case *eventv1.JobDeadLettered:
		b, ok := b.(*eventv1.JobDeadLettered)
		same = ok && a.Reason == b.Reason && a.Status == b.Status
		return same, same && slices.Equal(a.Agreeing, b.Agreeing) && slices.Equal(a.Contradicted, b.Contradicted)
	}
	return false, false
}

// verdictText is a verdict on one line.
func verdictText(f events.Fact) string {
	switch f := f.(type) {
	case *eventv1.TaskVerified:
		return fmt.Sprintf("verified %s by %s, agreeing %v, contradicted %v", short(f.Checksum), phrase(f.Basis), f.Agreeing, f.Contradicted)
	case *eventv1.JobDeadLettered:
		return fmt.Sprintf("dead letter: %s, agreeing %v, contradicted %v", phrase(f.Reason), f.Agreeing, f.Contradicted)
	}
	return "none"
}
