package cli

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how the orchestrator stands", Args: cobra.NoArgs, Example: "  shardy status --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			s, err := api.GetStatus(ctx, &operatorv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(s)
			}
			pairs := []any{
				"node", s.Node, "version", s.Version, "key", hexID(s.ServerKey), "started", when(s.StartedUs),
				"log", fmt.Sprintf("position %d, lists %d behind", s.Head, s.Lag),
				"jobs", fmt.Sprintf("%d open, %d slots waiting, %d in flight, %d dead letters", s.OpenJobs, s.WaitingSlots, s.InFlight, s.DeadLetters),
			}
			for _, t := range s.Workers {
				pairs = append(pairs, fmt.Sprintf("tier %d", t.Tier), fmt.Sprintf("%d workers, %d idle", t.Connected, t.Idle))
			}
			for _, c := range s.Counters {
				pairs = append(pairs, c.Name, c.Value)
			}
			if s.Draining || s.Recovering {
				pairs = append(pairs, "state", strings.TrimSpace(word(s.Draining, "draining ")+word(s.Recovering, "recovering")))
			}
			return a.facts(pairs...)
		}),
	}
}

func word(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Show and change the deployment's policy"}
	c.AddCommand(a.policyShow(), a.policySet())
	return c
}

func (a *app) policyShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Print the policy as JSON that policy set takes back", Args: cobra.NoArgs,
		Example: "  shardy policy show > policy.json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			res, err := api.GetPolicy(ctx, &operatorv1.GetPolicyRequest{})
			if err != nil {
				return err
			}
			opts := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
			if !a.json {
				opts.Multiline = true
			}
			text, err := opts.Marshal(res.Policy)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, string(text))
			return err
		}),
	}
}

func (a *app) policySet() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "set FILE", Short: "Replace the policy; jobs that were submitted keep theirs", Args: cobra.ExactArgs(1),
		Example: "  shardy policy set policy.json --reason 'more replicas' --yes",
		RunE: a.call(func(ctx context.Context, args []string) error {
			if reason == "" {
				return usage("--reason is needed")
			}
			data, err := a.readInput(args[0], 1<<20)
			if err != nil {
				return err
			}
			p := new(eventv1.Policy)
			if err := protojson.Unmarshal(data, p); err != nil {
				return usage("%s: %w", args[0], err)
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			if err := a.confirm("replace the policy of all jobs to come"); err != nil {
				return err
			}
			_, err = api.ChangePolicy(ctx, &operatorv1.ChangePolicyRequest{Policy: p, Reason: reason})
			return a.done(err, "policy", "changed")
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}

// build is what version prints with --json.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
}

func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which build this is", Args: cobra.NoArgs, Example: "  shardy version --json",
		RunE: a.call(func(context.Context, []string) error {
			b := readBuild()
			if a.json {
				return a.printJSON(b)
			}
			_, err := fmt.Fprintln(a.out, strings.TrimSpace(fmt.Sprintf("shardy %s %s %s", b.Version, b.Go, b.Revision)))
			return err
		}),
	}
}
