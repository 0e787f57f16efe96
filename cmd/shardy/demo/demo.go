// Package demo shows the whole system on one machine: an orchestrator and workers as processes of their own, a picture
// and a neural network computed by workers that lie, vanish and die, and every output held against a reference; or several
// operators with a ledger in common (federation.go), whose blocks are compared and whose balances are proven.
//
// It promises an error unless every output is right. It shows nothing that the product does not do: the demo is a
// client of the operator API like any other.
package demo

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/cmd/shardy/process"
	"github.com/shardy-network/orchestrator/gateway/agent"
)

// The demo's failures.
var (
	ErrFlags = errors.New("impossible demo")
	ErrWrong = errors.New("an output is wrong")
)

// Config of a demo. Validate names the limits.
type Config struct {
	DataDir  string // without a log; kept afterwards; empty: a new temporary folder, also kept
	Workers  int    // honest workers
	Liars    int    // workers that sign wrong results
	Droppers int    // workers that drop their socket in mid-task
	Log      Store  // where the log is; default Embedded
	Quick    bool   // smaller picture: ends within 30 s on two cores
	JSON     bool
	Out      io.Writer // the result
	Err      io.Writer // progress
	Terminal bool      // Err is a terminal: progress is drawn in place

	Binary string // of orchestrator and workers; default: the running executable
}

// MaxWorkers bounds the processes of one demo.
const MaxWorkers = 32

// Validate refuses what cannot end well: a verdict needs two honest workers, and with one liar a third to break the
// tie by two votes; liars that lie each in their own way need no more than that, but they must not fill the waves of a
// job (seven replicas), or the referee has to decide everything.
func (c Config) Validate() error {
	switch {
	case c.Log != Embedded && c.Log != Memory && c.Log != Server:
		return fmt.Errorf("%w: --log %q: %s, %s or %s", ErrFlags, c.Log, Embedded, Memory, Server)
	case c.Workers < 0 || c.Liars < 0 || c.Droppers < 0:
		return fmt.Errorf("%w: the number of workers cannot be negative", ErrFlags)
	case c.Workers < 3:
		return fmt.Errorf("%w: --workers %d: one of the honest workers is killed on the way, and a verdict needs two more", ErrFlags, c.Workers)
	case c.Liars > 0 && c.Workers < 4:
		return fmt.Errorf("%w: --liars %d: a third honest worker must be left to outvote a liar, so --workers must be at least 4", ErrFlags, c.Liars)
	case c.Liars > 4:
		return fmt.Errorf("%w: --liars %d: more than 4 can fill the 7 replicas of a job", ErrFlags, c.Liars)
	case c.Workers+c.Liars+c.Droppers > MaxWorkers:
		return fmt.Errorf("%w: %d processes, at most %d", ErrFlags, c.Workers+c.Liars+c.Droppers, MaxWorkers)
	}
	return nil
}

// Summary is the last line of `shardy demo --json`.
type Summary struct {
	Jobs               int     `json:"jobs"`
	Verified           int     `json:"verified"`
	DeadLettered       int     `json:"dead_lettered"`
	WrongResults       int     `json:"wrong_results"` // verified outputs that differ from the reference
	Mismatches         int     `json:"mismatches"`
	Reassigned         int     `json:"reassigned"`
	AckTimeouts        int     `json:"ack_timeouts"`
	HonestContradicted int     `json:"honest_contradicted"`
	LiarsContradicted  int     `json:"liars_contradicted"`
	Referee            int     `json:"referee"` // verdicts that the referee gave
	Accuracy           float64 `json:"accuracy"`
	Picture            string  `json:"picture"` // path
	Events             int     `json:"events"`
	Replayed           int     `json:"replayed_commands"`
	Divergences        int     `json:"divergences"`
	Seconds            float64 `json:"seconds"`
	DataDir            string  `json:"data_dir"`
	Killed             string  `json:"killed"` // the worker that was killed in mid-task
}

// show is a demo under way.
type show struct {
	cfg     Config
	begin   time.Time
	dir     string
	group   *process.Group
	workers []*worker
	server  *process.Process
	node    string   // name of the orchestrator
	flags   []string // of it, beside those of its log
	logURL  string   // of a log that is read over the network
	client  *client
	screen  *screen
	sum     Summary
}

type worker struct {
	name string
	kind kind
	proc *process.Process
	key  string // hex of the public key
}

type kind string

const (
	honest  kind = "honest"
	liar    kind = "liar"
	dropper kind = "dropper"
)

// piece is one pipeline of the demo.
type piece struct {
	title     string
	program   examples.Program
	pipeline  string
	chunks    int
	output    []byte
	assembled []byte
}

