package pebblelog

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/events"
)

// check holds an append to the limits that every log has.
func check(parts []events.Batch) error {
	switch {
	case len(parts) == 0:
		return fmt.Errorf("%w: no parts", events.ErrInvalid)
	case len(parts) > maxParts:
		return fmt.Errorf("%w: %d parts, limit %d", events.ErrTooLarge, len(parts), maxParts)
	}
	var size, count int
	for i, p := range parts {
		for _, q := range parts[:i] {
			if p.Stream == q.Stream {
				return fmt.Errorf("%w: stream %q twice", events.ErrInvalid, p.Stream)
			}
		}
		if err := checkPart(p.Stream, p.Events, &size); err != nil {
			return err
		}
		count += len(p.Events)
	}
	return checkSize(count, size)
}

func checkPart(stream string, evs []events.Draft, size *int) error {
	if err := checkStream(stream); err != nil {
		return err
	}
	for i := range evs {
		d := &evs[i]
		if d.ID == (events.ID{}) {
			return fmt.Errorf("%w: event without an id", events.ErrInvalid)
		}
		if err := checkName("type", d.Type, events.MaxTypeName); err != nil {
			return err
		}
		*size += len(d.Data) + len(d.Meta)
	}
	return nil
}

func checkSize(count, size int) error {
	switch {
	case count > events.MaxAppendEvents:
		return fmt.Errorf("%w: %d events, limit %d", events.ErrTooLarge, count, events.MaxAppendEvents)
	case size > events.MaxAppendBytes:
		return fmt.Errorf("%w: %d bytes, limit %d", events.ErrTooLarge, size, events.MaxAppendBytes)
	}
	return nil
}

// maxParts bounds the streams of one atomic append.
const maxParts = 64

func checkStream(name string) error { return checkName("stream", name, events.MaxStreamName) }

func checkName(what, name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty %s name", events.ErrInvalid, what)
	case len(name) > limit:
		return fmt.Errorf("%w: %s name of %d bytes, limit %d", events.ErrInvalid, what, len(name), limit)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: %s name %q", events.ErrInvalid, what, name)
	}
	return nil
}

// passes applies a filter as the contract has it.
func passes(f *events.Filter, stream, typ string) bool {
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
