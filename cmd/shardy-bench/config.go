package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is one run. Flags that the harness of the peers has too mean the same here.
type config struct {
	mode    string
	window  int
	rate    float64
	warm    time.Duration
	dur     time.Duration
	drain   time.Duration
	uniform bool
	variant string
	keep    bool
	data    string
	attest  bool
	mesh    int
	share   float64
	agents  int
	profile string
	compare string
	pairs   int
	n       int
	open    int
	procs   int

	// Of children only.
	role  string
	id    int
	addr  string
	dir   string
	hold  time.Duration
	run   string
	count int
}

var modes = []string{"sat", "open", "idle", "restart", "reassign", "replay"}

var errFlag = errors.New("invalid flag")

func (c *config) flags(out io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("shardy-bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&c.mode, "mode", "sat", strings.Join(modes, " | "))
	f.IntVar(&c.window, "window", 512, "sat, replay: jobs in flight")
	f.Float64Var(&c.rate, "rate", 200, "open, reassign: jobs a second (Poisson)")
	f.DurationVar(&c.warm, "warm", 2*time.Second, "warm-up before the measured window")
	f.DurationVar(&c.dur, "dur", 8*time.Second, "measured window")
	f.DurationVar(&c.drain, "drain", 10*time.Second, "how long to wait for the last verdicts")
	f.BoolVar(&c.uniform, "uniform", false, "open: equal gaps instead of Poisson arrivals")
	f.StringVar(&c.variant, "variant", "", "label in the result; default: from the flags")
	f.BoolVar(&c.keep, "keep", false, "keep the data folder")
	f.StringVar(&c.data, "data", "data", "folder under which the run's data folder is made")
	f.BoolVar(&c.attest, "attest", true, "require a signature on every result")
	f.IntVar(&c.mesh, "mesh", 0, "1: the server has a ledger, is its only validator, and pays for every verified job; 0: it has none")
	f.Float64Var(&c.share, "share", 0, "mesh: the part of the processors that settling may take; 0: the server's default")
	f.IntVar(&c.agents, "agents", 4, "connections of each worker process")
	f.StringVar(&c.profile, "profile", "", "folder for profiles of the server: CPU and allocations of the measured window, of idle the heap")
	f.StringVar(&c.compare, "compare", "", "path of the harness's ceiling: runs it and this program in turn; \"mesh\": runs this program without and with -mesh 1 in turn")
	f.IntVar(&c.pairs, "pairs", 2, "compare: number of pairs")
	f.IntVar(&c.n, "n", 15_000, "idle: connections; reassign: sockets to drop")
	f.IntVar(&c.open, "open", 100_000, "restart: open jobs")
	f.IntVar(&c.procs, "procs", 4, "idle: client processes")

	f.StringVar(&c.role, "role", "", "internal")
	f.IntVar(&c.id, "id", 0, "internal")
	f.StringVar(&c.addr, "addr", "", "internal")
	f.StringVar(&c.dir, "dir", "", "internal")
	f.DurationVar(&c.hold, "hold", 0, "internal")
	f.StringVar(&c.run, "run", "", "internal")
	f.IntVar(&c.count, "count", 0, "internal")
	return f
}

// parse reads and checks the flags.
func parse(args []string, out io.Writer) (config, error) {
	var c config
	f := c.flags(out)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("%w: unexpected %q", errFlag, f.Arg(0))
	}
	return c, c.validate()
}

func (c *config) validate() error {
	for name, bad := range map[string]bool{
		"mode":   !slices.Contains(modes, c.mode),
		"window": c.window < 1 || c.window > 100_000,
		"rate":   c.rate <= 0 || c.rate > 1e6,
		"warm":   c.warm < 0, "dur": c.dur <= 0, "drain": c.drain < 0,
		"mesh":   c.mesh < 0 || c.mesh > 1,
		"share":  c.share != 0 && !(c.share >= 0.01 && c.share <= 1),
		"agents": c.agents < 1 || c.agents > 1000,
		"pairs":  c.pairs < 1,
		"n":      c.n < 1 || c.mode == "idle" && c.n < c.procs, "open": c.open < 1, "procs": c.procs < 1,
		"compare": c.compare != "" && c.mode != "sat" && c.mode != "open",
	} {
		if bad {
			return fmt.Errorf("%w: -%s", errFlag, name)
		}
	}
	return nil
}

// label names the variant in the result.
func (c *config) label() string {
	if c.variant != "" {
		return c.variant
	}
	label := "attest-" + strconv.FormatBool(c.attest)
	if c.mesh > 0 {
		label += " mesh"
	}
	return label
}
