package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Checksum is the consensus key of a result: SHA-256 over the status (one byte), the fuel used (eight bytes, big
// endian) and the SHA-256 of the output. Replicas agree when their checksums are equal.
func Checksum(status eventv1.ResultStatus, fuel uint64, output [32]byte) [32]byte {
	var b [1 + 8 + 32]byte
	b[0] = byte(status)
	binary.BigEndian.PutUint64(b[1:], fuel)
	copy(b[9:], output[:])
	return sha256.Sum256(b[:])
}

const attestationTag = "shardy/result/v1\x00"

// Statement is what a worker signs.
type Statement struct {
	Job    string
	Slot   uint32
	Token  uint64 // of the attempt: a signature cannot be replayed for another one
	Module [32]byte
	Input  [32]byte
	Status eventv1.ResultStatus
	Fuel   uint64
	Output [32]byte // SHA-256
}

// Bytes is the signed text: the domain tag, the job's id behind its length (two bytes), then slot (4), token (8),
// module (32), input (32), status (1), checksum (32), fuel (8); numbers big endian.
func (s Statement) Bytes() []byte {
	b := make([]byte, 0, len(attestationTag)+2+len(s.Job)+4+8+32+32+1+32+8)
	b = append(b, attestationTag...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Job)))
	b = append(b, s.Job...)
	b = binary.BigEndian.AppendUint32(b, s.Slot)
	b = binary.BigEndian.AppendUint64(b, s.Token)
	b = append(b, s.Module[:]...)
	b = append(b, s.Input[:]...)
	b = append(b, byte(s.Status))
	sum := Checksum(s.Status, s.Fuel, s.Output)
	b = append(b, sum[:]...)
	return binary.BigEndian.AppendUint64(b, s.Fuel)
}

// Sign makes the worker's attestation.
func (s Statement) Sign(key ed25519.PrivateKey) []byte { return ed25519.Sign(key, s.Bytes()) }

// Verify reports whether the attestation is the worker's. A malformed key or signature is not.
func (s Statement) Verify(worker, signature []byte) bool {
	return len(worker) == ed25519.PublicKeySize && len(signature) == ed25519.SignatureSize &&
		ed25519.Verify(worker, s.Bytes(), signature)
}

// Attested reports whether an attestation is the worker's. It MUST answer as Statement.Verify does; it may remember what it
// has verified.
type Attested func(s Statement, worker, signature []byte) bool