// Run shows the demo and returns its figures. The error is ErrWrong when an output differs from its reference.
func Run(ctx context.Context, cfg Config) (sum Summary, err error) {
	if cfg.Log == "" {
		cfg.Log = Embedded
	}
	if err := cfg.Validate(); err != nil {
		return Summary{}, err
	}
	d := &show{cfg: cfg, begin: time.Now(), screen: newScreen(cfg.Err, cfg.Terminal), node: "demo"}
	if err := d.prepare(); err != nil {
		return Summary{}, err
	}
	defer d.group.Stop(5 * time.Second)
	defer func() {
		if err != nil && !errors.Is(err, ErrWrong) {
			d.screen.trouble(d.group, "orchestrator")
		}
	}()
	if err := d.play(ctx); err != nil {
		return d.sum, err
	}
	d.sum.Seconds = float64(time.Since(d.begin).Milliseconds()) / 1000
	if err := d.report(); err != nil {
		return d.sum, err
	}
	if d.sum.WrongResults > 0 || d.sum.DeadLettered > 0 || d.sum.Verified != d.sum.Jobs || d.sum.Divergences > 0 {
		return d.sum, fmt.Errorf("%w: %d of %d jobs verified, %d wrong, %d divergences in the replay",
			ErrWrong, d.sum.Verified, d.sum.Jobs, d.sum.WrongResults, d.sum.Divergences)
	}
	return d.sum, nil
}

func (d *show) prepare() error {
	d.dir = d.cfg.DataDir
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "shardy-demo-")
		if err != nil {
			return err
		}
		d.dir = dir
	}
	if _, err := os.Stat(orchestrator.LogDir(d.dir)); err == nil {
		return fmt.Errorf("%w: --data-dir %s holds a log already, and figures are told of a new one; to look into it: shardy serve --data-dir %s",
			ErrFlags, d.dir, d.dir)
	}
	logs := filepath.Join(d.dir, "processes")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	d.sum.DataDir = d.dir
	d.group = &process.Group{Binary: d.cfg.Binary, LogDir: logs}
	return nil
}

func (d *show) play(ctx context.Context) error {
	if err := d.startServer(ctx); err != nil {
		return err
	}
	if err := d.startWorkers(); err != nil {
		return err
	}
	if err := d.awaitWorkers(ctx); err != nil {
		return err
	}
	pieces := []*piece{
		{title: "picture", program: examples.NewPicture(d.cfg.Quick)},
		{title: "neural network", program: examples.NewCNN(d.cfg.Quick)},
	}
	for _, p := range pieces {
		if err := d.submit(ctx, p); err != nil {
			return fmt.Errorf("submit the %s: %w", p.title, err)
		}
	}
	if err := d.watch(ctx, pieces); err != nil {
		return err
	}
	for _, p := range pieces {
		if err := d.collect(ctx, p); err != nil {
			return fmt.Errorf("collect the %s: %w", p.title, err)
		}
	}
	if err := d.tally(ctx); err != nil {
		return err
	}
	if err := d.compare(ctx, pieces); err != nil {
		return err
	}
	if err := d.keep(pieces); err != nil {
		return err
	}
	return d.audit(ctx)
}

// startServer runs the orchestrator and waits for its address.
func (d *show) startServer(ctx context.Context) error {
	address := filepath.Join(d.dir, "address")
	if err := os.RemoveAll(address); err != nil {
		return err
	}
	flags, err := d.startStore(ctx)
	if err != nil {
		return err
	}
	flags = append(flags, d.flags...)
	d.server, err = d.group.Start("orchestrator", append([]string{"serve", "--listen", "127.0.0.1:0", "--address-file", address, "--node", d.node}, flags...)...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	at, err := d.server.AwaitFile(ctx, address)
	if err != nil {
		return fmt.Errorf("orchestrator: %w", err)
	}
	d.client = newClient("http://" + at)
	d.screen.say("%s: orchestrator is up at http://%s, its files in %s", d.node, at, d.dir)
	return nil
}

func (d *show) startWorkers() error {
	for _, w := range d.crew() {
		key, err := agent.LoadKey(d.keyFile(w.name)) // made here, so that the demo knows whose key is whose
		if err != nil {
			return err
		}
		w.key = hex.EncodeToString(key.Public().(ed25519.PublicKey))
		args := []string{
			"worker", "--server", d.client.address, "--key-file", d.keyFile(w.name), "--sandboxes", "1",
			// Modest claims, quickly proven: the jobs accept tier 1, and all workers share this machine.
			"--mflops", "400", "--memory", "64",
		}
		switch w.kind {
		case liar:
			args = append(args, "--dishonest", "lie")
		case dropper:
			args = append(args, "--dishonest", "drop")
		}
		if w.proc, err = d.group.Start(w.name, args...); err != nil {
			return err
		}
		d.workers = append(d.workers, w)
	}
	d.screen.say("%d workers join %s: %d honest, %d that lie, %d that drop their socket in mid-task",
		len(d.workers), d.node, d.cfg.Workers, d.cfg.Liars, d.cfg.Droppers)
	return nil
}

// crew plans the workers.
func (d *show) crew() []*worker {
	var all []*worker
	for _, k := range []struct {
		n    int
		kind kind
	}{{d.cfg.Workers, honest}, {d.cfg.Liars, liar}, {d.cfg.Droppers, dropper}} {
		for i := range k.n {
			all = append(all, &worker{name: fmt.Sprintf("%s-%d", k.kind, i+1), kind: k.kind})
		}
	}
	return all
}

func (d *show) keyFile(worker string) string {
	return filepath.Join(d.dir, "processes", worker+".key")
}
