package events

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func genOrigin(t *rapid.T) Origin {
	o := Origin{
		ID:          NewCommandID(rapid.SliceOf(rapid.Byte()).Draw(t, "id")),
		Correlation: rapid.StringMatching(`[a-z0-9]{0,40}`).Draw(t, "correlation"),
		Node:        rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "node"),
		Epoch:       rapid.Uint64().Draw(t, "epoch"),
		Rules:       rapid.Uint32().Draw(t, "rules"),
	}
	if rapid.Bool().Draw(t, "command") {
		o.Command = &eventv1.Command{
			AtUs: rapid.Int64().Draw(t, "at"),
			Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: rapid.Uint64().Draw(t, "token")}},
		}
	}
	return o
}

func genFact(t *rapid.T) Fact {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) Fact {
			return &eventv1.TaskAcked{Attempt: rapid.Uint32().Draw(t, "attempt"), ExecutionDeadlineUs: rapid.Int64().Draw(t, "deadline")}
		}),
		rapid.Custom(func(t *rapid.T) Fact {
			return &eventv1.WorkerRegistered{Key: rapid.SliceOf(rapid.Byte()).Draw(t, "key")}
		}),
		rapid.Just(Fact(&eventv1.StageCompleted{})),
	).Draw(t, "fact")
}

// TestEncode holds the hand-written envelope to the generated code, and decoding to encoding.
func TestEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := genOrigin(t)
		facts := rapid.SliceOfN(rapid.Custom(genFact), 1, 5).Draw(t, "facts")
		drafts, err := Encode(o, facts)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range drafts {
			r := Record{Draft: d}
			f, err := Decode(r)
			if err != nil || !proto.Equal(f, facts[i]) {
				t.Fatalf("decoded %v, %v; want %v", f, err, facts[i])
			}
			env, err := DecodeEnvelope(r)
			if err != nil {
				t.Fatal(err)
			}
			digest := Digest(d.Data)
			want := &eventv1.Envelope{
				Index: uint32(i), Count: uint32(len(facts)), Correlation: o.Correlation, Node: o.Node,
				Epoch: o.Epoch, Rules: o.Rules, Digest: digest[:],
			}
			if i == 0 {
				want.Command = o.Command
			}
			if !proto.Equal(env, want) {
				t.Fatalf("envelope %v, want %v", env, want)
			}
			if generated, err := proto.Marshal(want); err != nil || len(generated) != len(d.Meta) {
				t.Fatalf("envelope of %d bytes, the generated code makes %d (%v)", len(d.Meta), len(generated), err)
			}
			if d.ID.Command() != o.ID {
				t.Fatalf("id %v does not lead back to command %v", d.ID, o.ID)
			}
		}
	})
}

// TestEnvelopeFields fails when the envelope gains a field that Encode does not know.
func TestEnvelopeFields(t *testing.T) {
	if n := (&eventv1.Envelope{}).ProtoReflect().Descriptor().Fields().Len(); n != envelopeDigest {
		t.Errorf("Envelope has %d fields, Encode writes %d", n, envelopeDigest)
	}
}

// TestEveryFactIsRegistered walks the schema: a message in the past tense that is no fact, or a fact that is missing.
func TestEveryFactIsRegistered(t *testing.T) {
	known := map[string]bool{}
	for _, name := range Types() {
		known[name] = true
		f, err := NewFact(name)
		if err != nil || TypeOf(f) != name {
			t.Errorf("NewFact(%q) = %v, %v", name, f, err)
		}
	}
	// Messages that are parts of facts or commands, or commands themselves.
	inCommand := map[protoreflect.FullName]bool{}
	fields := (&eventv1.Command{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if m := fields.Get(i).Message(); m != nil {
			inCommand[m.FullName()] = true
		}
	}
	used := map[protoreflect.FullName]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("shardy.event.v1", func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Messages().Len() {
			m := fd.Messages().Get(i)
			for j := range m.Fields().Len() {
				if part := m.Fields().Get(j).Message(); part != nil {
					used[part.FullName()] = true
				}
			}
		}
		return true
	})
	stored := map[string]bool{"Envelope": true, "ChunkManifest": true} // neither fact nor command, by design
	protoregistry.GlobalFiles.RangeFilesByPackage("shardy.event.v1", func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Messages().Len() {
			m := fd.Messages().Get(i)
			name := string(m.Name())
			if !known[name] && !used[m.FullName()] && !inCommand[m.FullName()] && !stored[name] {
				t.Errorf("%s is neither a registered fact, nor a command, nor a part of one", name)
			}
		}
		return true
	})
}

