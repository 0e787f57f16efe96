package dashboard

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/projections"
)

func (d *Dashboard) projectionPages() []page {
	return []page{{
		name: "projections", route: "/projections", title: "Projections", nav: "projections", needs: staff,
		live: true, every: 2 * time.Second, view: d.projections,
	}}
}

func (d *Dashboard) projectionActions() []action {
	return []action{{
		route: "/projections/{name}/rebuild", role: RoleAdmin, needs: staff,
		do: func(ctx context.Context, q *ask) (string, string, error) {
			name := q.Path["name"]
			if q.Form.Get("sure") != name {
				return "", linkProjections(), &Refusal{Code: "CONFIRM", Text: "Nothing was rebuilt: type the projection's name to confirm."}
			}
			if err := d.deps.Runner.Rebuild(ctx, name); err != nil {
				return "", "", err
			}
			d.log.Info("projection rebuild asked for on the dashboard", "projection", name, "by", q.Viewer.Name)
			return "The projection " + name + " is being rebuilt from the log.", linkProjections(), nil
		},
	}}
}

type projectionsView struct {
	Head  cell
	Table table
	Forms []form
	Note  string
}

func (d *Dashboard) projections(ctx context.Context, q *ask) (any, error) {
	v := &projectionsView{Table: table{
		Caption: "Projections", Columns: columns("Projection", "State", "Position#", "Behind#", "Rate#", "Records#", "Batches#", "Restarts#"),
		Empty: empty{Title: "No projection", Text: "This process keeps no read model."},
	}}
	head, err := d.deps.Log.Head(ctx)
	if err != nil {
		v.Note = "The event log cannot be reached, so that the head is the last one seen."
	}
	for _, s := range d.deps.Runner.Status() {
		if err != nil {
			head = max(head, s.Head)
		}
		v.Table.add(s.Name, text(s.Name).with(errorText(s.Err)), projectionState(s), position(s.Position), cell{Text: behindText(s, max(head, s.Head))},
			cell{Text: d.rates.rate(s, q.Now), Title: "records a second"}, count(s.Records), count(s.Batches), count(s.Restarts))
		v.Forms = append(v.Forms, form{
			Action: linkProjections() + "/" + s.Name + "/rebuild", Button: "Rebuild " + s.Name, Danger: true,
			Ask:    "The projection forgets everything and reads the whole log again. Pages that need it are incomplete until it has caught up. The log itself is not touched.",
			Fields: []field{{Name: "sure", Label: "Type " + s.Name + " to confirm", Max: 64}},
		})
	}
	v.Head = position(head)
	return v, nil
}

func position[T ~uint64](p T) cell {
	return cell{Text: thousands(uint64(p)), Title: strconv.FormatUint(uint64(p), 10)}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return "Last error: " + err.Error()
}

// rates measures how fast projections take in records, from one look to the next.
type rates struct {
	mu   sync.Mutex
	seen map[string]rateMark
}

// rateMark is the last look that a rate was taken from.
type rateMark struct {
	at      time.Time
	records uint64
	text    string
}

// rateEvery is the least time between two looks that a rate is taken from.
const rateEvery = time.Second

func (r *rates) rate(s projections.Status, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]rateMark{}
	}
	last, ok := r.seen[s.Name]
	if !ok || s.Records < last.records {
		r.seen[s.Name] = rateMark{now, s.Records, "–"}
		return "–"
	}
	since := now.Sub(last.at)
	if since < rateEvery {
		return last.text
	}
	last.text = rateOf(float64(s.Records-last.records)/since.Seconds()) + "/s"
	last.at, last.records = now, s.Records
	r.seen[s.Name] = last
	return last.text
}
