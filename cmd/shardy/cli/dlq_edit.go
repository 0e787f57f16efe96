package cli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// editFlags are what can be edited. Only flags that were given count.
type editFlags struct {
	module, input, fuel string
	tier                uint32
	memory, maxOutput   uint64
	priority            int32
	labels              []string
	noLabels            bool
	wish                operatorv1.PolicyOverrides
	reason              string
	dry, wait           bool
}

func (e *editFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&e.module, "module", "", "another admitted module")
	f.StringVar(&e.input, "input", "", "file with another input, - for stdin")
	f.StringVar(&e.fuel, "fuel-limit", "", "fuel that the chunk may use, for example 2e9")
	f.Uint32Var(&e.tier, "min-tier", 0, "least tier of the workers, 1 to 3 (0: as deployed)")
	f.Uint64Var(&e.memory, "min-memory", 0, "least memory of the workers, in bytes")
	f.Int32Var(&e.priority, "priority", 0, "-100 to 100, higher first")
	f.StringArrayVar(&e.labels, "label", nil, "KEY=VALUE, may be repeated; replaces all labels")
	f.BoolVar(&e.noLabels, "no-labels", false, "without labels")
	f.Uint64Var(&e.maxOutput, "max-output", 0, "most bytes of an output (0: the deployment's limit)")
	f.Uint32Var(&e.wish.Redundancy, "redundancy", 0, "replicas to begin with")
	f.Uint32Var(&e.wish.Margin, "margin", 0, "lead over the runner-up that decides")
	f.Uint32Var(&e.wish.MaxReplicas, "max-replicas", 0, "results before the referee is asked")
	f.Uint32Var(&e.wish.MaxAttempts, "max-attempts", 0, "deliveries of a slot")
	f.Uint32Var(&e.wish.AckTimeoutMs, "ack-timeout-ms", 0, "from the delivery to the acknowledgement")
	f.Uint32Var(&e.wish.MaxExecutionTimeoutMs, "max-execution-timeout-ms", 0, "from the acknowledgement to the result")
	f.StringVar(&e.reason, "reason", "", "why, for the record")
	f.BoolVar(&e.dry, "dry-run", false, "only show the job that would be submitted")
	f.BoolVar(&e.wait, "wait", false, "wait for the new job's verdict")
}

func (a *app) dlqEdit() *cobra.Command {
	var e editFlags
	c := &cobra.Command{
		Use: "edit JOB", Short: "Submit a changed job in the place of a dead letter", Args: cobra.ExactArgs(1),
		Long: "Submit a changed job in the place of a dead letter, which is discarded. What no flag names stays as it was. " +
			"A chunk of a pipeline stays that chunk. Repeating an edit finds the same job.",
		Example: "  shardy dlq edit 01k9x2 --fuel-limit 2e9 --reason 'ran out of fuel' --wait",
	}
	c.RunE = about(a, (*api).deadLetterID, func(ctx context.Context, api *api, id string) error {
		if e.reason == "" && !e.dry {
			return usage("--reason is needed")
		}
		edit, err := e.edit(ctx, a, api, id, c.Flags().Changed)
		if err != nil {
			return err
		}
		res, err := api.EditDeadLetter(ctx, &operatorv1.EditDeadLetterRequest{Id: id, Edit: edit, Reason: e.reason, DryRun: e.dry})
		if err != nil {
			return err
		}
		if e.wait && !e.dry {
			a.say("%s: replaced by %s", id, res.Id)
			return a.watchJobs(ctx, api, []string{res.Id})
		}
		if a.json {
			return a.printMessage(res)
		}
		return a.describeEdit(id, res, e.dry)
	})
	e.flags(c)
	return c
}

// edit makes a request of the flags that were given.
func (e *editFlags) edit(ctx context.Context, a *app, api *api, id string, given func(string) bool) (*operatorv1.DeadLetterEdit, error) {
	x := &operatorv1.DeadLetterEdit{}
	var err error
	if given("module") {
		if x.Module, err = api.moduleName(ctx, e.module); err != nil {
			return nil, err
		}
	}
	if given("input") {
		if x.Payload, err = a.readInput(e.input, maxInput); err != nil {
			return nil, err
		}
		if len(x.Payload) == 0 {
			return nil, usage("--input %s is empty", e.input)
		}
	}
	if given("fuel-limit") {
		fuel, err := parseFuel(e.fuel)
		if err != nil {
			return nil, err
		}
		x.FuelLimit = &fuel
	}
	if given("min-tier") {
		x.MinTier = &e.tier
	}
	if given("min-memory") {
		x.MinMemoryBytes = &e.memory
	}
	if given("priority") {
		x.Priority = &e.priority
	}
	if given("label") || e.noLabels {
		if x.Labels, err = e.labelList(); err != nil {
			return nil, err
		}
	}
	if given("max-output") {
		// The output's form is changed as a whole: the rest of it is the dead letter's.
		old, err := api.DescribeDeadLetter(ctx, &operatorv1.DescribeDeadLetterRequest{Id: id})
		if err != nil {
			return nil, err
		}
		if x.Output = old.Job.GetSpec().GetOutput(); x.Output == nil {
			x.Output = &eventv1.OutputSpec{}
		}
		x.Output.MaxBytes = e.maxOutput
	}
	if proto.Size(&e.wish) > 0 {
		x.Overrides = &e.wish
	}
	return x, nil
}

func (e *editFlags) labelList() (*operatorv1.LabelList, error) {
	list := &operatorv1.LabelList{}
	if e.noLabels && len(e.labels) > 0 {
		return nil, usage("--label and --no-labels: want one of them")
	}
	for _, l := range e.labels {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, usage("--label %q: want KEY=VALUE", l)
		}
		list.Labels = append(list.Labels, &eventv1.Label{Key: key, Value: value})
	}
	return list, nil
}

// parseFuel reads a whole number, also one like 2e9.
func parseFuel(text string) (uint64, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 1 || f >= 1<<53 || f != math.Trunc(f) {
		return 0, usage("--fuel-limit %q: want a whole number, for example 2e9", text)
	}
	return uint64(f), nil
}

func (a *app) describeEdit(old string, res *operatorv1.EditDeadLetterResponse, dry bool) error {
	word := "replaced by"
	if dry {
		word = "would be replaced by"
	}
	a.say("%s: %s %s", old, word, res.Id)
	err := a.table("FIELD BEFORE AFTER", func(row func(...any)) {
		for _, c := range res.Changes {
			row(c.Field, printable(c.Before), printable(c.After))
		}
	})
	if err != nil {
		return err
	}
	return a.facts(fmt.Sprintf("new job%s", map[bool]string{true: ", not submitted", false: ""}[dry]), res.Id)
}
