package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// errBehind tells a follower that the hub has forgotten what it needs: it reads the log.
var errBehind = errors.New("behind the hub")

// The hub remembers the last records, for the followers that keep up.
const (
	hubRecords = 1024
	hubBytes   = 4 << 20
	// With many followers waiting, each news wakes them all; it is then told at most once in this time.
	crowdSize  = 64
	crowdPause = 2 * time.Millisecond
)

// hub is the one tail of the log for all followers. It begins with the first follower and ends with the server.
type hub struct {
	log  events.Log
	end  context.Context
	work *sync.WaitGroup

	mu      sync.Mutex // guards what follows
	running bool
	records []*events.Record // a ring, in order from first
	first   int
	n       int
	bytes   int
	base    events.Position // everything after base, up to seen, is in the ring
	seen    events.Position
	wake    chan struct{} // closed when seen moves or the tail ends; nil while nobody waits
	waiting int
	failed  error // why the last tail ended
}

func newHub(end context.Context, log events.Log, work *sync.WaitGroup) *hub {
	return &hub{end: end, log: log, work: work, records: make([]*events.Record, hubRecords)}
}

// start begins the tail unless it runs.
func (h *hub) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running {
		return nil
	}
	if h.end.Err() != nil {
		return events.ErrClosed
	}
	head, err := h.log.Head(h.end)
	if err != nil {
		return err
	}
	clear(h.records)
	h.first, h.n, h.bytes, h.base, h.seen, h.failed = 0, 0, 0, head, head, nil
	h.running = true
	h.work.Add(1)
	go h.run(head)
	return nil
}

// run follows the log until it ends.
func (h *hub) run(after events.Position) {
	defer h.work.Done()
	var failure error
	for tick, err := range h.log.Tail(h.end, after, everything) {
		if err != nil {
			failure = err
			break
		}
		if h.take(tick) {
			select {
			case <-time.After(crowdPause):
			case <-h.end.Done():
			}
		}
	}
	if h.end.Err() != nil {
		failure = events.ErrClosed
	} else if failure == nil {
		failure = events.ErrUnavailable
	}
	h.mu.Lock()
	h.running, h.failed = false, fmt.Errorf("tail: %w", failure)
	h.tell()
	h.mu.Unlock()
}

// take remembers a record and wakes those who wait. It says whether they were many.
func (h *hub) take(tick events.Tick) (crowd bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := tick.Event; r != nil {
		if h.n == len(h.records) {
			h.drop()
		}
		h.records[(h.first+h.n)%len(h.records)] = r
		h.n++
		h.bytes += len(r.Data) + len(r.Meta)
		for h.bytes > hubBytes && h.n > 1 {
			h.drop()
		}
	}
	h.seen = tick.Pos
	return h.tell() > crowdSize
}

func (h *hub) drop() {
	r := h.records[h.first]
	h.records[h.first] = nil
	h.first = (h.first + 1) % len(h.records)
	h.n--
	h.bytes -= len(r.Data) + len(r.Meta)
	h.base = r.Pos
}

// tell wakes those who wait, and says how many they were.
func (h *hub) tell() int {
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
	n := h.waiting
	h.waiting = 0
	return n
}

// after fills a page with what comes after a position and says up to where that is. If there is nothing it returns a
// channel that is closed when there may be. It fails with errBehind, or with why the tail ended.
func (h *hub) after(p *page, pos events.Position) (events.Position, <-chan struct{}, error) {
	p.reset()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failed != nil:
		return pos, nil, h.failed
	case !h.running:
		return pos, nil, events.ErrUnavailable
	case pos < h.base:
		return pos, nil, errBehind
	case pos >= h.seen:
		if h.wake == nil {
			h.wake = make(chan struct{})
		}
		h.waiting++
		return pos, h.wake, nil
	}
	low, high := 0, h.n // the first record after pos
	for low < high {
		mid := (low + high) / 2
		if h.records[(h.first+mid)%len(h.records)].Pos <= pos {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for ; low < h.n && !p.full(); low++ {
		p.add(h.records[(h.first+low)%len(h.records)])
	}
	if low == h.n {
		return h.seen, nil, nil
	}
	return p.records[len(p.records)-1].Pos, nil, nil
}
