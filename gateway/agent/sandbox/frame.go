package sandbox

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A frame is one byte of kind, four bytes of length (little-endian) and the payload. Every request has exactly
// one answer, so neither side ever holds more than one frame of the other.
const (
	frameConfig byte = 'C' // childConfig
	frameLoad   byte = 'L' // name, module bytes
	frameDrop   byte = 'D' // name
	frameRun    byte = 'R' // runHeader, input

	frameDone    byte = 'K' // answers C, L, D
	frameVerdict byte = 'V' // answers R: status, fuel, detail, output
	frameError   byte = 'E' // code, text
)

const (
	frameHeaderSize   = 5
	runHeaderSize     = 32 + 1 + 8 + 8 + 4
	verdictHeaderSize = 1 + 8 + 2
	maxDetail         = 1024
	maxErrorText      = 4096

	flagInterpreter = 1
	flagUnmetered   = 2
)

func writeFrame(w io.Writer, kind byte, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	var h [frameHeaderSize]byte
	h[0] = kind
	binary.LittleEndian.PutUint32(h[1:], uint32(size))
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func readHeader(r io.Reader) (kind byte, size uint32, err error) {
	var h [frameHeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	return h[0], binary.LittleEndian.Uint32(h[1:]), nil
}

// readPayload reads size bytes into buf when it is large enough, else into a new slice.
func readPayload(r io.Reader, buf []byte, size uint32, limit uint64) ([]byte, error) {
	if uint64(size) > limit {
		return nil, fmt.Errorf("%w: frame of %d bytes, limit %d", ErrProtocol, size, limit)
	}
	if uint64(cap(buf)) < uint64(size) {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	return buf, nil
}

// header is the fixed part of a run frame; the input follows it.
func (t Task) header() []byte {
	b := make([]byte, 0, runHeaderSize)
	b = append(b, t.Module[:]...)
	var flags byte
	if t.Interpreter {
		flags |= flagInterpreter
	}
	if t.Unmetered {
		flags |= flagUnmetered
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint64(b, t.FuelLimit)
	b = binary.LittleEndian.AppendUint64(b, t.MaxOutput)
	return binary.LittleEndian.AppendUint32(b, wholeSeconds(t.Timeout))
}

// runRequest is a run frame as the child reads it.
type runRequest struct {
	module      [32]byte
	interpreter bool
	unmetered   bool
	fuel        uint64
	maxOutput   uint64
	seconds     uint32
	input       []byte
}

func decodeRun(b []byte) (runRequest, error) {
	if len(b) < runHeaderSize {
		return runRequest{}, fmt.Errorf("%w: run frame of %d bytes", ErrProtocol, len(b))
	}
	r := runRequest{
		interpreter: b[32]&flagInterpreter != 0,
		unmetered:   b[32]&flagUnmetered != 0,
		fuel:        binary.LittleEndian.Uint64(b[33:]),
		maxOutput:   binary.LittleEndian.Uint64(b[41:]),
		seconds:     binary.LittleEndian.Uint32(b[49:]),
		input:       b[runHeaderSize:],
	}
	copy(r.module[:], b)
	if r.fuel > MaxFuel {
		return runRequest{}, fmt.Errorf("%w: fuel %d", ErrProtocol, r.fuel)
	}
	return r, nil
}

func encodeVerdict(r Result) []byte {
	detail := r.Detail[:min(len(r.Detail), maxDetail)]
	b := make([]byte, 0, verdictHeaderSize+len(detail))
	b = append(b, byte(r.Status))
	b = binary.LittleEndian.AppendUint64(b, r.FuelUsed)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(detail)))
	return append(b, detail...)
}

func decodeVerdict(b []byte) (Result, error) {
	if len(b) < verdictHeaderSize {
		return Result{}, fmt.Errorf("%w: verdict of %d bytes", ErrProtocol, len(b))
	}
	r := Result{Status: Status(b[0]), FuelUsed: binary.LittleEndian.Uint64(b[1:])}
	n := int(binary.LittleEndian.Uint16(b[9:]))
	rest := b[verdictHeaderSize:]
	if r.Status < OK || r.Status > BadOutput || n > maxDetail || n > len(rest) || r.Status != OK && n != len(rest) {
		return Result{}, fmt.Errorf("%w: malformed verdict", ErrProtocol)
	}
	r.Detail = string(rest[:n])
	if r.Status == OK {
		r.Output = rest[n:]
	}
	return r, nil
}

func decodeError(b []byte) error {
	if len(b) == 0 || errorCodes[b[0]] == nil {
		return fmt.Errorf("%w: malformed error", ErrProtocol)
	}
	return fmt.Errorf("%w: %.1024s", errorCodes[b[0]], b[1:])
}
