package events

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"time"
)

// EntityIDLen is the length of an entity's id: 128 bits in lower-case Crockford base 32.
const EntityIDLen = 26

// ErrBadID refuses text that is not an entity's id.
var ErrBadID = errors.New("malformed id")

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewEntityID makes an id that sorts by time: a UUID version 7 (RFC 9562, section 5.7) from a clock and dice.
func NewEntityID(at time.Time, dice [10]byte) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	copy(b[6:], dice[:])
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return crockford.EncodeToString(b[:])
}

// DeriveEntityID makes the same id from the same parts: a UUID version 8 from their SHA-256.
func DeriveEntityID(parts ...[]byte) string {
	id := NewCommandID(parts...)
	return crockford.EncodeToString(id[:])
}

// CheckEntityID refuses what the two makers above cannot have made.
func CheckEntityID(id string) error {
	if len(id) != EntityIDLen {
		return ErrBadID
	}
	if _, err := crockford.DecodeString(id); err != nil {
		return ErrBadID
	}
	return nil
}
