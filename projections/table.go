package projections

import "sort"

// table holds rows by id, in the order of the places where they began.
type table[T any] struct {
	rows  map[string]row[T]
	order []place // ascending; places whose row has gone or moved are skipped, and cleared out when they are many
}

type row[T any] struct {
	at uint64 // unique, greater than those of the rows before
	v  T
}

type place struct {
	at uint64
	id string
}

func newTable[T any]() table[T] { return table[T]{rows: make(map[string]row[T])} }

// begin adds a row at the end, in place of an earlier one of the same id.
func (t *table[T]) begin(id string, at uint64, v T) {
	t.rows[id] = row[T]{at, v}
	t.order = append(t.order, place{at, id})
	if len(t.order) > 2*len(t.rows)+1024 {
		live := t.order[:0]
		for _, p := range t.order {
			if t.rows[p.id].at == p.at {
				live = append(live, p)
			}
		}
		clear(t.order[len(live):])
		t.order = live
	}
}

func (t *table[T]) get(id string) (T, bool) {
	r, ok := t.rows[id]
	return r.v, ok
}

func (t *table[T]) drop(id string) { delete(t.rows, id) }

// newest goes through the rows that began before the given place, 0 for all, the last one first.
func (t *table[T]) newest(before uint64, yield func(id string, at uint64, v T) bool) {
	n := len(t.order)
	if before > 0 {
		n = sort.Search(n, func(i int) bool { return t.order[i].at >= before })
	}
	for i := n - 1; i >= 0; i-- {
		p := t.order[i]
		if r, ok := t.rows[p.id]; ok && r.at == p.at && !yield(p.id, p.at, r.v) {
			return
		}
	}
}

// oldest goes through all rows, the first one first.
func (t *table[T]) oldest(yield func(id string, at uint64, v T) bool) {
	for _, p := range t.order {
		if r, ok := t.rows[p.id]; ok && r.at == p.at && !yield(p.id, p.at, r.v) {
			return
		}
	}
}

// ids lists the ids of all rows, the first one first.
func (t *table[T]) ids() []string {
	ids := make([]string, 0, len(t.rows))
	t.oldest(func(id string, _ uint64, _ T) bool {
		ids = append(ids, id)
		return true
	})
	return ids
}