func TestRefusals(t *testing.T) {
	if _, err := NewFact("NothingHappened"); !errors.Is(err, ErrUnknownType) {
		t.Errorf("unknown type: %v", err)
	}
	bad := Record{Draft: Draft{Type: "TaskAcked", Data: []byte{0xff}, Meta: []byte{0xff}}}
	if _, err := Decode(bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("malformed fact: %v", err)
	}
	if _, err := DecodeEnvelope(bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("malformed envelope: %v", err)
	}
}

// FuzzDecode feeds foreign bytes to the decoders: errors, never panics, and what decodes encodes again.
func FuzzDecode(f *testing.F) {
	drafts, err := Encode(Origin{ID: NewCommandID([]byte("x")), Command: &eventv1.Command{AtUs: 1}}, []Fact{&eventv1.TaskAcked{Attempt: 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("TaskAcked", drafts[0].Data, drafts[0].Meta)
	f.Add("JobSubmitted", []byte{0x0a, 0x00}, []byte{})
	f.Fuzz(func(t *testing.T, typ string, data, meta []byte) {
		r := Record{Draft: Draft{Type: typ, Data: data, Meta: meta}}
		if fact, err := Decode(r); err == nil {
			if _, err := proto.Marshal(fact); err != nil {
				t.Errorf("decoded fact does not encode: %v", err)
			}
		}
		if env, err := DecodeEnvelope(r); err == nil {
			if _, err := proto.Marshal(env); err != nil {
				t.Errorf("decoded envelope does not encode: %v", err)
			}
		}
	})
}

func TestIDs(t *testing.T) {
	a, b := NewCommandID([]byte("ab"), []byte("c")), NewCommandID([]byte("a"), []byte("bc"))
	if a == b {
		t.Error("parts run together")
	}
	if a.Effect(0) == a.Effect(1) || a.Effect(0) == a {
		t.Error("effects share an id")
	}
	if id := a.Event(513); id.Command() != a || id == a.Event(1) {
		t.Error("event id does not lead back")
	}
	if s := ID(a).String(); len(s) != 36 || s[8] != '-' || s[14] != '8' {
		t.Errorf("%q is not a UUID of version 8", s)
	}
	at := time.UnixMilli(1_700_000_000_000)
	first, second := NewEntityID(at, [10]byte{255, 255}), NewEntityID(at.Add(time.Millisecond), [10]byte{})
	if first >= second {
		t.Error("ids do not sort by time")
	}
	for _, id := range []string{first, second, DeriveEntityID([]byte("x"))} {
		if err := CheckEntityID(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"", "UPPERCASEUPPERCASEUPPERCASE", first + "0", first[:25] + "u"} {
		if err := CheckEntityID(id); !errors.Is(err, ErrBadID) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestExpect(t *testing.T) {
	for want, e := range map[string]Expect{"absent": Absent, "exists": Exists, "any": Any, "at 3": At(3)} {
		if e.String() != want {
			t.Errorf("%v, want %s", e, want)
		}
	}
	var zero Expect
	if zero != Absent {
		t.Error("the zero expectation is not absence")
	}
	c := fmt.Errorf("append: %w", &Conflict{Stream: "s", Want: At(1), Got: Absent})
	if !errors.Is(c, ErrConflict) || !bytes.Contains([]byte(c.Error()), []byte("want at 1, got absent")) {
		t.Errorf("conflict says %v", c)
	}
}

func BenchmarkEncode(b *testing.B) {
	o := Origin{ID: NewCommandID([]byte("x")), Node: "n", Epoch: 1, Rules: 1, Command: &eventv1.Command{
		AtUs: 1, Kind: &eventv1.Command_ReturnResult{ReturnResult: &eventv1.ReturnResult{Token: 1 << 60, Output: &eventv1.BlobRef{Sha256: make([]byte, 32)}, Attestation: make([]byte, 64)}},
	}}
	facts := []Fact{&eventv1.ResultReturned{Attempt: 1, Output: &eventv1.BlobRef{Sha256: make([]byte, 32)}, Attestation: make([]byte, 64)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(o, facts); err != nil {
			b.Fatal(err)
		}
	}
}
