package pebblelog

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/shardy-network/orchestrator/events"
)

// The keys of a log:
//
//	m/format                    the format's name
//	e/<position>                record; position from 1, dense, 8 bytes, big endian
//	s/<stream> 0x00 <revision>  position of the record, 8 bytes, big endian; revision likewise
//	                            revision 0 may carry 8 bytes more: revisions below are hidden by Delete; all bits
//	                            set: the stream has ended for good
//	b/<sha256>                  staged blob: time of staging in microseconds, 8 bytes, big endian; then the bytes
//
// Stream names hold no control characters, so that 0x00 ends them.
const (
	eventPrefix  = "e/"
	eventsEnd    = "e0"
	streamPrefix = "s/"
	streamsEnd   = "s0"
	blobPrefix   = "b/"
	blobsEnd     = "b0"
)

// buried stands for the number of hidden revisions in a stream that has ended for good.
const buried = math.MaxUint64

var (
	keyFormat   = []byte("m/format")
	formatValue = []byte("shardy event log 1")
)

const (
	eventKeyLen = len(eventPrefix) + 8
	blobKeyLen  = len(blobPrefix) + 32
	blobHeader  = 8
)

func eventKey(b []byte, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, eventPrefix...), pos)
}

func parseEventKey(k []byte) (uint64, error) {
	if len(k) != eventKeyLen || string(k[:len(eventPrefix)]) != eventPrefix {
		return 0, fmt.Errorf("%w: key %q is not a position", events.ErrCorrupt, k)
	}
	return binary.BigEndian.Uint64(k[len(eventPrefix):]), nil
}

func streamKeyLen(stream string) int { return len(streamPrefix) + len(stream) + 1 + 8 }

func streamKey(b []byte, stream string, rev uint64) []byte {
	b = append(append(append(b, streamPrefix...), stream...), 0)
	return binary.BigEndian.AppendUint64(b, rev)
}

// streamEnd is the key after a stream's last.
func streamEnd(b []byte, stream string) []byte {
	return append(append(append(b, streamPrefix...), stream...), 1)
}

func parseStreamKey(k []byte) (stream []byte, rev uint64, err error) {
	n := len(k) - 8 - 1
	if n <= len(streamPrefix) || string(k[:len(streamPrefix)]) != streamPrefix || k[n] != 0 {
		return nil, 0, fmt.Errorf("%w: key %q is not a stream's", events.ErrCorrupt, k)
	}
	return k[len(streamPrefix):n], binary.BigEndian.Uint64(k[n+1:]), nil
}

// parseStreamValue returns a record's position and, on revision 0, how many revisions are hidden.
func parseStreamValue(rev uint64, v []byte) (pos, hidden uint64, err error) {
	switch {
	case len(v) == 8:
		return binary.BigEndian.Uint64(v), 0, nil
	case len(v) == 16 && rev == 0:
		return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), nil
	}
	return 0, 0, fmt.Errorf("%w: stream entry of %d bytes", events.ErrCorrupt, len(v))
}

func blobKey(b []byte, sum *[32]byte) []byte { return append(append(b, blobPrefix...), sum[:]...) }

func parseBlobKey(k []byte) (sum [32]byte, err error) {
	if len(k) != blobKeyLen || string(k[:len(blobPrefix)]) != blobPrefix {
		return sum, fmt.Errorf("%w: key %q is not a blob's", events.ErrCorrupt, k)
	}
	return [32]byte(k[len(blobPrefix):]), nil
}
