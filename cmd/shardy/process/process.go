// Package process starts orchestrators and workers as operating-system processes of their own, for commands that show
// or try the whole system on one machine.
//
// It promises that no process outlives its Group. It does not restart what dies.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrExited says that a process ended before it was ready.
var ErrExited = errors.New("process exited")

// Group is a set of processes of this very binary.
type Group struct {
	Binary string // default: the running executable
	LogDir string // each process writes NAME.log there

	mu    sync.Mutex
	procs []*Process
}

// Process is one of them.
type Process struct {
	Name string

	cmd  *exec.Cmd
	done chan struct{} // closed when it was reaped
	err  error         // of Wait; read after done
}

// Start runs the binary with the arguments.
func (g *Group) Start(name string, args ...string) (*Process, error) {
	binary := g.Binary
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		binary = self
	}
	log, err := os.OpenFile(filepath.Join(g.LogDir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{Name: name, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.procs = append(g.procs, p)
	return p, nil
}

// Stop asks every process to end, waits for the grace, then kills what is left. Later ones go first.
func (g *Group) Stop(grace time.Duration) {
	g.mu.Lock()
	procs := g.procs
	g.procs = nil
	g.mu.Unlock()
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].Signal(syscall.SIGTERM)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	expired := false
	for _, p := range procs {
		if !expired {
			select {
			case <-p.done:
				continue
			case <-timer.C:
				expired = true
			}
		}
		p.Kill()
	}
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal. A process that has ended already is fine.
func (p *Process) Signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s) // it may end meanwhile
	}
}

// Kill ends the process at once and reaps it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end and waits; when ctx ends first it is killed.
func (p *Process) Stop(ctx context.Context) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not stop: %w", p.Name, context.Cause(ctx))
	}
}

// AwaitFile waits until the process has written the file, whole lines only, and returns its first line. The file
// system tells nobody, so it is looked at every few milliseconds.
func (p *Process) AwaitFile(ctx context.Context, name string) (string, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if data, err := os.ReadFile(name); err == nil {
			if line, _, whole := strings.Cut(string(data), "\n"); whole {
				return line, nil
			}
		}
		select {
		case <-tick.C:
		case <-p.done:
			return "", fmt.Errorf("%w: %s: %v", ErrExited, p.Name, p.err)
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w", p.Name, context.Cause(ctx))
		}
	}
}

// LastLines returns the end of a process's log, for people.
func (g *Group) LastLines(name string, n int) []string {
	f, err := os.Open(filepath.Join(g.LogDir, name+".log"))
	if err != nil {
		return nil
	}
	defer f.Close()
	const window = 64 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-window), io.SeekStart)
	}
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, window)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines[max(0, len(lines)-n):]
}
