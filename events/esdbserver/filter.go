package esdbserver

import (
	"regexp"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// everything passes system events too.
var everything = events.Filter{Types: []string{""}}

// Bounds of a filter. RE2 runs in time linear in the text, so that length is all there is to bound.
const (
	maxRegex         = 1024
	maxPrefixes      = 64
	maxPrefix        = 256
	maxCheckpointGap = 1 << 20
	searchWindow     = 32 // events between checkpoints unless the client says
)

// filter is what a client wants to see of the whole log.
type filter struct {
	stream   bool // look at the stream's name; else at the type
	prefixes []string
	regex    *regexp.Regexp
	gap      int // events searched between two checkpoints
}

func filterOf(f *esdbv1.Filter) (*filter, error) {
	if f == nil {
		return nil, nil
	}
	e, stream := f.GetEventType(), false
	if f.GetStreamIdentifier() != nil {
		e, stream = f.GetStreamIdentifier(), true
	}
	if e == nil {
		return nil, invalid("a filter of nothing")
	}
	gap := uint64(searchWindow)
	if f.GetMax() > 0 {
		gap = uint64(f.GetMax())
	}
	gap *= uint64(max(f.GetCheckpointIntervalMultiplier(), 1))
	out := &filter{stream: stream, gap: int(min(gap, maxCheckpointGap))}
	switch {
	case e.GetRegex() != "" && len(e.GetPrefix()) > 0:
		return nil, invalid("a filter has a regex or prefixes, not both")
	case len(e.GetRegex()) > maxRegex:
		return nil, invalid("regex of %d bytes, limit %d", len(e.GetRegex()), maxRegex)
	case e.GetRegex() != "":
		re, err := regexp.Compile(e.GetRegex())
		if err != nil {
			return nil, invalid("regex (RE2 syntax): %v", err)
		}
		out.regex = re
	case len(e.GetPrefix()) == 0 || len(e.GetPrefix()) > maxPrefixes:
		return nil, invalid("a filter has a regex or 1 to %d prefixes", maxPrefixes)
	}
	for _, p := range e.GetPrefix() {
		if len(p) > maxPrefix {
			return nil, invalid("prefix of %d bytes, limit %d", len(p), maxPrefix)
		}
		out.prefixes = append(out.prefixes, p)
	}
	return out, nil
}

// passes is true for no filter.
func (f *filter) passes(r *events.Record) bool {
	if f == nil {
		return true
	}
	text := r.Type
	if f.stream {
		text = r.Stream
	}
	if f.regex != nil {
		return f.regex.MatchString(text)
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// pushed is the part of the filter that the log can do itself.
func (f *filter) pushed() events.Filter {
	switch {
	case f == nil || f.regex != nil:
		return everything
	case f.stream:
		return events.Filter{Streams: f.prefixes}
	default:
		return events.Filter{Types: f.prefixes}
	}
}
