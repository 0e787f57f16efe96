package gateway

// Live is what the door knows of a worker that is connected now.
func (d *Door) Live(key []byte) (credits, held uint32, connected bool) {
	if len(key) != 32 {
		return 0, 0, false
	}
	s := d.table.get(key)
	if s == nil {
		return 0, 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready.Credits, uint32(len(s.tasks)), true
}
