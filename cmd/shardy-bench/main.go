package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

// sandboxChild is the first argument of the child processes in which the server tries modules.
const sandboxChild = "sandbox-child"

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandboxChild {
		if err := sandbox.Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "shardy-bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program and returns its exit code.
func command(ctx context.Context, args []string, out, errs io.Writer) int {
	cfg, err := parse(args, errs)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil:
		err = run(ctx, cfg, out)
	}
	if err != nil {
		_, _ = fmt.Fprintln(errs, "shardy-bench:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, cfg config, out io.Writer) error {
	switch cfg.role {
	case "":
	case roleServer:
		return serve(ctx, cfg)
	case roleWorker:
		return work(ctx, cfg)
	case roleIdle:
		return idle(ctx, cfg)
	default:
		return fmt.Errorf("%w: -role", errFlag)
	}
	if cfg.compare == againstMesh {
		return compareMesh(ctx, cfg, out)
	}
	if cfg.compare != "" {
		return compare(ctx, cfg, out)
	}
	f, err := measure(ctx, cfg)
	if err != nil {
		return err
	}
	return f.print(out)
}

func measure(ctx context.Context, cfg config) (figures, error) {
	switch cfg.mode {
	case "idle":
		return measureIdle(ctx, cfg)
	case "restart":
		return measureRestart(ctx, cfg)
	case "reassign":
		return measureReassign(ctx, cfg)
	case "replay":
		return measureReplay(ctx, cfg)
	default:
		return measureLoad(ctx, cfg)
	}
}
