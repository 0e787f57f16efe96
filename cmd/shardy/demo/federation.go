package demo

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	"github.com/shardy-network/orchestrator/cmd/shardy/process"
	"github.com/shardy-network/orchestrator/gateway/agent"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// FederationConfig of a demo of several operators. Validate names the limits.
type FederationConfig struct {
	Config
	Orchestrators int
}

// MaxOrchestrators bounds the processes of one demo.
const MaxOrchestrators = 7

// Validate refuses what cannot end well: three orchestrators stand no liar among them, and with two workers each a
// verdict needs both.
func (c FederationConfig) Validate() error {
	switch {
	case c.Orchestrators != 1 && c.Orchestrators < 4 || c.Orchestrators > MaxOrchestrators:
		return fmt.Errorf("%w: --orchestrators %d: 4 to %d; to stand f liars it takes 3f+1", ErrFlags, c.Orchestrators, MaxOrchestrators)
	case c.Log != "" && c.Log != Embedded:
		return fmt.Errorf("%w: --log %q: each operator keeps its own log in its folder", ErrFlags, c.Log)
	}
	return nil
}

// What genesis gives, in micro-units.
const (
	unit           = 1_000_000
	operatorPurse  = 50_000 * unit
	operatorStake  = 20_000 * unit
	workerPurse    = 1_000 * unit
	workerStake    = 500 * unit
	settlementWait = 90 * time.Second
)

// federation is a demo of several operators under way.
type federation struct {
	cfg       FederationConfig
	begin     time.Time
	dir       string
	chain     string
	genesis   []byte
	screen    *screen
	operators []*operator
	sum       FederationSummary
}

// operator is one of them: an orchestrator with workers and work of its own.
type operator struct {
	*show
	key    ed25519.PublicKey
	pieces []*piece
}

// RunFederation shows several operators' orchestrators that agree on who earned what.
func RunFederation(ctx context.Context, cfg FederationConfig) (sum FederationSummary, err error) {
	if err := cfg.Validate(); err != nil {
		return sum, err
	}
	f := &federation{cfg: cfg, begin: time.Now(), chain: "demo", screen: newScreen(cfg.Err, cfg.Terminal)}
	defer func() {
		for _, o := range f.operators {
			o.group.Stop(5 * time.Second)
		}
	}()
	if err := f.play(ctx); err != nil {
		for _, o := range f.operators {
			if !errors.Is(err, ErrWrong) {
				f.screen.say("%s:", o.node)
				f.screen.trouble(o.group, "orchestrator")
			}
		}
		return f.sum, err
	}
	f.sum.Seconds = float64(time.Since(f.begin).Milliseconds()) / 1000
	return f.sum, errors.Join(f.report(), f.sum.verdict())
}

func (f *federation) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		f.prepare, f.start, f.stake, f.work, f.settle, f.agree, f.audit,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes every folder and key, and the genesis that names them.
func (f *federation) prepare(context.Context) (err error) {
	if f.dir = f.cfg.DataDir; f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "shardy-demo-"); err != nil {
			return err
		}
	}
	f.sum.DataDir = f.dir
	works := []func(bool) examples.Program{picture, primes, monteCarlo, neuralNetwork}
	for i := range f.cfg.Orchestrators {
		o, err := f.newOperator(i)
		if err != nil {
			return err
		}
		program := works[i%len(works)](o.cfg.Quick)
		o.pieces = []*piece{{title: fmt.Sprintf("%s of %s", program.Module(), o.node), program: program}}
		f.operators = append(f.operators, o)
	}
	return f.endow()
}

func picture(quick bool) examples.Program       { return examples.NewPicture(quick) }
func primes(quick bool) examples.Program        { return examples.NewPrimes(quick) }
func monteCarlo(quick bool) examples.Program    { return examples.NewMonteCarlo(quick) }
func neuralNetwork(quick bool) examples.Program { return examples.NewCNN(quick) }

