package policy_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/story"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	standard = eventv1.JobKind_JOB_KIND_STANDARD
	stress   = eventv1.JobKind_JOB_KIND_STRESS
	liteTest = eventv1.JobKind_JOB_KIND_LITE_TEST
)

func TestDefaultsAreValid(t *testing.T) {
	if err := policy.Validate(policy.Default()); err != nil {
		t.Fatal(err)
	}
	a, b := policy.Default(), policy.Default()
	a.Standard.Redundancy = 5
	if b.Standard.Redundancy != 2 || policy.Default().Standard.Redundancy != 2 {
		t.Error("one caller's defaults are another's")
	}
}

func TestValidate(t *testing.T) {
	for name, spoil := range map[string]func(*eventv1.Policy){
		"no standard":         func(p *eventv1.Policy) { p.Standard = nil },
		"no stress":           func(p *eventv1.Policy) { p.Stress = nil },
		"no lite_test":        func(p *eventv1.Policy) { p.LiteTest = nil },
		"no redundancy":       func(p *eventv1.Policy) { p.Standard.Redundancy = 0 },
		"too redundant":       func(p *eventv1.Policy) { p.Standard.Redundancy = p.Standard.MaxReplicas + 1 },
		"too many replicas":   func(p *eventv1.Policy) { p.Standard.MaxReplicas = policy.MaxReplicas + 1 },
		"no margin":           func(p *eventv1.Policy) { p.Standard.Margin = 0 },
		"margin out of reach": func(p *eventv1.Policy) { p.Standard.Margin = p.Standard.MaxReplicas + 1 },
		"no attempts":         func(p *eventv1.Policy) { p.Standard.MaxAttempts = 0 },
		"endless attempts":    func(p *eventv1.Policy) { p.Standard.MaxAttempts = policy.MaxAttempts + 1 },
		"no ack timeout":      func(p *eventv1.Policy) { p.Standard.AckTimeoutMs = 0 },
		"endless ack":         func(p *eventv1.Policy) { p.Standard.AckTimeoutMs = policy.MaxTimeoutMs + 1 },
		"no execution":        func(p *eventv1.Policy) { p.Standard.MinExecutionTimeoutMs = 0 },
		"crossed execution":   func(p *eventv1.Policy) { p.Standard.MaxExecutionTimeoutMs = p.Standard.MinExecutionTimeoutMs - 1 },
		"endless execution":   func(p *eventv1.Policy) { p.Standard.MaxExecutionTimeoutMs = policy.MaxTimeoutMs + 1 },
		"no slack":            func(p *eventv1.Policy) { p.Standard.ExecutionSlack = 0 },
		"endless slack":       func(p *eventv1.Policy) { p.Standard.ExecutionSlack = policy.MaxSlack + 1 },
		"referee":             func(p *eventv1.Policy) { p.Standard.Referee = 9 },
		"no admission":        func(p *eventv1.Policy) { p.Admission = nil },
		"no tiers":            func(p *eventv1.Policy) { p.Admission.Tiers = nil },
		"four tiers":          func(p *eventv1.Policy) { p.Admission.Tiers = make([]*eventv1.TierFloor, 4) },
		"gap in tiers":        func(p *eventv1.Policy) { p.Admission.Tiers[1].Tier = 3 },
		"empty tier":          func(p *eventv1.Policy) { p.Admission.Tiers[1] = nil },
		"falling tiers":       func(p *eventv1.Policy) { p.Admission.Tiers[2].Mflops = 1 },
		"falling memory":      func(p *eventv1.Policy) { p.Admission.Tiers[2].MemoryBytes = 1 },
		"absurd tier":         func(p *eventv1.Policy) { p.Admission.Tiers[2].Mflops = policy.MaxMflops + 1 },
		"proofs for nothing":  func(p *eventv1.Policy) { p.Admission.ProofTtlS = 0 },
		"endless proofs":      func(p *eventv1.Policy) { p.Admission.ProofTtlS = policy.MaxProofTTLS + 1 },
		"no chunk":            func(p *eventv1.Policy) { p.Admission.MaxChunkBytes = 0 },
		"giant chunk":         func(p *eventv1.Policy) { p.Admission.MaxChunkBytes = policy.MaxChunkBytes + 1 },
		"no grace":            func(p *eventv1.Policy) { p.ReconnectGraceMs = 0 },
		"endless grace":       func(p *eventv1.Policy) { p.ReconnectGraceMs = policy.MaxGraceMs + 1 },
		"no fuel":             func(p *eventv1.Policy) { p.MaxFuel = 0 },
		"endless fuel":        func(p *eventv1.Policy) { p.MaxFuel = policy.MaxFuel + 1 },
		"no input":            func(p *eventv1.Policy) { p.MaxInputBytes = 0 },
		"giant input":         func(p *eventv1.Policy) { p.MaxInputBytes = policy.MaxInputBytes + 1 },
		"no output":           func(p *eventv1.Policy) { p.MaxOutputBytes = 0 },
		"giant output":        func(p *eventv1.Policy) { p.MaxOutputBytes = policy.MaxInputBytes + 1 },
		"patience":            func(p *eventv1.Policy) { p.NoWorkerPatienceMs = policy.MaxTimeoutMs + 1 },
		"ringers":             func(p *eventv1.Policy) { p.RingerPerMillion = policy.PerMillion + 1 },
		"referee budget":      func(p *eventv1.Policy) { p.RefereeCpuMsPerMinute = policy.MaxRefereeCPUMs + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.Default()
			spoil(p)
			if err := policy.Validate(p); !errors.Is(err, policy.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := policy.Validate(nil); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("no policy: got %v", err)
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name string
		kind eventv1.JobKind
		wish *operatorv1.PolicyOverrides
		want func(*eventv1.JobPolicy) // nil: refused
	}{
		{"nothing wished", standard, nil, func(*eventv1.JobPolicy) {}},
		{"unspecified is standard", 0, &operatorv1.PolicyOverrides{}, func(*eventv1.JobPolicy) {}},
		{"more certainty", standard, &operatorv1.PolicyOverrides{Redundancy: 3, Margin: 3}, func(p *eventv1.JobPolicy) { p.Redundancy, p.Margin = 3, 3 }},
		{"fewer replicas", standard, &operatorv1.PolicyOverrides{MaxReplicas: 3}, func(p *eventv1.JobPolicy) { p.MaxReplicas = 3 }},
		{"shorter", standard, &operatorv1.PolicyOverrides{MaxAttempts: 1, AckTimeoutMs: 100, MaxExecutionTimeoutMs: 2000}, func(p *eventv1.JobPolicy) {
			p.MaxAttempts, p.AckTimeoutMs, p.MaxExecutionTimeoutMs, p.MinExecutionTimeoutMs = 1, 100, 2000, 2000
		}},
		{"less certainty", standard, &operatorv1.PolicyOverrides{Redundancy: 1}, nil},
		{"less margin", standard, &operatorv1.PolicyOverrides{Margin: 1}, nil},
		{"more replicas than deployed", standard, &operatorv1.PolicyOverrides{MaxReplicas: 8}, nil},
		{"cap below the first wave", standard, &operatorv1.PolicyOverrides{Redundancy: 4, MaxReplicas: 3}, nil},
		{"longer", standard, &operatorv1.PolicyOverrides{AckTimeoutMs: 5001}, nil},
		{"replicated stress", stress, &operatorv1.PolicyOverrides{Redundancy: 2}, nil},
		{"replicated ringer", liteTest, &operatorv1.PolicyOverrides{Redundancy: 2}, nil},
		{"unknown kind", 9, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			deployed := policy.Default()
			got, err := policy.Resolve(deployed, c.kind, c.wish)
			if !proto.Equal(deployed, policy.Default()) {
				t.Fatal("the deployment's policy was changed")
			}
			if c.want == nil {
				if !errors.Is(err, policy.ErrInvalid) {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := policy.Default().Standard
			c.want(want)
			if !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	if _, err := policy.Resolve(nil, standard, nil); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("no deployment: got %v", err)
	}
}

// TestNoWishGetsAroundTheDeployment draws wishes at random: what is granted is valid and within the deployment's policy.
func TestNoWishGetsAroundTheDeployment(t *testing.T) {
	n := rapid.OneOf(rapid.Uint32Range(0, 8), rapid.Uint32())
	rapid.Check(t, func(t *rapid.T) {
		d := policy.Default().Standard
		p, err := policy.Resolve(policy.Default(), standard, &operatorv1.PolicyOverrides{
			Redundancy: n.Draw(t, "redundancy"), Margin: n.Draw(t, "margin"), MaxReplicas: n.Draw(t, "cap"),
			MaxAttempts: n.Draw(t, "attempts"), AckTimeoutMs: n.Draw(t, "ack"), MaxExecutionTimeoutMs: n.Draw(t, "execution"),
		})
		if err != nil {
			return
		}
		if err := policy.CheckJob(p); err != nil {
			t.Fatal(err)
		}
		if p.Redundancy < d.Redundancy || p.Margin < d.Margin || p.MaxReplicas > d.MaxReplicas || p.MaxAttempts > d.MaxAttempts ||
			p.AckTimeoutMs > d.AckTimeoutMs || p.MaxExecutionTimeoutMs > d.MaxExecutionTimeoutMs ||
			p.RequireAttestation != d.RequireAttestation || p.Referee != d.Referee {
			t.Fatalf("granted %v", p)
		}
	})
}

func TestChange(t *testing.T) {
	wish := policy.Default()
	wish.Standard.Redundancy = 3
	wish.Stress.Version = 99 // not for the operator to say
	stamped := proto.CloneOf(wish)
	stamped.Standard.Version, stamped.Stress.Version, stamped.LiteTest.Version = 1, 1, 1
	changed := &eventv1.PolicyChanged{Policy: stamped, By: "op", Reason: "more certainty"}
	bad := policy.Default()
	bad.Standard = nil

	s := story.Of(t, &policy.Room, policy.ID).
		When(&eventv1.ChangePolicy{Policy: policy.Default()}).Nothing(). // in force already
		When(&eventv1.ChangePolicy{Policy: wish, By: "op", Reason: "more certainty"}).Then(changed).Effects().
		When(&eventv1.ChangePolicy{Policy: wish}).Nothing().
		When(&eventv1.ChangePolicy{Policy: bad}).Refuses(policy.ErrInvalid).
		When(&eventv1.ChangePolicy{}).Refuses(policy.ErrInvalid).
		When(&eventv1.ChangePolicy{Policy: policy.Default(), By: strings.Repeat("x", policy.MaxText+1)}).Refuses(policy.ErrInvalid).
		When(&eventv1.TakeShard{}).Refuses(actors.ErrUnknownCommand).
		IsDone(true)
	if got := s.State().(policy.State); got.Version != 1 || got.Current().Standard.Redundancy != 3 {
		t.Errorf("got %+v", got)
	}
	s.When(&eventv1.ChangePolicy{Policy: policy.Default()}).ThenTypes("PolicyChanged")
	if got := s.State().(policy.State); got.Version != 2 || got.Current().Standard.Version != 2 {
		t.Errorf("got %+v", got)
	}
	if got := (policy.State{}).Current(); !proto.Equal(got, policy.Default()) {
		t.Errorf("before any change: %v", got)
	}
}
