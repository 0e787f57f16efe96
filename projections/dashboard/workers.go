package dashboard

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (d *Dashboard) workersPages() []page {
	return []page{{
		name: "workers", route: "/workers", title: "Workers", nav: "workers", needs: staff, live: true, every: 5 * time.Second, view: d.workers,
	}}
}

type workersView struct {
	Tiers   []choice // with the number of known workers
	States  []choice
	Search  string
	Hidden  map[string]string // what a search keeps of the address
	Workers table
	Pager   pager
}

// tierCount is how many workers of a tier there are.
type tierCount struct {
	tier  uint32
	known int64
	by    map[readmodel.WorkerState]int64
	idle  cell
}

// tiers counts the workers by tier, the strongest first, and those without a tier last.
func (d *Dashboard) tiers(ctx context.Context) ([]tierCount, error) {
	counts, err := d.deps.Model.CountWorkers(ctx, readmodel.WorkerQuery{})
	if err != nil {
		return nil, err
	}
	var figures Figures
	if d.deps.Figures != nil {
		if figures, err = d.deps.Figures(ctx); err != nil {
			return nil, err
		}
	}
	var out []tierCount
	for _, tier := range []uint32{3, 2, 1, 0} {
		t := tierCount{tier: tier, by: map[readmodel.WorkerState]int64{}, idle: none()}
		for _, c := range counts {
			if c.Tier == tier {
				t.known += c.N
				t.by[c.State] += c.N
			}
		}
		for _, f := range figures.Tiers {
			if f.Tier == tier {
				t.idle = count(f.Idle)
			}
		}
		if t.known > 0 {
			out = append(out, t)
		}
	}
	return out, nil
}

func tierText(tier uint32) string {
	if tier == 0 {
		return "No tier"
	}
	return "Tier " + strconv.Itoa(int(tier))
}

// workerCommand starts a worker on the machine of a default configuration.
const workerCommand = "shardy worker --server http://127.0.0.1:7420"

// workerPage is how many workers a page lists.
const workerPage = 50

func (d *Dashboard) workers(ctx context.Context, q *ask) (any, error) {
	ask := readmodel.WorkerQuery{Page: readmodel.Page{After: q.Query.Get("after"), Limit: workerPage}}
	if t := q.Query.Get("tier"); t != "" {
		n, err := strconv.ParseUint(t, 10, 8)
		if err != nil || n > 3 {
			return nil, badRequest("there is no such tier")
		}
		ask.Tiers = []uint32{uint32(n)}
	}
	if s := readmodel.WorkerState(q.Query.Get("state")); s != "" {
		if workerTone(s) == "" {
			return nil, badRequest("there is no such state of a worker")
		}
		ask.States = []readmodel.WorkerState{s}
	}
	ask.Search = strings.ToLower(strings.TrimSpace(q.Query.Get("key")))
	v := &workersView{Search: ask.Search, Hidden: map[string]string{}}
	for _, k := range []string{"tier", "state"} {
		if s := q.Query.Get(k); s != "" {
			v.Hidden[k] = s
		}
	}
	if err := d.workerFilters(ctx, q, v); err != nil {
		return nil, err
	}
	v.Workers = table{
		Caption: "Workers", Compact: true, Columns: columns("Worker", "Tier", "State", "Proven~", "Record", "Works on#~", "Last seen~"),
		Empty: empty{
			Title: "No worker here", Text: "Start one on this machine, or take a filter away:",
			Command: workerCommand,
		},
	}
	if len(ask.Search) > 64 || strings.Trim(ask.Search, "0123456789abcdef") != "" {
		v.Workers.Empty = empty{Title: "This is no key", Text: "A worker's key is 64 hexadecimal digits; its beginning is enough."}
		return v, nil
	}
	rows, next, err := d.deps.Model.Workers(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		v.Workers.add(hex.EncodeToString(w.Key), workerCell(w.Key), tierCell(w.Tier), workerState(w.State), provenCell(w.Proven), recordCell(w.Record),
			d.loadCell(w), when(w.LastSeen))
	}
	v.Pager = pagerOf(q, next)
	return v, nil
}

// workerFilters makes the links by tier and state. The numbers of the states are those of the chosen tier.
func (d *Dashboard) workerFilters(ctx context.Context, q *ask, v *workersView) error {
	counts, err := d.deps.Model.CountWorkers(ctx, readmodel.WorkerQuery{})
	if err != nil {
		return err
	}
	chosen := q.Query.Get("tier")
	byTier, byState := map[string]int64{}, map[string]int64{}
	for _, c := range counts {
		tier := strconv.Itoa(int(c.Tier))
		byTier[tier] += c.N
		if chosen == "" || chosen == tier {
			byState[string(c.State)] += c.N
		}
	}
	v.Tiers = choices(q, "tier", "All", "3", "Tier 3", "2", "Tier 2", "1", "Tier 1", "0", "No tier")
	for i, tier := range []string{"3", "2", "1", "0"} {
		v.Tiers[i+1].Count = thousands(byTier[tier])
	}
	var pairs []string
	for _, s := range readmodel.WorkerStates {
		pairs = append(pairs, string(s), sentenceCase(string(s)))
	}
	v.States = choices(q, "state", "All", pairs...)
	for i, s := range readmodel.WorkerStates {
		v.States[i+1].Count = thousands(byState[string(s)])
	}
	return nil
}

func sentenceCase(s string) string { return capital(words(s)) }

func workerTone(s readmodel.WorkerState) tone {
	switch s {
	case readmodel.WorkerConnected:
		return toneVerified
	case readmodel.WorkerDisconnected:
		return toneWaiting
	case readmodel.WorkerDraining:
		return toneMismatch
	case readmodel.WorkerRejected, readmodel.WorkerBanned:
		return toneDead
	}
	return ""
}

func workerState(s readmodel.WorkerState) cell {
	if t := workerTone(s); t != "" {
		return state(t, sentenceCase(string(s)))
	}
	return state(toneQuiet, "Unknown")
}

func tierCell(tier uint32) cell {
	if tier == 0 {
		return cell{Text: "–", Title: "No tier: not tested, or the proof has expired"}
	}
	return cell{Text: strconv.Itoa(int(tier)), Title: tierText(tier)}
}

func provenCell(p *eventv1.Proven) cell {
	if p == nil {
		return cell{Text: "–", Title: "Nothing is proven yet"}
	}
	return cell{Text: gflops(p.Mflops)}.with(sizeOf(p.MemoryBytes))
}

// recordCell tells what became of a worker's results.
func recordCell(t *eventv1.Tally) cell {
	if t == nil {
		return none()
	}
	c := cell{Text: thousands(t.Agreed) + " agreed"}
	var bad []string
	if t.Contradicted > 0 {
		bad = append(bad, thousands(t.Contradicted)+" contradicted")
	}
	if t.Rejected > 0 {
		bad = append(bad, thousands(t.Rejected)+" refused")
	}
	if lost := t.TimedOut + t.Dropped + t.Failed; lost > 0 {
		bad = append(bad, thousands(lost)+" lost")
	}
	return c.with(strings.Join(bad, ", "))
}

// loadCell tells what a connected worker does now.
func (d *Dashboard) loadCell(w readmodel.Worker) cell {
	if d.deps.Live == nil || !w.Connected {
		return none()
	}
	l, ok := d.deps.Live(w.Key)
	if !ok {
		return none()
	}
	return cell{Text: thousands(l.InFlight), Title: "would take " + thousands(l.Credits) + " more"}
}
