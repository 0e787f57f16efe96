package audit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/events"
)

// Kind names what a divergence is about.
type Kind string

// The kinds of divergence.
const (
	Order       Kind = "order"       // positions do not ascend
	Revision    Kind = "revision"    // a stream's revisions are not dense
	Envelope    Kind = "envelope"    // metadata that contradicts itself or its neighbours
	Digest      Kind = "digest"      // the stored bytes are not those that were hashed
	Malformed   Kind = "malformed"   // bytes that are no fact of the recorded type
	Refused     Kind = "refused"     // the rules refuse the recorded command
	Count       Kind = "count"       // the rules answer with more or fewer facts
	Type        Kind = "type"        // the rules answer with another kind of fact
	Field       Kind = "field"       // the rules answer with another value
	Fold        Kind = "fold"        // the stream's state cannot take the fact
	Cut         Kind = "cut"         // a decision ends before its last fact
	Attestation Kind = "attestation" // a signature that does not fit, or is missing, or was refused though it fits
	Proof       Kind = "proof"       // a further proof that does not hold
	Checksum    Kind = "checksum"    // a verdict's checksum is not that of its result
	Placement   Kind = "placement"   // a worker who is not the one that the seed picks
	Replica     Kind = "replica"     // a job counts a result that its slot did not return
	Blob        Kind = "blob"        // content that is missing or is not what its name says
	Signature   Kind = "signature"   // a checkpoint that the key did not sign
	Inclusion   Kind = "inclusion"   // a record that is not in the log that was signed
	Executed    Kind = "executed"    // a verdict that is not what the module does
)

// Divergence is one place where the log is not what its commands and evidence lead to.
type Divergence struct {
	Stream   string          `json:"stream"`
	Revision uint64          `json:"revision"`
	Position events.Position `json:"position"`
	Kind     Kind            `json:"kind"`
	Detail   string          `json:"detail"`
}

// String is the divergence as one line for people.
func (d Divergence) String() string {
	return fmt.Sprintf("%s revision %d: %s: %s", d.Stream, d.Revision, d.Kind, d.Detail)
}

// Evidence counts what the pass over the stored evidence verified, and how long it took.
type Evidence struct {
	Attestations uint64  `json:"attestations"` // signatures verified, refused ones included
	Unattested   uint64  `json:"unattested"`   // results without a signature, where the policy allows it
	Replicas     uint64  `json:"replicas"`     // results counted by a job and returned by its slot
	Checksums    uint64  `json:"checksums"`    // of verdicts
	Proofs       uint64  `json:"proofs"`       // further proofs, where contents are there
	Placements   uint64  `json:"placements"`   // choices of a worker
	Blobs        uint64  `json:"blobs"`        // contents hashed
	Seconds      float64 `json:"seconds"`
}

// Report is what an audit found. Its JSON is a documented contract.
type Report struct {
	Streams     uint64       `json:"streams"`
	Events      uint64       `json:"events"`
	Commands    uint64       `json:"commands"`    // recorded ones, undecidable ones included
	Divergences uint64       `json:"divergences"` // all of them, those not listed included
	Undecidable uint64       `json:"undecidable"` // commands whose rules are gone or whose stream's state is lost
	Evidence    Evidence     `json:"evidence"`
	Seconds     float64      `json:"seconds"` // of the replay; the evidence has its own
	EventsPerS  float64      `json:"events_per_s"`
	Found       []Divergence `json:"found"` // the first ones, in the order of the log
}

// Clean says that everything was decidable and nothing diverges.
func (r Report) Clean() bool { return r.Divergences == 0 && r.Undecidable == 0 }

// First is the first divergence in the order of the log.
func (r Report) First() (Divergence, bool) {
	if len(r.Found) == 0 {
		return Divergence{}, false
	}
	return r.Found[0], true
}

// findings collects divergences: it counts all of them and keeps the first ones. Its owner is one goroutine.
type findings struct {
	count uint64
	max   int
	kept  []Divergence
}

func (f *findings) add(r *events.Record, kind Kind, format string, args ...any) {
	f.count++
	if len(f.kept) < f.max {
		f.kept = append(f.kept, Divergence{
			Stream: r.Stream, Revision: r.Rev, Position: r.Pos, Kind: kind, Detail: fmt.Sprintf(format, args...),
		})
	}
}

// merge adds what another collector found and keeps the earliest of both.
func (f *findings) merge(other findings) {
	f.count += other.count
	f.kept = append(f.kept, other.kept...)
	slices.SortStableFunc(f.kept, func(a, b Divergence) int { return cmp.Compare(a.Position, b.Position) })
	f.kept = f.kept[:min(len(f.kept), f.max)]
}
