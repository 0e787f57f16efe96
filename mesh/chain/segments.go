package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/shardy-network/orchestrator/events/durable"
)

const (
	segmentMagic = "shardy blocks 1\n" // then the hash of the genesis
	segmentHead  = len(segmentMagic) + 32
	segmentEnd   = ".blocks"
	indexEnd     = ".index"
	maxSegment   = 1 << 30
	openSegments = 8 // full segments that are kept open to be read
)

// segments are the blocks on disk: a row of files without a gap, of which only the last one grows. One goroutine writes;
// any may read.
type segments struct {
	dir     string
	genesis ledgerHash
	limit   int64 // size from which a segment is full

	mu    sync.Mutex // guards all below; held while the disk is read, but not while it is written to
	first []uint64   // first height of each segment, ascending; empty: no block yet
	next  uint64     // height of the next block
	last  *segment   // the one that grows; nil when first is empty
	size  int64      // of last
	open  []*segment // full ones, the last used first
}

// segment is an open file of records.
type segment struct {
	first   uint64
	file    *os.File
	offsets []uint32 // where the records begin
}

func (s *segments) path(first uint64, ending string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", first, ending))
}

// openSegmentsIn opens a folder of blocks. Damage at the end is cut off when it cannot have been acknowledged.
func openSegmentsIn(dir string, genesis ledgerHash, limit int64) (*segments, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := durable.Sweep(dir); err != nil {
		return nil, err
	}
	s := &segments{dir: dir, genesis: genesis, limit: limit}
	first, err := listHeights(dir, segmentEnd)
	if err != nil || len(first) == 0 {
		return s, err
	}
	s.first = first
	return s, s.openLast()
}

// listHeights returns the heights that name what a folder holds, ascending.
func listHeights(dir, ending string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var heights []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ending)
		if h, err := strconv.ParseUint(name, 10, 64); ok && err == nil && len(name) == 20 {
			heights = append(heights, h)
		}
	}
	slices.Sort(heights)
	return heights, nil
}

// openLast reads the last segment from its beginning to where it ends or is torn.
func (s *segments) openLast() error {
	first := s.first[len(s.first)-1]
	data, f, err := s.load(first)
	if err != nil {
		return err
	}
	seg := &segment{first: first, file: f}
	end, next, err := scan(data, first, func(at int, _ record) { seg.offsets = append(seg.offsets, uint32(at)) })
	if err == nil && end < len(data) {
		err = cutTail(f, end)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("segment %d: %w", first, err), f.Close())
	}
	s.last, s.size, s.next = seg, int64(end), next
	return nil
}

// load reads a whole segment and leaves it open to be written.
func (s *segments) load(first uint64) ([]byte, *os.File, error) {
	f, err := os.OpenFile(s.path(first, segmentEnd), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	data, err := s.slurp(f, first)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return data, f, nil
}

func (s *segments) slurp(f *os.File, first uint64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSegment {
		return nil, fmt.Errorf("%w: segment %d has %d bytes", ErrDamaged, first, info.Size())
	}
	data := make([]byte, info.Size())
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	switch {
	case len(data) < segmentHead || string(data[:len(segmentMagic)]) != segmentMagic:
		return nil, fmt.Errorf("%w: segment %d does not begin as one", ErrDamaged, first)
	case ledgerHash(data[len(segmentMagic):segmentHead]) != s.genesis:
		return nil, fmt.Errorf("%w: segment %d is of another chain", ErrGenesis, first)
	}
	return data, nil
}

// scan visits the whole records of a segment and returns where they end and which height is missing next. What follows is
// a torn tail, unless it holds a record that was written after that height had been synced.
func scan(data []byte, first uint64, visit func(at int, r record)) (end int, next uint64, err error) {
	end, next = segmentHead, first
	for end < len(data) {
		r, err := cutRecord(data[end:])
		if err != nil {
			break
		}
		if r.height != next {
			return 0, 0, fmt.Errorf("%w: block %d where %d belongs", ErrDamaged, r.height, next)
		}
		visit(end, r)
		end += r.size
		next++
	}
	for at := end + 1; at+recordHead <= len(data); at++ {
		height := binary.BigEndian.Uint64(data[at+8:])
		if height <= next || height-next > maxSegment/recordHead {
			continue
		}
		if r, err := cutRecord(data[at:]); err == nil && r.synced >= next {
			return 0, 0, fmt.Errorf("%w: block %d cannot be read, although blocks after it can", ErrDamaged, next)
		}
	}
	return end, next, nil
}

func cutTail(f *os.File, end int) error {
	if err := f.Truncate(int64(end)); err != nil {
		return err
	}
	return f.Sync()
}

// low is the first height that is kept; next when there is none.
func (s *segments) low() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.first) == 0 {
		return s.next
	}
	return s.first[0]
}

