// Package cli is the client side of the shardy command: everything that speaks to an orchestrator over its API, looks
// into a data folder, or tries a module.
//
// It promises data on stdout and everything else on stderr, one exit code per kind of failure, and with --json the
// contract of cmd/shardy/JSON.md. Limits: it decides nothing; the
// commands that serve (serve, dev, demo, worker, log serve) are package main's.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

// app is what all commands of one run share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	json    bool
	yes     bool
	flags   settings // what the flags say
	timeout time.Duration
}

// NewRoot returns the whole command with its subcommands and the given ones.
func NewRoot(extra ...*cobra.Command) *cobra.Command {
	root, _ := newRoot(os.Stdin, os.Stdout, os.Stderr, os.Getenv, extra)
	return root
}

func newRoot(in io.Reader, out, errOut io.Writer, env func(string) string, extra []*cobra.Command) (*cobra.Command, *app) {
	a := &app{in: in, out: out, err: errOut, env: env}
	root := &cobra.Command{
		Use:   "shardy",
		Short: "Real work, verified by machines that nobody trusts",
		Long: "Shardy hands work to many untrusted machines, compares what they return, and keeps every step in a log.\n\n" +
			"Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 unavailable, 6 timeout.",
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	p := root.PersistentFlags()
	p.StringVar(&a.flags.Address, "address", "", "API of the orchestrator, for example http://127.0.0.1:7420 (env SHARDY_ADDRESS)")
	p.StringVar(&a.flags.Token, "token", "", "bearer token (env SHARDY_TOKEN: better, other users see flags)")
	p.StringVar(&a.flags.Context, "context", "", "saved context to use (env SHARDY_CONTEXT)")
	p.BoolVar(&a.json, "json", false, "print JSON, one document a line")
	p.BoolVar(&a.yes, "yes", false, "do not ask before something that cannot be undone")
	p.DurationVar(&a.timeout, "timeout", 0, "give up after this time, for example 30s (0: never)")
	root.AddGroup(
		&cobra.Group{ID: groupWork, Title: "Work:"}, &cobra.Group{ID: groupRun, Title: "Operate:"},
		&cobra.Group{ID: groupLook, Title: "Look into things:"}, &cobra.Group{ID: groupLedger, Title: "Share a ledger:"},
		&cobra.Group{ID: groupSelf, Title: "This program:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupWork, a.runCommand(), a.jobCommand(), a.pipelineCommand(), a.moduleCommand(), a.wasmCommand())
	add(groupRun, a.workerCommand(), a.dlqCommand(), a.policyCommand(), a.statusCommand())
	add(groupLook, a.assignmentCommand(), a.eventCommand(), a.logCommand(), a.auditCommand())
	add(groupLedger, a.ledgerCommand(), a.genesisCommand(), a.meshCommand())
	add(groupSelf, a.contextCommand(), a.versionCommand())
	graft(root, extra)
	checkUsage(root)
	return root, a
}

// graft adds commands from outside. One that has the name of a noun here takes its place and its verbs: shardy worker
// runs a worker, shardy worker list lists them.
func graft(root *cobra.Command, extra []*cobra.Command) {
	for _, c := range extra {
		for _, own := range root.Commands() {
			if own.Name() != c.Name() {
				continue
			}
			verbs := own.Commands()
			own.RemoveCommand(verbs...)
			c.AddCommand(verbs...)
			root.RemoveCommand(own)
		}
		if c.GroupID == "" {
			c.GroupID = groupRun
		}
		root.AddCommand(c)
	}
}

// The groups of the help.
const (
	groupWork = "work"
	groupRun  = "operate"
	groupLook = "look"
	groupSelf = "self"

	groupLedger = "ledger"
)

// checkUsage makes wrong arguments, and nouns without a verb, errors of usage.
func checkUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%w", err)
			}
			return nil
		}
	}
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil && c.HasParent() {
		c.Args = nil
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usage("unknown command %q for %q", args[0], c.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		checkUsage(sub)
	}
}

// SandboxChild is the argument that turns this program into a child that runs modules.
const SandboxChild = "sandbox-child"

// Main runs the command of this process and returns its exit code.
func Main(extra ...*cobra.Command) int {
	if len(os.Args) == 2 && os.Args[1] == SandboxChild {
		if err := sandbox.Child(os.Stdin, os.Stdout); err != nil {
			return exitFailed
		}
		return exitOK
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv, extra...)
}

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, env func(string) string, extra ...*cobra.Command) int {
	root, a := newRoot(in, out, errOut, env, extra)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*exitError](err); !ok && isUnknownCommand(err) {
		err = usage("%w", err)
	}
	return a.report(err)
}

// call gives a command its time limit.
func (a *app) call(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		if a.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, a.timeout)
			defer cancel()
		}
		return do(ctx, args)
	}
}
