package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tieToParent makes the kernel kill the child when its parent dies, and keeps it out of the terminal's
// process group: an interrupt is the parent's business.
func tieToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// confine applies the limits of the child to its own process. It cannot be undone.
func confine(cfg childConfig) error {
	held, err := addressSpace()
	if err != nil {
		return err
	}
	limits := []struct {
		name     string
		resource int
		value    uint64
	}{
		{"address space", unix.RLIMIT_AS, held + cfg.memoryLimit},
		{"core dumps", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, 256},
	}
	for _, l := range limits {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return renice(int(cfg.nice))
}

// renice lowers the priority of every thread: on Linux a priority belongs to a thread, not to the process, and
// threads to come inherit it.
func renice(nice int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil {
			return fmt.Errorf("lower priority: %w", err)
		}
	}
	return nil
}

// addressSpace is what the idle process has mapped, most of it reserved by Go's runtime and never touched.
func addressSpace() (uint64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read own size: %w", err)
	}
	pages, err := strconv.ParseUint(strings.Fields(string(b) + " 0")[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read own size: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// watchCPU ends the process when it uses more processor time than the last call of limitCPU granted: the last
// resort when the parent itself is stopped and cannot kill.
func watchCPU() {
	spent := make(chan os.Signal, 1)
	signal.Notify(spent, unix.SIGXCPU)
	go func() {
		<-spent
		os.Exit(exitCPU)
	}()
}

// limitCPU grants the process some more seconds on every processor.
func limitCPU(seconds uint32) error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("read processor time: %w", err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &limit); err != nil {
		return fmt.Errorf("read processor limit: %w", err)
	}
	limit.Cur = uint64(used.Utime.Sec+used.Stime.Sec) + uint64(seconds)*uint64(runtime.NumCPU()) + 5
	limit.Cur = min(limit.Cur, limit.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &limit); err != nil {
		return fmt.Errorf("limit processor time: %w", err)
	}
	return nil
}
