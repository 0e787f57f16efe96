package dispatch

import (
	"crypto/sha256"
	"encoding/binary"
)

// Seed is the first 16 bytes of the SHA-256 over the log head (eight bytes), the job's id, the slot (four bytes) and
// how often this matcher placed that slot before (four bytes); numbers big endian. The count starts anew when the
// dispatcher does: an auditor tries 0 up to the attempt less one.
func Seed(head uint64, job string, slot, placed uint32) [16]byte {
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint64(b, head)
	b = append(b, job...)
	b = binary.BigEndian.AppendUint32(b, slot)
	b = binary.BigEndian.AppendUint32(b, placed)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// Pick is the index of the chosen one among n > 0 candidates: the seed as a number, big endian, modulo n.
func Pick(seed [16]byte, n int) int {
	if n <= 1 {
		return 0
	}
	m := uint64(n)
	hi := binary.BigEndian.Uint64(seed[:8]) % m
	lo := binary.BigEndian.Uint64(seed[8:]) % m
	shift := (1 << 32 % m) * (1 << 32 % m) % m // 2^64 mod n; n is an int32 at most in any short list
	return int((hi*shift + lo) % m)
}
