package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// CommandID names one command. Its last two bytes are zero: event ids are made from it.
type CommandID [16]byte

// NewCommandID derives a command's id from what makes the command unique, so that a repeated command has the same id.
// Parts are length-prefixed before they are hashed (SHA-256).
func NewCommandID(parts ...[]byte) CommandID {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return commandID(sum)
}

// Effect derives the id of the n-th command that follows from this one.
func (c CommandID) Effect(n int) CommandID {
	var b [18]byte
	copy(b[:], c[:])
	binary.BigEndian.PutUint16(b[16:], uint16(n))
	return commandID(sha256.Sum256(b[:]))
}

func commandID(sum [32]byte) CommandID {
	var id CommandID
	copy(id[:14], sum[:])
	id[6] = id[6]&0x0f | 0x80 // UUID version 8: own derivation (RFC 9562, section 5.8)
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Event is the id of the record with this index in the command's decision.
func (c CommandID) Event(index int) ID {
	id := ID(c)
	binary.BigEndian.PutUint16(id[14:], uint16(index))
	return id
}

// String is the id as hex.
func (c CommandID) String() string { return hex.EncodeToString(c[:]) }

// Command is the id of the command that caused the event.
func (id ID) Command() CommandID {
	c := CommandID(id)
	c[14], c[15] = 0, 0
	return c
}

// String is the id in the form of a UUID.
func (id ID) String() string {
	b := make([]byte, 36)
	hex.Encode(b, id[:4])
	b[8] = '-'
	hex.Encode(b[9:], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:], id[10:])
	return string(b)
}
