package sandbox

import (
	"slices"
	"sync"
)

// moduleSet remembers the bytes of the modules in use, the least recently used first. The parent keeps it so that a
// replaced child can be given what its predecessor knew. It may be asked while a task runs.
type moduleSet struct {
	limit int

	mu    sync.Mutex
	order [][32]byte
	bytes map[[32]byte][]byte
}

func newModuleSet(limit int) *moduleSet {
	return &moduleSet{limit: limit, bytes: make(map[[32]byte][]byte, limit)}
}

func (m *moduleSet) has(name [32]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.bytes[name]
	return ok
}

// use returns a module and makes it the most recently used one.
func (m *moduleSet) use(name [32]byte) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.bytes[name]
	if ok {
		m.drop(name)
		m.order = append(m.order, name)
		m.bytes[name] = b
	}
	return b, ok
}

// makeRoom lets the least recently used module go when there is no place for another one.
func (m *moduleSet) makeRoom(name [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.bytes[name]; !ok && len(m.order) >= m.limit {
		m.drop(m.order[0])
	}
}

func (m *moduleSet) put(name [32]byte, module []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(name)
	m.order = append(m.order, name)
	m.bytes[name] = module
}

func (m *moduleSet) remove(name [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(name)
}

// drop forgets a module. The caller holds the lock.
func (m *moduleSet) drop(name [32]byte) {
	if _, ok := m.bytes[name]; !ok {
		return
	}
	delete(m.bytes, name)
	at := slices.Index(m.order, name)
	m.order = slices.Delete(m.order, at, at+1)
}
