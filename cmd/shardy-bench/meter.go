package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ticksPerSecond is the unit of CPU times in /proc: USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// process is what /proc/PID/stat says of one process.
type process struct {
	parent int
	cpu    float64 // seconds, user and system, reaped children included
}

var errStat = errors.New("malformed process status")

// parseStat reads the text of /proc/PID/stat. The name in it may hold anything, so it is read from the last bracket on.
func parseStat(text string) (process, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return process{}, errStat
	}
	f := strings.Fields(text[end+1:])
	const state, utime = 0, 11 // places after the name: state, parent, ..., utime, stime, cutime, cstime
	if len(f) < utime+4 {
		return process{}, errStat
	}
	var p process
	var err error
	if p.parent, err = strconv.Atoi(f[state+1]); err != nil {
		return process{}, errStat
	}
	for _, s := range f[utime : utime+4] {
		ticks, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return process{}, errStat
		}
		p.cpu += ticks / ticksPerSecond
	}
	return p, nil
}

// forest is all processes of the machine at one moment.
type forest struct {
	procs    map[int]process
	children map[int][]int
}

func readForest() forest {
	f := forest{procs: make(map[int]process), children: make(map[int][]int)}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return f
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // gone meanwhile
		}
		if p, err := parseStat(string(text)); err == nil {
			f.procs[pid] = p
			f.children[p.parent] = append(f.children[p.parent], pid)
		}
	}
	return f
}

// tree lists a process and its descendants.
func (f forest) tree(root int) []int {
	pids := []int{root}
	for _, child := range f.children[root] {
		pids = append(pids, f.tree(child)...)
	}
	return pids
}

// usage is what a group of processes has used since they began.
type usage struct {
	cpu     float64 // seconds
	written float64 // bytes that went towards the disk
}

// meter measures groups of processes. The client is the measuring process itself, without its children.
type meter struct {
	groups map[string][]int // roots by group
	dirs   []string         // data directories
}

const clientGroup = "client"

func (m *meter) usage() map[string]usage {
	f := readForest()
	out := make(map[string]usage, len(m.groups)+1)
	for group, roots := range m.groups {
		var u usage
		for _, root := range roots {
			for _, pid := range f.tree(root) {
				u.cpu += f.procs[pid].cpu
				u.written += procField(pid, "io", "write_bytes:")
			}
		}
		out[group] = u
	}
	out[clientGroup] = usage{cpu: ownCPU()}
	return out
}

func ownCPU() float64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
}

// memory is the size of each group in MiB by one figure of /proc/PID/FILE that is in KiB.
func (m *meter) memory(file, field string) map[string]float64 {
	f := readForest()
	out := map[string]float64{clientGroup: round(procField(os.Getpid(), file, field)/1024, 1)}
	for group, roots := range m.groups {
		var kib float64
		for _, root := range roots {
			for _, pid := range f.tree(root) {
				kib += procField(pid, file, field)
			}
		}
		out[group] = round(kib/1024, 1)
	}
	return out
}

// pss is the proportional set size of each group, in MiB.
func (m *meter) pss() map[string]float64 { return m.memory("smaps_rollup", "Pss:") }

// rss is the resident set size of each group, in MiB: pages shared by processes are counted in each.
func (m *meter) rss() map[string]float64 { return m.memory("status", "VmRSS:") }

// procField reads the first number behind a name at the beginning of a line of /proc/PID/FILE; 0 when there is none.
func procField(pid int, file, field string) float64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return 0
	}
	return fieldOf(string(text), field)
}

func fieldOf(text, field string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				v, _ := strconv.ParseFloat(f[0], 64)
				return v
			}
		}
	}
	return 0
}

// disk is how many bytes the data directories take on the disk.
func (m *meter) disk() int64 {
	var sum int64
	for _, dir := range m.dirs {
		_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil // files come and go while the log works
			}
			if info, err := e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
			}
			return nil
		})
	}
	return sum
}

// machine is what the whole machine has done since it began.
type machine struct {
	busy, steal float64 // CPU seconds
	written     float64 // bytes, all disks
	flushes     float64 // all disks
}

func readMachine() machine {
	var m machine
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		m.cpu(string(text))
	}
	if text, err := os.ReadFile("/proc/diskstats"); err == nil {
		m.disks(string(text))
	}
	return m
}

// cpu reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func (m *machine) cpu(text string) {
	line, _, _ := strings.Cut(text, "\n")
	for i, s := range strings.Fields(strings.TrimPrefix(line, "cpu")) {
		ticks, _ := strconv.ParseFloat(s, 64)
		switch i {
		case 0, 1, 2, 5, 6:
			m.busy += ticks / ticksPerSecond
		case 7:
			m.steal = ticks / ticksPerSecond
		}
	}
}

// disks adds up /proc/diskstats over whole disks: a partition's name begins with that of its disk.
func (m *machine) disks(text string) {
	const name, sectors, flushes = 2, 9, 18
	disk := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) <= flushes || strings.HasPrefix(f[name], "loop") || strings.HasPrefix(f[name], "ram") {
			continue
		}
		if disk != "" && strings.HasPrefix(f[name], disk) {
			continue
		}
		disk = f[name]
		s, _ := strconv.ParseFloat(f[sectors], 64)
		n, _ := strconv.ParseFloat(f[flushes], 64)
		m.written += s * 512
		m.flushes += n
	}
}