// append writes records of consecutive blocks, of which the first has the next height, and syncs them. After an error
// nothing may be appended until the folder is opened anew: what is on disk is not known.
func (s *segments) append(records [][]byte) error {
	if s.last == nil || s.size >= s.limit {
		if err := s.begin(); err != nil {
			return err
		}
	}
	offsets := make([]uint32, len(records))
	at := s.size
	var all []byte
	for i, r := range records {
		offsets[i] = uint32(at)
		at += int64(len(r))
		all = append(all, r...)
	}
	if _, err := s.last.file.WriteAt(all, s.size); err != nil {
		return err
	}
	if err := s.last.file.Sync(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.offsets = append(s.last.offsets, offsets...)
	s.size = at
	s.next += uint64(len(records))
	return nil
}

// begin makes a new segment for the next block. Full ones get an index.
func (s *segments) begin() error {
	if s.last != nil {
		if err := durable.Replace(s.path(s.last.first, indexEnd), encodeIndex(s.last.offsets)); err != nil {
			return err
		}
	}
	path := s.path(s.next, segmentEnd)
	if err := durable.Replace(path, []byte(segmentMagic), s.genesis[:]); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		s.keepOpen(s.last)
	}
	s.first = append(s.first, s.next)
	s.last, s.size = &segment{first: s.next, file: f}, int64(segmentHead)
	return nil
}

// keepOpen puts a segment in front of those that are open, and closes the last one when there are too many.
func (s *segments) keepOpen(seg *segment) {
	s.open = slices.Insert(s.open, 0, seg)
	if n := len(s.open); n > openSegments {
		_ = s.open[n-1].file.Close() // nothing was written to it through this file since it was synced
		s.open = s.open[:n-1]
	}
}

// read returns the record of a block.
func (s *segments) read(height uint64) (record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if height >= s.next {
		return record{}, fmt.Errorf("%w: block %d", ErrNotFound, height)
	}
	if len(s.first) == 0 || height < s.first[0] {
		return record{}, fmt.Errorf("%w: block %d", ErrPruned, height)
	}
	seg, err := s.find(height)
	if err != nil {
		return record{}, err
	}
	i := height - seg.first
	if i >= uint64(len(seg.offsets)) {
		return record{}, fmt.Errorf("%w: segment %d ends before block %d", ErrDamaged, seg.first, height)
	}
	return seg.read(int64(seg.offsets[i]), height)
}

