package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/cmd/shardy/process"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/gateway/agent"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	"github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// site is one deployment: a data folder, an address that stays, an orchestrator process and its workers.
type site struct {
	*testing.T
	dir   string // the data folder
	logs  string // what the processes say
	addr  string
	flags []string
	group *process.Group

	server *process.Process

	jobs      operatorv1connect.JobServiceClient
	pipelines operatorv1connect.PipelineServiceClient
	modules   operatorv1connect.ModuleServiceClient
	workers   operatorv1connect.WorkerServiceClient
	events    operatorv1connect.EventServiceClient
	system    operatorv1connect.SystemServiceClient
}

// quickPolicy is the deployment's policy in most tests: the built-in one with times that a test can wait for.
func quickPolicy() *eventv1.Policy {
	p := policy.Default()
	p.ReconnectGraceMs = uint32(patience(3 * time.Second).Milliseconds())
	return p
}

// open starts an orchestrator on a new folder. Everything ends with the test.
func open(t *testing.T, p *eventv1.Policy, flags ...string) *site {
	t.Helper()
	long(t)
	s := folder(t, p, flags...)
	s.start()
	return s
}

// folder prepares a site and starts nothing.
func folder(t *testing.T, p *eventv1.Policy, flags ...string) *site {
	t.Helper()
	s := &site{T: t, dir: filepath.Join(t.TempDir(), "data"), logs: t.TempDir(), addr: "127.0.0.1:0"}
	text, err := protojson.Marshal(p)
	s.must(err)
	file := filepath.Join(s.logs, "policy.json")
	s.must(os.WriteFile(file, text, 0o600))
	s.flags = append([]string{"--policy", file, "--log-level", "debug"}, flags...)
	s.group = &process.Group{Binary: product, LogDir: s.logs}
	t.Cleanup(func() {
		s.group.Stop(2 * time.Second)
		if t.Failed() {
			s.say()
		}
	})
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// say prints the end of what every process said.
func (s *site) say() {
	files, _ := filepath.Glob(filepath.Join(s.logs, "*.log"))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".log")
		s.Logf("%s:\n  %s", name, strings.Join(s.group.LastLines(name, 25), "\n  "))
	}
}

// serveArgs are those of the orchestrator, with the file that it writes its address to.
func (s *site) serveArgs() (args []string, address string) {
	address = filepath.Join(s.logs, "address")
	return append([]string{"serve", "--data-dir", s.dir, "--listen", s.addr, "--address-file", address}, s.flags...), address
}

// start runs the orchestrator, at the address that it had before.
func (s *site) start() {
	s.Helper()
	args, address := s.serveArgs()
	ctx, cancel := context.WithTimeout(s.Context(), patience(20*time.Second))
	defer cancel()
	for {
		s.must(os.RemoveAll(address))
		var err error
		s.server, err = s.group.Start("orchestrator", args...)
		s.must(err)
		at, err := s.server.AwaitFile(ctx, address)
		if err == nil {
			s.connect(at)
			return
		}
		// The address is one that the system may have lent to a connection meanwhile.
		if last := strings.Join(s.group.LastLines("orchestrator", 1), ""); !strings.Contains(last, "address already in use") {
			s.Fatalf("orchestrator: %v: %s", err, last)
		}
	}
}

func (s *site) connect(addr string) {
	if s.addr == addr {
		return
	}
	s.addr = addr
	web := &http.Client{Transport: &http.Transport{}}
	s.Cleanup(web.CloseIdleConnections)
	s.jobs = operatorv1connect.NewJobServiceClient(web, s.url())
	s.pipelines = operatorv1connect.NewPipelineServiceClient(web, s.url())
	s.modules = operatorv1connect.NewModuleServiceClient(web, s.url())
	s.workers = operatorv1connect.NewWorkerServiceClient(web, s.url())
	s.events = operatorv1connect.NewEventServiceClient(web, s.url())
	s.system = operatorv1connect.NewSystemServiceClient(web, s.url())
}

func (s *site) url() string { return "http://" + s.addr }

// stop ends the orchestrator as an operator does.
func (s *site) stop() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), patience(20*time.Second))
	defer cancel()
	begin := time.Now()
	if err := s.server.Stop(ctx); err != nil {
		s.Errorf("stop: %v", err)
	}
	s.Logf("stopped in %s", time.Since(begin).Round(time.Millisecond))
}

