package esdbserver

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// TestFrame holds the events written by hand to the generated code.
func TestFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &events.Record{
			Draft: events.Draft{
				ID:   events.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
				Type: rapid.SampledFrom([]string{"TaskVerified", typeTombstone, "T"}).Draw(t, "type"),
				JSON: rapid.Bool().Draw(t, "json"),
				Data: rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "data"),
				Meta: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "meta"),
			},
			Stream: rapid.StringMatching(`[a-z]{1,200}`).Draw(t, "stream"),
			Rev:    rapid.Uint64().Draw(t, "rev"),
			Pos:    events.Position(rapid.Uint64().Draw(t, "pos")),
			Time:   time.UnixMicro(rapid.Int64Range(0, 1<<51).Draw(t, "time")).UTC(),
		}
		text := rapid.Bool().Draw(t, "text")
		b, err := newCodec().Marshal(&frame{r: r, text: text})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		var got esdbv1.ReadResponse
		if err := proto.Unmarshal(b.Materialize(), &got); err != nil {
			t.Fatal(err)
		}
		want := &esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_Event{Event: &esdbv1.ReadResponse_ReadEvent{
			Event:    recorded(r, text),
			Position: &esdbv1.ReadResponse_ReadEvent_CommitPosition{CommitPosition: uint64(r.Pos)},
		}}}
		if !proto.Equal(&got, want) {
			t.Fatalf("%v, want %v", &got, want)
		}
		if n := proto.Size(want); b.Len() != n {
			t.Fatalf("%d bytes, the generated code writes %d", b.Len(), n)
		}
	})
}
