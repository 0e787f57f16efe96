package transparency

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

func genRecord(t *rapid.T) events.Record {
	r := events.Record{
		Draft: events.Draft{
			Type: rapid.StringMatching(`[A-Za-z]{1,12}`).Draw(t, "type"), JSON: rapid.Bool().Draw(t, "json"),
			Data: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data"), Meta: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "meta"),
		},
		Stream: rapid.StringMatching(`[a-z-]{1,12}`).Draw(t, "stream"),
		Rev:    rapid.Uint64().Draw(t, "rev"),
	}
	copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	return r
}

// TestLeafForStrangers holds the documented bytes: this leaf must never change.
func TestLeafForStrangers(t *testing.T) {
	r := events.Record{
		Draft: events.Draft{
			ID: events.ID{0: 0xa0, 15: 0xaf}, Type: "TaskVerified", JSON: true, Data: []byte("{}"), Meta: []byte{7, 8, 9},
		},
		Stream: "job-1", Rev: 258, Pos: 77, Time: time.Unix(5, 6),
	}
	want := "01" + "01" + "a00000000000000000000000000000af" + "0000000000000102" +
		"00000005" + hex.EncodeToString([]byte("job-1")) + "0000000c" + hex.EncodeToString([]byte("TaskVerified")) +
		"00000003" + "070809" + "00000002" + hex.EncodeToString([]byte("{}"))
	if got := hex.EncodeToString(AppendLeaf(nil, &r)); got != want {
		t.Errorf("leaf\n%s, want\n%s", got, want)
	}
	const hash = "xSRVKJ5rS5DYujlo6KythSw7Fl7CjkeitJKfKk/2+jo="
	if got := LeafHash(r).String(); got != hash {
		t.Errorf("hash %s, want %s", got, hash)
	}
}

func TestLeafIsOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRecord(t)
		leaf := AppendLeaf(nil, &r)
		if LeafHash(r) != tlog.RecordHash(leaf) {
			t.Fatal("hash is not the one of RFC 6962")
		}
		back, err := ParseLeaf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Data) == 0 {
			r.Data, back.Data = nil, nil
		}
		if len(r.Meta) == 0 {
			r.Meta, back.Meta = nil, nil
		}
		if !reflect.DeepEqual(back, r) {
			t.Fatalf("got %+v, want %+v", back, r)
		}
		cut := rapid.IntRange(0, len(leaf)-1).Draw(t, "cut")
		if _, err := ParseLeaf(leaf[:cut]); !errors.Is(err, ErrLeaf) {
			t.Fatalf("cut at %d of %d: %v", cut, len(leaf), err)
		}
		if _, err := ParseLeaf(append(leaf, 0)); !errors.Is(err, ErrLeaf) {
			t.Fatalf("longer: %v", err)
		}
	})
}

func FuzzParseLeaf(f *testing.F) {
	f.Add(AppendLeaf(nil, &events.Record{Stream: "s", Draft: events.Draft{Type: "T", Data: []byte{1}, Meta: []byte{2}}}))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseLeaf(b)
		if err == nil && string(AppendLeaf(nil, &r)) != string(b) {
			t.Errorf("%x is a second form of the same leaf", b)
		}
	})
}

func BenchmarkLeafHash(b *testing.B) {
	r := events.Record{Stream: "assignment-01jd2h7k3m5n7p9r1t3v5x7z9b-0", Draft: events.Draft{Type: "ResultReturned", Data: make([]byte, 180), Meta: make([]byte, 220)}}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		_, buf = hashLeaf(buf, &r)
	}
}
