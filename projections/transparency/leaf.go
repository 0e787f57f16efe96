package transparency

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

const (
	leafVersion = 1
	leafJSON    = 1  // flag
	leafFixed   = 26 // bytes before the first length
	hashPrefix  = 0  // RFC 6962, section 2.1: what a leaf is hashed with in front
)

// MaxLeafBytes bounds a leaf: an append's bytes, its names and what lies around them.
const MaxLeafBytes = leafFixed + 4*4 + events.MaxStreamName + events.MaxTypeName + events.MaxAppendBytes

// ErrLeaf refuses bytes that are not a leaf of a version that this build knows.
var ErrLeaf = errors.New("malformed leaf")

// IsLeaf tells whether records of this type are leaves: all but the store's own.
func IsLeaf(recordType string) bool { return !strings.HasPrefix(recordType, "$") }

// AppendLeaf appends a record's leaf to b.
func AppendLeaf(b []byte, r *events.Record) []byte {
	var head [leafFixed]byte
	head[0] = leafVersion
	if r.JSON {
		head[1] = leafJSON
	}
	copy(head[2:], r.ID[:])
	binary.BigEndian.PutUint64(head[18:], r.Rev)
	b = append(b, head[:]...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.Stream))), r.Stream...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.Type))), r.Type...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.Meta))), r.Meta...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(r.Data))), r.Data...)
}

// ParseLeaf is the inverse of AppendLeaf: a record without position and time, whose slices share the leaf's bytes.
func ParseLeaf(b []byte) (events.Record, error) {
	var r events.Record
	switch {
	case len(b) > MaxLeafBytes:
		return r, fmt.Errorf("%w: %d bytes, limit %d", ErrLeaf, len(b), MaxLeafBytes)
	case len(b) < leafFixed:
		return r, fmt.Errorf("%w: %d bytes", ErrLeaf, len(b))
	case b[0] != leafVersion:
		return r, fmt.Errorf("%w: version %d", ErrLeaf, b[0])
	case b[1]&^leafJSON != 0:
		return r, fmt.Errorf("%w: flags %#x", ErrLeaf, b[1])
	}
	r.JSON = b[1] == leafJSON
	copy(r.ID[:], b[2:])
	r.Rev = binary.BigEndian.Uint64(b[18:])
	rest := b[leafFixed:]
	var fields [4][]byte
	for i := range fields {
		if len(rest) < 4 {
			return events.Record{}, fmt.Errorf("%w: ends within a length", ErrLeaf)
		}
		n := binary.BigEndian.Uint32(rest)
		if rest = rest[4:]; uint64(n) > uint64(len(rest)) {
			return events.Record{}, fmt.Errorf("%w: a field ends beyond it", ErrLeaf)
		}
		fields[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return events.Record{}, fmt.Errorf("%w: %d bytes too many", ErrLeaf, len(rest))
	}
	r.Stream, r.Type, r.Meta, r.Data = string(fields[0]), string(fields[1]), fields[2], fields[3]
	return r, nil
}

// LeafHash is the hash of a record's leaf in the tree.
func LeafHash(r events.Record) tlog.Hash {
	h, _ := hashLeaf(nil, &r)
	return h
}

// HashLeaf is the hash of a leaf's bytes.
func HashLeaf(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// hashLeaf does the same for many records with one buffer.
func hashLeaf(buf []byte, r *events.Record) (tlog.Hash, []byte) {
	buf = AppendLeaf(append(buf[:0], hashPrefix), r)
	return sha256.Sum256(buf), buf
}
