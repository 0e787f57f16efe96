package audit

// shelf keeps a bounded number of values by name and puts away the one that was asked for longest ago. Its owner is one
// goroutine.
type shelf[V any] struct {
	max    int
	keep   func(V) bool    // a value that must not be put away now
	away   func(string, V) // told of every value that is put away
	books  map[string]*book[V]
	newest *book[V]
	oldest *book[V]
}

type book[V any] struct {
	name         string
	value        V
	older, newer *book[V]
}

func newShelf[V any](size int, keep func(V) bool, away func(string, V)) *shelf[V] {
	return &shelf[V]{max: size, keep: keep, away: away, books: make(map[string]*book[V])}
}

// get returns the value and makes it the newest.
func (s *shelf[V]) get(name string) (v V, ok bool) {
	b := s.books[name]
	if b == nil {
		return v, false
	}
	if b != s.newest {
		s.unlink(b)
		s.link(b)
	}
	return b.value, true
}

// put adds a value under a name that is not there, and puts the oldest away when there are too many.
func (s *shelf[V]) put(name string, v V) {
	b := &book[V]{name: name, value: v}
	s.books[name] = b
	s.link(b)
	for old := s.oldest; len(s.books) > s.max && old != b; {
		next := old.newer
		if !s.keep(old.value) {
			s.drop(old)
			s.away(old.name, old.value)
		}
		old = next
	}
}

// remove takes a value out without telling.
func (s *shelf[V]) remove(name string) {
	if b := s.books[name]; b != nil {
		s.drop(b)
	}
}

func (s *shelf[V]) drop(b *book[V]) {
	s.unlink(b)
	delete(s.books, b.name)
}

func (s *shelf[V]) link(b *book[V]) {
	b.older, b.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = b
	}
	s.newest = b
	if s.oldest == nil {
		s.oldest = b
	}
}

func (s *shelf[V]) unlink(b *book[V]) {
	if b.newer != nil {
		b.newer.older = b.older
	} else {
		s.newest = b.older
	}
	if b.older != nil {
		b.older.newer = b.newer
	} else {
		s.oldest = b.newer
	}
	b.older, b.newer = nil, nil
}
