package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var blobRef = (&eventv1.BlobRef{}).ProtoReflect().Descriptor()

// everyMessage calls do for each type of message that a record can hold.
func everyMessage(t *testing.T, do func(protoreflect.MessageDescriptor)) {
	t.Helper()
	seen := map[protoreflect.FullName]bool{}
	var visit func(protoreflect.MessageDescriptor)
	visit = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		do(d)
		for i := range d.Fields().Len() {
			if m := d.Fields().Get(i).Message(); m != nil {
				visit(m)
			}
		}
	}
	for _, name := range events.Types() {
		f, err := events.NewFact(name)
		if err != nil {
			t.Fatal(err)
		}
		visit(f.ProtoReflect().Descriptor())
	}
	visit((&eventv1.Envelope{}).ProtoReflect().Descriptor())
}

// TestTheSchemaIsOneThatReferencesReads: who adds a field that names content says here whether the content names more.
func TestTheSchemaIsOneThatReferencesReads(t *testing.T) {
	content := map[protoreflect.Name]bool{"input": true, "output": true, "verification_key": true}
	refs := 0
	everyMessage(t, func(d protoreflect.MessageDescriptor) {
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			switch {
			case f.IsMap():
				t.Errorf("%s: References does not read maps", f.FullName())
			case f.Kind() == protoreflect.GroupKind:
				t.Errorf("%s: References does not read groups", f.FullName())
			case f.Message() == blobRef && isManifest(f) == content[f.Name()]:
				t.Errorf("%s: is its content a ChunkManifest? If so it must be called manifest", f.FullName())
			case f.Message() == blobRef:
				refs++
			}
		}
	})
	if refs < 10 {
		t.Errorf("only %d fields name content: the walk is broken", refs)
	}
}

// filler makes messages in which every field is set, with content that is in the store.
type filler struct {
	t     *testing.T
	store *blobs.Store
	n     uint64
	named map[[32]byte]string // by whom
}

func (f *filler) put(by string, data []byte) *eventv1.BlobRef {
	ref, err := f.store.Put(f.t.Context(), data)
	if err != nil {
		f.t.Fatal(err)
	}
	f.named[ref.Sum] = by
	return &eventv1.BlobRef{Sha256: ref.Sum[:], Size: ref.Size}
}

func (f *filler) content(by string) *eventv1.BlobRef {
	f.n++
	size := 100
	if f.n%16 == 0 {
		size += events.MaxStagedBytes // for the bucket
	}
	return f.put(by, binary.BigEndian.AppendUint64(make([]byte, size), f.n))
}

// fill sets all fields of a message that pick, if not nil, chooses. Of a oneof it chooses one.
func (f *filler) fill(m protoreflect.Message, pick func(n int) int) {
	d := m.Descriptor()
	for i := range d.Oneofs().Len() {
		of := d.Oneofs().Get(i).Fields()
		f.set(m, of.Get(pick(of.Len())), pick)
	}
	for i := range d.Fields().Len() {
		if fd := d.Fields().Get(i); fd.ContainingOneof() == nil {
			f.set(m, fd, pick)
		}
	}
}

func (f *filler) set(m protoreflect.Message, fd protoreflect.FieldDescriptor, pick func(n int) int) {
	if fd.IsList() {
		list := m.Mutable(fd).List()
		for range 1 + pick(2) {
			list.Append(f.value(fd, list.NewElement, pick))
		}
		return
	}
	m.Set(fd, f.value(fd, func() protoreflect.Value { return m.NewField(fd) }, pick))
}

func (f *filler) value(fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, pick func(n int) int) protoreflect.Value {
	by := string(fd.FullName())
	switch {
	case fd.Message() == blobRef && fd.Name() == "manifest":
		data, err := proto.Marshal(&eventv1.ChunkManifest{Chunks: []*eventv1.BlobRef{f.content(by), f.content(by)}})
		if err != nil {
			f.t.Fatal(err)
		}
		return protoreflect.ValueOfMessage(f.put(by, data).ProtoReflect())
	case fd.Message() == blobRef:
		return protoreflect.ValueOfMessage(f.content(by).ProtoReflect())
	case fd.Message() != nil:
		v := fresh()
		f.fill(v.Message(), pick)
		return v
	case fd.Kind() == protoreflect.BytesKind: // the name of a module, say
		return protoreflect.ValueOfBytes(f.content(by).Sha256)
	default:
		return fresh()
	}
}

