package rogue

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
)

// Leads returns which of the validators of a new chain leads first: the one to be a rogue when its proposals matter.
func Leads(keys []ed25519.PublicKey) int {
	first, least := 0, uint64(1<<64-1)
	for i, k := range keys {
		h := sha256.Sum256(append([]byte("shardy/node/v1\x00"), k...))
		if n := binary.BigEndian.Uint64(h[:]); n < least {
			first, least = i, n
		}
	}
	return first
}