func (seg *segment) read(at int64, height uint64) (record, error) {
	var head [recordHead]byte
	if _, err := seg.file.ReadAt(head[:], at); err != nil {
		return record{}, fmt.Errorf("%w: block %d: %w", ErrDamaged, height, err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxBody {
		return record{}, fmt.Errorf("%w: block %d has %d bytes", ErrDamaged, height, length)
	}
	b := make([]byte, recordHead+int(length))
	if _, err := seg.file.ReadAt(b, at); err != nil {
		return record{}, fmt.Errorf("%w: block %d: %w", ErrDamaged, height, err)
	}
	r, err := cutRecord(b)
	if err != nil || r.height != height {
		return record{}, fmt.Errorf("%w: block %d is not where it belongs", ErrDamaged, height)
	}
	return r, nil
}

// find returns the open segment that holds a height.
func (s *segments) find(height uint64) (*segment, error) {
	if height >= s.last.first {
		return s.last, nil
	}
	n, found := slices.BinarySearch(s.first, height)
	if !found {
		n--
	}
	for i, seg := range s.open {
		if seg.first == s.first[n] {
			s.open = slices.Insert(slices.Delete(s.open, i, i+1), 0, seg)
			return seg, nil
		}
	}
	seg, err := s.openFull(s.first[n], s.first[n+1]-s.first[n])
	if err != nil {
		return nil, err
	}
	s.keepOpen(seg)
	return seg, nil
}

// openFull opens a segment of count blocks, by its index or, without a good one, by reading it all.
func (s *segments) openFull(first, count uint64) (*segment, error) {
	index, err := os.ReadFile(s.path(first, indexEnd))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if offsets, ok := decodeIndex(index); ok && uint64(len(offsets)) == count {
		f, err := os.Open(s.path(first, segmentEnd))
		return &segment{first: first, file: f, offsets: offsets}, err
	}
	data, f, err := s.load(first)
	if err != nil {
		return nil, err
	}
	seg := &segment{first: first, file: f}
	_, next, err := scan(data, first, func(at int, _ record) { seg.offsets = append(seg.offsets, uint32(at)) })
	if err == nil && next != first+count {
		err = fmt.Errorf("%w: block %d cannot be read", ErrDamaged, next)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Without an index it is only slower, so an error does not matter.
	_ = durable.Replace(s.path(first, indexEnd), encodeIndex(seg.offsets))
	return seg, nil
}

func encodeIndex(offsets []uint32) []byte {
	b := make([]byte, 0, 4*len(offsets)+4)
	for _, o := range offsets {
		b = binary.BigEndian.AppendUint32(b, o)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeIndex(b []byte) (offsets []uint32, ok bool) {
	n := len(b) - 4
	if n < 0 || n%4 != 0 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, false
	}
	for ; len(b) > 4; b = b[4:] {
		offsets = append(offsets, binary.BigEndian.Uint32(b))
	}
	return offsets, true
}

// prune removes full segments whose blocks all lie below a height, the oldest first.
func (s *segments) prune(below uint64) error {
	for {
		s.mu.Lock()
		if len(s.first) < 2 || s.first[1] > below {
			s.mu.Unlock()
			return nil
		}
		gone := s.first[0]
		s.first = slices.Delete(slices.Clone(s.first), 0, 1)
		s.forget(gone)
		s.mu.Unlock()
		if err := s.remove(gone); err != nil {
			return err
		}
	}
}

// forget closes a segment that is no longer to be read.
func (s *segments) forget(first uint64) {
	s.open = slices.DeleteFunc(s.open, func(seg *segment) bool {
		if seg.first == first {
			_ = seg.file.Close() // it was only read
		}
		return seg.first == first
	})
}

func (s *segments) remove(first uint64) error {
	if err := os.Remove(s.path(first, indexEnd)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(s.path(first, segmentEnd)); err != nil {
		return err
	}
	return durable.SyncDir(s.dir)
}

// restart removes all blocks: the next one follows a snapshot that they do not reach.
func (s *segments) restart(next uint64) error {
	s.mu.Lock()
	first, last := s.first, s.last
	s.first, s.last, s.size, s.next = nil, nil, 0, next
	for _, f := range first {
		s.forget(f)
	}
	s.mu.Unlock()
	if last != nil {
		if err := last.file.Close(); err != nil {
			return err
		}
	}
	for _, f := range first {
		if err := s.remove(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *segments) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range s.open {
		errs = append(errs, seg.file.Close())
	}
	if s.last != nil {
		errs = append(errs, s.last.file.Close())
	}
	s.open, s.last, s.first = nil, nil, nil
	return errors.Join(errs...)
}
