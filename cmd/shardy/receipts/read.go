package receipts

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// ErrTorn says that a file ends in the middle of a receipt, or holds something else. What comes before it was read.
var ErrTorn = errors.New("receipts: torn")

// Read calls do for every receipt that is kept in a folder, the oldest of each orchestrator first, until do returns false.
// A folder that is not there holds none. It returns how many files are torn; what they hold before was read.
func Read(dir string, do func(*workerv1.KeptReceipt) bool) (torn int, err error) {
	keys, err := folders(dir)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		names, err := partsOf(filepath.Join(dir, key))
		if err != nil {
			return torn, err
		}
		for _, name := range names {
			more := true
			bad, err := readPart(filepath.Join(dir, key, name), key, func(k *workerv1.KeptReceipt) bool {
				more = do(k)
				return more
			})
			if bad {
				torn++
			}
			if err != nil || !more {
				return torn, err
			}
		}
	}
	return torn, nil
}

// maxPart bounds what is read of one file.
const maxPart = 1 << 30

func readPart(path, key string, do func(*workerv1.KeptReceipt) bool) (torn bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it gave way meanwhile
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPart))
	if err != nil {
		return false, err
	}
	orchestrator, err := hex.DecodeString(key)
	if err != nil {
		return false, err
	}
	_, err = entries(data, func(k *workerv1.KeptReceipt) bool {
		return !bytes.Equal(k.Orchestrator, orchestrator) || do(k) // in the wrong folder: somebody has moved it
	})
	return errors.Is(err, ErrTorn), nil
}

// entries calls do for the entries of a file and returns where the last whole one ends.
func entries(data []byte, do func(*workerv1.KeptReceipt) bool) (end int, err error) {
	for end < len(data) {
		rest := data[end:]
		if len(rest) < headerSize {
			return end, fmt.Errorf("%w: at %d", ErrTorn, end)
		}
		size := binary.BigEndian.Uint32(rest)
		if size > MaxEntry || int(size) > len(rest)-headerSize {
			return end, fmt.Errorf("%w: at %d", ErrTorn, end)
		}
		body := rest[headerSize : headerSize+int(size)]
		k := new(workerv1.KeptReceipt)
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) || proto.Unmarshal(body, k) != nil {
			return end, fmt.Errorf("%w: at %d", ErrTorn, end)
		}
		end += headerSize + int(size)
		if !do(k) {
			return end, nil
		}
	}
	return end, nil
}
