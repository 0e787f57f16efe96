package socket

import (
	"os"
	"sync"
	"syscall"
)

// Lobby watches connections that rest, with one goroutine for all of them. Its methods are safe for concurrent use.
//
// It asks the system about descriptors by number. A number is only registered while its connection cannot be closed, and
// an event for a number that has changed hands wakes the new connection for nothing, which does no harm.
type Lobby struct {
	mu      sync.Mutex
	resting map[int32]*duct // by descriptor; guarded by mu
	epoll   *os.File        // nil until the first connection rests; guarded by mu
	events  syscall.RawConn // of epoll; guarded by mu
	closed  bool            // guarded by mu
	ended   sync.WaitGroup
}

// NewLobby returns a lobby. Close ends it.
func NewLobby() *Lobby { return &Lobby{resting: make(map[int32]*duct)} }

// Close ends the lobby. Its connections MUST have been closed.
func (l *Lobby) Close() {
	l.mu.Lock()
	l.closed = true
	if l.epoll != nil {
		_ = l.epoll.Close()
	}
	l.mu.Unlock()
	l.ended.Wait()
}

// open starts watching. The caller holds mu.
func (l *Lobby) open() error {
	if l.epoll != nil {
		return nil
	}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that the runtime waits for it, not a thread
		_ = syscall.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	events, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return err
	}
	l.epoll, l.events = file, events
	l.ended.Go(func() { l.run(events) })
	return nil
}

// watch has the connection's sleeper called when there is something to read. It reports false when it cannot.
func (l *Lobby) watch(d *duct) bool {
	var err error
	closed := d.readable.Control(func(fd uintptr) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			err = os.ErrClosed
			return
		}
		if err = l.open(); err == nil {
			err = l.arm(d, int32(fd))
		}
	})
	return err == nil && closed == nil
}

// arm asks for one event. The caller holds mu and keeps the descriptor open.
func (l *Lobby) arm(d *duct, fd int32) error {
	op := syscall.EPOLL_CTL_ADD
	if d.watched {
		op = syscall.EPOLL_CTL_MOD
	}
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | oneShot, Fd: fd}
	var err error
	if control := l.events.Control(func(epoll uintptr) { err = syscall.EpollCtl(int(epoll), op, int(fd), &e) }); control != nil {
		return control
	}
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	d.watched, d.fd = true, fd
	l.resting[fd] = d // in time: run waits for mu
	return nil
}

const oneShot = 1 << 30 // EPOLLONESHOT, which package syscall lacks

// forget drops a connection that is about to be closed; the system drops its descriptor with the closing.
func (l *Lobby) forget(d *duct) {
	l.mu.Lock()
	if l.resting[d.fd] == d {
		delete(l.resting, d.fd)
	}
	l.mu.Unlock()
}

// run wakes connections until the lobby is closed.
func (l *Lobby) run(events syscall.RawConn) {
	var batch [64]syscall.EpollEvent
	for {
		n := 0
		err := events.Read(func(epoll uintptr) bool {
			n, _ = syscall.EpollWait(int(epoll), batch[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range batch[:n] {
			l.mu.Lock()
			d := l.resting[e.Fd]
			delete(l.resting, e.Fd)
			l.mu.Unlock()
			if d != nil {
				d.rouse()
			}
		}
	}
}
