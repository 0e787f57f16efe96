package esdbserver

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

func (s *Server) createGroup(ctx context.Context, q *esdbv1.GroupSettingsRequest) (*esdbv1.Empty, error) {
	c, err := s.groupConfig(ctx, q.GetOptions())
	if err != nil {
		return nil, err
	}
	return &esdbv1.Empty{}, s.groups.create(ctx, c)
}

func (s *Server) updateGroup(ctx context.Context, q *esdbv1.GroupSettingsRequest) (*esdbv1.Empty, error) {
	c, err := s.groupConfig(ctx, q.GetOptions())
	if err != nil {
		return nil, err
	}
	return &esdbv1.Empty{}, s.groups.update(ctx, c)
}

func (s *Server) deleteGroup(ctx context.Context, q *esdbv1.GroupDeleteRequest) (*esdbv1.Empty, error) {
	if s.cfg.ReadOnly {
		return nil, denied("the server is read-only")
	}
	return &esdbv1.Empty{}, s.groups.remove(ctx, nameOf(q.GetOptions().GetStreamIdentifier()), q.GetOptions().GetGroupName())
}

func (s *Server) groupInfo(ctx context.Context, q *esdbv1.GroupInfoRequest) (*esdbv1.GroupInfoResponse, error) {
	g, err := s.groups.get(ctx, nameOf(q.GetOptions().GetStreamIdentifier()), q.GetOptions().GetGroupName())
	if err != nil {
		return nil, err
	}
	return &esdbv1.GroupInfoResponse{Info: g.info()}, nil
}

func (s *Server) listGroups(ctx context.Context, q *esdbv1.GroupListRequest) (*esdbv1.GroupListResponse, error) {
	of := func(string) bool { return true }
	if one := q.GetOptions().GetListForStream(); one != nil {
		source := nameOf(one.GetStream())
		of = func(s string) bool { return s == source }
	}
	got, err := s.groups.list(ctx, of)
	if err != nil {
		return nil, err
	}
	a := &esdbv1.GroupListResponse{}
	for _, g := range got {
		a.Subscriptions = append(a.Subscriptions, g.info())
	}
	return a, nil
}

func (s *Server) replayParked(ctx context.Context, q *esdbv1.GroupReplayRequest) (*esdbv1.Empty, error) {
	if s.cfg.ReadOnly {
		return nil, denied("the server is read-only")
	}
	o := q.GetOptions()
	g, err := s.groups.get(ctx, nameOf(o.GetStreamIdentifier()), o.GetGroupName())
	if err != nil {
		return nil, err
	}
	limit := uint64(math.MaxUint64)
	if l, ok := o.GetLimit().(*esdbv1.GroupReplayRequest_Options_StopAt); ok {
		if l.StopAt < 0 {
			return nil, invalid("a place to stop at below 0")
		}
		limit = uint64(l.StopAt)
	}
	g.replay(limit)
	return &esdbv1.Empty{}, nil
}

// restartSubsystem has nothing to restart.
func (s *Server) restartSubsystem(context.Context, *esdbv1.Empty) (*esdbv1.Empty, error) {
	return &esdbv1.Empty{}, nil
}

// groupConfig reads what a group is to be, with its start as a number.
func (s *Server) groupConfig(ctx context.Context, o *esdbv1.GroupSettingsRequest_Options) (*esdbv1.GroupConfig, error) {
	if s.cfg.ReadOnly {
		return nil, denied("the server is read-only")
	}
	c := &esdbv1.GroupConfig{Name: o.GetGroupName(), Settings: o.GetSettings()}
	if err := checkSettings(c); err != nil {
		return nil, err
	}
	var err error
	switch from := o.GetSource().(type) {
	case *esdbv1.GroupSettingsRequest_Options_All:
		c.Filter = from.All.GetFilter()
		if _, err := filterOf(c.Filter); err != nil {
			return nil, err
		}
		c.Start, err = s.startInAll(ctx, from.All)
	case *esdbv1.GroupSettingsRequest_Options_Stream:
		c.Source = nameOf(from.Stream.GetStreamIdentifier())
		c.Start, err = s.startInStream(ctx, c.Source, from.Stream)
	default: // some clients name the stream in the old way alone
		c.Source = nameOf(o.GetStreamIdentifier())
		old := &esdbv1.StreamFrom{From: &esdbv1.StreamFrom_Revision{Revision: o.GetSettings().GetRevision()}}
		if o.GetSettings().GetRevision() == math.MaxUint64 {
			old.From = &esdbv1.StreamFrom_End{}
		}
		c.Start, err = s.startInStream(ctx, c.Source, old)
	}
	if err != nil {
		return nil, err
	}
	if len(groupStreams)+len(groupKey(sourceName(c.Source), c.Name))+len("-checkpoint")+len(metadataPrefix) > events.MaxStreamName {
		return nil, invalid("the names of stream and group are too long together")
	}
	return c, nil
}