// newOperator plans one orchestrator. The first has the liar, and a third honest worker, so that it is outvoted by two.
func (f *federation) newOperator(i int) (*operator, error) {
	name := fmt.Sprintf("operator-%d", i+1)
	cfg := f.cfg.Config
	cfg.Log, cfg.Workers, cfg.Liars, cfg.Droppers = Embedded, 2, 0, 0
	if i == 0 {
		cfg.Workers, cfg.Liars = 3, 1
	} else {
		cfg.Quick = true
	}
	dir := filepath.Join(f.dir, name)
	if _, err := os.Stat(orchestrator.LogDir(dir)); err == nil {
		return nil, fmt.Errorf("%w: --data-dir %s holds a demo already", ErrFlags, f.dir)
	}
	logs := filepath.Join(dir, "processes")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, err
	}
	key, err := identity.Server(dir)
	if err != nil {
		return nil, err
	}
	return &operator{key: key.Public().(ed25519.PublicKey), show: &show{
		cfg: cfg, dir: dir, screen: f.screen, node: name, group: &process.Group{Binary: f.cfg.Binary, LogDir: logs},
	}}, nil
}

// endow writes the genesis: every operator is a validator, and every worker has money to stake.
func (f *federation) endow() error {
	g := &ledgerv1.Genesis{ChainId: f.chain, TimeUs: f.begin.UnixMicro(), Params: ledger.DefaultParams()}
	for _, o := range f.operators {
		g.Validators = append(g.Validators, &ledgerv1.Validator{Key: o.key, Name: o.node})
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: o.key, Balance: operatorPurse, Stake: operatorStake})
		for _, w := range o.crew() {
			key, err := agent.LoadKey(o.keyFile(w.name))
			if err != nil {
				return err
			}
			g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: key.Public().(ed25519.PublicKey), Balance: workerPurse})
		}
	}
	var err error
	if f.genesis, err = (proto.MarshalOptions{Deterministic: true}).Marshal(g); err != nil {
		return err
	}
	if _, err := ledger.ParseGenesis(f.genesis); err != nil {
		return err
	}
	return os.WriteFile(f.genesisFile(), f.genesis, 0o644)
}

func (f *federation) genesisFile() string { return filepath.Join(f.dir, "genesis") }

// start runs the orchestrators, and then all workers at once.
func (f *federation) start(ctx context.Context) error {
	for i, o := range f.operators {
		o.flags = []string{"--mesh", "--mesh-genesis", f.genesisFile(), "--mesh-listen", "/ip4/127.0.0.1/tcp/0"}
		if i > 0 {
			o.flags = append(o.flags, "--mesh-bootstrap", f.operators[0].client.address)
		}
		if err := o.startServer(ctx); err != nil {
			return err
		}
	}
	return f.each(ctx, func(ctx context.Context, o *operator) error {
		if err := o.startWorkers(); err != nil {
			return err
		}
		return o.awaitWorkers(ctx)
	})
}

// each does something for all operators at once.
func (f *federation) each(ctx context.Context, do func(context.Context, *operator) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range f.operators {
		group.Go(func() error {
			if err := do(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", o.node, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// work has every orchestrator do its own, at the same time, and holds every output against its reference.
func (f *federation) work(ctx context.Context) error {
	err := f.each(ctx, func(ctx context.Context, o *operator) error {
		for _, p := range o.pieces {
			if err := o.submit(ctx, p); err != nil {
				return err
			}
			if err := o.follow(ctx, p, func(uint32) error { return nil }); err != nil {
				return err
			}
			if err := o.collect(ctx, p); err != nil {
				return err
			}
		}
		return o.tally(ctx)
	})
	if err != nil {
		return err
	}
	for _, o := range f.operators {
		if err := o.compare(ctx, o.pieces); err != nil {
			return err
		}
	}
	return nil
}

// audit ends every orchestrator and decides all that it decided once more.
func (f *federation) audit(ctx context.Context) error {
	for _, o := range f.operators {
		if err := o.show.audit(ctx); err != nil {
			return fmt.Errorf("%s: %w", o.node, err)
		}
		f.sum.add(o.sum)
	}
	return nil
}
