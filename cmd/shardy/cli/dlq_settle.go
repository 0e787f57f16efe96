package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// letterCall is one call about many dead letters.
type letterCall struct {
	ids    []string
	filter *operatorv1.DeadLetterFilter // without ids
	reason string
	dry    bool
	limit  uint32
	token  string
}

// letterAnswer is what both kinds of calls answer with.
type letterAnswer interface {
	GetOutcomes() []*operatorv1.DeadLetterOutcome
	GetNextPageToken() string
}

// settling is what a command does to dead letters.
type settling struct {
	verb, done, would string
	dangerous         bool // ask even about a single one
	call              func(ctx context.Context, api *api, x letterCall) (letterAnswer, error)
}

func (a *app) dlqRequeue() *cobra.Command {
	return a.dlqSettle("Open a new round for dead letters' jobs", settling{
		verb: "requeue", done: "requeued", would: "would be requeued",
		call: func(ctx context.Context, api *api, x letterCall) (letterAnswer, error) {
			req := &operatorv1.RequeueDeadLettersRequest{Reason: x.reason, DryRun: x.dry, Limit: x.limit, PageToken: x.token}
			req.Which = &operatorv1.RequeueDeadLettersRequest_Filter{Filter: x.filter}
			if x.ids != nil {
				req.Which = &operatorv1.RequeueDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: x.ids}}
			}
			return api.RequeueDeadLetters(ctx, req)
		},
	})
}

func (a *app) dlqDiscard() *cobra.Command {
	return a.dlqSettle("Give dead letters up for good", settling{
		verb: "discard", done: "discarded", would: "would be discarded", dangerous: true,
		call: func(ctx context.Context, api *api, x letterCall) (letterAnswer, error) {
			req := &operatorv1.DiscardDeadLettersRequest{Reason: x.reason, DryRun: x.dry, Limit: x.limit, PageToken: x.token}
			req.Which = &operatorv1.DiscardDeadLettersRequest_Filter{Filter: x.filter}
			if x.ids != nil {
				req.Which = &operatorv1.DiscardDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: x.ids}}
			}
			return api.DiscardDeadLetters(ctx, req)
		},
	})
}

// maxBulk is what the orchestrator does in one call.
const maxBulk = 10_000

func (a *app) dlqSettle(short string, s settling) *cobra.Command {
	var l letterFlags
	var x letterCall
	var all bool
	c := &cobra.Command{
		Use: s.verb + " [JOB...]", Short: short,
		Example: "  shardy dlq " + s.verb + " 01k9x2 --reason 'workers were too few'\n" +
			"  shardy dlq " + s.verb + " --all --reason-code delivery_exhausted --since 1h --dry-run",
	}
	c.RunE = a.call(func(ctx context.Context, args []string) error {
		narrowed := slices.ContainsFunc(letterFlagNames, c.Flags().Changed)
		switch {
		case x.reason == "" && !x.dry:
			return usage("--reason is needed")
		case all == (len(args) > 0):
			return usage("name dead letters, or say --all")
		case len(args) > 0 && (narrowed || c.Flags().Changed("limit")):
			return usage("filters and --limit go with --all")
		}
		api, err := a.dial()
		if err != nil {
			return err
		}
		if !all {
			return a.settleNamed(ctx, api, s, x, args)
		}
		if x.filter, err = l.filter(ctx, api); err != nil {
			return err
		}
		return a.settleAll(ctx, api, s, x)
	})
	l.flags(c)
	c.Flags().StringVar(&x.reason, "reason", "", "why, for the record")
	c.Flags().BoolVar(&all, "all", false, "all dead letters that the filters let pass")
	c.Flags().BoolVar(&x.dry, "dry-run", false, "only show what would be done, and what would be refused")
	c.Flags().Uint32Var(&x.limit, "limit", 0, "with --all: at most so many, 0 for all")
	return c
}

// settleNamed is about the dead letters that are named. The refusal of a single one is the command's own.
func (a *app) settleNamed(ctx context.Context, api *api, s settling, x letterCall, names []string) error {
	for _, text := range names {
		id, err := api.deadLetterID(ctx, text)
		if err != nil {
			return err
		}
		if !slices.Contains(x.ids, id) {
			x.ids = append(x.ids, id)
		}
	}
	if s.dangerous && !x.dry {
		what := "job " + x.ids[0]
		if len(x.ids) > 1 {
			what = fmt.Sprintf("%d dead letters", len(x.ids))
		}
		if err := a.confirm("%s %s", s.verb, what); err != nil {
			return err
		}
	}
	res, err := s.call(ctx, api, x)
	if err != nil {
		return err
	}
	outcomes := res.GetOutcomes()
	if len(outcomes) == 1 && outcomes[0].Code != 0 {
		return refusedLetter(outcomes[0])
	}
	var sum tally
	if err := a.printOutcomes(outcomes, s, x.dry, &sum); err != nil {
		return err
	}
	return sum.err(a, s, x.dry)
}