func newFiller(t *testing.T) (*filler, events.Log) {
	l := memlog.New()
	store, err := blobs.Open(t.Context(), t.TempDir(), blobs.Options{Log: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &filler{t: t, store: store, named: map[[32]byte]string{}}, l
}

// decide appends one fact with its command.
func decide(t *testing.T, l events.Log, n uint64, cmd *eventv1.Command, fact events.Fact) {
	t.Helper()
	o := events.Origin{ID: events.NewCommandID([]byte("test"), binary.BigEndian.AppendUint64(nil, n)), Command: cmd}
	drafts, err := events.Encode(o, []events.Fact{fact})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), "job-x", events.Any, drafts...); err != nil {
		t.Fatal(err)
	}
}

// TestEveryNameIsFound fills every field of every fact and every command.
func TestEveryNameIsFound(t *testing.T) {
	f, l := newFiller(t)
	zero := func(int) int { return 0 }
	for i, name := range events.Types() {
		fact, err := events.NewFact(name)
		if err != nil {
			t.Fatal(err)
		}
		f.fill(fact.ProtoReflect(), zero)
		decide(t, l, uint64(i), nil, fact)
	}
	kinds := (&eventv1.Command{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range kinds.Len() {
		cmd := new(eventv1.Command)
		f.fill(cmd.ProtoReflect(), func(n int) int {
			if n == kinds.Len() {
				return i
			}
			return 0
		})
		decide(t, l, uint64(1000+i), cmd, &eventv1.JobCancelled{})
	}
	set, err := References(t.Context(), l, f.store)
	if err != nil {
		t.Fatal(err)
	}
	for sum, by := range f.named {
		if !set.Has(sum) {
			t.Errorf("%s is forgotten", by)
		}
	}
	if len(f.named) < 50 {
		t.Errorf("only %d names: the test fills nothing", len(f.named))
	}
}

// TestSweepRemovesWhatNothingNames: of arbitrary records and orphans, the orphans go and nothing else does.
func TestSweepRemovesWhatNothingNames(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f, l := newFiller(t)
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "pick") }
		for i := range rapid.IntRange(0, 4).Draw(r, "records") {
			fact, err := events.NewFact(rapid.SampledFrom(events.Types()).Draw(r, "type"))
			if err != nil {
				r.Fatal(err)
			}
			f.fill(fact.ProtoReflect(), pick)
			cmd := new(eventv1.Command)
			f.fill(cmd.ProtoReflect(), pick)
			decide(t, l, uint64(i), cmd, fact)
		}
		named := f.named
		f.named = map[[32]byte]string{}
		for range rapid.IntRange(0, 20).Draw(r, "orphans") {
			f.content("nobody")
		}
		set, err := References(t.Context(), l, f.store)
		if err != nil {
			r.Fatal(err)
		}
		removed := 0
		for deadline := time.Now().Add(10 * time.Second); removed < len(f.named) && time.Now().Before(deadline); {
			done, err := f.store.Sweep(t.Context(), set.Has, time.Nanosecond)
			if err != nil {
				r.Fatal(err)
			}
			removed += done.Removed
		}
		if removed != len(f.named) {
			r.Errorf("%d removed, want %d", removed, len(f.named))
		}
		for sum, by := range named {
			if ok, err := f.store.Has(t.Context(), sum); !ok || err != nil {
				r.Errorf("%s names %x: %v, %v", by, sum, ok, err)
			}
		}
	})
}

type noBlobs struct{ err error }

func (n noBlobs) Get(context.Context, [32]byte, int64) ([]byte, error) { return nil, n.err }

// TestReferencesRefusesWhatItCannotRead: a name that was overlooked would be content that is lost.
func TestReferencesRefusesWhatItCannotRead(t *testing.T) {
	started := &eventv1.StageStarted{Manifest: &eventv1.BlobRef{Sha256: make([]byte, 32)}}
	for name, c := range map[string]struct {
		kind string
		data []byte
		want error
	}{
		"fact of an unknown type": {"JobPraised", nil, ErrForeign},
		"unknown field":           {"StageCompleted", protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1), ErrForeign},
		"unknown field inside":    {"JobSubmitted", []byte{0x0a, 4, 0xfa, 0x3f, 1, 0}, ErrForeign},
		"malformed fact":          {"JobSubmitted", []byte{0xff}, events.ErrMalformed},
		"manifest that is gone":   {"StageStarted", mustMarshal(t, started), blobs.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			l := memlog.New()
			if _, err := l.Append(t.Context(), "s", events.Any, events.Draft{ID: events.NewCommandID([]byte(name)).Event(0), Type: c.kind, Data: c.data}); err != nil {
				t.Fatal(err)
			}
			if _, err := References(t.Context(), l, noBlobs{blobs.ErrNotFound}); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
