package settlement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/durable"
)

// The file of a book is
//
//	magic     8 bytes, with the version
//	sum       4 bytes, big endian: CRC-32C of all that follows
//	genesis   32 bytes: hash of the chain's genesis
//	sender    32 bytes: key of the account that pays
//	born      8 bytes, big endian: when the book was begun, microseconds since 1970
//	passed    8 bytes: records that were passed over
//	before    8 bytes: position of the record heard before the last one, 0 before all
//	last      8 bytes: position of the last record heard, 0: none
//	id        16 bytes: of that record
//	book      the rest: a SettlerState
const (
	magic   = "shardyB1"
	fixed   = len(magic) + 4 + 32 + 32 + 4*8 + 16
	maxBook = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// title is what a file says about a book.
type title struct {
	genesis [32]byte
	sender  [32]byte
	born    time.Time
	passed  uint64
	mark    mark
}

// mark names the last record heard, to recognise the log again.
type mark struct {
	before, last events.Position
	id           events.ID
}

// encode makes the file of a book.
func (t title) encode(book []byte) []byte {
	b := make([]byte, len(magic)+4, fixed+len(book))
	copy(b, magic)
	b = append(b, t.genesis[:]...)
	b = append(b, t.sender[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.born.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, t.passed)
	b = binary.BigEndian.AppendUint64(b, uint64(t.mark.before))
	b = binary.BigEndian.AppendUint64(b, uint64(t.mark.last))
	b = append(b, t.mark.id[:]...)
	b = append(b, book...)
	binary.BigEndian.PutUint32(b[len(magic):], crc32.Checksum(b[len(magic)+4:], castagnoli))
	return b
}

// decodeFile takes a file apart. The book shares its bytes.
func decodeFile(b []byte) (t title, book []byte, err error) {
	if len(b) < fixed || string(b[:len(magic)]) != magic {
		return title{}, nil, fmt.Errorf("%w: not a book of this version", ErrDamaged)
	}
	if sum := binary.BigEndian.Uint32(b[len(magic):]); sum != crc32.Checksum(b[len(magic)+4:], castagnoli) {
		return title{}, nil, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	r := bytes.NewReader(b[len(magic)+4:])
	var numbers struct{ Born, Passed, Before, Last uint64 }
	_, err1 := io.ReadFull(r, t.genesis[:])
	_, err2 := io.ReadFull(r, t.sender[:])
	err3 := binary.Read(r, binary.BigEndian, &numbers)
	_, err4 := io.ReadFull(r, t.mark.id[:])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return title{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	t.born, t.passed = time.UnixMicro(int64(numbers.Born)), numbers.Passed
	t.mark.before, t.mark.last = events.Position(numbers.Before), events.Position(numbers.Last)
	return t, b[fixed:], nil
}

// shelf is where the book lies. What write was given MUST be durable when it returns nil; when it fails, either that or
// what was there before is there.
type shelf interface {
	// read returns what was written last, or os.ErrNotExist.
	read() ([]byte, error)
	write(b []byte) error
}

// disk is a file.
type disk struct{ path string }

func (d disk) read() ([]byte, error) {
	info, err := os.Stat(d.path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBook {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, info.Size())
	}
	return os.ReadFile(d.path)
}

// write always makes the new file under the same name: kills leave one copy behind, not many.
func (d disk) write(b []byte) error {
	temp := d.path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, d.path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(d.path))
}
