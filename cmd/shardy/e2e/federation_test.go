package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	"github.com/shardy-network/orchestrator/mesh"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	"github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// What genesis gives, in micro-units.
const (
	unit  = 1_000_000
	purse = 50_000 * unit
	stake = 20_000 * unit
)

// heartbeat is how long a silent leader is waited for in these tests.
func heartbeat() time.Duration { return patience(2 * time.Second) }

// federation is several operators on one ledger, and clients with money.
type federation struct {
	*testing.T
	chain     string
	dir       string
	genesis   []byte
	operators []*member
	clients   []ed25519.PrivateKey
	villains  int // validators that vote for two blocks
}

// member is one of them: an orchestrator process with a folder, two addresses that stay, and hands that work for it.
type member struct {
	*site
	fed    *federation
	name   string
	key    ed25519.PrivateKey
	mesh   string // multiaddr that it listens on
	ledger operatorv1connect.LedgerServiceClient
	meshes operatorv1connect.MeshServiceClient

	hands    []*hand
	employed bool
	killed   atomic.Int64 // how often
}

// charter says what a federation begins with.
type charter struct {
	validators int
	hands      int // of every operator
	clients    int
	outsiders  []string // operators that are no validators, with money for a stake; not started
	flags      []string // of every orchestrator
}

// found prepares keys, folders and a genesis, and starts nothing.
func found(t *testing.T, c charter) *federation {
	t.Helper()
	long(t)
	if slow && c.validators > 1 {
		t.Skip("several validators do not keep their heartbeats under the race detector; mesh/node looks for races in one process")
	}
	f := &federation{T: t, chain: "e2e", dir: t.TempDir()}
	g := &ledgerv1.Genesis{ChainId: f.chain, TimeUs: time.Now().UnixMicro(), Params: ledger.DefaultParams()}
	for i := range c.validators {
		o := f.settler(fmt.Sprintf("operator-%d", i+1), c)
		g.Validators = append(g.Validators, &ledgerv1.Validator{Key: o.public(), Name: o.name})
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: o.public(), Balance: purse, Stake: stake})
	}
	for _, name := range c.outsiders {
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: f.settler(name, c).public(), Balance: purse})
	}
	for i := range c.clients {
		seed := sha256.Sum256(fmt.Append(nil, "client ", i))
		key := ed25519.NewKeyFromSeed(seed[:])
		f.clients = append(f.clients, key)
		g.Endowments = append(g.Endowments, &ledgerv1.Endowment{Key: public(key), Balance: purse})
	}
	var err error
	f.genesis, err = (proto.MarshalOptions{Deterministic: true}).Marshal(g)
	f.must(err)
	f.must(os.WriteFile(f.genesisFile(), f.genesis, 0o600))
	for _, o := range f.operators {
		o.flags = append(o.flags, f.meshFlags(o)...)
	}
	return f
}

// federate founds a federation and starts its validators.
func federate(t *testing.T, c charter) *federation {
	t.Helper()
	f := found(t, c)
	f.launch(f.operators[:c.validators]...)
	f.live(f.operators[:c.validators]...)
	return f
}

// settler makes an operator with a key and hands.
func (f *federation) settler(name string, c charter) *member {
	f.Helper()
	p := policy.Default()
	p.ReconnectGraceMs = uint32(patience(3 * time.Second).Milliseconds())
	p.RingerPerMillion = 0 // every job is one that somebody asked for, and has to be paid
	o := &member{site: folder(f.T, p, c.flags...), fed: f, name: name}
	f.Cleanup(o.unbroken)
	o.addr, o.mesh = freeAddress(f.T), multiaddr(freeAddress(f.T))
	var err error
	f.must(os.MkdirAll(o.dir, 0o700))
	o.key, err = identity.Server(o.dir)
	f.must(err)
	o.join(o.addr)
	for range c.hands {
		o.hands = append(o.hands, newHand(name, len(o.hands)))
	}
	o.enrol()
	f.operators = append(f.operators, o)
	return o
}

// unbroken looks at what the processes of an operator said, those that were killed included.
func (o *member) unbroken() {
	files, err := filepath.Glob(filepath.Join(o.logs, "*.log"))
	o.must(err)
	for _, name := range files {
		said, err := os.ReadFile(name)
		o.must(err)
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", "panicked"} {
			if at := bytes.Index(said, []byte(sign)); at >= 0 {
				o.Errorf("%s, %s: %s", o.name, filepath.Base(name), said[at:min(len(said), at+3000)])
			}
		}
	}
}

func (f *federation) genesisFile() string { return filepath.Join(f.dir, "genesis") }

