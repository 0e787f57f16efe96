package operator

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func TestWatchThatLagsIsEnded(t *testing.T) {
	h := newHub(3)
	w, end := h.watchJobs(nil)
	defer end()
	for range 4 {
		if _, err := w.take(nil); err != nil {
			t.Fatal(err)
		}
		h.job(&operatorv1.JobUpdate{Id: "x"})
	}
	if got, err := w.take(nil); err != nil || len(got) != 1 {
		t.Fatalf("a watch that keeps up: %v, %v", got, err)
	}
	for i := range 4 {
		h.job(&operatorv1.JobUpdate{Id: fmt.Sprint(i)})
	}
	if _, err := w.take(nil); !errors.Is(err, errSlow) {
		t.Errorf("a watch that lags: %v", err)
	}
}

// TestHubForgetsItsWatchers: whatever comes and goes, nothing stays behind, and each hears of its own jobs alone.
func TestHubForgetsItsWatchers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHub(1000)
		type sub struct {
			w    *jobWatch
			ids  []string
			end  func()
			want int
		}
		var subs []*sub
		id := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				ids := rapid.SliceOfNDistinct(id, 0, 3, rapid.ID).Draw(t, "ids")
				w, end := h.watchJobs(ids)
				subs = append(subs, &sub{w: w, ids: ids, end: end})
			},
			"leave": func(t *rapid.T) {
				if len(subs) == 0 {
					t.Skip("nobody is there")
				}
				i := rapid.IntRange(0, len(subs)-1).Draw(t, "who")
				subs[i].end()
				subs = append(subs[:i], subs[i+1:]...)
			},
			"update": func(t *rapid.T) {
				job := id.Draw(t, "job")
				h.job(&operatorv1.JobUpdate{Id: job})
				for _, s := range subs {
					named := len(s.ids) == 0
					for _, x := range s.ids {
						named = named || x == job
					}
					if named {
						s.want++
					}
				}
			},
			"": func(t *rapid.T) {
				for _, s := range subs {
					if got := len(s.w.queue); got != s.want {
						t.Fatalf("watch of %v has %d updates, want %d", s.ids, got, s.want)
					}
				}
			},
		})
		for _, s := range subs {
			s.end()
		}
		if len(h.all)+len(h.byJob)+len(h.pipelines) > 0 {
			t.Fatalf("left behind: %v, %v", h.all, h.byJob)
		}
	})
}

// TestTenantBookForgetsByHalves: what was learned last is known, and there is an end to how much is.
func TestTenantBookForgetsByHalves(t *testing.T) {
	var b tenantBook
	submitted := []events.Fact{&eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Tenant: "a"}}}
	b.observe("early", submitted)
	if _, ok := b.find("early"); ok {
		t.Error("learned without a reader")
	}
	b.readers.Add(1)
	for i := range 3 * maxTenants {
		b.observe(fmt.Sprint(i), submitted)
	}
	if n := len(b.now) + len(b.old); n > 2*maxTenants {
		t.Errorf("remembers %d jobs", n)
	}
	for i := 2 * maxTenants; i < 3*maxTenants; i++ {
		if tenant, ok := b.find(fmt.Sprint(i)); !ok || tenant != "a" {
			t.Fatalf("job %d is forgotten", i)
		}
	}
}

// TestEveryRefusalHasACode: the table gives each refusal one code, also when it is wrapped, and internal errors keep
// their text to themselves.
func TestEveryRefusalHasACode(t *testing.T) {
	reasons := map[string]connect.Code{}
	for _, m := range mappings {
		err := toConnect(fmt.Errorf("while asking: %w", m.err))
		if got := connect.CodeOf(err); got != m.code {
			t.Errorf("%v: %v, want %v", m.err, got, m.code)
		}
		if old, ok := reasons[m.reason]; ok && old != m.code {
			t.Errorf("reason %s means %v and %v", m.reason, old, m.code)
		}
		reasons[m.reason] = m.code
		if m.reason != screaming(m.reason) {
			t.Errorf("reason %s is not in the form of reasons", m.reason)
		}
	}
	for err, want := range map[error]connect.Code{
		errors.New("disk of 10.0.0.7 is on fire"): connect.CodeInternal,
		refuse("x", "y"):                  connect.CodeInvalidArgument,
		&ModuleRefusal{Code: "too_large"}: connect.CodeInvalidArgument,
		connect.NewError(connect.CodeAborted, errors.New("as it is")): connect.CodeAborted,
	} {
		got := toConnect(err)
		if connect.CodeOf(got) != want {
			t.Errorf("%v: %v", err, got)
		}
		if want == connect.CodeInternal && errors.Is(got, err) {
			t.Errorf("an internal error leaves the house: %v", got)
		}
	}
}

// FuzzPageToken: no token from outside gets past its mark, and every token that was given out is understood.
func FuzzPageToken(f *testing.F) {
	c, _, _ := openPage(0, "", "jobs", 1)
	f.Add(c.token("some place"), "place")
	f.Add("", "")
	f.Add("####", "\x00")
	f.Fuzz(func(t *testing.T, token, place string) {
		_, page, err := openPage(1<<31, token, "jobs", 1)
		if err == nil && token != "" && c.token(page.After) != token {
			t.Errorf("token %q was taken as %q", token, page.After)
		}
		if page.Limit < 1 || page.Limit > maxPage {
			t.Errorf("limit %d", page.Limit)
		}
		if place == "" || len(place) > 300 {
			return
		}
		if _, page, err := openPage(0, c.token(place), "jobs", 1); err != nil || page.After != place {
			t.Errorf("place %q came back as %q, %v", place, page.After, err)
		}
		if _, _, err := openPage(0, c.token(place), "jobs", 2); err == nil {
			t.Error("a token was taken for another list")
		}
	})
}

// FuzzSpec: no spec from outside makes the checks fail in another way than by a typed refusal.
func FuzzSpec(f *testing.F) {
	seed, err := proto.Marshal(&eventv1.JobSpec{Module: make([]byte, 32), FuelLimit: 1, Labels: []*eventv1.Label{{Key: "k"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		spec := new(eventv1.JobSpec)
		if proto.Unmarshal(data, spec) != nil {
			return
		}
		c := &caller{role: Client, tenants: []string{"a"}}
		err := c.checkWork(spec, &eventv1.Policy{MaxFuel: 100, MaxOutputBytes: 100})
		if err == nil {
			return
		}
		if code, _ := classify(err); code != connect.CodeInvalidArgument && code != connect.CodePermissionDenied {
			t.Errorf("%v is %v", err, code)
		}
	})
}
