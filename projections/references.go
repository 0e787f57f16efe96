package projections

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrForeign refuses a log that a newer version wrote: what it names there, nobody here can tell.
var ErrForeign = errors.New("written by a newer version")

// MaxManifestBytes bounds one ChunkManifest: more than pipeline.MaxChunks references need.
const MaxManifestBytes = 16 << 20

// BlobReader is what References needs of the blob store. A blob of more than limit bytes MUST be an error.
type BlobReader interface {
	Get(ctx context.Context, sum [32]byte, limit int64) ([]byte, error)
}

// BlobSet is a set of blobs, by their SHA-256.
type BlobSet map[[32]byte]struct{}

// Has tells whether a blob is in the set.
func (s BlobSet) Has(sum [32]byte) bool {
	_, ok := s[sum]
	return ok
}

// References reads the whole log and returns every blob that is still needed: what any fact or recorded command names,
// and what the manifests among that name in turn.
//
// It promises never to forget one: every field of 32 bytes, at whatever depth, counts as a name, so that a field that
// is added to the schema later is covered too. The price is that keys of workers and the like are in the set; they name
// no blob. A record that this version does not know whole is ErrForeign, a manifest that cannot be read an error: then
// nothing may be removed. Limits: the set is in memory, about 50 bytes a name; the log must not grow meanwhile, or else
// the caller keeps what was put since.
func References(ctx context.Context, log events.Log, blobs BlobReader) (BlobSet, error) {
	c := collector{names: BlobSet{}, manifests: BlobSet{}, fields: map[protoreflect.FullName][]protoreflect.FieldDescriptor{}}
	for r, err := range log.ReadAll(ctx, 0, events.Filter{}) {
		if err != nil {
			return nil, fmt.Errorf("references: %w", err)
		}
		if err := c.record(r); err != nil {
			return nil, fmt.Errorf("references: %s/%d: %w", r.Stream, r.Rev, err)
		}
	}
	for sum := range c.manifests {
		if err := c.manifest(ctx, blobs, sum); err != nil {
			return nil, fmt.Errorf("references: manifest %x: %w", sum, err)
		}
	}
	return c.names, nil
}

// collector gathers names from messages. It belongs to one goroutine.
type collector struct {
	names     BlobSet
	manifests BlobSet // those names that stand for a ChunkManifest
	// fields that can hold names or messages, by type of message.
	fields map[protoreflect.FullName][]protoreflect.FieldDescriptor
}

func (c *collector) record(r events.Record) error {
	f, err := events.Decode(r)
	if errors.Is(err, events.ErrUnknownType) {
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err != nil {
		return err
	}
	if err := c.message(f.ProtoReflect()); err != nil {
		return err
	}
	e, err := events.DecodeEnvelope(r)
	if err != nil {
		return err
	}
	return c.message(e.ProtoReflect())
}

// message takes the names out of a message and of those inside it.
func (c *collector) message(m protoreflect.Message) error {
	d := m.Descriptor()
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%w: %s has fields that are not known", ErrForeign, d.Name())
	}
	for _, f := range c.fieldsOf(d) {
		if !m.Has(f) {
			continue
		}
		v := m.Get(f)
		if !f.IsList() {
			if err := c.value(f, v); err != nil {
				return err
			}
			continue
		}
		for list, i := v.List(), 0; i < list.Len(); i++ {
			if err := c.value(f, list.Get(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) value(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if f.Kind() == protoreflect.BytesKind {
		if b := v.Bytes(); len(b) == 32 {
			c.names[[32]byte(b)] = struct{}{}
		}
		return nil
	}
	if isManifest(f) {
		if ref, ok := v.Message().Interface().(*eventv1.BlobRef); ok && len(ref.Sha256) == 32 {
			c.manifests[[32]byte(ref.Sha256)] = struct{}{}
		}
	}
	return c.message(v.Message())
}

// isManifest tells references to a ChunkManifest from those to content that names nothing. A test holds the schema to
// the name.
func isManifest(f protoreflect.FieldDescriptor) bool { return f.Name() == "manifest" }

func (c *collector) fieldsOf(d protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	fields, ok := c.fields[d.FullName()]
	if ok {
		return fields
	}
	all := d.Fields()
	for i := range all.Len() {
		if k := all.Get(i).Kind(); k == protoreflect.BytesKind || k == protoreflect.MessageKind {
			fields = append(fields, all.Get(i))
		}
	}
	c.fields[d.FullName()] = fields
	return fields
}

func (c *collector) manifest(ctx context.Context, blobs BlobReader, sum [32]byte) error {
	data, err := blobs.Get(ctx, sum, MaxManifestBytes)
	if err != nil {
		return err
	}
	m := new(eventv1.ChunkManifest)
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: %w", events.ErrMalformed, err)
	}
	return c.message(m.ProtoReflect())
}
