package gateway

import "sync"

// inputCache keeps inputs for the few moments between the deliveries of a job's replicas. First in, first out.
type inputCache struct {
	mu    sync.Mutex
	limit uint64
	size  uint64              // guarded by mu
	m     map[[32]byte][]byte // guarded by mu
	order [][32]byte          // oldest first, from head; guarded by mu
	head  int                 // guarded by mu
}

func newInputCache(limit uint64) *inputCache {
	return &inputCache{limit: limit, m: make(map[[32]byte][]byte)}
}

func (c *inputCache) get(sum [32]byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.m[sum]
	return data, ok
}

func (c *inputCache) put(sum [32]byte, data []byte) {
	n := uint64(len(data))
	if n > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.m[sum]; ok {
		return
	}
	c.m[sum] = data
	c.order = append(c.order, sum)
	c.size += n
	for c.size > c.limit || len(c.m) > 1<<16 {
		oldest := c.order[c.head]
		c.size -= uint64(len(c.m[oldest]))
		delete(c.m, oldest)
		c.head++
	}
	if c.head > 1024 && c.head > len(c.order)/2 {
		c.order = append(c.order[:0], c.order[c.head:]...)
		c.head = 0
	}
}
