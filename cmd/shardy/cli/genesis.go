package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	"github.com/shardy-network/orchestrator/mesh"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func (a *app) genesisCommand() *cobra.Command {
	c := &cobra.Command{Use: "genesis", Short: "Make the beginning of a ledger, and look into one"}
	c.AddCommand(a.genesisCreate(), a.genesisShow(), a.genesisKey())
	return c
}

// genesisFlags are what a ledger begins with.
type genesisFlags struct {
	chain, time, to             string
	validators, endowed, params []string
}

func (a *app) genesisCreate() *cobra.Command {
	var f genesisFlags
	c := &cobra.Command{
		Use: "create", Short: "Write the file that a ledger begins with", Args: cobra.NoArgs,
		Long: "Create writes a genesis: the chain's name, its rules, who has how much, and the validators (1, or 4 and more)\n" +
			"that agree on its first block. All orchestrators of the ledger start with the same file. KEY is a public key in hex\n" +
			"or base 64, or a key file, or the data folder of an orchestrator (shardy genesis key makes its key).\n" + amountRule + "\n" +
			"Rules (--param) are the numbers of shardy.ledger.v1.Params as they are: money in micro-units, parts in millionths.",
		Example: "  shardy genesis create --chain lab --validator ./a@anna --endow ./a=100000,20000 --endow ./worker.key=50 -o lab.genesis",
		RunE: a.call(func(context.Context, []string) error {
			g, err := f.genesis(time.Now())
			if err != nil {
				return err
			}
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(g)
			if err != nil {
				return err
			}
			root, err := readRoot(encoded)
			if err != nil {
				return usage("%w%s", err, stakeHint(g))
			}
			if err := a.writeOutput(f.to, encoded); err != nil || f.to == "-" {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"file": f.to, "chain_id": g.ChainId, "hash": hexID(root.hash[:]), "bytes": len(encoded)})
			}
			return a.facts("file", f.to, "chain", g.ChainId, "hash", hexID(root.hash[:]),
				"validators", len(g.Validators), "money", moneyText(root.state.Supply().Total))
		}),
	}
	fl := c.Flags()
	fl.StringVar(&f.chain, "chain", "", "name of the chain, 1 to 32 of a-z, 0-9 and dashes")
	fl.StringArrayVar(&f.validators, "validator", nil, "KEY[@NAME[,MULTIADDR...]] of a validator (may be repeated)")
	fl.StringArrayVar(&f.endowed, "endow", nil, "KEY=BALANCE[,STAKE] in units (may be repeated)")
	fl.StringArrayVar(&f.params, "param", nil, "NAME=VALUE, a rule other than the default (may be repeated)")
	fl.StringVar(&f.time, "time", "", "when the chain begins, like 2026-01-31T18:00:00Z (default: now)")
	fl.StringVarP(&f.to, "output", "o", "", "file to write, - for stdout")
	need(c, "chain", "validator", "endow", "output")
	return c
}

// need makes flags of a command required.
func need(c *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the command does not define it
		}
	}
}

