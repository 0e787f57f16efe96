package transparency

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/durable"
)

// The files of a tree:
//
//	tile/<L>/<N>   full tiles, as c2sp.org/tlog-tiles names them; never changed once the size record covers them
//	positions      of the last record of every full tile of level 0, 8 bytes each, big endian
//	edge           the size record: how far the tree goes, and its partial tiles
//	checkpoints    what was signed
//	lock           held by the process that writes
const (
	edgeFile        = "edge"
	positionsFile   = "positions"
	checkpointsFile = "checkpoints"
)

// ErrLocked refuses a folder that another process writes to.
var ErrLocked = durable.ErrLocked

// ErrDamaged says that a file of the tree is not what was written. The log can make it good.
var ErrDamaged = errors.New("file of the tree is damaged")

// The size record: tag, size (8 bytes), position up to which the log was taken in (8 bytes), the hashes of the partial
// tiles from level 0 up, SHA-256 of all that; numbers big endian.
const edgeTag = "shardy tree 1\n"

func encodeEdge(e *edge, at events.Position) []byte {
	b := append(make([]byte, 0, 4096), edgeTag...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.size))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	for _, l := range e.levels {
		b = append(b, joined(l)...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func decodeEdge(b []byte) (*edge, events.Position, error) {
	body, ok := bytes.CutPrefix(b, []byte(edgeTag))
	if !ok || len(body) < 16+sha256.Size {
		return nil, 0, fmt.Errorf("%w: %s: is no size record", ErrDamaged, edgeFile)
	}
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	if !bytes.Equal(sum[:], b[len(b)-sha256.Size:]) {
		return nil, 0, fmt.Errorf("%w: %s: does not match its sum", ErrDamaged, edgeFile)
	}
	size, at := binary.BigEndian.Uint64(body), events.Position(binary.BigEndian.Uint64(body[8:]))
	rest := body[16 : len(body)-sha256.Size]
	if size > MaxSize {
		return nil, 0, fmt.Errorf("%w: %s: %d leaves", ErrDamaged, edgeFile, size)
	}
	e := &edge{size: int64(size), levels: make([][]tlog.Hash, levelsOf(int64(size)))}
	for l := range e.levels {
		n := width(e.size, l) * tlog.HashSize
		if n > len(rest) {
			return nil, 0, fmt.Errorf("%w: %s: is cut short", ErrDamaged, edgeFile)
		}
		e.levels[l] = append(make([]tlog.Hash, 0, tileWidth), split(rest[:n])...)
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return nil, 0, fmt.Errorf("%w: %s: is too long", ErrDamaged, edgeFile)
	}
	return e, at, nil
}

// decodePositions reads the places of the last records of the first full tiles.
func decodePositions(b []byte, tiles int64) ([]events.Position, error) {
	if tiles > int64(len(b)/8) {
		return nil, fmt.Errorf("%w: %s: %d entries, want %d", ErrDamaged, positionsFile, len(b)/8, tiles)
	}
	ps := make([]events.Position, tiles)
	for i := range ps {
		ps[i] = events.Position(binary.BigEndian.Uint64(b[8*i:]))
		if i > 0 && ps[i] <= ps[i-1] {
			return nil, fmt.Errorf("%w: %s: entry %d does not ascend", ErrDamaged, positionsFile, i)
		}
	}
	return ps, nil
}

// tileName is the path of a full tile, in the folder and over HTTP.
func tileName(level int, n int64) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	return fmt.Sprintf("tile/%d/%s", level, name)
}

// stored is what a folder holds, as the size record has it.
type stored struct {
	dir       folder
	edge      *edge
	at        events.Position
	positions []events.Position // of the last record of every full tile of level 0
}

// readStored reads the size record and the positions. Without a size record the tree is empty.
func readStored(dir folder) (*stored, error) {
	s := &stored{dir: dir, edge: new(edge)}
	b, err := dir.read(edgeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	e, at, err := decodeEdge(b)
	if err != nil {
		return s, err
	}
	tiles := e.size >> tileHeight
	if tiles > 0 {
		b, err := dir.read(positionsFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		if s.positions, err = decodePositions(b, tiles); err != nil {
			return s, err
		}
	}
	if n := len(s.positions); n > 0 && s.positions[n-1] > at {
		return s, fmt.Errorf("%w: %s lies beyond the size record", ErrDamaged, positionsFile)
	}
	s.edge, s.at = e, at
	return s, nil
}

// tile reads some hashes of a tile as they are stored, without asking whether they are right. It fails with
// fs.ErrNotExist or ErrDamaged.
func (s *stored) tile(level int, n int64, want int) ([]tlog.Hash, error) {
	if level < len(s.edge.levels) && n == s.edge.size>>(tileHeight*(level+1)) {
		if l := s.edge.levels[level]; want <= len(l) {
			return l[:want], nil
		}
	}
	name := tileName(level, n)
	b, err := s.dir.read(name)
	if err != nil {
		return nil, err
	}
	if len(b) != tileBytes {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, name, len(b))
	}
	return split(b)[:want], nil
}

// edgeAt is the edge that the tree had at a size it has passed, as it is stored.
func (s *stored) edgeAt(size int64) (*edge, error) { return s.edge.before(size, s.tile) }

// before is a position after which the record of this leaf comes, with no more than 255 others before it. The leaf is
// the first of its tile; positions are those of the last records of full tiles.
func before(positions []events.Position, first int64) events.Position {
	if tile := first >> tileHeight; tile > 0 {
		return positions[tile-1]
	}
	return 0
}
