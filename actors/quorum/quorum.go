// Package quorum decides what a set of replicated results says, the same for every order in which they arrived.
//
// It counts votes and nothing else: it does not know whether a wave is still open, who is honest, or what a result
// contains. Identity groups with free keys are free votes; what they cost is decided elsewhere.
package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Result is one replica's result. Slot and Attempt tell where its signature is kept.
type Result struct {
	Slot, Attempt uint32
	Worker        []byte // ed25519 public key
	Group         string // identity group; empty: the worker stands for itself
	Status        eventv1.ResultStatus
	Fuel          uint64
	Output        *eventv1.BlobRef
	Checksum      [32]byte // see Checksum
	RunMs         uint32   // how long it ran, 0: not measured
}

// emptyOutput is the SHA-256 of no bytes: a module that trapped has no output, whether its result says so or leaves it
// out.
var emptyOutput = [32]byte{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// Checksum is what replicas are compared by: status, fuel and output (see [proof.Checksum]).
func Checksum(status eventv1.ResultStatus, fuel uint64, output *eventv1.BlobRef) [32]byte {
	sum := emptyOutput
	if len(output.GetSha256()) == len(sum) {
		copy(sum[:], output.Sha256)
	}
	return proof.Checksum(status, fuel, sum)
}

// ErrMalformed refuses a result that cannot be compared. The text says why.
var ErrMalformed = errors.New("result is malformed")

// Check refuses a result that cannot be compared: an unknown status, or an output that is not named by its SHA-256.
// Only a module that failed may leave its output out.
func Check(status eventv1.ResultStatus, output *eventv1.BlobRef) error {
	switch {
	case status == eventv1.ResultStatus_RESULT_STATUS_UNSPECIFIED || eventv1.ResultStatus_name[int32(status)] == "":
		return fmt.Errorf("%w: status %d is unknown", ErrMalformed, status)
	case output != nil && len(output.Sha256) != len(emptyOutput):
		return fmt.Errorf("%w: output: want a SHA-256 of %d bytes", ErrMalformed, len(emptyOutput))
	case output == nil && status == eventv1.ResultStatus_RESULT_STATUS_OK:
		return fmt.Errorf("%w: output is missing", ErrMalformed)
	}
	return nil
}

// Rule says when a set of results is decided.
type Rule struct {
	Margin      uint32 // identity groups by which the leader must be ahead of the runner-up; at least 1
	MaxReplicas uint32 // results that may be collected
}

// Outcome is what a set of results says.
type Outcome uint8

const (
	// NeedMore: undecided, and exactly Need further results could decide it.
	NeedMore Outcome = iota
	// Verified: the leader is far enough ahead and its module ended well.
	Verified
	// Failed: the leader is far enough ahead, and what it agrees on is that the module fails. Nobody is to blame.
	Failed
	// Exhausted: undecided, and what could decide it would exceed MaxReplicas.
	Exhausted
)

var outcomes = [...]string{"undecided", "verified", "failed", "undecided at the cap"}

// String names the outcome.
func (o Outcome) String() string {
	if int(o) < len(outcomes) {
		return outcomes[o]
	}
	return "unknown"
}

// Vote is one group of identical results.
type Vote struct {
	Checksum [32]byte
	Status   eventv1.ResultStatus
	Fuel     uint64
	Output   *eventv1.BlobRef
	Slots    []uint32 // ascending
	Groups   uint32   // distinct identity groups: what counts
}

// Verdict is what a set of results says.
type Verdict struct {
	Outcome Outcome
	Votes   []Vote // most groups first, then by checksum
	Lead    uint32 // groups by which the first vote is ahead of the second
	Need    uint32 // results that the lead lacks; 0 when decided
	Failed  int    // slots that were given up: they have no voice, but the account of the vote tells them
	Rule    Rule
}

// Decide counts the votes. The verdict depends on the set of results alone: order and repeats of a slot do not matter.
// Slots that failed count for nothing. It keeps no reference to the slice.
func Decide(results []Result, failed int, rule Rule) Verdict {
	v := Verdict{Votes: count(results), Failed: failed, Rule: rule}
	slots := uint32(0)
	for i := range v.Votes {
		slots += uint32(len(v.Votes[i].Slots))
	}
	if len(v.Votes) > 0 {
		v.Lead = v.Votes[0].Groups
	}
	if len(v.Votes) > 1 {
		v.Lead -= v.Votes[1].Groups
	}
	switch {
	case len(v.Votes) > 0 && v.Lead >= rule.Margin && v.Votes[0].Status == eventv1.ResultStatus_RESULT_STATUS_OK:
		v.Outcome = Verified
	case len(v.Votes) > 0 && v.Lead >= rule.Margin:
		v.Outcome = Failed
	default:
		v.Need = max(rule.Margin, 1) - v.Lead
		v.Outcome = NeedMore
		if uint64(slots)+uint64(v.Need) > uint64(rule.MaxReplicas) {
			v.Outcome = Exhausted
		}
	}
	return v
}

// Mismatch reports whether the results differ.
func (v *Verdict) Mismatch() bool { return len(v.Votes) > 1 }

// Winner is the vote that decided, or nil.
func (v *Verdict) Winner() *Vote {
	if v.Outcome != Verified && v.Outcome != Failed {
		return nil
	}
	return &v.Votes[0]
}

// Contradicted are the slots whose results differ from the winner's, ascending; none when undecided.
func (v *Verdict) Contradicted() []uint32 {
	if v.Winner() == nil || len(v.Votes) == 1 {
		return nil
	}
	var slots []uint32
	for i := range v.Votes[1:] {
		slots = append(slots, v.Votes[1+i].Slots...)
	}
	slices.Sort(slots)
	return slots
}

// count groups results by checksum and orders the groups. There are few results (a dozen at most), so it compares them
// all instead of hashing.
func count(results []Result) []Vote {
	if len(results) == 0 {
		return nil
	}
	votes := make([]Vote, 0, 1)
	for i := range results {
		r := &results[i]
		v := find(&votes, r, len(results))
		if at, repeated := slices.BinarySearch(v.Slots, r.Slot); !repeated {
			v.Slots = slices.Insert(v.Slots, at, r.Slot)
			if at == 0 {
				v.Output = r.Output // of the lowest slot, whichever came first
			}
		}
		if firstOfGroup(results[:i], r) {
			v.Groups++
		}
	}
	slices.SortFunc(votes, func(a, b Vote) int {
		if a.Groups != b.Groups {
			return int(b.Groups) - int(a.Groups)
		}
		return bytes.Compare(a.Checksum[:], b.Checksum[:])
	})
	return votes
}

// find returns the vote that the result belongs to, opening it when it is the first of its kind.
func find(votes *[]Vote, r *Result, room int) *Vote {
	for i := range *votes {
		if (*votes)[i].Checksum == r.Checksum {
			return &(*votes)[i]
		}
	}
	*votes = append(*votes, Vote{
		Checksum: r.Checksum, Status: r.Status, Fuel: r.Fuel, Output: r.Output, Slots: make([]uint32, 0, room),
	})
	return &(*votes)[len(*votes)-1]
}

// firstOfGroup reports whether nobody of the result's identity group has voted for the same before.
func firstOfGroup(before []Result, r *Result) bool {
	for i := range before {
		if before[i].Checksum == r.Checksum && SameGroup(&before[i], r) {
			return false
		}
	}
	return true
}

// SameGroup reports whether two results come from one identity.
func SameGroup(a, b *Result) bool {
	if a.Group == "" && b.Group == "" {
		return bytes.Equal(a.Worker, b.Worker)
	}
	return a.Group == b.Group
}
