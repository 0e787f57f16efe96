package readmodel

// cache keeps what was used lately, at most twice its size. It is two maps: what is not asked for while one of them
// fills up is forgotten with the other.
type cache[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

func newCache[K comparable, V any](size int) cache[K, V] {
	return cache[K, V]{size: size, young: make(map[K]V)}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	v, ok := c.young[k]
	if !ok {
		if v, ok = c.old[k]; ok {
			c.young[k] = v
			delete(c.old, k)
		}
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) { c.young[k] = v }

func (c *cache[K, V]) drop(k K) {
	delete(c.young, k)
	delete(c.old, k)
}

// age forgets what is old, between batches only: what is in use must not be read back as it was.
func (c *cache[K, V]) age() {
	if len(c.young) > c.size {
		c.old, c.young = c.young, make(map[K]V, c.size)
	}
}