// worker is a worker process whose key is known.
type worker struct {
	*process.Process
	name, key string
}

// work starts a worker that speaks to addr: the orchestrator, or a relay in front of it. The same name is the same key.
func (s *site) work(name, addr string, args ...string) *worker {
	s.Helper()
	file := filepath.Join(s.logs, name+".key")
	key, err := agent.LoadKey(file)
	s.must(err)
	p, err := s.group.Start(name, append([]string{
		"worker", "--server", "http://" + addr, "--key-file", file, "--sandboxes", "1",
		"--mflops", "300", "--memory", "64", "--log-level", "debug", // a modest claim is quickly proven
	}, args...)...)
	s.must(err)
	return &worker{Process: p, name: name, key: hex.EncodeToString(key.Public().(ed25519.PublicKey))}
}

// crew starts honest workers and waits for their admission.
func (s *site) crew(n int, args ...string) []*worker {
	s.Helper()
	var all []*worker
	for i := range n {
		all = append(all, s.work("worker-"+string(rune('a'+i)), s.addr, args...))
	}
	s.admitted(all...)
	s.idle(uint32(n))
	return all
}

// admitted waits until the log says so of all of them.
func (s *site) admitted(all ...*worker) {
	s.Helper()
	missing := map[string]bool{}
	for _, w := range all {
		missing["worker-"+w.key] = true
	}
	s.until("workers are admitted", 0, []string{"WorkerAdmitted"}, func(e *seen) bool {
		delete(missing, e.Stream)
		return len(missing) == 0
	})
}

// idle waits until a status shows so many idle workers: admission is in the log, readiness is not.
func (s *site) idle(want uint32) {
	s.Helper()
	s.poll(fmt.Sprintf("%d workers are idle", want), func() bool {
		status, err := s.system.GetStatus(s.Context(), &operatorv1.GetStatusRequest{})
		s.must(err)
		var n uint32
		for _, t := range status.Workers {
			n += t.Idle
		}
		return n >= want
	})
}

// poll asks until the answer is yes, where nobody tells.
func (s *site) poll(what string, done func() bool) {
	s.Helper()
	for end := time.Now().Add(patience(30 * time.Second)); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("waiting until %s", what)
		}
	}
}

// result is what a command line left behind.
type result struct {
	code        int
	out, errOut string
}

// json decodes the last line of stdout.
func (r result) json(t *testing.T, v any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), v); err != nil {
		t.Fatalf("stdout is not JSON: %v\n%s%s", err, r.out, r.errOut)
	}
}

// shardy runs a command line against the site.
func (s *site) shardy(args ...string) result {
	s.Helper()
	return s.shardyEnv(nil, args...)
}

func (s *site) shardyEnv(env []string, args ...string) result {
	s.Helper()
	return command(s.T, append([]string{"SHARDY_ADDRESS=" + s.url(), "HOME=" + s.logs, "XDG_CONFIG_HOME="}, env...), args...)
}

// command runs the binary to its end.
func command(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(60*time.Second))
	defer cancel()
	c := exec.CommandContext(ctx, product, args...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr, c.Env = &out, &errOut, append(os.Environ(), env...)
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("shardy %s: %v\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// ok runs a command line that must succeed.
func (s *site) ok(args ...string) result {
	s.Helper()
	r := s.shardy(args...)
	if r.code != 0 {
		s.Fatalf("shardy %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.errOut)
	}
	return r
}

// sound checks the folder of a stopped orchestrator: the log is whole, and every fact in it follows from its command.
func (s *site) sound() {
	s.Helper()
	if _, err := pebblelog.Fsck(orchestrator.LogDir(s.dir)); err != nil {
		s.Errorf("fsck: %v", err)
	}
	r := s.shardy("audit", "replay", "--data-dir", s.dir, "--json")
	var report audit.Report
	r.json(s.T, &report)
	if r.code != 0 || report.Divergences != 0 || report.Undecidable != 0 || report.Commands == 0 {
		s.Errorf("audit replay: exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	s.Logf("replayed %d events, %d commands", report.Events, report.Commands)
}
