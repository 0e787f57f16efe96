package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/admission/challenge"
	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/receipts"
	"github.com/shardy-network/orchestrator/cmd/shardy/relay"
	"github.com/shardy-network/orchestrator/gateway/agent"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const mebibyte = 1 << 20

type workerFlags struct {
	server, keyFile, ownerKeyFile, cacheDir string
	sandboxes, prefetch                     int
	memoryMiB, mflops                       uint64
	drain                                   time.Duration
	dishonest                               string
	receiptsDir                             string
	receiptsMiB                             int64
	logFormat, logLevel                     string
}

func (f *workerFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "http://127.0.0.1:7420", "the orchestrator")
	flags.StringVar(&f.keyFile, "key-file", cli.WorkerKeyFile(), "the worker's identity; made if it is not there")
	flags.StringVar(&f.ownerKeyFile, "owner-key-file", "", "key of the owner of several workers")
	flags.IntVar(&f.sandboxes, "sandboxes", runtime.GOMAXPROCS(0), "tasks run at once, each in a process of its own")
	flags.IntVar(&f.prefetch, "prefetch", 2, "tasks held per sandbox, the running one included")
	flags.Uint64Var(&f.memoryMiB, "memory", 512, "memory offered to a task, in MiB")
	flags.Uint64Var(&f.mflops, "mflops", 0, "milli-GFLOPS to claim; 0: measure at the start")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "keep modules and compiled code here")
	flags.StringVar(&f.receiptsDir, "receipts-dir", "", "keep what orchestrators sign about this worker here (default: beside the key file)")
	flags.Int64Var(&f.receiptsMiB, "receipts", 64, "receipts kept of each orchestrator, in MiB; the oldest give way; 0: keep none")
	flags.DurationVar(&f.drain, "drain-timeout", time.Minute, "how long to finish tasks after SIGTERM")
	flags.StringVar(&f.dishonest, "dishonest", "", "for demonstrations of verification: lie (sign wrong results) or drop (cut the connection in mid-task)")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

