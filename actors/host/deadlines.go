package host

import (
	"container/heap"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// deadlines are a shard's timers: at most one an entity, kept apart from the entity so that it can leave memory. A due
// one is an order to the entity like any other.
type deadlines struct {
	shard *shard

	mu      sync.Mutex
	byAddr  map[actors.Address]*deadline
	queue   deadlineQueue
	timer   *time.Timer // fires at the first deadline
	next    int64       // what timer is set to; 0: not set
	stopped bool
}

type deadline struct {
	addr  actors.Address
	atUs  int64
	cmd   *eventv1.Command
	job   *jobContext
	index int // in the queue
}

func (d *deadlines) init(s *shard) {
	d.shard, d.byAddr = s, map[actors.Address]*deadline{}
}

func (d *deadlines) arm(addr actors.Address, atUs int64, cmd *eventv1.Command, job *jobContext) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	if x := d.byAddr[addr]; x != nil {
		x.atUs, x.cmd, x.job = atUs, cmd, job
		heap.Fix(&d.queue, x.index)
	} else {
		x = &deadline{addr: addr, atUs: atUs, cmd: cmd, job: job}
		d.byAddr[addr] = x
		heap.Push(&d.queue, x)
	}
	d.set()
}

func (d *deadlines) disarm(addr actors.Address) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.byAddr[addr]; x != nil {
		heap.Remove(&d.queue, x.index)
		delete(d.byAddr, addr)
	}
}

// set makes the timer fire at the first deadline; a timer that fires early finds nothing due. The caller holds mu.
func (d *deadlines) set() {
	if len(d.queue) == 0 {
		return
	}
	first := d.queue[0].atUs
	if d.next != 0 && d.next <= first {
		return
	}
	d.next = first
	wait := max(time.Until(time.UnixMicro(first)), 0)
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.fire)
		return
	}
	d.timer.Reset(wait)
}

func (d *deadlines) fire() {
	now := time.Now().UnixMicro()
	d.mu.Lock()
	var due []*deadline
	for len(d.queue) > 0 && d.queue[0].atUs <= now && !d.stopped {
		if later, ok := d.shard.host.gate.postponed(time.UnixMicro(d.queue[0].atUs), time.UnixMicro(now)); ok {
			d.queue[0].atUs = max(later.UnixMicro(), now+1)
			heap.Fix(&d.queue, 0)
			continue
		}
		x := heap.Pop(&d.queue).(*deadline)
		delete(d.byAddr, x.addr)
		due = append(due, x)
	}
	d.next = 0
	d.set()
	d.mu.Unlock()
	for _, x := range due {
		x.cmd.AtUs = now
		d.shard.host.route(&order{to: x.addr, id: randomCommandID(), cmd: x.cmd, job: x.job, due: true})
	}
}

func (d *deadlines) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue)
}

func (d *deadlines) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// deadlineQueue is a heap by time; container/heap's five methods.
type deadlineQueue []*deadline

func (q deadlineQueue) Len() int           { return len(q) }
func (q deadlineQueue) Less(i, j int) bool { return q[i].atUs < q[j].atUs }
func (q deadlineQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *deadlineQueue) Push(x any) {
	d := x.(*deadline)
	d.index = len(*q)
	*q = append(*q, d)
}

func (q *deadlineQueue) Pop() any {
	old := *q
	last := len(old) - 1
	d := old[last]
	old[last] = nil
	*q = old[:last]
	return d
}