// settleAll goes on until the filter lets nothing more pass. What dies again meanwhile is not done again: the list is
// walked from the newest to the oldest, once.
func (a *app) settleAll(ctx context.Context, api *api, s settling, x letterCall) error {
	if !x.dry {
		if err := a.confirmAll(ctx, api, s, x); err != nil {
			return err
		}
	}
	var sum tally
	for left := x.limit; ; {
		x.limit = maxBulk
		if left > 0 {
			x.limit = min(left, maxBulk)
		}
		res, err := s.call(ctx, api, x)
		if err != nil {
			return err
		}
		if err := a.printOutcomes(res.GetOutcomes(), s, x.dry, &sum); err != nil {
			return err
		}
		if left > 0 {
			if left -= min(left, uint32(len(res.GetOutcomes()))); left == 0 {
				break
			}
		}
		if x.token = res.GetNextPageToken(); x.token == "" {
			break
		}
	}
	return sum.err(a, s, x.dry)
}

// confirmAll asks with the number of dead letters that it is about.
func (a *app) confirmAll(ctx context.Context, api *api, s settling, x letterCall) error {
	if a.yes {
		return nil
	}
	x.dry, x.limit = true, min(x.limit, maxBulk)
	if x.limit == 0 {
		x.limit = maxBulk
	}
	res, err := s.call(ctx, api, x)
	if err != nil {
		return err
	}
	n, more := 0, ""
	for _, o := range res.GetOutcomes() {
		if o.Code == 0 {
			n++
		}
	}
	if res.GetNextPageToken() != "" && x.limit == maxBulk {
		more = " or more"
	}
	return a.confirm("%s %d%s dead letters", s.verb, n, more)
}

// tally counts what became of dead letters.
type tally struct{ done, refused int }

// err says how it went; some that were refused make the command fail, but a dry run has done its work.
func (t tally) err(a *app, s settling, dry bool) error {
	what := s.done
	if dry {
		what = s.would
	}
	a.say("%d %s, %d refused", t.done, what, t.refused)
	if t.refused == 0 || dry {
		return nil
	}
	return failed(exitFailed, "%d of %d dead letters were refused", t.refused, t.done+t.refused)
}

// outcomeLine is one document of dlq requeue and dlq discard.
type outcomeLine struct {
	ID     string `json:"id"`
	Done   string `json:"done"`
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// printOutcomes prints one line for each: all of a dry run, otherwise what people must know.
func (a *app) printOutcomes(outcomes []*operatorv1.DeadLetterOutcome, s settling, dry bool, sum *tally) error {
	what := s.done
	if dry {
		what = s.would
	}
	for _, o := range outcomes {
		line := outcomeLine{ID: o.Id, Done: strings.ReplaceAll(what, " ", "_")}
		if o.Code != 0 {
			line = outcomeLine{ID: o.Id, Done: "refused", Code: connect.Code(o.Code).String(), Reason: o.Reason, Detail: o.Detail}
			sum.refused++
		} else {
			sum.done++
		}
		if a.json {
			if err := a.printJSON(line); err != nil {
				return err
			}
		}
	}
	if a.json {
		return nil
	}
	return a.table("JOB OUTCOME REASON TENANT DETAIL", func(row func(...any)) {
		for _, o := range outcomes {
			switch {
			case o.Code != 0:
				row(o.Id, "refused", o.Reason, o.DeadLetter.GetTenant(), printable(o.Detail))
			default:
				row(o.Id, what, name(o.DeadLetter.GetReason()), o.DeadLetter.GetTenant(), printable(o.DeadLetter.GetDetail()))
			}
		}
	})
}

// refusedLetter is the refusal of a dead letter as an error of its own.
func refusedLetter(o *operatorv1.DeadLetterOutcome) error {
	err := connect.NewError(connect.Code(o.Code), errors.New(o.Detail))
	if d, derr := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: o.Reason}); derr == nil {
		err.AddDetail(d)
	}
	return err
}
