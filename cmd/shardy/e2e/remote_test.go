package e2e

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/cmd/shardy/process"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// logSite is a log server: a process with a folder and an address that stay.
type logSite struct {
	*site  // of the orchestrators that use it
	folder string
	at     string
	*process.Process
}

// remote opens a site whose log is on a log server.
func remote(t *testing.T) (*site, *logSite) {
	t.Helper()
	long(t)
	s := folder(t, quickPolicy())
	l := &logSite{site: s, folder: filepath.Join(t.TempDir(), "log"), at: "127.0.0.1:0"}
	l.run()
	s.flags = append(s.flags, "--log", "esdb://"+l.at+"?tls=false")
	s.start()
	return s, l
}

// run starts the log server, at the address that it had before.
func (l *logSite) run() {
	l.Helper()
	address := filepath.Join(l.logs, "log-address")
	ctx, cancel := context.WithTimeout(l.Context(), patience(20*time.Second))
	defer cancel()
	p, err := l.group.Start("log-server", "log", "serve", "--data-dir", l.folder, "--listen", l.at, "--address-file", address)
	l.must(err)
	l.Process = p
	if l.at, err = p.AwaitFile(ctx, address); err != nil {
		l.Fatalf("log server: %v: %v", err, l.group.LastLines("log-server", 3))
	}
}

// outage kills the log server and starts it again after a time.
func (l *logSite) outage(away time.Duration) {
	l.Helper()
	l.Kill()
	time.Sleep(away)
	l.run()
}

// end stops both and reads what the log server's folder says of it all.
func (l *logSite) end() *history {
	l.Helper()
	l.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.Context()), patience(20*time.Second))
	defer cancel()
	if err := l.Process.Stop(ctx); err != nil {
		l.Errorf("stop of the log server: %v", err)
	}
	kept := *l.site
	kept.dir = l.folder
	kept.sound()
	return kept.history()
}

// TestTheLogServerIsKilledAgainAndAgain takes the log away at random moments of a stream of jobs and a pipeline. The
// orchestrator waits and goes on, and so do the workers in their sessions: nothing is lost, nothing is done twice.
func TestTheLogServerIsKilledAgainAndAgain(t *testing.T) {
	s, l := remote(t)
	d := dice(t)
	crew := s.crew(3)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	program := examples.NewCNN(true)
	pipeline := s.submitProgram(program)
	const batches, batch = 40, 10
	tasks := small(d, batches*batch)
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
	defer cancel()
	go func() { sent <- s.insist(ctx, primes, tasks, batch) }()
	for _, away := range []time.Duration{0, 300 * time.Millisecond, 4 * time.Second, 0, 1500 * time.Millisecond} {
		time.Sleep(time.Duration(300+d.IntN(700)) * time.Millisecond) // the moment is what the dice say
		l.outage(away)
	}
	l.Signal(syscall.SIGSTOP) // it keeps its connections and says nothing
	time.Sleep(2 * time.Second)
	l.Signal(syscall.SIGCONT)
	s.must(<-sent)
	s.settled(tasks)
	s.completed(pipeline)
	if got := s.output(pipeline); examples.Digest(s.assemble(program, got)) != s.reference(program, true) {
		t.Error("the pipeline's output is wrong")
	}
	select {
	case <-s.server.Done():
		t.Error("the orchestrator ended with its log server")
	default:
	}
	h := l.end()
	s.judge(h, tasks)
	if n := s.once(h); n != len(tasks)+len(program.Chunks()) {
		t.Errorf("%d jobs in the log, want %d", n, len(tasks)+len(program.Chunks()))
	}
	if h.pipelines[pipeline] != 1 {
		t.Errorf("the pipeline completed %d times", h.pipelines[pipeline])
	}
	for _, w := range crew {
		if n := h.connected[w.key]; n != 1 {
			t.Errorf("%s connected %d times: its session did not outlast the log", w.name, n)
		}
	}
	for why, n := range h.stripped {
		if why != eventv1.StripReason_STRIP_REASON_DRAINED {
			t.Errorf("%d slots were stripped: %s", n, why)
		}
	}
	t.Logf("records %v", h.counts)
}

// TestTheOrchestratorIsKilledBesideItsLogServer kills the orchestrator, then both at once. The next one finds its work
// in the log, wherever that is.
func TestTheOrchestratorIsKilledBesideItsLogServer(t *testing.T) {
	s, l := remote(t)
	d := dice(t)
	s.crew(2)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := small(d, 120)
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience(60*time.Second))
	defer cancel()
	go func() { sent <- s.insist(ctx, primes, tasks, 10) }()
	time.Sleep(time.Duration(d.IntN(500)) * time.Millisecond) // the moment is what the dice say
	s.server.Kill()
	s.start()
	time.Sleep(time.Duration(d.IntN(500)) * time.Millisecond)
	s.server.Kill()
	l.Kill()
	started := make(chan struct{})
	go func() { // the orchestrator that starts first waits for its log
		defer close(started)
		time.Sleep(500 * time.Millisecond)
		l.run()
	}()
	s.start()
	<-started
	s.must(<-sent)
	s.settled(tasks)
	h := l.end()
	s.judge(h, tasks)
	if n := s.once(h); n != len(tasks) {
		t.Errorf("%d jobs in the log, want %d", n, len(tasks))
	}
}

// TestAnAnswerWhileTheLogIsAway holds what a client hears meanwhile, and that the orchestrator can be stopped.
func TestAnAnswerWhileTheLogIsAway(t *testing.T) {
	s, l := remote(t)
	s.crew(2)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	l.Kill()
	s.poll("the orchestrator has noticed", func() bool {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), patience(20*time.Second))
		defer cancel()
		res, err := s.jobs.SubmitJobs(ctx, request(primes, "away", []*task{{low: 1, high: 1000}}, nil))
		return unavailable(res, err) && time.Since(begin) < patience(3*time.Second)
	})
	s.stop() // an operator's stop does not wait for the log
	l.run()
	s.start()
	t1 := []*task{{low: 1, high: 1000}}
	s.must(s.insist(t.Context(), primes, t1, 1))
	s.settled(t1)
	s.judge(l.end(), t1)
}

// unavailable reports whether a submission was refused because the log is away.
func unavailable(res *operatorv1.SubmitJobsResponse, err error) bool {
	if err != nil {
		return connect.CodeOf(err) == connect.CodeUnavailable
	}
	return len(res.Jobs) == 1 && connect.Code(res.Jobs[0].Code) == connect.CodeUnavailable
}

// TestTheQuickDemoOnALogServer is the show with its log on the far side of the wire.
func TestTheQuickDemoOnALogServer(t *testing.T) {
	long(t)
	if slow {
		t.Skip("a minute of what the other tests look for races in")
	}
	r := command(t, nil, "demo", "--quick", "--json", "--log", "server", "--data-dir", filepath.Join(t.TempDir(), "demo"))
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	var sum struct {
		Jobs, Verified, Divergences float64
		WrongResults                float64 `json:"wrong_results"`
		HonestContradicted          float64 `json:"honest_contradicted"`
		LiarsContradicted           float64 `json:"liars_contradicted"`
	}
	r.json(t, &sum)
	t.Logf("%+v", sum)
	if sum.Jobs < 50 || sum.Verified != sum.Jobs || sum.WrongResults != 0 || sum.Divergences != 0 || sum.HonestContradicted != 0 || sum.LiarsContradicted == 0 {
		t.Errorf("%s", r.out)
	}
}
