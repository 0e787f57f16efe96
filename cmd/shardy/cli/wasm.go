package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

func (a *app) wasmCommand() *cobra.Command {
	c := &cobra.Command{Use: "wasm", Short: "Check, run and measure a module on this machine"}
	c.AddCommand(a.wasmLint(), a.wasmRun(), a.wasmBench())
	return c
}

// linted is what wasm lint prints with --json.
type linted struct {
	Original     string `json:"original"`
	Name         string `json:"name"`
	Class        string `json:"class"`
	MemoryBytes  uint64 `json:"memory_bytes"`
	Functions    int    `json:"functions"`
	Loops        int    `json:"loops"`
	Instructions int    `json:"instructions"`
	CallDepth    int    `json:"call_depth"`
	SIMD         bool   `json:"simd"`
	Size         int    `json:"size"`
	Rewritten    int    `json:"rewritten"`
	Rewriter     uint32 `json:"rewriter"`
}

// prepare lints a module and rewrites it as admission does.
func (a *app) prepare(file string) (original, rewritten []byte, l linted, err error) {
	if original, err = a.readInput(file, maxModule); err != nil {
		return nil, nil, l, err
	}
	info, err := wasm.Lint(original, wasm.Limits{})
	if err != nil {
		return nil, nil, l, failed(exitRefused, "%s: %w", file, err)
	}
	rewritten, err = wasm.Rewrite(original, wasm.Options{CanonicalNaN: info.Class != wasm.Integer})
	if err != nil {
		return nil, nil, l, failed(exitRefused, "%s: %w", file, err)
	}
	first, second := wasm.Name(original), wasm.Name(rewritten)
	return original, rewritten, linted{
		Original: hexID(first[:]), Name: hexID(second[:]), Class: classNames[info.Class],
		MemoryBytes: uint64(info.MemoryPages) << 16, Functions: info.Functions, Loops: info.Loops,
		Instructions: info.Instructions, CallDepth: info.CallDepth, SIMD: info.SIMD,
		Size: len(original), Rewritten: len(rewritten), Rewriter: wasm.RewriterVersion,
	}, nil
}

var classNames = map[wasm.Class]string{wasm.Integer: "integer", wasm.Float: "float", wasm.FloatVector: "vector"}

func (a *app) wasmLint() *cobra.Command {
	return &cobra.Command{
		Use: "lint FILE", Short: "Say whether a module could be admitted, and as what", Args: cobra.ExactArgs(1),
		Example: "  shardy wasm lint primes.wasm",
		RunE: a.call(func(_ context.Context, args []string) error {
			_, _, l, err := a.prepare(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(l)
			}
			return a.facts("name", l.Name, "original", l.Original, "class", l.Class, "memory", bytesText(l.MemoryBytes),
				"functions", l.Functions, "loops", l.Loops, "instructions", l.Instructions, "call depth", l.CallDepth,
				"size", fmt.Sprintf("%s, rewritten %s", bytesText(uint64(l.Size)), bytesText(uint64(l.Rewritten))))
		}),
	}
}

// localRun is one run of a module in a sandbox child.
type localRun struct {
	file, input string
	fuel        uint64
	limit       time.Duration
	interpreter bool
}

func (r *localRun) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.input, "input", "-", "file with the input, - for stdin")
	c.Flags().Uint64Var(&r.fuel, "fuel", 1_000_000_000_000, "fuel limit")
	c.Flags().DurationVar(&r.limit, "run-timeout", time.Minute, "kill the sandbox after this time")
	c.Flags().BoolVar(&r.interpreter, "interpreter", false, "run in the interpreter, some 300 times slower")
}

// open starts a sandbox with the module loaded.
func (a *app) openSandbox(ctx context.Context, r *localRun) (*sandbox.Sandbox, sandbox.Task, error) {
	_, rewritten, l, err := a.prepare(r.file)
	if err != nil {
		return nil, sandbox.Task{}, err
	}
	input, err := a.readInput(r.input, 64<<20)
	if err != nil {
		return nil, sandbox.Task{}, err
	}
	box, err := sandbox.New(sandbox.Config{RunTimeout: r.limit, MaxModuleMemory: max(l.MemoryBytes, 1<<26)})
	if err != nil {
		return nil, sandbox.Task{}, err
	}
	name := sha256.Sum256(rewritten)
	if err := box.Load(ctx, name, rewritten); err != nil {
		box.Close()
		return nil, sandbox.Task{}, failed(exitRefused, "%s: %w", r.file, err)
	}
	return box, sandbox.Task{Module: name, Input: input, FuelLimit: r.fuel, Timeout: r.limit, Interpreter: r.interpreter}, nil
}

