package esdbserver

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// A stream's metadata is the last event of the stream named after it with this prefix, as JSON. What it says about
// access ($acl) is kept and not followed.
const metadataPrefix = "$$"

// softDeleted is how clients say by metadata that a stream is deleted. The log itself deletes it then, so that the
// metadata says no more than that.
const softDeleted = math.MaxInt64

// window is what the metadata leaves of a stream.
type window struct {
	first uint64    // revisions below are out of sight
	since time.Time // so is what is older
}

func (w window) shows(r *events.Record) bool {
	return r.Rev >= w.first && (w.since.IsZero() || !r.Time.Before(w.since))
}

// metadataOf returns whose metadata a stream holds.
func metadataOf(stream string) (string, bool) {
	of, ok := strings.CutPrefix(stream, metadataPrefix)
	return of, ok && of != ""
}

type streamMetadata struct {
	MaxCount json.Number `json:"$maxCount"`
	MaxAge   json.Number `json:"$maxAge"` // seconds
	Before   json.Number `json:"$tb"`
}

// parseMetadata reads what bounds a stream. What is no metadata bounds nothing, and neither do values out of range.
func parseMetadata(b []byte) (maxCount uint64, maxAge time.Duration, before uint64) {
	var m streamMetadata
	if json.Unmarshal(b, &m) != nil {
		return 0, 0, 0
	}
	if n, err := m.MaxCount.Int64(); err == nil && n > 0 {
		maxCount = uint64(n)
	}
	if n, err := m.MaxAge.Int64(); err == nil && n > 0 && n < int64(math.MaxInt64/time.Second) {
		maxAge = time.Duration(n) * time.Second
	}
	if n, err := m.Before.Int64(); err == nil && n > 0 && n != softDeleted {
		before = uint64(n)
	}
	return maxCount, maxAge, before
}

// softDeletes reports whether the last of the drafts says that the stream is deleted.
func softDeletes(drafts []events.Draft) bool {
	d := drafts[len(drafts)-1]
	var m streamMetadata
	if d.Type != typeMetadata || json.Unmarshal(d.Data, &m) != nil {
		return false
	}
	n, err := m.Before.Int64()
	return err == nil && n == softDeleted
}

// window looks up what may be read of a stream. Of metadata itself only the last is seen, as with EventStoreDB.
func (s *Server) window(ctx context.Context, stream string) (w window, err error) {
	if _, ok := metadataOf(stream); ok {
		w.first, _, err = s.last(ctx, stream)
		return w, err
	}
	if len(stream)+len(metadataPrefix) > events.MaxStreamName {
		return w, nil
	}
	for r, err := range s.log.Read(ctx, metadataPrefix+stream, events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return w, nil
		}
		if err != nil {
			return w, err
		}
		if r.Type != typeMetadata {
			return w, nil
		}
		maxCount, maxAge, before := parseMetadata(r.Data)
		w.first = before
		if maxAge > 0 {
			w.since = time.Now().Add(-maxAge)
		}
		if maxCount > 0 {
			last, _, err := s.last(ctx, stream)
			if err != nil {
				return w, err
			}
			if last+1 > maxCount {
				w.first = max(w.first, last+1-maxCount)
			}
		}
	}
	return w, nil
}

// last returns the revision of a stream's last event, and whether there is one.
func (s *Server) last(ctx context.Context, stream string) (rev uint64, ok bool, err error) {
	for r, err := range s.log.Read(ctx, stream, events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		rev, ok = r.Rev, true
	}
	return rev, ok, nil
}
