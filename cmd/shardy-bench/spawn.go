package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// The groups of processes that are metered apart, beside the client.
const (
	serverGroup = "server"
	workerGroup = "worker"
)

const (
	readyWord  = "READY"
	answerWord = "ANSWER"
	readyLimit = 60 * time.Second
	stopLimit  = 15 * time.Second
)

var errChild = errors.New("child process")

// child is a process of this program in another role. It says READY with a word behind it on its standard output, then
// answers the lines of its standard input, one for one, and ends when that does, which is also what it sees of the death
// of its parent.
type child struct {
	name    string
	log     string // file of what it printed
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	ready   chan string
	answers chan string
	ended   chan struct{} // closed when it is gone and reaped
	err     error         // of Wait; after ended
}

// spawn starts this program again with other flags. Output goes to a log file.
func spawn(name, logFile string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	c := &child{
		name: name, log: logFile, cmd: exec.Command(exe, args...),
		ready: make(chan string, 1), answers: make(chan string, 1), ended: make(chan struct{}),
	}
	c.cmd.Stderr = out
	c.cmd.Env = append(os.Environ(), roleMark+"=1")
	stdout, err := c.pipes()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go c.watch(stdout, out)
	return c, nil
}

func (c *child) pipes() (io.Reader, error) {
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return c.cmd.StdoutPipe()
}

func (c *child) watch(stdout io.Reader, out *os.File) {
	var once sync.Once
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), readyWord); ok {
			once.Do(func() { c.ready <- strings.TrimSpace(rest) })
		}
		if rest, ok := strings.CutPrefix(lines.Text(), answerWord); ok {
			select {
			case c.answers <- strings.TrimSpace(rest):
			default: // nobody asked
			}
		}
		_, _ = fmt.Fprintln(out, lines.Text())
	}
	c.err = c.cmd.Wait()
	_ = out.Close()
	close(c.ended)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// await returns what the child said when it was ready.
func (c *child) await(ctx context.Context) (string, error) {
	late := time.NewTimer(readyLimit)
	defer late.Stop()
	select {
	case word := <-c.ready:
		return word, nil
	case <-c.ended:
		return "", fmt.Errorf("%w %s ended before it was ready (%v): %s", errChild, c.name, c.err, c.tail())
	case <-late.C:
		return "", fmt.Errorf("%w %s was not ready in time: %s", errChild, c.name, c.tail())
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// ask sends the child a line and returns its answer.
func (c *child) ask(ctx context.Context, line string) (string, error) {
	if _, err := fmt.Fprintln(c.stdin, line); err != nil {
		return "", fmt.Errorf("%w %s: %w", errChild, c.name, err)
	}
	select {
	case answer := <-c.answers:
		return answer, nil
	case <-c.ended:
		return "", fmt.Errorf("%w %s ended (%v): %s", errChild, c.name, c.err, c.tail())
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// tail is the end of what the child printed.
func (c *child) tail() string {
	const most = 2000
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// stop ends the child in an orderly way, and by force when that takes too long.
func (c *child) stop() {
	_ = c.stdin.Close()
	select {
	case <-c.ended:
		return
	case <-time.After(stopLimit):
	}
	c.kill()
}

// kill ends the child at once: SIGKILL.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// roleMark is set in the environment of children, so that a test's own binary knows when it is one.
const roleMark = "SHARDY_BENCH_ROLE"

// serveAs tells the parent that this process is ready, answers its lines, and returns when the parent wants it to end.
func serveAs(word string, answer func(line string) string) {
	fmt.Println(readyWord, word)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(answerWord, answer(lines.Text()))
	}
}
