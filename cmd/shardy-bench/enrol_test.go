package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestMain makes the test binary the program when it is started as one of its children.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == sandboxChild:
		if err := sandbox.Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case os.Getenv(roleMark) != "":
		os.Exit(command(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestEnrolledWorkersNeedNoTest holds that a made history is one that the rules could have made.
func TestEnrolledWorkersNeedNoTest(t *testing.T) {
	dir := t.TempDir()
	all := members("run", 2, 3, true)
	if err := enrol(t.Context(), dir, all); err != nil {
		t.Fatal(err)
	}
	log, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, err := audit.Replay(t.Context(), log, audit.Options{})
	if err != nil || !r.Clean() || r.Streams != 6 {
		t.Fatalf("audit: %+v, %v", r, err)
	}
	to := actors.WorkerAddress(all[4].key)
	e := worker.Room.Open(to.ID)
	for rec, err := range log.Read(t.Context(), to.Stream(), events.Span{}) {
		if err != nil {
			t.Fatal(err)
		}
		f, err := events.Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Evolve(f); err != nil {
			t.Fatal(err)
		}
	}
	d, err := e.Decide(actors.Rules, &eventv1.Command{AtUs: time.Now().UnixMicro(), Kind: &eventv1.Command_AdmitWorker{
		AdmitWorker: &eventv1.AdmitWorker{Policy: policy.Default().Admission},
	}})
	if reply, ok := d.Reply.(worker.AdmitReply); err != nil || !ok || reply.Tier != 2 {
		t.Errorf("admission answers %+v, %v; want tier 2", d.Reply, err)
	}
}

func TestKeysDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range append(members("run", 3, 4, true), members("other", 3, 4, true)...) {
		seen[string(m.key)] = true
		seen[string(m.owner)] = true
	}
	if len(seen) != 2*(12+3) {
		t.Errorf("%d different keys, want 30", len(seen))
	}
}

// TestRun measures for a second with real processes, in every mode that is quick enough.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for _, args := range [][]string{
		{"-mode", "sat", "-window", "64"},
		{"-mode", "open", "-rate", "100", "-attest=false"},
		{"-mode", "sat", "-window", "64", "-mesh", "1", "-share", "1"},
		{"-mode", "replay", "-window", "64"},
		{"-mode", "idle", "-n", "40", "-procs", "2"},
		{"-mode", "reassign", "-n", "4", "-rate", "50"},
		{"-mode", "restart", "-open", "200"},
	} {
		t.Run(args[1], func(t *testing.T) {
			var out bytes.Buffer
			args = append(args, "-warm", "300ms", "-dur", "1s", "-data", t.TempDir())
			if code := command(t.Context(), args, &out, t.Output()); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			t.Log(out.String())
			var f figures
			if err := json.Unmarshal(out.Bytes(), &f); err != nil {
				t.Fatal(err)
			}
			if n, ok := f["errors"]; ok && n != 0.0 {
				t.Errorf("%v errors: %v", n, f["last_err"])
			}
			if n, ok := f["dups"]; ok && n != 0.0 {
				t.Errorf("%v verdicts came twice", n)
			}
			check(t, args[1], f)
			if n, _ := f["paid"].(float64); slices.Contains(args, "-mesh") && n <= 0 {
				t.Errorf("%v jobs were paid for", f["paid"])
			}
		})
	}
}

// check holds what must be true of a mode's figures however slow the machine is.
func check(t *testing.T, mode string, f figures) {
	t.Helper()
	positive := map[string][]string{
		"sat":      {"jobs", "jobs_per_s", "p50_ms", "p99_ms", "cpu_server_s_per_1k", "cpu_worker_s_per_1k", "disk_bytes_per_job", "pss_server_mib"},
		"open":     {"jobs", "p50_ms", "p99_ms", "verified"},
		"replay":   {"events", "commands", "events_per_s"},
		"idle":     {"rss_bytes_per_conn_after_gc", "connects_per_s"},
		"reassign": {"slots_lost", "slots_reassigned", "p50_ms"},
		"restart":  {"dispatching_s", "drained_per_s"},
	}
	for _, name := range positive[mode] {
		if v, _ := f[name].(float64); v <= 0 {
			t.Errorf("%s is %v", name, f[name])
		}
	}
	if mode == "replay" && (f["divergences"] != 0.0 || f["undecidable"] != 0.0) {
		t.Errorf("the run's log diverges: %v", f["first"])
	}
}
