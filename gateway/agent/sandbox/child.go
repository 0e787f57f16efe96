package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// exitCPU is the exit code of a child that used up its processor time.
	exitCPU = 97
	// collectAfter is how much Go heap a child lets grow before it collects between two tasks.
	collectAfter = 32 * mebibyte
)

// Child serves one sandbox on a pair of pipes until in ends; main calls it when the first argument is
// "sandbox-child". It owns the whole process: it lowers its limits for good, and it ends the process when in
// ends while a module runs.
func Child(in io.Reader, out io.Writer) error {
	// A collection would wait for the running module and meanwhile stop every other goroutine, so none may
	// start during a task; only a heap that nears the memory limit starts one.
	debug.SetGCPercent(-1)
	s := &servant{in: bufio.NewReaderSize(in, 64<<10), out: bufio.NewWriterSize(out, 64<<10)}
	if err := s.configure(); err != nil {
		return ended(err)
	}
	defer s.engine.close(context.Background())
	return ended(s.serve())
}

// ended turns the regular end of the input into success.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// servant is the child's side of the pipes.
type servant struct {
	in      *bufio.Reader // read by listen, except between a header and its next
	out     *bufio.Writer
	buf     []byte // holds the frame under way; frames never overlap
	cfg     childConfig
	engine  *engine
	running atomic.Bool // a request is being served
}

type header struct {
	kind byte
	size uint32
	err  error
}

// configure reads the first frame, confines the process and starts the engine.
func (s *servant) configure() error {
	kind, size, err := readHeader(s.in)
	if err != nil {
		return err
	}
	if kind != frameConfig {
		return fmt.Errorf("%w: first frame is %q", ErrProtocol, kind)
	}
	payload, err := readPayload(s.in, nil, size, childConfigSize+4096)
	if err != nil {
		return err
	}
	if s.cfg, err = decodeChildConfig(payload); err != nil {
		return err
	}
	if err := confine(s.cfg); err != nil {
		return err
	}
	watchCPU()
	debug.SetMemoryLimit(int64(s.cfg.memoryLimit / 4 * 3))
	if s.engine, err = newEngine(s.cfg); err != nil {
		return err
	}
	return s.send(frameDone)
}

func (s *servant) serve() error {
	headers := make(chan header)
	next := make(chan struct{})
	done := make(chan struct{})
	defer close(done)
	go s.listen(headers, next, done)
	limit := max(s.cfg.maxPayload+runHeaderSize, uint64(s.cfg.maxModuleBytes)+32)
	for h := range headers {
		if h.err != nil {
			return h.err
		}
		payload, err := readPayload(s.in, s.buf, h.size, limit)
		if err != nil {
			return err
		}
		s.buf = payload[:0]
		s.running.Store(true)
		next <- struct{}{}
		if err := s.answer(h.kind, payload); err != nil {
			return err
		}
		s.running.Store(false)
		collect()
	}
	return nil
}

// listen waits for headers, also while a module runs: the end of the input is then the end of the parent.
func (s *servant) listen(headers chan<- header, next, done <-chan struct{}) {
	for {
		var h header
		h.kind, h.size, h.err = readHeader(s.in)
		if h.err != nil && s.running.Load() {
			os.Exit(0)
		}
		select {
		case headers <- h:
		case <-done:
			return
		}
		if h.err != nil {
			return
		}
		select {
		case <-next:
		case <-done:
			return
		}
	}
}

// answer serves one request. Its error ends the child; what concerns the request alone is sent as an error
// frame.
func (s *servant) answer(kind byte, payload []byte) error {
	ctx := context.Background()
	switch kind {
	case frameLoad:
		if len(payload) < 32 {
			return fmt.Errorf("%w: load frame of %d bytes", ErrProtocol, len(payload))
		}
		if err := limitCPU(s.cfg.compileSeconds); err != nil {
			return err
		}
		err := s.engine.load(ctx, [32]byte(payload), append([]byte(nil), payload[32:]...))
		return s.done(err)
	case frameDrop:
		if len(payload) != 32 {
			return fmt.Errorf("%w: drop frame of %d bytes", ErrProtocol, len(payload))
		}
		return s.done(s.engine.drop(ctx, [32]byte(payload)))
	case frameRun:
		r, err := decodeRun(payload)
		if err != nil {
			return err
		}
		if err := limitCPU(r.seconds); err != nil {
			return err
		}
		err = s.engine.run(ctx, r, func(v Result) error {
			return s.send(frameVerdict, encodeVerdict(v), v.Output)
		})
		if errors.Is(err, errPipe) || err == nil {
			return err
		}
		return s.done(err)
	}
	return fmt.Errorf("%w: request %q", ErrProtocol, kind)
}

func (s *servant) done(err error) error {
	if err == nil {
		return s.send(frameDone)
	}
	text := err.Error()
	return s.send(frameError, []byte{errorCode(err)}, []byte(text[:min(len(text), maxErrorText-1)]))
}

// errPipe marks a failure to write to the parent.
var errPipe = errors.New("sandbox: parent is gone")

func (s *servant) send(kind byte, parts ...[]byte) error {
	if err := writeFrame(s.out, kind, parts...); err != nil {
		return fmt.Errorf("%w: %w", errPipe, err)
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errPipe, err)
	}
	return nil
}

// collect runs the garbage collector when there is something worth collecting.
func collect() {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 && heap[0].Value.Uint64() > collectAfter {
		runtime.GC()
	}
}
