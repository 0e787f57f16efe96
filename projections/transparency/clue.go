package transparency

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

const (
	// clueBytes bounds what is hashed in search of one changed byte: some 100 ms.
	clueBytes = 128 << 20
	// clueRevisions is how far a changed revision is looked for.
	clueRevisions = 4096
)

// clue says what of a record differs from the leaf that was recorded in its place, as far as the recorded hash tells:
// it tries what a small change would have been made from, and else asks the digest that the record's envelope carries.
func clue(r events.Record, want tlog.Hash) string {
	was := r
	was.JSON = !r.JSON
	if LeafHash(was) == want {
		return fmt.Sprintf("the flag for JSON is %t, was %t", r.JSON, was.JSON)
	}
	if rev, ok := formerRevision(r, want); ok {
		return fmt.Sprintf("the revision is %d, was %d", r.Rev, rev)
	}
	if what, ok := formerByte(r, want); ok {
		return what
	}
	env, err := events.DecodeEnvelope(r)
	if err != nil {
		return "the record is another; its metadata is no envelope"
	}
	if d := events.Digest(r.Data); len(env.GetDigest()) == len(d) && string(env.GetDigest()) != string(d[:]) {
		return "the data differs: it is not what the digest in the metadata says"
	}
	return "the record is another, with data that fits its metadata"
}

func formerRevision(r events.Record, want tlog.Hash) (uint64, bool) {
	leaf := append([]byte{hashPrefix}, AppendLeaf(nil, &r)...)
	first := r.Rev - min(r.Rev, clueRevisions/2)
	for rev := first; rev < first+clueRevisions; rev++ {
		binary.BigEndian.PutUint64(leaf[1+18:], rev)
		if sha256.Sum256(leaf) == want {
			return rev, true
		}
	}
	return 0, false
}

// formerByte looks for the one byte that was changed, and for one of the data with the digest in the metadata made to fit.
func formerByte(r events.Record, want tlog.Hash) (string, bool) {
	leaf := append([]byte{hashPrefix}, AppendLeaf(nil, &r)...)
	if len(leaf)*len(leaf)*255 > clueBytes {
		return "", false
	}
	digest := events.Digest(r.Data)
	at := bytes.Index(r.Meta, digest[:])
	for _, f := range leafFields(&r) {
		for i := f.begin; i < f.end; i++ {
			is := leaf[1+i]
			for was := range 256 {
				leaf[1+i] = byte(was)
				if sha256.Sum256(leaf) == want {
					return fmt.Sprintf("byte %d of the %s is 0x%02x, was 0x%02x", i-f.begin, f.name, is, was), true
				}
				if f.name == dataField && at >= 0 && fitted(leaf, &r, f, at, want) {
					return fmt.Sprintf("byte %d of the data is 0x%02x, was 0x%02x, and the digest in the metadata was made to fit", i-f.begin, is, was), true
				}
			}
			leaf[1+i] = is
		}
	}
	return "", false
}

// fitted tells whether a leaf is the wanted one once its metadata has the digest of its data, at a place in the metadata.
func fitted(leaf []byte, r *events.Record, data leafField, at int, want tlog.Hash) bool {
	meta := leaf[1+data.begin-4-len(r.Meta):]
	place := meta[at : at+events.DigestSize]
	is := [events.DigestSize]byte(place)
	digest := events.Digest(leaf[1+data.begin:])
	copy(place, digest[:])
	sum := sha256.Sum256(leaf)
	copy(place, is[:])
	return sum == want
}

const dataField = "data"

type leafField struct {
	name       string
	begin, end int
}

// leafFields says where in a leaf the fields of a record lie, those first that are changed most likely.
func leafFields(r *events.Record) []leafField {
	at := leafFixed
	next := func(name string, n int) leafField {
		f := leafField{name, at + 4, at + 4 + n}
		at = f.end
		return f
	}
	stream, typ := next("stream's name", len(r.Stream)), next("type", len(r.Type))
	meta, data := next("metadata", len(r.Meta)), next(dataField, len(r.Data))
	return []leafField{data, meta, typ, stream, {"id", 2, 18}, {"revision", 18, leafFixed}}
}
