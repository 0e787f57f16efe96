package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
)

// The refusals of a file that cannot be checked at all.
var (
	ErrNoBundle = errors.New("not a bundle")
	ErrDamaged  = errors.New("the bundle is damaged")
	ErrFormat   = errors.New("the bundle is of a format that this build does not know")
)

const (
	maxContents  = 4096
	maxPath      = 64      // hashes of a proof
	maxHeadBytes = 1 << 16 // of the fields before the records, each
	recordPath   = 11      // number of auditv1.Record.path
	maxEntries   = MaxCaseRecords + maxContents + 16
)

// unpacked is a bundle whose form is good. What it says is not verified yet.
type unpacked struct {
	job      string
	maker    *auditv1.Maker
	anchor   *auditv1.Anchor // nil: none
	records  []events.Record
	proofs   []rawProof
	contents []rawContent
}

type rawContent struct{ sum, data []byte }

// unpack reads a bundle. It allocates in proportion to the file, whatever the file says.
func unpack(file []byte) (*unpacked, error) {
	if len(file) > MaxBundleBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrNoBundle, len(file), MaxBundleBytes)
	}
	end := len(file) - len(sumField) - sha256.Size
	if end < 0 || !bytes.Equal(file[end:end+len(sumField)], sumField) {
		return nil, fmt.Errorf("%w: it does not end with a sum, or was cut off", ErrNoBundle)
	}
	if sum := sha256.Sum256(file[:end]); !bytes.Equal(sum[:], file[len(file)-sha256.Size:]) {
		return nil, fmt.Errorf("%w: its bytes hash to %x, it says %x", ErrDamaged, sum, file[len(file)-sha256.Size:])
	}
	u := &unpacked{}
	head, rest, err := splitHead(file[:end])
	if err != nil {
		return nil, err
	}
	if err := u.head(head); err != nil {
		return nil, err
	}
	return u, u.body(rest)
}

// splitHead cuts a bundle before its first record.
func splitHead(b []byte) (head, rest []byte, err error) {
	for rest = b; len(rest) > 0; {
		num, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || num < 1 {
			return nil, nil, fmt.Errorf("%w: no field where one is due", ErrNoBundle)
		}
		if num >= bundleRecords {
			break
		}
		size := protowire.ConsumeFieldValue(num, kind, rest[n:])
		if size < 0 || size > maxHeadBytes {
			return nil, nil, fmt.Errorf("%w: field %d is malformed or too long", ErrNoBundle, num)
		}
		rest = rest[n+size:]
		if len(b)-len(rest) > 4*maxHeadBytes {
			return nil, nil, fmt.Errorf("%w: too much before the first record", ErrNoBundle)
		}
	}
	return b[:len(b)-len(rest)], rest, nil
}

func (u *unpacked) head(b []byte) error {
	m := new(auditv1.Bundle)
	if err := strictly(b, m); err != nil {
		return err
	}
	switch {
	case m.Format != BundleFormat:
		return fmt.Errorf("%w: format %d", ErrFormat, m.Format)
	case events.CheckEntityID(m.Job) != nil:
		return fmt.Errorf("%w: it names no job", ErrNoBundle)
	}
	u.job, u.maker, u.anchor = m.Job, m.Maker, m.Anchor
	if u.anchor != nil && len(m.ProtoReflect().GetUnknown())+len(u.anchor.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("%w: the checkpoint has unknown fields", ErrNoBundle)
	}
	return nil
}

// strictly decodes a message that has no fields but those of its schema.
func strictly(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrNoBundle, err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("%w: %s has unknown fields", ErrNoBundle, events.TypeOf(m))
	}
	return nil
}

// body reads records and contents, which come in this order.
func (u *unpacked) body(b []byte) error {
	var last protowire.Number
	for n := 0; len(b) > 0; n++ {
		num, kind, size := protowire.ConsumeTag(b)
		if size < 0 || kind != protowire.BytesType || num < last || n > maxEntries {
			return fmt.Errorf("%w: fields are malformed, out of order or too many", ErrNoBundle)
		}
		b, last = b[size:], num
		field, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return fmt.Errorf("%w: a field is cut off", ErrNoBundle)
		}
		b = b[size:]
		var err error
		switch num {
		case bundleRecords:
			err = u.record(field)
		case bundleContents:
			err = u.content(field)
		default:
			err = fmt.Errorf("%w: unknown field %d", ErrNoBundle, num)
		}
		if err != nil {
			return err
		}
	}
	if len(u.records) == 0 {
		return fmt.Errorf("%w: it holds no records", ErrNoBundle)
	}
	return nil
}

