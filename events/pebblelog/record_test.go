package pebblelog

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d events.Draft
		copy(d.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		d.Type, d.JSON = rapid.String().Draw(t, "type"), rapid.Bool().Draw(t, "json")
		d.Data, d.Meta = rapid.SliceOf(rapid.Byte()).Draw(t, "data"), rapid.SliceOf(rapid.Byte()).Draw(t, "meta")
		stream, pos, rev := rapid.String().Draw(t, "stream"), rapid.Uint64().Draw(t, "pos"), rapid.Uint64().Draw(t, "rev")
		micros := rapid.Int64Range(0, 1<<60).Draw(t, "time")

		b := appendRecord(nil, stream, &d)
		seal(b, pos, rev, micros)
		r, err := parseRecord(pos, b)
		if err != nil {
			t.Fatal(err)
		}
		got := r.record(pos, string(r.stream), string(r.typ))
		if got.ID != d.ID || got.Type != d.Type || got.JSON != d.JSON || !bytes.Equal(got.Data, d.Data) || !bytes.Equal(got.Meta, d.Meta) ||
			got.Stream != stream || got.Rev != rev || got.Pos != events.Position(pos) || !got.Time.Equal(time.UnixMicro(micros)) {
			t.Fatalf("wrote %+v, read %+v", d, got)
		}
		// No byte can be altered, and no record can stand at another place, unnoticed.
		if _, err := parseRecord(pos+1, b); !errors.Is(err, events.ErrCorrupt) {
			t.Fatalf("at another position: %v", err)
		}
		i, bit := rapid.IntRange(0, len(b)-1).Draw(t, "byte"), rapid.IntRange(0, 7).Draw(t, "bit")
		b[i] ^= 1 << bit
		if _, err := parseRecord(pos, b); !errors.Is(err, events.ErrCorrupt) {
			t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	b := appendRecord(nil, "job-1", &events.Draft{ID: events.ID{1}, Type: "T", JSON: true, Data: []byte("data"), Meta: []byte("meta")})
	f.Add(uint64(7), b)
	f.Add(uint64(0), b[:offNames])
	f.Add(uint64(1), []byte{})
	f.Fuzz(func(t *testing.T, pos uint64, b []byte) {
		if len(b) >= offNames { // get past the checksum
			own := append([]byte(nil), b...)
			var r raw
			seal(own, pos, 3, 4)
			r, err := parseRecord(pos, own)
			if err == nil {
				again := appendRecord(nil, string(r.stream), &events.Draft{ID: r.id, Type: string(r.typ), JSON: r.json, Data: r.data, Meta: r.meta})
				seal(again, pos, r.rev, r.micros)
				if back, err := parseRecord(pos, again); err != nil || !bytes.Equal(back.data, r.data) || back.rev != r.rev {
					t.Errorf("%x became %x, %v", own, again, err)
				}
			} else if !errors.Is(err, events.ErrCorrupt) {
				t.Error(err)
			}
		}
		if _, err := parseRecord(pos, b); err != nil && !errors.Is(err, events.ErrCorrupt) {
			t.Error(err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(eventKey(nil, 5))
	f.Add(streamKey(nil, "job-1", 7))
	f.Add(blobKey(nil, &[32]byte{1}))
	f.Fuzz(func(t *testing.T, k []byte) {
		if pos, err := parseEventKey(k); err == nil && !bytes.Equal(eventKey(nil, pos), k) {
			t.Errorf("event key %q", k)
		}
		if stream, rev, err := parseStreamKey(k); err == nil && !bytes.Equal(streamKey(nil, string(stream), rev), k) {
			t.Errorf("stream key %q", k)
		}
		if sum, err := parseBlobKey(k); err == nil && !bytes.Equal(blobKey(nil, &sum), k) {
			t.Errorf("blob key %q", k)
		}
		if _, hidden, err := parseStreamValue(1, k); err == nil && hidden != 0 {
			t.Errorf("value %q hides", k)
		}
		if _, data, err := parseBlob(k); err == nil && len(data) != len(k)-blobHeader {
			t.Errorf("blob %q", k)
		}
	})
}

// TestStreamsAreNotMixedUp: names that are prefixes of each other, or that look like keys, keep apart.
func TestStreamsAreNotMixedUp(t *testing.T) {
	l := open(t, t.TempDir(), Options{HeadStreams: 1})
	defer l.Close()
	streams := []string{"a", "a-", "a-0", "aa", "s/a", "a/", "é", "a b", "~"}
	for round := range 3 {
		for i, s := range streams {
			if i%2 == round%2 {
				continue
			}
			if _, err := l.Append(t.Context(), s, events.Any, events.Draft{ID: events.ID{1, byte(round), byte(i)}, Type: s}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range streams {
		n := uint64(0)
		for r, err := range l.Read(t.Context(), s, events.Span{}) {
			if err != nil || r.Stream != s || r.Type != s || r.Rev != n {
				t.Fatalf("%q: %+v, %v", s, r, err)
			}
			n++
		}
	}
}
