package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
)

// BundleFormat is the version of the files that are written.
const BundleFormat = 1

// MaxBundleBytes bounds a bundle. Contents that would go beyond it are left out; their hashes stay.
const MaxBundleBytes = 256 << 20

// The numbers of the fields of auditv1.Bundle that are written and read by hand.
const (
	bundleRecords  = 5
	bundleContents = 6
	bundleSum      = 15
	contentSum     = 1
	contentData    = 2
)

// sumField is what stands before the sum, at the end of the file.
var sumField = protowire.AppendVarint(protowire.AppendTag(nil, bundleSum, protowire.BytesType), sha256.Size)

// BundleOptions say what goes into a bundle beside the records.
type BundleOptions struct {
	// Prover ties the records to the log. Nil: nothing does, and checks of the bundle say so.
	Prover Prover
	// Content is where contents are. Nil: they are left out.
	Content Blobs
	// Software names what writes the file.
	Software string
	// MadeUs is the time of writing.
	MadeUs int64
}

// Bundled says what was written.
type Bundled struct {
	Job      string   `json:"job"`
	Records  int      `json:"records"`
	Anchored bool     `json:"anchored"`
	Contents int      `json:"contents"`
	Left     []string `json:"left_out"` // hashes of contents that are not there, or too many
	Bytes    int64    `json:"bytes"`
}

// WriteBundle writes the case with its proofs and contents. It holds one content at a time.
func (c *Case) WriteBundle(ctx context.Context, to io.Writer, o BundleOptions) (Bundled, error) {
	b := Bundled{Job: c.Job, Records: len(c.records), Left: []string{}}
	var anchor *Anchor
	if o.Prover != nil {
		a, err := o.Prover.Prove(ctx, c.records)
		if err != nil {
			return b, fmt.Errorf("prove the records: %w", err)
		}
		if len(a.Proofs) != len(c.records) {
			return b, fmt.Errorf("prove the records: %d proofs of %d", len(a.Proofs), len(c.records))
		}
		anchor, b.Anchored = &a, true
	}
	w := &bundleWriter{to: to, sum: sha256.New()}
	w.message(0, &auditv1.Bundle{
		Format: BundleFormat, Job: c.Job, Anchor: anchorMessage(anchor),
		Maker: &auditv1.Maker{Software: o.Software, Rules: actors.Rules, MadeUs: o.MadeUs},
	})
	for i := range c.records {
		w.message(bundleRecords, recordMessage(&c.records[i], anchor, i))
	}
	if w.err == nil && w.n > MaxBundleBytes {
		return b, fmt.Errorf("job %s: %w", c.Job, ErrTooLarge)
	}
	for _, sum := range c.contents() {
		written, err := w.content(ctx, o.Content, sum)
		if err != nil {
			return b, err
		}
		if !written {
			b.Left = append(b.Left, fmt.Sprintf("%x", sum))
			continue
		}
		b.Contents++
	}
	w.finish()
	b.Bytes = w.n
	return b, w.err
}

func recordMessage(r *events.Record, a *Anchor, i int) *auditv1.Record {
	m := &auditv1.Record{
		Stream: r.Stream, Revision: r.Rev, Position: uint64(r.Pos), Id: r.ID[:], Type: r.Type, Json: r.JSON, Data: r.Data,
		Meta: r.Meta, TimeNs: r.Time.UnixNano(),
	}
	if a != nil {
		m.Leaf = uint64(a.Proofs[i].Index)
		for j := range a.Proofs[i].Hashes {
			m.Path = append(m.Path, a.Proofs[i].Hashes[j][:])
		}
	}
	return m
}

// bundleWriter writes a bundle field by field. The first error stays.
type bundleWriter struct {
	to  io.Writer
	sum hash.Hash
	n   int64
	buf []byte
	err error
}

func (w *bundleWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	w.sum.Write(b)
	n, err := w.to.Write(b)
	w.n, w.err = w.n+int64(n), err
}

// message writes a message as a field; field 0 writes its fields as they are.
func (w *bundleWriter) message(field protowire.Number, m proto.Message) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.buf = w.buf[:0]
	if field != 0 {
		w.buf = protowire.AppendVarint(protowire.AppendTag(w.buf, field, protowire.BytesType), uint64(len(body)))
	}
	w.buf = append(w.buf, body...)
	w.write(w.buf)
}

// content writes what is there and fits.
func (w *bundleWriter) content(ctx context.Context, from Blobs, sum [32]byte) (bool, error) {
	if from == nil {
		return false, nil
	}
	data, err := from.Get(ctx, sum)
	if errors.Is(err, events.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("content %x: %w", sum, err)
	}
	head := protowire.AppendBytes(protowire.AppendTag(nil, contentSum, protowire.BytesType), sum[:])
	head = protowire.AppendVarint(protowire.AppendTag(head, contentData, protowire.BytesType), uint64(len(data)))
	size := len(head) + len(data)
	if w.n+int64(size) > MaxBundleBytes-64 {
		return false, nil
	}
	w.buf = protowire.AppendVarint(protowire.AppendTag(w.buf[:0], bundleContents, protowire.BytesType), uint64(size))
	w.write(append(w.buf, head...))
	w.write(data)
	return true, w.err
}

func (w *bundleWriter) finish() {
	if w.err != nil {
		return
	}
	tail := w.sum.Sum(append([]byte{}, sumField...))
	n, err := w.to.Write(tail)
	w.n, w.err = w.n+int64(n), err
}