func (s *Server) startInAll(ctx context.Context, from *esdbv1.AllFrom) (uint64, error) {
	switch v := from.GetFrom().(type) {
	case *esdbv1.AllFrom_Position:
		return max(v.Position.GetCommitPosition(), 1), nil
	case *esdbv1.AllFrom_End:
		head, err := s.log.Head(ctx)
		return uint64(head) + 1, err
	}
	return 1, nil
}

func (s *Server) startInStream(ctx context.Context, stream string, from *esdbv1.StreamFrom) (uint64, error) {
	if err := events.CheckStream(stream); err != nil {
		return 0, invalid("%v", err)
	}
	switch v := from.GetFrom().(type) {
	case *esdbv1.StreamFrom_Revision:
		return v.Revision, nil
	case *esdbv1.StreamFrom_End:
		last, ok, err := s.last(ctx, stream)
		if err != nil || !ok {
			return 0, named(stream, err)
		}
		return last + 1, nil
	}
	return 0, nil
}

// Bounds of settings.
const (
	maxMessageTimeout = 24 * time.Hour
	maxReaderBuffer   = 1000
)

func checkSettings(c *esdbv1.GroupConfig) error {
	if err := events.CheckStream(c.GetName()); err != nil || len(c.GetName()) > maxGroupName {
		return invalid("group name %q", c.GetName())
	}
	t := c.GetSettings()
	if t == nil {
		return invalid("no settings")
	}
	if pinned := "Pinned"; t.GetStrategy() == esdbv1.GroupSettings_STRATEGY_PINNED || len(t.GetConsumerStrategy()) >= len(pinned) && t.GetConsumerStrategy()[:len(pinned)] == pinned {
		return refuse(codes.Unimplemented, "readers are not pinned here: choose round robin or a single reader")
	}
	for _, n := range []int32{t.GetMaxRetryCount(), t.GetMinCheckpointCount(), t.GetMaxCheckpointCount(), t.GetMaxSubscriberCount(), t.GetReadBatchSize()} {
		if n < 0 {
			return invalid("a setting below 0")
		}
	}
	if d := messageTimeout(t); d < 0 || d > maxMessageTimeout {
		return invalid("message timeout out of range")
	}
	if d := checkpointAfter(t); d < 0 || d > maxMessageTimeout {
		return invalid("checkpoint interval out of range")
	}
	return nil
}

// messageTimeout is how long a reader may take for an event; 0: for ever.
func messageTimeout(t *esdbv1.GroupSettings) time.Duration {
	switch v := t.GetMessageTimeout().(type) {
	case *esdbv1.GroupSettings_MessageTimeoutMs:
		return time.Duration(v.MessageTimeoutMs) * time.Millisecond
	case *esdbv1.GroupSettings_MessageTimeoutTicks:
		return ticksDuration(v.MessageTimeoutTicks)
	}
	return 30 * time.Second
}

func checkpointAfter(t *esdbv1.GroupSettings) time.Duration {
	switch v := t.GetCheckpointAfter().(type) {
	case *esdbv1.GroupSettings_CheckpointAfterMs:
		return time.Duration(v.CheckpointAfterMs) * time.Millisecond
	case *esdbv1.GroupSettings_CheckpointAfterTicks:
		return ticksDuration(v.CheckpointAfterTicks)
	}
	return 2 * time.Second
}

func ticksDuration(n int64) time.Duration {
	if n < 0 || n > int64(math.MaxInt64/100) {
		return -1
	}
	return time.Duration(n) * 100
}
