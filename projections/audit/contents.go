package audit

import (
	"context"
	"crypto/sha256"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// contents are the names of what the case's facts speak of, the most telling first, each once: module, input and
// verification key, the outputs of verdict and referee, and what the workers returned.
func (c *Case) contents() [][32]byte {
	var first, then, last [][]byte
	for i := range c.records {
		f, err := events.Decode(c.records[i])
		if err != nil {
			continue
		}
		switch f := f.(type) {
		case *eventv1.JobSubmitted:
			spec := f.GetSpec()
			first = append(first, spec.GetModule(), spec.GetInput().GetSha256(), spec.GetProof().GetVerificationKey().GetSha256())
		case *eventv1.TaskVerified:
			then = append(then, f.GetOutput().GetSha256())
		case *eventv1.RefereeDecided:
			then = append(then, f.GetOutput().GetSha256())
		case *eventv1.ResultReturned:
			last = append(last, f.GetOutput().GetSha256(), f.GetProof())
		}
	}
	var names [][32]byte
	seen := map[[32]byte]bool{}
	for _, list := range [][][]byte{first, then, last} {
		for _, name := range list {
			var sum [32]byte
			if fill(&sum, name) && !seen[sum] && sum != emptySum {
				seen[sum] = true
				names = append(names, sum)
			}
		}
	}
	return names
}

// emptySum names no content at all: whoever needs it has it.
var emptySum = sha256.Sum256(nil)

// held is content that came with a bundle. It was hashed when it was read.
type held map[[32]byte][]byte

// Get makes it a place where blobs are.
func (h held) Get(_ context.Context, sum [32]byte) ([]byte, error) {
	if sum == emptySum {
		return nil, nil
	}
	data, ok := h[sum]
	if !ok {
		return nil, events.ErrNotFound
	}
	return data, nil
}