// genesis makes a genesis of the flags. It does not check whether that makes a chain.
func (f genesisFlags) genesis(now time.Time) (*ledgerv1.Genesis, error) {
	g := &ledgerv1.Genesis{ChainId: f.chain, TimeUs: now.UnixMicro(), Params: ledger.DefaultParams()}
	if f.time != "" {
		at, err := time.Parse(time.RFC3339, f.time)
		if err != nil {
			return nil, usage("--time %q: want a time like 2026-01-31T18:00:00Z", f.time)
		}
		g.TimeUs = at.UnixMicro()
	}
	for _, text := range f.validators {
		v, err := parseValidator("--validator", text)
		if err != nil {
			return nil, err
		}
		g.Validators = append(g.Validators, v)
	}
	for _, text := range f.endowed {
		e, err := parseEndowment(text)
		if err != nil {
			return nil, err
		}
		g.Endowments = append(g.Endowments, e)
	}
	for _, text := range f.params {
		if err := setParam(g.Params, text); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// stakeHint says how to stake what a validator lacks.
func stakeHint(g *ledgerv1.Genesis) string {
	for _, v := range g.Validators {
		i := slices.IndexFunc(g.Endowments, func(e *ledgerv1.Endowment) bool { return string(e.Key) == string(v.Key) })
		if i < 0 || g.Endowments[i].Stake < g.Params.MinValidatorStake {
			return fmt.Sprintf(" (--endow KEY=BALANCE,%s gives it one)", unitsText(g.Params.MinValidatorStake))
		}
	}
	return ""
}

// parseValidator reads KEY[@NAME[,MULTIADDR...]].
func parseValidator(flag, text string) (*ledgerv1.Validator, error) {
	who, addresses, _ := strings.Cut(text, ",")
	name := ""
	if i := strings.LastIndexByte(who, '@'); i >= 0 {
		who, name = who[:i], who[i+1:]
	}
	key, err := publicOf(flag, who)
	if err != nil {
		return nil, err
	}
	v := &ledgerv1.Validator{Key: key, Name: name}
	if addresses != "" {
		v.Addresses = strings.Split(addresses, ",")
	}
	id, err := mesh.PeerOf(key)
	if err != nil {
		return nil, usage("%s %q: %w", flag, text, err)
	}
	v.Peer = []byte(id)
	for _, at := range v.Addresses {
		if _, err := mesh.AddrInfos([]string{at + "/p2p/" + id.String()}); err != nil {
			return nil, usage("%s: address %q: %w", flag, at, err)
		}
	}
	return v, nil
}

// parseEndowment reads KEY=BALANCE[,STAKE]. Base 64 ends in equals signs itself.
func parseEndowment(text string) (*ledgerv1.Endowment, error) {
	i := strings.LastIndexByte(text, '=')
	if i < 0 {
		return nil, usage("--endow %q: want KEY=BALANCE[,STAKE]", text)
	}
	key, err := publicOf("--endow", text[:i])
	if err != nil {
		return nil, err
	}
	e := &ledgerv1.Endowment{Key: key}
	balance, stake, staked := strings.Cut(text[i+1:], ",")
	if e.Balance, err = parseAmount("--endow", balance); err != nil || !staked {
		return e, err
	}
	e.Stake, err = parseAmount("--endow", stake)
	return e, err
}

// setParam reads NAME=VALUE into the rules.
func setParam(p *ledgerv1.Params, text string) error {
	key, value, ok := strings.Cut(text, "=")
	m := p.ProtoReflect()
	fields := m.Descriptor().Fields()
	f := fields.ByName(protoreflect.Name(key))
	if !ok || f == nil {
		names := make([]string, fields.Len())
		for i := range names {
			names[i] = string(fields.Get(i).Name())
		}
		return usage("--param %q: want NAME=VALUE, of %s", text, strings.Join(names, ", "))
	}
	if f.Kind() == protoreflect.BoolKind {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return usage("--param %s: %q is not true or false", key, value)
		}
		m.Set(f, protoreflect.ValueOfBool(on))
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return usage("--param %s: %q is not a whole number", key, value)
	}
	m.Set(f, protoreflect.ValueOfUint64(n))
	return nil
}

func (a *app) genesisShow() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "Show what a ledger begins with, and its hash", Args: cobra.ExactArgs(1),
		Example: "  shardy genesis show lab.genesis",
		RunE: a.call(func(_ context.Context, args []string) error {
			encoded, err := a.readInput(args[0], ledger.MaxGenesisBytes)
			if err != nil {
				return err
			}
			root, err := readRoot(encoded)
			if err != nil {
				return failed(exitRefused, "%s: %w", args[0], err)
			}
			if a.json {
				doc := plainMessage(root.genesis.ProtoReflect())
				doc["hash"], doc["supply"] = hexID(root.hash[:]), root.state.Supply().Total
				return a.printJSON(doc)
			}
			return a.showGenesis(root)
		}),
	}
}

