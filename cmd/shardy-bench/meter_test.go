package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	p, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194304 10 20 0 0 150 50 25 75 20 0 8 0 100 1 1")
	if err != nil || p.parent != 7 || p.cpu != 3 {
		t.Fatalf("got %+v, %v; want parent 7 and 3 s", p, err)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S", "42 (x) S p 1 1 1 1 1 1 1 1 1 1 1 1 1", "42 (x) S 1 1 1 1 1 1 1 1 1 1 a 1 1 1"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) S 7 42 42 0 -1 4194304 10 20 0 0 150 50 25 75 20 0 8 0 100 1 1")
	f.Add(")")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = parseStat(text)
		_ = fieldOf(text, "Pss:")
		var m machine
		m.cpu(text)
		m.disks(text)
	})
}

func TestUsageCountsDescendants(t *testing.T) {
	m := &meter{groups: map[string][]int{serverGroup: {os.Getpid()}}}
	before := m.usage()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
	}
	spent := m.usage()[serverGroup].cpu - before[serverGroup].cpu
	if spent < 0.05 || spent > 5 {
		t.Errorf("300 ms of work were metered as %v s", spent)
	}
	if m.usage()[clientGroup].cpu <= 0 || m.pss()[serverGroup] <= 0 || m.rss()[serverGroup] <= 0 {
		t.Error("a running process has no CPU time or no memory")
	}
}

func TestForest(t *testing.T) {
	f := forest{children: map[int][]int{1: {2, 3}, 3: {4}}}
	if got := f.tree(1); len(got) != 4 {
		t.Errorf("tree of 1 is %v, want 4 processes", got)
	}
}

func TestMachineReadsWholeDisks(t *testing.T) {
	var m machine
	m.cpu("cpu  100 100 100 9999 9999 100 100 50 0 0\ncpu0 1 1")
	m.disks(` 7 0 loop0 1 0 1 1 1 1 1 1 1 1 1 0 0 0 0 1 1
 254 0 vda 1 0 1 1 1 1 10 1 1 1 1 0 0 0 0 3 1
 254 1 vda1 1 0 1 1 1 1 10 1 1 1 1 0 0 0 0 3 1
 254 16 vdb 1 0 1 1 1 1 5 1 1 1 1 0 0 0 0 2 1
`)
	if m.busy != 5 || m.steal != 0.5 || m.written != 15*512 || m.flushes != 5 {
		t.Errorf("got %+v", m)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	m := &meter{dirs: []string{dir}}
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := m.disk(); n < 100_000 || n > 200_000 {
		t.Errorf("100,000 bytes take %d", n)
	}
}

func TestPercentiles(t *testing.T) {
	f := figures{}
	f.percentiles([]float64{3, 1, 2, 4})
	if f["p50_ms"] != 3.0 || f["max_ms"] != 4.0 {
		t.Errorf("got %v", f)
	}
	f.percentiles(nil)
	if f["p99_ms"] != -1.0 {
		t.Errorf("no values give %v, want -1", f["p99_ms"])
	}
}

func TestCosts(t *testing.T) {
	f := figures{}
	f.costs(map[string]usage{serverGroup: {cpu: 1}, workerGroup: {}, clientGroup: {}},
		map[string]usage{serverGroup: {cpu: 2, written: 4000}, workerGroup: {cpu: 0.5}, clientGroup: {cpu: 0.25}},
		machine{}, machine{busy: 3, written: 8000, flushes: 10}, 2000, 2)
	want := figures{
		"cpu_server_s_per_1k": 0.5, "cpu_worker_s_per_1k": 0.25, "written_bytes_per_job": 2.0,
		"dev_written_bytes_per_job": 4.0, "dev_flushes_per_s": 5.0, "own_cpu_cores": 0.875, "other_cpu_cores": 0.625,
	}
	for name, v := range want {
		if f[name] != v {
			t.Errorf("%s is %v, want %v", name, f[name], v)
		}
	}
	f.costs(nil, map[string]usage{serverGroup: {cpu: 1}}, machine{}, machine{}, 0, 0)
	if f["cpu_server_s_per_1k"] != 0.0 {
		t.Error("no jobs must not cost infinity: JSON has no word for it")
	}
}