func (u *unpacked) record(field []byte) error {
	if len(u.records) >= MaxCaseRecords || !fewHashes(field) {
		return fmt.Errorf("%w: too many records, or hashes in a proof", ErrNoBundle)
	}
	m := new(auditv1.Record)
	if err := strictly(field, m); err != nil {
		return err
	}
	if err := u.checkRecord(m); err != nil {
		return fmt.Errorf("%w: record %d: %w", ErrNoBundle, len(u.records), err)
	}
	u.records = append(u.records, events.Record{
		Draft:  events.Draft{ID: events.ID(m.Id), Type: m.Type, JSON: m.Json, Data: m.Data, Meta: m.Meta},
		Stream: m.Stream, Rev: m.Revision, Pos: events.Position(m.Position), Time: time.Unix(0, m.TimeNs).UTC(),
	})
	u.proofs = append(u.proofs, rawProof{int64(m.Leaf), m.Path})
	return nil
}

// fewHashes looks at a record before it is decoded: empty hashes cost two bytes in a file and many in memory.
func fewHashes(field []byte) bool {
	hashes := 0
	for len(field) > 0 {
		num, kind, n := protowire.ConsumeTag(field)
		if n < 0 {
			return true // decoding names it
		}
		size := protowire.ConsumeFieldValue(num, kind, field[n:])
		if size < 0 {
			return true
		}
		if num == recordPath {
			hashes++
		}
		field = field[n+size:]
	}
	return hashes <= maxPath
}

// checkRecord holds a record to the limits that every log has, and to the job.
func (u *unpacked) checkRecord(m *auditv1.Record) error {
	if len(m.Id) != len(events.ID{}) {
		return fmt.Errorf("an id of %d bytes", len(m.Id))
	}
	if err := events.CheckAppend(m.Stream, []events.Draft{{ID: events.ID(m.Id), Type: m.Type, Data: m.Data, Meta: m.Meta}}); err != nil {
		return err
	}
	if m.Leaf > math.MaxInt64 {
		return fmt.Errorf("leaf %d", m.Leaf)
	}
	for _, h := range m.Path {
		if len(h) != sha256.Size {
			return fmt.Errorf("a hash of %d bytes in its proof", len(h))
		}
	}
	if m.Stream == jobPrefix+u.job {
		return nil
	}
	if id, ok := strings.CutPrefix(m.Stream, assignmentPrefix); ok {
		if job, slot, err := actors.ParseSlotID(id); err == nil && job == u.job && actors.SlotID(job, slot) == id {
			return nil
		}
	}
	return fmt.Errorf("stream %q is not of job %s", m.Stream, u.job)
}

// content reads a content without copying it.
func (u *unpacked) content(field []byte) error {
	var c rawContent
	for _, part := range []struct {
		num protowire.Number
		to  *[]byte
	}{{contentSum, &c.sum}, {contentData, &c.data}} {
		num, kind, n := protowire.ConsumeTag(field)
		if n < 0 || num != part.num || kind != protowire.BytesType {
			return fmt.Errorf("%w: content %d is malformed", ErrNoBundle, len(u.contents))
		}
		value, size := protowire.ConsumeBytes(field[n:])
		if size < 0 {
			return fmt.Errorf("%w: content %d is cut off", ErrNoBundle, len(u.contents))
		}
		*part.to, field = value, field[n+size:]
	}
	if len(c.sum) != sha256.Size || len(field) > 0 || len(u.contents) >= maxContents {
		return fmt.Errorf("%w: content %d is malformed, or one too many", ErrNoBundle, len(u.contents))
	}
	u.contents = append(u.contents, c)
	return nil
}

// checkContents hashes what came along. Content that is not what its name says is left out.
func (u *unpacked) checkContents(c *Case, found *findings) held {
	named := map[[32]byte]bool{}
	for _, sum := range c.contents() {
		named[sum] = true
	}
	h := held{}
	for _, raw := range u.contents {
		sum := [32]byte(raw.sum)
		switch actual := sha256.Sum256(raw.data); {
		case actual != sum:
			found.add(&u.records[0], Blob, "content %x hashes to %x", sum, actual)
		case !named[sum]:
			found.add(&u.records[0], Blob, "content %x is named by no fact", sum)
		default:
			h[sum] = raw.data
		}
	}
	return h
}