// outcome is what wasm run prints with --json.
type outcome struct {
	Status      string  `json:"status"`
	Fuel        uint64  `json:"fuel"`
	Seconds     float64 `json:"seconds"`
	InputBytes  int     `json:"input_bytes"`
	OutputBytes int     `json:"output_bytes"`
	Output      string  `json:"output_sha256"`
	Detail      string  `json:"detail,omitempty"`
}

func (a *app) wasmRun() *cobra.Command {
	var r localRun
	var to string
	c := &cobra.Command{
		Use: "run FILE", Short: "Run a module over one input in a sandbox", Args: cobra.ExactArgs(1),
		Example: "  shardy wasm run primes.wasm --input chunk.bin --output out.bin",
		RunE: a.call(func(ctx context.Context, args []string) error {
			r.file = args[0]
			if a.json && to == "-" {
				to = ""
			}
			box, task, err := a.openSandbox(ctx, &r)
			if err != nil {
				return err
			}
			defer box.Close()
			begin := time.Now()
			res, err := box.Run(ctx, task)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(res.Output)
			o := outcome{
				Status: res.Status.String(), Fuel: res.FuelUsed, Seconds: time.Since(begin).Seconds(), Detail: res.Detail,
				InputBytes: len(task.Input), OutputBytes: len(res.Output), Output: hexID(sum[:]),
			}
			return a.finishRun(o, res, to)
		}),
	}
	r.flags(c)
	c.Flags().StringVarP(&to, "output", "o", "-", "file to write, - for stdout")
	return c
}

func (a *app) finishRun(o outcome, res sandbox.Result, to string) error {
	if res.Status == sandbox.OK && to != "" {
		out, err := a.openOutput(to)
		if err != nil {
			return err
		}
		if err := out.finish(writeAll(out, res.Output)); err != nil {
			return err
		}
	}
	if a.json {
		if err := a.printJSON(o); err != nil {
			return err
		}
	}
	a.say("%s: %d fuel, %.3f s, %d bytes, sha256 %s", o.Status, o.Fuel, o.Seconds, o.OutputBytes, o.Output)
	if res.Status != sandbox.OK {
		return failed(exitFailed, "the module ended with %s: %s", o.Status, printable(o.Detail))
	}
	return nil
}

// measured is what wasm bench prints with --json.
type measured struct {
	Runs       int     `json:"runs"`
	Fuel       uint64  `json:"fuel"`
	MedianMs   float64 `json:"median_ms"`
	FastestMs  float64 `json:"fastest_ms"`
	SlowestMs  float64 `json:"slowest_ms"`
	FuelPerMs  float64 `json:"fuel_per_ms"`
	OutputSize int     `json:"output_bytes"`
}

func (a *app) wasmBench() *cobra.Command {
	var r localRun
	var runs int
	c := &cobra.Command{
		Use: "bench FILE", Short: "Measure a module over one input in a sandbox", Args: cobra.ExactArgs(1),
		Example: "  shardy wasm bench primes.wasm --input chunk.bin --runs 20",
		RunE: a.call(func(ctx context.Context, args []string) error {
			if runs < 1 || runs > 100_000 {
				return usage("--runs %d: want 1 to 100,000", runs)
			}
			r.file = args[0]
			box, task, err := a.openSandbox(ctx, &r)
			if err != nil {
				return err
			}
			defer box.Close()
			m, err := bench(ctx, box, task, runs)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(m)
			}
			return a.facts("runs", m.Runs, "fuel", m.Fuel, "median", fmt.Sprintf("%.3f ms", m.MedianMs),
				"fastest", fmt.Sprintf("%.3f ms", m.FastestMs), "slowest", fmt.Sprintf("%.3f ms", m.SlowestMs),
				"rate", fmt.Sprintf("%.0f fuel/ms", m.FuelPerMs))
		}),
	}
	r.flags(c)
	c.Flags().IntVar(&runs, "runs", 10, "how often to run it, after one run to warm up")
	return c
}

func bench(ctx context.Context, box *sandbox.Sandbox, task sandbox.Task, runs int) (measured, error) {
	m := measured{Runs: runs}
	took := make([]float64, 0, runs)
	for i := range runs + 1 {
		begin := time.Now()
		res, err := box.Run(ctx, task)
		if err != nil {
			return m, err
		}
		if res.Status != sandbox.OK {
			return m, failed(exitFailed, "the module ended with %s: %s", res.Status, printable(res.Detail))
		}
		if i > 0 {
			took = append(took, float64(time.Since(begin).Microseconds())/1000)
		}
		m.Fuel, m.OutputSize = res.FuelUsed, len(res.Output)
	}
	slices.Sort(took)
	m.FastestMs, m.MedianMs, m.SlowestMs = took[0], took[len(took)/2], took[len(took)-1]
	m.FuelPerMs = float64(m.Fuel) / max(m.MedianMs, 0.001)
	return m, nil
}
