package operator

import (
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// linger is how close two flushes of one watch may follow each other: what comes between them travels together.
const linger = time.Millisecond

// hub hands the facts of this process to those who watch. It never blocks the entity that made them.
type hub struct {
	limit int // updates a watch may lag behind

	mu        sync.RWMutex // guards the maps; the watches guard themselves
	all       map[*jobWatch]struct{}
	byJob     map[string][]*jobWatch
	pipelines map[string][]*wakeup
}

func newHub(limit int) *hub {
	return &hub{
		limit: limit, all: map[*jobWatch]struct{}{}, byJob: map[string][]*jobWatch{}, pipelines: map[string][]*wakeup{},
	}
}

// observe is called for every append, on the entity's goroutine.
func (a *API) observe(to actors.Address, facts []events.Fact) {
	switch to.Room {
	case actors.JobRoom:
		a.tenants.observe(to.ID, facts)
		if u := jobUpdate(to.ID, facts); u != nil {
			a.hub.job(u)
		}
	case actors.PolicyRoom:
		a.policies.stale.Store(true)
	case actors.PipelineRoom:
		a.hub.pipeline(to.ID)
	case actors.ModuleRoom:
		for _, f := range facts {
			if m, ok := f.(*eventv1.ModuleAdmitted); ok {
				a.modules.add(m.Name)
			}
		}
	}
}

func (h *hub) job(u *operatorv1.JobUpdate) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for w := range h.all {
		w.push(u)
	}
	for _, w := range h.byJob[u.Id] {
		w.push(u)
	}
}

func (h *hub) pipeline(id string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, w := range h.pipelines[id] {
		w.ring()
	}
}

// watchJobs subscribes to the named jobs, or to all. The end function MUST be called.
func (h *hub) watchJobs(ids []string) (w *jobWatch, end func()) {
	w = &jobWatch{wakeup: newWakeup(), limit: h.limit}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(ids) == 0 {
		h.all[w] = struct{}{}
	}
	for _, id := range ids {
		h.byJob[id] = append(h.byJob[id], w)
	}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, w)
		for _, id := range ids {
			without(h.byJob, id, w)
		}
	}
}

// watchPipeline subscribes to news that a pipeline has changed. The end function MUST be called.
func (h *hub) watchPipeline(id string) (w *wakeup, end func()) {
	w = newWakeup()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pipelines[id] = append(h.pipelines[id], w)
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		without(h.pipelines, id, w)
	}
}

// without takes one subscriber out of a key's list, and the key with its last one.
func without[W comparable](m map[string][]W, key string, w W) {
	list := m[key]
	for i := range list {
		if list[i] == w {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(m, key)
		return
	}
	m[key] = list
}

// wakeup tells its owner that there is news, however often it rings.
type wakeup struct{ bell chan struct{} }

func newWakeup() *wakeup { return &wakeup{bell: make(chan struct{}, 1)} }

func (w *wakeup) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// jobWatch queues what one watcher has not sent yet.
type jobWatch struct {
	*wakeup
	limit int

	mu       sync.Mutex
	queue    []*operatorv1.JobUpdate // at most limit
	overflow bool                    // updates were lost: the watch must end
}

func (w *jobWatch) push(u *operatorv1.JobUpdate) {
	w.mu.Lock()
	if len(w.queue) >= w.limit {
		w.overflow = true
	} else {
		w.queue = append(w.queue, u)
	}
	first := len(w.queue) == 1 || w.overflow
	w.mu.Unlock()
	if first {
		w.ring()
	}
}

// take empties the queue into a buffer that the watcher owns.
func (w *jobWatch) take(spare []*operatorv1.JobUpdate) ([]*operatorv1.JobUpdate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.overflow {
		return nil, errSlow
	}
	taken := w.queue
	w.queue = spare[:0]
	return taken, nil
}
