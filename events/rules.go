package events

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxAppendParts bounds the streams of one atomic append.
const MaxAppendParts = 64

// CheckParts holds an atomic append to the limits that every log has.
func CheckParts(parts []Batch) error {
	switch {
	case len(parts) == 0:
		return fmt.Errorf("%w: no parts", ErrInvalid)
	case len(parts) > MaxAppendParts:
		return fmt.Errorf("%w: %d parts, limit %d", ErrTooLarge, len(parts), MaxAppendParts)
	}
	var size, count int
	for i, p := range parts {
		for _, q := range parts[:i] {
			if p.Stream == q.Stream {
				return fmt.Errorf("%w: stream %q twice", ErrInvalid, p.Stream)
			}
		}
		n, err := checkPart(p.Stream, p.Events)
		if err != nil {
			return err
		}
		size += n
		count += len(p.Events)
	}
	return checkSize(count, size)
}

// CheckAppend does the same for an append to one stream, which must have events.
func CheckAppend(stream string, evs []Draft) error {
	if len(evs) == 0 {
		return fmt.Errorf("%w: no events", ErrInvalid)
	}
	size, err := checkPart(stream, evs)
	if err != nil {
		return err
	}
	return checkSize(len(evs), size)
}

func checkPart(stream string, evs []Draft) (size int, err error) {
	if err := CheckStream(stream); err != nil {
		return 0, err
	}
	for i := range evs {
		d := &evs[i]
		if d.ID == (ID{}) {
			return 0, fmt.Errorf("%w: event without an id", ErrInvalid)
		}
		if err := checkName("type", d.Type, MaxTypeName); err != nil {
			return 0, err
		}
		size += len(d.Data) + len(d.Meta)
	}
	return size, nil
}

func checkSize(count, size int) error {
	switch {
	case count > MaxAppendEvents:
		return fmt.Errorf("%w: %d events, limit %d", ErrTooLarge, count, MaxAppendEvents)
	case size > MaxAppendBytes:
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, MaxAppendBytes)
	}
	return nil
}

// CheckStream refuses a stream's name that no log takes.
func CheckStream(name string) error { return checkName("stream", name, MaxStreamName) }

func checkName(what, name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty %s name", ErrInvalid, what)
	case len(name) > limit:
		return fmt.Errorf("%w: %s name of %d bytes, limit %d", ErrInvalid, what, len(name), limit)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: %s name %q", ErrInvalid, what, name)
	}
	return nil
}

// CheckStaged refuses a blob that no Stager takes.
func CheckStaged(sum [32]byte, data []byte) error {
	if len(data) > MaxStagedBytes {
		return fmt.Errorf("%w: blob of %d bytes", ErrTooLarge, len(data))
	}
	if sha256.Sum256(data) != sum {
		return fmt.Errorf("%w: blob is not what its sum says", ErrInvalid)
	}
	return nil
}

// Match reports whether the filter passes an event.
func (f *Filter) Match(stream, typ string) bool {
	if len(f.Streams) == 0 && len(f.Types) == 0 {
		return !strings.HasPrefix(typ, "$")
	}
	return hasPrefix(stream, f.Streams) && hasPrefix(typ, f.Types)
}

// hasPrefix is true when there are no prefixes to have.
func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return len(prefixes) == 0
}
