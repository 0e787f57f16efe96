package consensus

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"
	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// A commit of the library carries a signature and a note. The signature is of the Vote; the note says what of the Vote
// the commit itself does not, so that two commits are evidence without the blocks: block (32), metadata (32), version (8).
const noteLength = 2*sha256.Size + 8

// voteOf is the vote for a proposal; nil when its metadata is none.
func voteOf(p bft.Proposal) *ledgerv1.Vote {
	md := metadataOf(p.Metadata)
	if md == nil {
		return nil
	}
	block, metadata := seal.HeaderHash(p.Header), sha256.Sum256(p.Metadata)
	return &ledgerv1.Vote{
		Height: md.LatestSequence, View: md.ViewId, Block: block[:], Metadata: metadata[:],
		ValidatorsVersion: uint64(p.VerificationSequence),
	}
}

func noteOf(v *ledgerv1.Vote) []byte {
	return binary.BigEndian.AppendUint64(slices.Concat(v.Block, v.Metadata), v.ValidatorsVersion)
}

// voteOfCommit is the vote that a commit says it is; nil for one that says nothing.
func voteOfCommit(c *smartbftprotos.Commit) *ledgerv1.Vote {
	note := c.GetSignature().GetMsg()
	if len(note) != noteLength || len(c.Signature.Value) != ed25519.SignatureSize {
		return nil
	}
	return &ledgerv1.Vote{
		Height: c.Seq, View: c.View, Block: note[:32], Metadata: note[32:64],
		ValidatorsVersion: binary.BigEndian.Uint64(note[64:]), Signature: c.Signature.Value,
	}
}

// statementText is what a validator signs about a view. No other text of the house begins like it.
func statementText(chain string, raw []byte) []byte {
	b := append([]byte("shardy/view/v1\x00"), byte(len(chain)))
	return append(append(b, chain...), raw...)
}

// Votes of so many heights are remembered, and of so many views of each.
const (
	rememberedHeights = 128
	votesPerHeight    = 4
)

// witness remembers who voted for what, to catch those who vote twice. Signatures are verified only when two votes
// contradict each other: honest validators cost it nothing.
type witness struct {
	chain  string
	report func(*ledgerv1.VotePair)

	mu    sync.Mutex
	votes map[voterAt][]*ledgerv1.Vote
	done  map[voterAt]bool // reported
	swept uint64           // height
}

func newWitness(chain string, report func(*ledgerv1.VotePair)) *witness {
	return &witness{chain: chain, report: report, votes: map[voterAt][]*ledgerv1.Vote{}, done: map[voterAt]bool{}}
}

type voterAt struct {
	validator Key
	height    uint64
}

// saw notes a vote and reports it when it contradicts an earlier one of the same height and view. A false vote (nobody
// signed it) is forgotten as soon as a true one comes.
func (w *witness) saw(validator Key, v *ledgerv1.Vote, tip uint64) {
	if w.report == nil || v == nil || v.Height > tip+rememberedHeights || v.Height+rememberedHeights < tip {
		return
	}
	at := voterAt{validator, v.Height}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done[at] {
		return
	}
	w.forget(tip)
	for i, other := range w.votes[at] {
		if other.View != v.View || other.ValidatorsVersion != v.ValidatorsVersion {
			continue
		}
		if bytes.Equal(other.Block, v.Block) && bytes.Equal(other.Signature, v.Signature) {
			return
		}
		if !seal.VerifyVote(w.chain, v, validator[:], v.Signature) {
			return
		}
		if !seal.VerifyVote(w.chain, other, validator[:], other.Signature) {
			w.votes[at][i] = v
			return
		}
		if bytes.Equal(other.Block, v.Block) {
			return
		}
		w.done[at] = true
		delete(w.votes, at)
		w.report(&ledgerv1.VotePair{Validator: validator[:], First: other, Second: v})
		return
	}
	if len(w.votes[at]) < votesPerHeight {
		w.votes[at] = append(w.votes[at], v)
	}
}

// forget drops what is old, now and then.
func (w *witness) forget(tip uint64) {
	if tip < w.swept+rememberedHeights {
		return
	}
	w.swept = tip
	for at := range w.votes {
		if at.height+rememberedHeights < tip {
			delete(w.votes, at)
		}
	}
	for at := range w.done {
		if at.height+rememberedHeights < tip {
			delete(w.done, at)
		}
	}
}

// sawCertificate notes the votes that a certificate is made of.
func (w *witness) sawCertificate(c *ledgerv1.Certificate, version, tip uint64) {
	if w.report == nil {
		return
	}
	for _, s := range c.Signatures {
		v := seal.VoteOf(c, version)
		v.Signature = s.Signature
		if k, ok := KeyOf(s.Validator); ok {
			w.saw(k, v, tip)
		}
	}
}
