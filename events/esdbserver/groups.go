package esdbserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// What the server keeps of groups (persistent subscriptions) lies in system streams of the log that it serves: the
// settings of all in the last event of one stream; of each group its checkpoint, and links to its parked events. Groups
// so outlive the server.
const (
	groupStreams   = "$persistentsubscription-"
	configStream   = "$persistentSubscriptionConfig"
	typeConfig     = "$PersistentConfig"
	typeCheckpoint = "$SubscriptionCheckpoint"
	typeLink       = "$>"
	maxGroupName   = 128
)

// groups are all groups of a log.
type groups struct {
	s *Server

	mu     sync.Mutex // guards what follows
	loaded bool
	want   events.Expect // of the stream of settings
	all    map[string]*group
}

func groupKey(source, name string) string { return source + "::" + name }

// load reads the settings once.
func (gs *groups) load(ctx context.Context) error {
	if gs.loaded {
		return nil
	}
	configs, want := &esdbv1.GroupConfigs{}, events.Absent
	for r, err := range gs.s.log.Read(ctx, configStream, events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		want = events.At(r.Rev)
		if err := proto.Unmarshal(r.Data, configs); err != nil {
			return errors.Join(events.ErrCorrupt, err)
		}
	}
	all := make(map[string]*group)
	for _, c := range configs.GetGroups() {
		k := groupKey(c.GetSource(), c.GetName())
		if old := gs.all[k]; old != nil {
			old.configure(c)
			all[k] = old
			continue
		}
		g, err := newGroup(gs.s, c)
		if err != nil {
			return errors.Join(events.ErrCorrupt, err)
		}
		all[k] = g
	}
	for k, g := range gs.all {
		if all[k] == nil {
			g.drop()
		}
	}
	gs.loaded, gs.want, gs.all = true, want, all
	return nil
}

// change writes the settings of all groups with one of them replaced, added or, if it is nil, removed.
func (gs *groups) change(ctx context.Context, key string, c *esdbv1.GroupConfig) error {
	configs := &esdbv1.GroupConfigs{}
	for k, g := range gs.all {
		if k != key {
			configs.Groups = append(configs.Groups, g.config())
		}
	}
	if c != nil {
		configs.Groups = append(configs.Groups, c)
	}
	slices.SortFunc(configs.Groups, func(a, b *esdbv1.GroupConfig) int {
		return strings.Compare(groupKey(a.GetSource(), a.GetName()), groupKey(b.GetSource(), b.GetName()))
	})
	data, err := proto.Marshal(configs)
	if err != nil {
		return err
	}
	got, err := gs.s.log.Append(ctx, configStream, gs.want, events.Draft{ID: newUUID(), Type: typeConfig, Data: data})
	if err != nil {
		gs.loaded = false // the outcome is unknown, or somebody else writes
		if errors.Is(err, events.ErrConflict) {
			return refuse(codes.Aborted, "the groups were changed elsewhere, try again")
		}
		return err
	}
	gs.want = events.At(got.Rev)
	return nil
}

// get finds a group and sees that it runs.
func (gs *groups) get(ctx context.Context, source, name string) (*group, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if err := gs.load(ctx); err != nil {
		return nil, err
	}
	g := gs.all[groupKey(source, name)]
	if g == nil {
		return nil, refuse(codes.NotFound, "Subscription group "+name+" on stream "+sourceName(source)+" does not exist.",
			groupTrailers("persistent-subscription-does-not-exist", source, name)...)
	}
	return g, g.start(ctx)
}

// create adds a group.
func (gs *groups) create(ctx context.Context, c *esdbv1.GroupConfig) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if err := gs.load(ctx); err != nil {
		return err
	}
	k := groupKey(c.GetSource(), c.GetName())
	if gs.all[k] != nil {
		return refuse(codes.AlreadyExists, "Subscription group "+c.GetName()+" on stream "+sourceName(c.GetSource())+" exists.",
			groupTrailers("persistent-subscription-exists", c.GetSource(), c.GetName())...)
	}
	if len(gs.all) >= gs.s.cfg.MaxGroups {
		return refuse(codes.ResourceExhausted, "too many groups")
	}
	g, err := newGroup(gs.s, c)
	if err != nil {
		return err
	}
	if err := g.forget(ctx); err != nil { // what a group of the same name may have left behind
		return err
	}
	if err := gs.change(ctx, k, c); err != nil {
		return err
	}
	gs.all[k] = g
	return nil
}

// update gives a group other settings. Its place stays.
func (gs *groups) update(ctx context.Context, c *esdbv1.GroupConfig) error {
	g, err := gs.get(ctx, c.GetSource(), c.GetName())
	if err != nil {
		return err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	old := g.config()
	c = &esdbv1.GroupConfig{Source: old.GetSource(), Name: old.GetName(), Start: old.GetStart(), Filter: old.GetFilter(), Settings: c.GetSettings()}
	if err := gs.change(ctx, groupKey(c.GetSource(), c.GetName()), c); err != nil {
		return err
	}
	g.configure(c)
	return nil
}

// remove ends a group and what is kept of it.
func (gs *groups) remove(ctx context.Context, source, name string) error {
	g, err := gs.get(ctx, source, name)
	if err != nil {
		return err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	k := groupKey(source, name)
	if gs.all[k] != g {
		return nil // somebody was faster
	}
	if err := gs.change(ctx, k, nil); err != nil {
		return err
	}
	delete(gs.all, k)
	g.drop()
	return nil
}

// list returns the groups of one source, or all.
func (gs *groups) list(ctx context.Context, of func(source string) bool) ([]*group, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if err := gs.load(ctx); err != nil {
		return nil, err
	}
	var got []*group
	for _, g := range gs.all {
		if of(g.source) {
			if err := g.start(ctx); err != nil {
				return nil, err
			}
			got = append(got, g)
		}
	}
	slices.SortFunc(got, func(a, b *group) int { return strings.Compare(groupKey(a.source, a.name), groupKey(b.source, b.name)) })
	return got, nil
}

// sourceName is how clients call what a group reads.
func sourceName(source string) string {
	if source == "" {
		return "$all"
	}
	return source
}

func groupTrailers(exception, source, name string) []string {
	return []string{"exception", exception, "stream-name", printable(sourceName(source)), "group-name", printable(name)}
}