func (f *federation) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// meshFlags names all others as those to begin with.
func (f *federation) meshFlags(o *member) []string {
	f.Helper()
	flags := []string{
		"--log-level", "info", "--node", o.name, "--mesh", "--mesh-genesis", f.genesisFile(), "--mesh-listen", o.mesh,
		"--mesh-heartbeat", heartbeat().String(), "--price-least", "1000",
	}
	for _, other := range f.operators {
		if other != o {
			flags = append(flags, "--mesh-bootstrap", other.address())
		}
	}
	return flags
}

// address is where others meet the operator.
func (o *member) address() string {
	o.Helper()
	id, err := mesh.PeerOf(o.public())
	o.must(err)
	return o.mesh + "/p2p/" + id.String()
}

func (o *member) public() ed25519.PublicKey { return public(o.key) }

// join makes the clients for an address.
func (o *member) join(addr string) {
	o.addr = ""
	o.connect(addr)
	web := &http.Client{Transport: &http.Transport{}, Timeout: patience(90 * time.Second)}
	o.Cleanup(web.CloseIdleConnections)
	o.ledger = operatorv1connect.NewLedgerServiceClient(web, o.url())
	o.meshes = operatorv1connect.NewMeshServiceClient(web, o.url())
}

// launch starts orchestrators side by side and waits until all of them serve.
func (f *federation) launch(all ...*member) {
	f.Helper()
	for _, o := range all {
		args, address := o.serveArgs()
		f.must(os.RemoveAll(address))
		var err error
		o.server, err = o.group.Start("orchestrator", args...)
		f.must(err)
	}
	ctx, cancel := context.WithTimeout(f.Context(), patience(30*time.Second))
	defer cancel()
	for _, o := range all {
		_, address := o.serveArgs()
		if _, err := o.server.AwaitFile(ctx, address); err != nil {
			f.Fatalf("%s: %v: %s", o.name, err, strings.Join(o.group.LastLines("orchestrator", 5), "\n"))
		}
		o.employ()
	}
}

// live waits until all of them vote.
func (f *federation) live(all ...*member) {
	f.Helper()
	for _, o := range all {
		o.poll(o.name+" votes", func() bool { return o.look().GetConsensus().GetRole() == "validator" })
	}
}

// lives is how often the orchestrator was killed.
func (o *member) lives() int { return int(o.killed.Load()) }

// kill ends orchestrators at the same moment, as a power cut does.
func (f *federation) kill(all ...*member) {
	for _, o := range all {
		o.killed.Add(1)
		o.server.Signal(syscall.SIGKILL)
	}
	for _, o := range all {
		<-o.server.Done()
	}
}

func (f *federation) freeze(all ...*member) {
	for _, o := range all {
		o.server.Signal(syscall.SIGSTOP)
	}
}

func (f *federation) thaw(all ...*member) {
	for _, o := range all {
		o.server.Signal(syscall.SIGCONT)
	}
}

// others are all but these.
func (f *federation) others(not ...*member) []*member {
	var rest []*member
	for _, o := range f.operators {
		if !contains(not, o) {
			rest = append(rest, o)
		}
	}
	return rest
}

func contains(all []*member, one *member) bool {
	return slices.Contains(all, one)
}

// running reports processes that ended although nobody ended them.
func (f *federation) running(all ...*member) {
	f.Helper()
	for _, o := range all {
		select {
		case <-o.server.Done():
			f.Fatalf("%s ended: %s", o.name, strings.Join(o.group.LastLines("orchestrator", 5), "\n"))
		default:
		}
	}
}

// Addresses that are fixed before anybody listens there come from below those that the system lends to connections.
var lent = struct {
	sync.Mutex
	ports map[int]bool
	next  int
}{ports: map[int]bool{}, next: 20_000 + os.Getpid()%10_000}

func freeAddress(t *testing.T) string {
	t.Helper()
	lent.Lock()
	defer lent.Unlock()
	for range 2000 {
		port := 20_000 + lent.next%12_000
		lent.next++
		at := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", at)
		if err != nil || lent.ports[port] {
			continue
		}
		lent.ports[port] = true
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return at
	}
	t.Fatal("no free port")
	return ""
}

func multiaddr(hostport string) string {
	host, port, _ := strings.Cut(hostport, ":")
	return "/ip4/" + host + "/tcp/" + port
}

// primes has an operator admit the module whose work its hands do.
func (o *member) primes() []byte {
	o.Helper()
	return o.admit("primes", (&task{low: 0, high: 1000}).chunk())
}
