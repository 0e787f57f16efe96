package pebblelog

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// seen tells of most streams that never existed that they never did, without asking the engine: three of four appends
// of a short-lived job begin a stream. It is a set of filters that never miss a member (Bloom filters): the streams of
// this process, and those that the log held when it was opened, which are read in the background.
type seen struct {
	seed  maphash.Seed
	fresh sieve                 // streams looked at since the log was opened; owned by the committer
	older atomic.Pointer[sieve] // streams of before; nil until all have been read
}

func (s *seen) init() { s.seed = maphash.MakeSeed() }

// never reports that a stream does not exist. It may fail to know, and is then false.
func (s *seen) never(stream string) bool {
	older := s.older.Load()
	if older == nil {
		return false
	}
	h := maphash.String(s.seed, stream)
	return !older.has(h) && !s.fresh.has(h)
}

func (s *seen) add(stream string) { s.fresh.add(maphash.String(s.seed, stream)) }

// learn reads the streams that are in the log. It runs in a goroutine of its own, which ends with the log.
func (l *Log) learn(it *pebble.Iterator) {
	defer l.calls.Done()
	defer it.Close()
	older := new(sieve)
	var last []byte
	for ok := it.First(); ok; ok = it.Next() {
		stream, rev, err := parseStreamKey(it.Key())
		if err != nil {
			return // damage: whoever needs the stream reports it
		}
		if rev&1023 == 0 && l.isClosed() {
			return
		}
		if !bytes.Equal(stream, last) {
			older.add(maphash.Bytes(l.c.seen.seed, stream))
			last = append(last[:0], stream...)
		}
	}
	if it.Error() == nil {
		l.c.seen.older.Store(older)
	}
}

func (l *Log) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// sieve is a set of hashes that grows by layers, each twice as large as the one before. At most about 64 MiB, which is
// enough for 50 million members; when it is full it claims to have everything.
type sieve struct {
	layers [][]uint64 // bits
	room   int        // members that the last layer still takes
	full   bool
}

const (
	sieveBits   = 10 // per member; with six probes one stranger in a hundred passes
	sieveProbes = 6
	firstSieve  = 1 << 16 // members of the first layer
	sieveLayers = 10
)

func (s *sieve) has(h uint64) bool {
	if s.full {
		return true
	}
	for _, layer := range s.layers {
		if probe(layer, h, func(word *uint64, bit uint64) bool { return *word&bit != 0 }) {
			return true
		}
	}
	return false
}

func (s *sieve) add(h uint64) {
	if s.has(h) {
		return
	}
	if s.room == 0 {
		n := len(s.layers)
		if n == sieveLayers {
			s.layers, s.full = nil, true
			return
		}
		s.room = firstSieve << n
		s.layers = append(s.layers, make([]uint64, s.room*sieveBits/64))
	}
	s.room--
	probe(s.layers[len(s.layers)-1], h, func(word *uint64, bit uint64) bool { *word |= bit; return true })
}

// probe visits the bits of a hash until one visit says no (double hashing: Kirsch and Mitzenmacher, 2006).
func probe(layer []uint64, h uint64, visit func(word *uint64, bit uint64) bool) bool {
	step := h>>32 | 1
	for range sieveProbes {
		at, _ := bits.Mul64(h, uint64(len(layer)*64))
		if !visit(&layer[at/64], 1<<(at%64)) {
			return false
		}
		h += step * 0x9e3779b97f4a7c15
	}
	return true
}
