package gateway

import (
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors"
)

const tableShards = 64

// table finds sessions by worker. A worker has at most one.
type table struct {
	shards [tableShards]struct {
		mu sync.Mutex
		m  map[[32]byte]*session // guarded by mu
	}
}

func (t *table) shard(key [32]byte) int { return int(key[0]) % tableShards }

func (t *table) get(key []byte) *session {
	k := [32]byte(key)
	sh := &t.shards[t.shard(k)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.m[k]
}

// swap makes s the worker's session and returns the one before.
func (t *table) swap(s *session) *session {
	sh := &t.shards[t.shard(s.key)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.m == nil {
		sh.m = make(map[[32]byte]*session)
	}
	old := sh.m[s.key]
	sh.m[s.key] = s
	return old
}

// remove takes s out, unless another session took its place. It reports whether s was there.
func (t *table) remove(s *session) bool {
	sh := &t.shards[t.shard(s.key)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.m[s.key] != s {
		return false
	}
	delete(sh.m, s.key)
	return true
}

// eachOf calls f for the sessions of one shard, without holding its lock.
func (t *table) eachOf(shard int, scratch []*session, f func(*session)) []*session {
	sh := &t.shards[shard]
	scratch = scratch[:0]
	sh.mu.Lock()
	for _, s := range sh.m {
		scratch = append(scratch, s)
	}
	sh.mu.Unlock()
	for i, s := range scratch {
		f(s)
		scratch[i] = nil
	}
	return scratch
}

func (t *table) each(f func(*session)) {
	var scratch []*session
	for i := range tableShards {
		scratch = t.eachOf(i, scratch, f)
	}
}

func (t *table) len() int {
	n := 0
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += len(t.shards[i].m)
		t.shards[i].mu.Unlock()
	}
	return n
}

// busy counts the tasks in flight and in settlement.
func (t *table) busy() int {
	n := 0
	t.each(func(s *session) { n += s.busy() })
	return n
}

// waiting holds tasks that were delivered before a restart until their worker resumes them or the grace ends.
type waiting struct {
	mu sync.Mutex
	m  map[[32]byte]map[uint64]waitingTask // guarded by mu
}

type waitingTask struct {
	task  actors.Task
	until time.Time
}

func (w *waiting) put(t actors.Task, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = make(map[[32]byte]map[uint64]waitingTask)
	}
	k := [32]byte(t.Worker)
	if w.m[k] == nil {
		w.m[k] = make(map[uint64]waitingTask)
	}
	w.m[k][t.Token] = waitingTask{t, until}
}

// take removes one task and reports whether it was there.
func (w *waiting) take(worker []byte, token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := [32]byte(worker)
	if _, ok := w.m[k][token]; !ok {
		return false
	}
	delete(w.m[k], token)
	if len(w.m[k]) == 0 {
		delete(w.m, k)
	}
	return true
}

// takeAll removes a worker's tasks.
func (w *waiting) takeAll(worker [32]byte) map[uint64]waitingTask {
	w.mu.Lock()
	defer w.mu.Unlock()
	tasks := w.m[worker]
	delete(w.m, worker)
	return tasks
}

// overdue removes the tasks whose grace has ended.
func (w *waiting) overdue(now time.Time) (tasks []actors.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, m := range w.m {
		for token, t := range m {
			if now.After(t.until) {
				tasks = append(tasks, t.task)
				delete(m, token)
			}
		}
		if len(m) == 0 {
			delete(w.m, k)
		}
	}
	return tasks
}

func (w *waiting) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, m := range w.m {
		n += len(m)
	}
	return n
}
