package sandbox

// moduleSet remembers the bytes of the modules in use, the least recently used first. The parent keeps it so
// that a replaced child can be given what its predecessor knew.
type moduleSet struct {
	limit int
	order [][32]byte
	bytes map[[32]byte][]byte
}

func newModuleSet(limit int) *moduleSet {
	return &moduleSet{limit: limit, bytes: make(map[[32]byte][]byte, limit)}
}

// use returns a module and makes it the most recently used one.
func (m *moduleSet) use(name [32]byte) ([]byte, bool) {
	b, ok := m.bytes[name]
	if ok {
		m.remove(name)
		m.put(name, b)
	}
	return b, ok
}

// room names the module that has to leave before name can be added.
func (m *moduleSet) room(name [32]byte) (gone [32]byte, evict bool) {
	if _, ok := m.bytes[name]; ok || len(m.order) < m.limit {
		return gone, false
	}
	return m.order[0], true
}

func (m *moduleSet) put(name [32]byte, module []byte) {
	m.remove(name)
	m.order = append(m.order, name)
	m.bytes[name] = module
}

func (m *moduleSet) remove(name [32]byte) {
	if _, ok := m.bytes[name]; !ok {
		return
	}
	delete(m.bytes, name)
	for i, n := range m.order {
		if n == name {
			m.order = append(m.order[:i], m.order[i+1:]...)
			return
		}
	}
}
