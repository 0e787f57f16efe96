package orchestrator

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"slices"
	"strconv"

	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	"github.com/shardy-network/orchestrator/projections/transparency"
)

// Setting is a configured value as people see it, secrets already redacted, and where it is from.
type Setting struct{ Name, Value, Source string }

// screenFigures is what the screens say of this moment.
func (o *Orchestrator) screenFigures(ctx context.Context) (dashboard.Figures, error) {
	stats, err := o.host.Stats(ctx)
	if err != nil {
		return dashboard.Figures{}, err
	}
	f := dashboard.Figures{
		WaitingSlots: stats.Dispatch.WaitingSlots, InFlight: stats.Dispatch.InFlight, Sessions: o.door.Stats().Sessions,
		Recovering: stats.Recovering, Draining: o.draining.Load(),
	}
	for _, t := range stats.Dispatch.Tiers {
		f.Tiers = append(f.Tiers, dashboard.TierFigures{Tier: t.Tier, Connected: t.Workers, Idle: t.Idle})
	}
	return f, nil
}

// diagnostics is what only the process knows.
func (o *Orchestrator) diagnostics(ctx context.Context) ([]dashboard.Section, error) {
	status, err := o.status(ctx)
	if err != nil {
		return nil, err
	}
	counters := dashboard.Section{Title: "Counters", Note: "Since the process began."}
	for _, c := range status.Counters {
		counters.Rows = append(counters.Rows, dashboard.SectionRow{Name: c.Name, Value: strconv.FormatUint(c.Value, 10)})
	}
	config := dashboard.Section{Title: "Configuration", Note: "What is in force, and where each value is from. Secrets are left out."}
	for _, s := range o.cfg.Settings {
		config.Rows = append(config.Rows, dashboard.SectionRow{Name: s.Name, Value: s.Value, Origin: s.Source})
	}
	return []dashboard.Section{o.treeSection(), shardSection(o.host.Shards()), counters, config}, nil
}

// treeSection shows how far the log is under signed checkpoints.
func (o *Orchestrator) treeSection() dashboard.Section {
	s := dashboard.Section{Title: "Log tree", Note: "Merkle tree over the event log; keep a checkpoint elsewhere: GET /checkpoint."}
	state := "signing"
	if err := o.tree.Err(); err != nil {
		state = err.Error()
	}
	s.Rows = append(s.Rows, dashboard.SectionRow{Name: "State", Value: state})
	if note, err := o.tree.Latest(); err == nil {
		if c, err := transparency.OpenCheckpoint(note, o.key.Public().(ed25519.PublicKey)); err == nil {
			s.Rows = append(s.Rows, dashboard.SectionRow{Name: "Origin", Value: c.Origin},
				dashboard.SectionRow{Name: "Signed records", Value: strconv.FormatInt(c.Size, 10)},
				dashboard.SectionRow{Name: "Root", Value: c.Root.String()})
		}
	}
	return s
}

// shownShards bounds the table of shards.
const shownShards = 32

// shardSection shows the busiest shards.
func shardSection(all []host.ShardStats) dashboard.Section {
	s := dashboard.Section{
		Title: "Shards", Note: "The busiest of " + strconv.Itoa(len(all)) + ": entities in memory, orders that wait in their mailboxes, deadlines.",
		Columns: []string{"Shard#", "Entities#", "Waiting#", "Fullest mailbox#", "Deadlines#"},
	}
	slices.SortStableFunc(all, func(a, b host.ShardStats) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Entities, a.Entities), cmp.Compare(a.Shard, b.Shard))
	})
	for _, st := range all[:min(len(all), shownShards)] {
		row := []string{}
		for _, n := range []int{st.Shard, st.Entities, st.Waiting, st.Longest, st.Deadlines} {
			row = append(row, strconv.Itoa(n))
		}
		s.Table = append(s.Table, row)
	}
	return s
}
