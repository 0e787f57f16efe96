package esdbserver

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

type groupStream = grpc.GenericServerStream[esdbv1.GroupReadRequest, esdbv1.GroupReadResponse]

// readGroup is one reader's call: events go out as they are dealt, acknowledgements come in.
func (s *Server) readGroup(ss *groupStream) error {
	m, err := ss.Recv()
	if err == io.EOF {
		return invalid("a call without a message")
	}
	if err != nil {
		return err
	}
	o := m.GetOptions()
	if o == nil {
		return invalid("the first message must hold the options")
	}
	if s.cfg.ReadOnly {
		return denied("the server is read-only")
	}
	if o.GetBufferSize() < 1 {
		return invalid("a buffer of %d", o.GetBufferSize())
	}
	leave, err := s.subscribe()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.ending(ss.Context())
	defer cancel()
	source := nameOf(o.GetStreamIdentifier())
	g, err := s.groups.get(ctx, source, o.GetGroupName())
	if err != nil {
		return err
	}
	size := int(min(o.GetBufferSize(), maxReaderBuffer))
	r := &groupReader{who: callerOf(ss.Context()).name, ch: make(chan *dealt, size), size: size, free: size}
	if p, ok := peer.FromContext(ctx); ok {
		r.from = p.Addr.String()
	}
	// The confirmation goes first: clients wait for it.
	if err := ss.Send(&esdbv1.GroupReadResponse{Content: &esdbv1.GroupReadResponse_Confirmation{
		Confirmation: &esdbv1.GroupReadResponse_SubscriptionConfirmation{SubscriptionId: groupKey(sourceName(source), g.name)},
	}}); err != nil {
		return err
	}
	if err := g.join(r); err != nil {
		return g.ended(err)
	}
	defer g.part(r)
	answers := make(chan error, 1)
	s.work.Go(func() { answers <- g.listen(ss, r) }) // ends with the call
	text := o.GetUuidOption().GetText() != nil
	for {
		select {
		case d := <-r.ch:
			if err := ss.Send(dealtMessage(d, text)); err != nil {
				return err
			}
		case err := <-answers:
			return err
		case <-g.dropped:
			return g.ended(errGroupDropped)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *group) ended(err error) error {
	if errors.Is(err, errGroupDropped) {
		return refuse(codes.Canceled, "Subscription group "+g.name+" on stream "+sourceName(g.source)+" was dropped.",
			groupTrailers("persistent-subscription-dropped", g.source, g.name)...)
	}
	return err
}

// listen takes a reader's answers until it has no more, and says why.
func (g *group) listen(ss *groupStream, r *groupReader) error {
	for {
		m, err := ss.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch v := m.GetContent().(type) {
		case *esdbv1.GroupReadRequest_Ack_:
			err = g.ack(r, v.Ack.GetIds())
		case *esdbv1.GroupReadRequest_Nack_:
			err = g.nack(r, v.Nack)
			if err == nil && v.Nack.GetAction() == esdbv1.GroupReadRequest_Nack_ACTION_STOP {
				err = g.ended(errGroupDropped)
			}
		default:
			err = invalid("neither an acknowledgement nor the contrary")
		}
		if err != nil {
			return err
		}
	}
}

func dealtMessage(d *dealt, text bool) *esdbv1.GroupReadResponse {
	return &esdbv1.GroupReadResponse{Content: &esdbv1.GroupReadResponse_Event{Event: &esdbv1.GroupReadResponse_ReadEvent{
		Event:    recorded(d.record, text),
		Position: &esdbv1.GroupReadResponse_ReadEvent_CommitPosition{CommitPosition: uint64(d.record.Pos)},
		Count:    &esdbv1.GroupReadResponse_ReadEvent_RetryCount{RetryCount: d.tries},
	}}}
}

// info describes a group as clients know it.
func (g *group) info() *esdbv1.GroupInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.cfg.GetSettings()
	strategy := t.GetConsumerStrategy()
	if strategy == "" {
		strategy = map[bool]string{true: "RoundRobin", false: "DispatchToSingle"}[t.GetStrategy() == esdbv1.GroupSettings_STRATEGY_ROUND_ROBIN]
	}
	flying := 0
	for _, fs := range g.flying {
		flying += len(fs)
	}
	i := &esdbv1.GroupInfo{
		EventSource: sourceName(g.source), GroupName: g.name, Status: "Live",
		TotalItems: g.dealt, ResolveLinkTos: t.GetResolveLinks(),
		StartFrom:                     g.placeText(g.cfg.GetStart()),
		MessageTimeoutMilliseconds:    int32(messageTimeout(t) / time.Millisecond),
		ExtraStatistics:               t.GetExtraStatistics(),
		MaxRetryCount:                 t.GetMaxRetryCount(),
		LiveBufferSize:                t.GetLiveBufferSize(),
		BufferSize:                    t.GetHistoryBufferSize(),
		ReadBatchSize:                 t.GetReadBatchSize(),
		CheckpointAfterMilliseconds:   int32(checkpointAfter(t) / time.Millisecond),
		MinCheckpointCount:            t.GetMinCheckpointCount(),
		MaxCheckpointCount:            t.GetMaxCheckpointCount(),
		ReadBufferCount:               int32(len(g.ready)),
		RetryBufferCount:              int32(len(g.again)),
		TotalInFlightMessages:         int32(flying),
		OutstandingMessagesCount:      int32(len(g.places.items)),
		NamedConsumerStrategy:         strategy,
		MaxSubscriberCount:            t.GetMaxSubscriberCount(),
		ParkedMessageCount:            int64(g.parked.end - g.parked.next),
		LastKnownEventPosition:        g.lastText(g.places.bound),
		LastCheckpointedEventPosition: g.lastText(g.written),
	}
	for _, r := range g.readers {
		i.Connections = append(i.Connections, &esdbv1.GroupInfo_Connection{
			From: r.from, Username: r.who, TotalItems: r.total, AvailableSlots: int32(r.free), InFlightMessages: int32(r.size - r.free),
		})
	}
	return i
}

// placeText writes a place in the group's source.
func (g *group) placeText(n uint64) string {
	if g.source == "" {
		return fmt.Sprintf("C:%d/P:%d", n, n)
	}
	return strconv.FormatUint(n, 10)
}

// lastText writes the last place below.
func (g *group) lastText(below uint64) string {
	if below == 0 || g.source == "" && below == 1 {
		return ""
	}
	return g.placeText(below - 1)
}