// workerCommand runs a worker; the client's verbs (list, describe, ...) hang below it.
func workerCommand() *cobra.Command {
	var f workerFlags
	cmd := &cobra.Command{
		Use:     "worker",
		Short:   "Run a worker, or look after the workers of an orchestrator",
		Long:    "Run a worker: join an orchestrator, prove the hardware, take tasks and return signed results.\nWith a verb: look after the workers of an orchestrator.",
		Example: "  shardy worker --server http://127.0.0.1:7420 --sandboxes 2\n  shardy worker list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *workerFlags) run(cmd *cobra.Command) (err error) {
	log, err := logger(cmd.ErrOrStderr(), f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	if f.memoryMiB < 1 || f.memoryMiB > 4096 {
		return cli.Usage(fmt.Errorf("--memory %d: 1 to 4096 MiB", f.memoryMiB))
	}
	if dir := filepath.Dir(f.keyFile); dir != "." {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	box := sandbox.Config{CacheDir: f.cacheDir, MaxModuleMemory: max(f.memoryMiB, 64) * mebibyte}
	pool, err := agent.NewSandboxPool(f.sandboxes, box)
	if err != nil {
		return cli.Usage(err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	cfg := agent.Config{
		Server: f.server, KeyFile: f.keyFile, Runner: pool, Runners: f.sandboxes, Prefetch: f.prefetch,
		MaxAllocation: f.memoryMiB * mebibyte, Profile: &eventv1.Profile{Mflops: f.mflops}, Measure: measure,
		CacheDir: f.cacheDir, DrainTimeout: f.drain, Version: "shardy/" + version(), Log: log,
	}
	if f.ownerKeyFile != "" {
		if cfg.OwnerKey, err = agent.LoadKey(f.ownerKeyFile); err != nil {
			return err
		}
	}
	if f.receiptsMiB != 0 {
		var closeStore func() error
		if closeStore, err = f.keepReceipts(&cfg, log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeStore()) }()
	}
	switch f.dishonest {
	case "":
	case "lie":
		cfg.Dishonesty = lie
	case "drop":
		closeRelay, err := dropConnections(&cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeRelay()) }()
	default:
		return cli.Usage(fmt.Errorf("--dishonest %q: lie or drop", f.dishonest))
	}
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	log.Info("worker", "key", fmt.Sprintf("%x", []byte(a.PublicKey())), "server", f.server, "sandboxes", f.sandboxes)
	return a.Run(cmd.Context())
}

// keepReceipts loads the key, because receipts are kept for it.
func (f *workerFlags) keepReceipts(cfg *agent.Config, log *slog.Logger) (closeStore func() error, err error) {
	if f.receiptsMiB < 1 || f.receiptsMiB > 1<<20 {
		return nil, cli.Usage(fmt.Errorf("--receipts %d: 1 MiB to 1 TiB, or 0", f.receiptsMiB))
	}
	if cfg.Key, err = agent.LoadKey(f.keyFile); err != nil {
		return nil, err
	}
	public := cfg.Key.Public().(ed25519.PublicKey)
	if f.receiptsDir != "" {
		return keepReceipts(cfg, f.receiptsDir, f.receiptsMiB, public, log)
	}
	closeStore, err = keepReceipts(cfg, receipts.Beside(f.keyFile), f.receiptsMiB, public, log)
	if err != nil { // the key may lie where nothing can be written
		log.Warn("receipts are not kept: name a folder with --receipts-dir", "error", err)
		return func() error { return nil }, nil
	}
	return closeStore, nil
}

// measure runs the orchestrator's own compute challenge, so that the claim is what the proof will say.
func measure(ctx context.Context, r agent.Runner) (mflops uint64, err error) {
	q, err := challenge.NewCompute(1<<28, [challenge.NonceSize]byte{})
	if err != nil {
		return 0, err
	}
	metered, err := wasm.Rewrite(q.Module(), wasm.Options{})
	if err != nil {
		return 0, err
	}
	name := wasm.Name(metered)
	if err := r.Load(ctx, name, metered); err != nil {
		return 0, err
	}
	best := time.Duration(0)
	for range 2 {
		begin := time.Now()
		if _, err := r.Run(ctx, agent.Task{Module: name, Input: q.Input(), FuelLimit: q.Fuel()}); err != nil {
			return 0, err
		}
		if d := time.Since(begin); best == 0 || d < best {
			best = d
		}
	}
	return challenge.MilliGFLOPS(q.Work(), best), nil
}

// lie changes a result to one that looks right. Each liar has a lie of its own: liars that do not collude.
func lie(t agent.Task, r *agent.Result) {
	if r.Status != eventv1.ResultStatus_RESULT_STATUS_OK || len(r.Output) == 0 {
		return
	}
	at := (t.Token ^ uint64(os.Getpid())) % uint64(len(r.Output))
	r.Output[at] ^= byte(1 + os.Getpid()%255)
}

// dropEvery is how many tasks a dropper takes for each connection that it cuts.
const dropEvery = 3

// dropConnections puts a relay between worker and orchestrator, and cuts it while every third task is being run.
func dropConnections(cfg *agent.Config) (closeRelay func() error, err error) {
	u, err := url.Parse(cfg.Server)
	if err != nil {
		return nil, cli.Usage(err)
	}
	r, err := relay.Start(u.Host)
	if err != nil {
		return nil, err
	}
	u.Host = r.Addr()
	cfg.Server, cfg.Runner = u.String(), &dropper{Runner: cfg.Runner, relay: r}
	return r.Close, nil
}

type dropper struct {
	agent.Runner
	relay *relay.Relay
	tasks atomic.Uint64
}

func (d *dropper) Run(ctx context.Context, t agent.Task) (agent.Result, error) {
	if t.Job != "" && d.tasks.Add(1)%dropEvery == 0 {
		d.relay.CutAll()
	}
	return d.Runner.Run(ctx, t)
}
