package wire

import (
	"crypto/sha256"
	"encoding/binary"
)

// The domain tags of the texts that are signed on this wire.
const (
	helloTag    = "shardy/hello/v1\x00"
	ownerTag    = "shardy/owner/v1\x00"
	rejectedTag = "shardy/rejected/v1\x00"
	refusedTag  = "shardy/refused/v1\x00"
)

// HelloText is what a worker's key signs to answer a Challenge: tag, nonce, server key, public key, owner key (may be
// empty).
func HelloText(nonce, serverKey, publicKey, ownerKey []byte) []byte {
	return join(helloTag, nonce, serverKey, publicKey, ownerKey)
}

// OwnerText is what an owner's key signs to say that the worker is its own.
func OwnerText(nonce, serverKey, publicKey []byte) []byte {
	return join(ownerTag, nonce, serverKey, publicKey)
}

// RejectedText is the receipt of a refused admission: tag, public key, reason (4 bytes), time in microseconds (8),
// SHA-256 of the detail; numbers big endian.
func RejectedText(publicKey []byte, reason uint32, atUs int64, detail string) []byte {
	b := join(rejectedTag, publicKey)
	b = binary.BigEndian.AppendUint32(b, reason)
	b = binary.BigEndian.AppendUint64(b, uint64(atUs))
	sum := sha256.Sum256([]byte(detail))
	return append(b, sum[:]...)
}

// RefusedText is the receipt of a rejected result: tag, public key, token (8 bytes), reason (4), time in microseconds
// (8); numbers big endian.
func RefusedText(publicKey []byte, token uint64, reason uint32, atUs int64) []byte {
	b := join(refusedTag, publicKey)
	b = binary.BigEndian.AppendUint64(b, token)
	b = binary.BigEndian.AppendUint32(b, reason)
	return binary.BigEndian.AppendUint64(b, uint64(atUs))
}

func join(tag string, parts ...[]byte) []byte {
	b := make([]byte, 0, len(tag)+4*32+32)
	b = append(b, tag...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