func (a *app) showGenesis(root *chainRoot) error {
	g := root.genesis
	pairs := []any{
		"chain", g.ChainId, "hash", hexID(root.hash[:]), "begins", when(g.TimeUs), "money", moneyText(root.state.Supply().Total),
	}
	err := a.facts(append(pairs, ruleFacts(g.Params)...)...)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, v := range g.Validators {
		names[string(v.Key)] = v.Name
	}
	if err := a.showValidators(g.Validators, hexID); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.table("ACCOUNT BALANCE STAKE VALIDATOR", func(row func(...any)) {
		for _, e := range g.Endowments {
			name, validator := names[string(e.Key)]
			if validator && name == "" {
				name = "yes"
			}
			row(hexID(e.Key), unitsText(e.Balance), unitsText(e.Stake), name)
		}
	})
}

// ruleFacts are the rules for people.
func ruleFacts(p *ledgerv1.Params) []any {
	basis := "the referee confirms"
	if p.GetSlashOnQuorum() {
		basis = "a margin of two is enough"
	}
	return []any{
		"fee", moneyText(p.GetFee()), "validators stake", moneyText(p.GetMinValidatorStake()),
		"a wrong result", fmt.Sprintf("costs %s of the stake, %s", partText(p.GetSlashWrongPpm()), basis),
		"equivocation", "costs " + partText(p.GetSlashEquivocationPpm()) + " of the stake",
		"blocks", fmt.Sprintf("%d window, %d unbonding, %d evidence, %d claim, %d appeal, %d jail",
			p.GetWindowBlocks(), p.GetUnbondingBlocks(), p.GetEvidenceBlocks(), p.GetClaimBlocks(), p.GetAppealBlocks(), p.GetJailBlocks()),
		"rewards", fmt.Sprintf("stake adds at most %s, half of it with %s; %s to the treasury",
			partText(p.GetStakeBonusPpm()), unitsText(p.GetStakeHalf()), partText(p.GetTreasuryPpm())),
	}
}

func (a *app) showValidators(set []*ledgerv1.Validator, key func([]byte) string) error {
	fmt.Fprintln(a.out)
	return a.table("VALIDATOR NAME ADDRESSES", func(row func(...any)) {
		for _, v := range set {
			row(key(v.Key), printable(v.Name), strings.Join(v.Addresses, " "))
		}
	})
}

func (a *app) genesisKey() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "key", Short: "Print the public key of an orchestrator's data folder; makes the key if there is none", Args: cobra.NoArgs,
		Example: "  shardy genesis key --data-dir /var/lib/shardy",
		RunE: a.call(func(context.Context, []string) error {
			if err := makeDir(dir); err != nil {
				return err
			}
			key, err := identity.Server(dir)
			if err != nil {
				return err
			}
			public := publicHalf(key)
			id, err := mesh.PeerOf(public)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"key": hexID(public), "peer": id.String()})
			}
			return a.facts("key", hexID(public), "peer", id)
		}),
	}
	dataDirFlag(c, &dir)
	return c
}

// chainRoot is what somebody who checks a ledger begins with.
type chainRoot struct {
	encoded []byte
	genesis *ledgerv1.Genesis
	state   ledger.State
	header  []byte      // of block 0
	hash    ledger.Hash // of that header: it names the chain
}

// readRoot reads an encoded genesis.
func readRoot(encoded []byte) (*chainRoot, error) {
	g, err := ledger.ParseGenesis(encoded)
	if err != nil {
		return nil, err
	}
	state, header, err := ledger.Genesis(encoded)
	if err != nil {
		return nil, err
	}
	return &chainRoot{encoded: encoded, genesis: g, state: state, header: header, hash: seal.HeaderHash(header)}, nil
}
