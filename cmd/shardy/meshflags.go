package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/mesh/chain"
)

// meshFlags say whether and how an orchestrator meets others, and what it pays.
type meshFlags struct {
	on                          bool
	genesisFile                 string
	listen, announce, bootstrap []string
	mdns, private, freshLog     bool
	trust                       string
	heartbeat                   time.Duration
	snapshotBlocks, keepBlocks  uint64
	segmentBytes                uint64
	observe                     bool // settle nothing
	perMegafuel, least, most    uint64
	ahead                       bool
	anchorEvery                 time.Duration
	share                       float64
}

func (f *meshFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.on, "mesh", false, "share a ledger with other orchestrators; needs --data-dir, and --mesh-genesis at the first start")
	flags.StringVar(&f.genesisFile, "mesh-genesis", "", "genesis file of the chain (shardy genesis create)")
	flags.StringSliceVar(&f.listen, "mesh-listen", []string{"/ip4/127.0.0.1/tcp/7430"}, "multiaddrs where other orchestrators are met")
	flags.StringSliceVar(&f.announce, "mesh-announce", nil, "multiaddrs told to others in place of those")
	flags.StringSliceVar(&f.bootstrap, "mesh-bootstrap", nil, "orchestrators to begin with: multiaddrs with /p2p, or the addresses of their API (http://host:7420)")
	flags.BoolVar(&f.mdns, "mesh-mdns", false, "find orchestrators in the local network, for development")
	flags.BoolVar(&f.private, "mesh-private", false, "refuse peers that are no validators")
	flags.StringVar(&f.trust, "mesh-trust", "", "HEIGHT:HASH of a block that somebody you trust has named: begin with a snapshot behind it")
	flags.BoolVar(&f.freshLog, "mesh-fresh-log", false, "this key has never voted although its log of votes is missing: your word for it")
	flags.DurationVar(&f.heartbeat, "mesh-heartbeat", 3*time.Second, "how long a silent leader is waited for: 2s on hosts of their own in one place, 5s and more on distant ones")
	flags.Uint64Var(&f.snapshotBlocks, "mesh-snapshot-blocks", 1000, "a snapshot of the ledger at every multiple of this height")
	flags.Uint64Var(&f.keepBlocks, "mesh-keep-blocks", 0, "how many blocks are kept, in whole segments; 0: all")
	flags.Uint64Var(&f.segmentBytes, "mesh-segment-bytes", 64<<20, "from when a segment of blocks is full")
	flags.BoolVar(&f.observe, "mesh-observe", false, "follow the ledger, but settle nothing on it")
	flags.Uint64Var(&f.perMegafuel, "price-per-megafuel", 10, "micro-units that a replica earns for a million units of fuel, rounded up")
	flags.Uint64Var(&f.least, "price-least", 1000, "micro-units that a replica earns at least")
	flags.Uint64Var(&f.most, "price-most", 0, "micro-units that a replica earns at most; 0: no bound")
	flags.BoolVar(&f.ahead, "escrow-ahead", false, "lock the money when a job is submitted, where its workers can see it; otherwise it is locked and paid at once")
	flags.DurationVar(&f.anchorEvery, "anchor-every", 30*time.Second, "how often the newest signed checkpoint of the event log is anchored on the ledger")
	flags.Float64Var(&f.share, "settle-share", 0.03, "part of the processors that settlement may take while it lags behind, 0.01 to 1")
}

// config turns the flags into a configuration; nil without --mesh.
func (f *meshFlags) config() (*orchestrator.MeshConfig, error) {
	if !f.on {
		return nil, nil
	}
	c := &orchestrator.MeshConfig{
		Listen: f.listen, Announce: f.announce, Bootstrap: f.bootstrap, MDNS: f.mdns, Private: f.private, FreshLog: f.freshLog,
		Heartbeat: f.heartbeat, SnapshotBlocks: f.snapshotBlocks, KeepBlocks: f.keepBlocks, SegmentBytes: int64(min(f.segmentBytes, math.MaxInt64)), Observe: f.observe,
		Ahead: f.ahead, AnchorEvery: f.anchorEvery, Share: f.share,
	}
	c.Prices.PerMegafuel, c.Prices.Least, c.Prices.Most = f.perMegafuel, f.least, f.most
	var err error
	if c.Trusted, err = parseTrust(f.trust); err != nil {
		return nil, err
	}
	if f.genesisFile != "" {
		if c.Genesis, err = readGenesis(f.genesisFile); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func readGenesis(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if info.Size() > ledger.MaxGenesisBytes {
		return nil, cli.Usage(fmt.Errorf("genesis %s: more than %d bytes", name, ledger.MaxGenesisBytes))
	}
	encoded, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if _, err := ledger.ParseGenesis(encoded); err != nil {
		return nil, cli.Usage(fmt.Errorf("genesis %s: %w", name, err))
	}
	return encoded, nil
}

// parseTrust reads HEIGHT:HASH.
func parseTrust(text string) (t chain.Trusted, err error) {
	if text == "" {
		return t, nil
	}
	height, hash, ok := strings.Cut(text, ":")
	if t.Height, err = strconv.ParseUint(height, 10, 62); !ok || err != nil {
		return t, cli.Usage(fmt.Errorf("--mesh-trust %q: want HEIGHT:HASH", text))
	}
	if t.Hash, err = hex.DecodeString(hash); err != nil || len(t.Hash) != len(ledger.Hash{}) {
		return t, cli.Usage(fmt.Errorf("--mesh-trust %q: the hash has 64 hexadecimal digits", text))
	}
	return t, nil
}
