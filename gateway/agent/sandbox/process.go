package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// child is one process and the two pipes to it. Only the holder of the sandbox's turn talks to it; kill may
// come from anywhere.
type child struct {
	cmd    *exec.Cmd
	in     *os.File
	out    *os.File
	reader *bufio.Reader
	stderr *opening
	limit  uint64 // largest answer in bytes
	loaded map[[32]byte]bool

	exited chan struct{} // closed when the process has been reaped
}

// startChild forks the child from a thread of its own that waits for it: the death signal that ties the child
// to its parent is bound to the forking thread, which therefore must live as long as the child.
func startChild(cfg Config) (*child, error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, errors.Join(err, inRead.Close(), inWrite.Close()))
	}
	c := &child{
		cmd:    exec.Command(cfg.Command[0], cfg.Command[1:]...),
		in:     inWrite,
		out:    outRead,
		reader: bufio.NewReaderSize(outRead, 64<<10),
		stderr: &opening{},
		limit:  cfg.MaxPayload + verdictHeaderSize + maxDetail + maxErrorText,
		loaded: map[[32]byte]bool{},
		exited: make(chan struct{}),
	}
	c.cmd.Env = []string{}
	c.cmd.Dir = os.TempDir()
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inRead, outWrite, c.stderr
	c.cmd.WaitDelay = time.Second
	tieToParent(c.cmd)

	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended is in ProcessState
			close(c.exited)
		}
	}()
	err = <-started
	err = errors.Join(err, inRead.Close(), outWrite.Close())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, errors.Join(err, inWrite.Close(), outRead.Close()))
	}
	return c, nil
}

func (c *child) alive() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// stop kills the process, reaps it and closes the pipes.
func (c *child) stop() {
	c.kill()
	<-c.exited
	_ = c.in.Close()
	_ = c.out.Close()
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

// roundTrip sends one request and reads its answer. When ctx ends first, the process is killed and the cause of
// ctx returned.
func (c *child) roundTrip(ctx context.Context, kind byte, parts ...[]byte) ([]byte, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, c.kill)
	reply, err := c.talk(kind, parts...)
	if !release() {
		return nil, context.Cause(ctx)
	}
	return reply, err
}

func (c *child) talk(kind byte, parts ...[]byte) ([]byte, error) {
	if err := writeFrame(c.in, kind, parts...); err != nil {
		return nil, c.obituary(err)
	}
	answer, size, err := readHeader(c.reader)
	if err != nil {
		return nil, c.obituary(err)
	}
	payload, err := readPayload(c.reader, nil, size, c.limit)
	if err != nil {
		return nil, c.obituary(err)
	}
	switch {
	case answer == frameError:
		return nil, decodeError(payload)
	case answer == frameVerdict && kind == frameRun, answer == frameDone && kind != frameRun:
		return payload, nil
	}
	return nil, fmt.Errorf("%w: answer %q to %q", ErrProtocol, answer, kind)
}

// obituary waits for the end of a child whose pipe broke and says what it died of.
func (c *child) obituary(broken error) error {
	if errors.Is(broken, ErrProtocol) {
		return broken
	}
	c.awaitExit()
	said := c.stderr.String()
	switch {
	case mentionsMemory(said):
		return fmt.Errorf("%w: %s", ErrMemory, firstLine(said))
	case c.cmd.ProcessState.ExitCode() == exitCPU:
		return fmt.Errorf("%w: processor time used up", ErrTimeout)
	case c.cmd.ProcessState.ExitCode() < 0:
		return fmt.Errorf("%w: %s", ErrKilled, c.cmd.ProcessState)
	}
	return fmt.Errorf("%w: %s: %s", ErrCrashed, c.cmd.ProcessState, firstLine(said))
}

// awaitExit gives a child that closed its pipe a moment to leave by itself, for the sake of its exit code.
func (c *child) awaitExit() {
	grace := time.NewTimer(2 * time.Second)
	defer grace.Stop()
	select {
	case <-c.exited:
	case <-grace.C:
		c.kill()
		<-c.exited
	}
}

func mentionsMemory(text string) bool {
	for _, sign := range []string{"out of memory", "cannot allocate memory", "failed to create new OS thread", "pthread_create failed", "address space collisions"} {
		if bytes.Contains([]byte(text), []byte(sign)) {
			return true
		}
	}
	return false
}

func firstLine(text string) string {
	line, _, _ := bytes.Cut([]byte(text), []byte("\n"))
	return string(line[:min(len(line), 256)])
}

// opening keeps the first part of what the child wrote to its standard error: Go prints the reason of a crash
// before the stacks.
type opening struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

func (t *opening) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept.Write(p[:min(len(p), max(0, 4096-t.kept.Len()))])
	return len(p), nil
}

func (t *opening) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept.String()
}
