package pebblelog

import "sync"

// recent keeps the last durable records in memory, so that tails that follow the log do not read the disk.
type recent struct {
	mu      sync.RWMutex // guards what follows
	entries []entry      // a ring
	first   uint64       // position of the oldest entry; entries[first % len]
	next    uint64       // position after the newest entry
	bytes   int
	limit   int           // of bytes
	wake    chan struct{} // not nil while a tail waits; closed by tell
}

// entry is an encoded record.
type entry struct {
	body        []byte
	stream, typ string
}

func (c *recent) init(records, bytes int) {
	c.entries, c.limit = make([]entry, records), bytes
}

func (c *recent) start(last uint64) { c.first, c.next = last+1, last+1 }

// add keeps copies of a group's records, whose first has this position.
func (c *recent) add(pos uint64, group []entry) {
	size := 0
	for i := range group {
		size += len(group[i].body)
	}
	arena := make([]byte, 0, size)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := uint64(len(c.entries))
	for i := range group {
		e := group[i]
		from := len(arena)
		arena = append(arena, e.body...)
		e.body = arena[from:len(arena):len(arena)]
		if c.next-c.first == n {
			c.drop()
		}
		c.entries[(pos+uint64(i))%n] = e
		c.next++
		c.bytes += len(e.body)
	}
	for c.bytes > c.limit && c.next-c.first > 1 {
		c.drop()
	}
}

func (c *recent) drop() {
	e := &c.entries[c.first%uint64(len(c.entries))]
	c.bytes -= len(e.body)
	*e = entry{}
	c.first++
}

// tell wakes the tails. The news itself is in Log.durable.
func (c *recent) tell() {
	c.mu.Lock()
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
	c.mu.Unlock()
}

// news returns a channel that is closed when something becomes durable after this call.
func (c *recent) news() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return c.wake
}

// from copies out the entries from a position on, as many as fit. It returns none when they are not all there.
func (c *recent) from(pos uint64, into []entry) []entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	into = into[:0]
	if pos < c.first {
		return into
	}
	for ; pos < c.next && len(into) < cap(into); pos++ {
		into = append(into, c.entries[pos%uint64(len(c.entries))])
	}
	return into
}
