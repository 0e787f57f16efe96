package dispatch

// entry is an element of a heap: it knows its order and keeps its place.
type entry[T any] interface {
	before(T) bool
	place(i int)
}

// heap is a binary heap whose elements can be moved and removed, because they know their place.
type heap[T entry[T]] []T

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	x.place(len(*h) - 1)
	h.up(len(*h) - 1)
}

func (h *heap[T]) remove(i int) {
	s := *h
	last := len(s) - 1
	var none T
	if i != last {
		s[i] = s[last]
		s[i].place(i)
	}
	s[last] = none
	*h = s[:last]
	if i != last {
		h.fix(i)
	}
}

// fix restores the order after the element at i changed.
func (h *heap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) up(i int) {
	s := *h
	for i > 0 {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) (moved bool) {
	s := *h
	for {
		child := 2*i + 1
		if child >= len(s) {
			return moved
		}
		if right := child + 1; right < len(s) && s[right].before(s[child]) {
			child = right
		}
		if !s[child].before(s[i]) {
			return moved
		}
		h.swap(i, child)
		i, moved = child, true
	}
}

func (h *heap[T]) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].place(i)
	s[j].place(j)
}
