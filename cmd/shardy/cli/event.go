package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) eventCommand() *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "Read the event log"}
	c.AddCommand(a.eventRead(), a.eventTail())
	return c
}

func (a *app) eventRead() *cobra.Command {
	req := &operatorv1.ReadEventsRequest{}
	c := &cobra.Command{
		Use: "read [STREAM]", Short: "Print a stream, or the whole log", Args: cobra.MaximumNArgs(1),
		Example: "  shardy event read job-01k9x2v0000000000000000000\n  shardy event read --type TaskVerified --limit 10",
		RunE: a.call(func(ctx context.Context, args []string) error {
			return a.events(ctx, req, args)
		}),
	}
	c.Flags().Uint64Var(&req.After, "after", 0, "whole log: positions after this one")
	c.Flags().Uint64Var(&req.From, "from", 0, "one stream: from this revision")
	c.Flags().Uint32Var(&req.Limit, "limit", 0, "at most so many events, 0 for all")
	c.Flags().StringArrayVar(&req.Types, "type", nil, "whole log: types that begin with this, may be repeated")
	return c
}

func (a *app) eventTail() *cobra.Command {
	req := &operatorv1.ReadEventsRequest{Follow: true}
	var all bool
	c := &cobra.Command{
		Use: "tail [STREAM]", Short: "Follow a stream, or the whole log from now on", Args: cobra.MaximumNArgs(1),
		Example: "  shardy event tail --type Job --json",
		RunE: a.call(func(ctx context.Context, args []string) error {
			if len(args) == 0 && req.After == 0 && !all {
				api, err := a.dial()
				if err != nil {
					return err
				}
				status, err := api.GetStatus(ctx, &operatorv1.GetStatusRequest{})
				if err != nil {
					return err
				}
				req.After = status.Head
			}
			return a.events(ctx, req, args)
		}),
	}
	c.Flags().Uint64Var(&req.After, "after", 0, "whole log: positions after this one")
	c.Flags().BoolVar(&all, "history", false, "whole log: from its beginning")
	c.Flags().Uint32Var(&req.Limit, "limit", 0, "end after so many events")
	c.Flags().StringArrayVar(&req.Types, "type", nil, "whole log: types that begin with this, may be repeated")
	return c
}

func (a *app) events(ctx context.Context, req *operatorv1.ReadEventsRequest, args []string) error {
	api, err := a.dial()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		req.Stream = args[0]
	}
	return a.printEvents(ctx, api, req)
}

// shownEvent is an event as --json prints it.
type shownEvent struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	TimeUs   int64  `json:"time_us"`
	Data     any    `json:"data"`
	Meta     any    `json:"meta"`
}

// printEvents prints what a request reads. Fact and envelope hold the fields that are set.
func (a *app) printEvents(ctx context.Context, api *api, req *operatorv1.ReadEventsRequest) error {
	stream, err := api.ReadEvents(ctx, req)
	return receive(stream, err, func(res *operatorv1.ReadEventsResponse) (bool, error) {
		for _, e := range res.Events {
			if err := a.printEvent(e); err != nil {
				return true, err
			}
		}
		return false, nil
	})
}

func (a *app) printEvent(e *operatorv1.Event) error {
	if a.json {
		return a.printJSON(shownEvent{
			e.Position, e.Stream, e.Revision, hexID(e.Id), e.Type, e.TimeUs, plainFact(e), plainEnvelope(e),
		})
	}
	fact, err := json.Marshal(plainFact(e))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%d  %s  %s/%d  %s  %s\n", e.Position, when(e.TimeUs), e.Stream, e.Revision, e.Type, printable(string(fact)))
	return err
}

// plainFact decodes a fact as the contract has it. What this build does not know is shown as the server decoded it.
func plainFact(e *operatorv1.Event) any {
	fact, err := events.Decode(events.Record{Draft: events.Draft{Type: e.Type, Data: e.Data}})
	if err != nil {
		return rawJSON(e.DataJson)
	}
	return setFields(fact.ProtoReflect())
}

func plainEnvelope(e *operatorv1.Event) any {
	env, err := events.DecodeEnvelope(events.Record{Draft: events.Draft{Meta: e.Meta}})
	if err != nil {
		return rawJSON(e.MetaJson)
	}
	return setFields(env.ProtoReflect())
}

func rawJSON(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return json.RawMessage("null")
	}
	return json.RawMessage(text)
}
