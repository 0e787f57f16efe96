package rogue

import (
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// source hands out what is in the chain, or what is not.
type source struct {
	*chain.Chain
	r *Rogue
}

// Status claims to have blocks that nobody has.
func (s source) Status() chain.Status {
	st := s.Chain.Status()
	if s.r.has(Serve) {
		s.r.did(boasts)
		if st.Height += 50; s.r.counts[boasts].Load()%2 == 0 { // so far that only a snapshot leads there
			st.Height += 1 << 20
		}
		st.Hash[0] ^= 1
	}
	return st
}

// Block changes a block in one of many ways.
func (s source) Block(height uint64) (*ledgerv1.CertifiedBlock, error) {
	if !s.r.has(Serve) {
		return s.Chain.Block(height)
	}
	b, err := s.Chain.Block(min(height, s.Chain.Height()))
	if err != nil || b.GetCertificate() == nil {
		return b, err
	}
	b = proto.CloneOf(b)
	s.r.did(badBlocks)
	switch s.r.counts[badBlocks].Load() % 6 {
	case 0:
		b.Certificate.Signatures = b.Certificate.Signatures[:1]
	case 1:
		b.Certificate.Signatures[0].Signature[3] ^= 1
	case 2:
		b.Block.Header[len(b.Block.Header)-1] ^= 1
	case 3:
		b.Block.Transactions = append(b.Block.Transactions, s.r.wrong())
	case 4:
		b.Block.Transactions = nil
	case 5:
		b.Certificate = nil
	}
	return b, nil
}

// Manifest names chunks that are none of the state's.
func (s source) Manifest(height uint64) (*ledgerv1.SnapshotManifest, error) {
	m, err := s.Chain.Manifest(height)
	if err != nil || !s.r.has(Serve) {
		return m, err
	}
	m = proto.CloneOf(m)
	s.r.did(badSnapshots)
	m.Chunks[0][0] ^= 1
	return m, nil
}

// Chunk changes what is in a chunk.
func (s source) Chunk(height uint64, n uint32) ([]byte, error) {
	b, err := s.Chain.Chunk(height, n)
	if err != nil || !s.r.has(Serve) {
		return b, err
	}
	s.r.did(badSnapshots)
	c := new(ledgerv1.SnapshotChunk)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, err
	}
	if len(c.Entries) > 0 && len(c.Entries[0].Value) > 0 {
		c.Entries[0].Value[0] ^= 1
	}
	return proto.Marshal(c)
}

// Changes proves changes of the validators that there were not.
func (s source) Changes(after uint64, limit int) ([]*ledgerv1.ValidatorsProof, bool, error) {
	list, more, err := s.Chain.Changes(after, limit)
	if err != nil || !s.r.has(Serve) || len(list) == 0 {
		return list, more, err
	}
	s.r.did(badSnapshots)
	p := proto.CloneOf(list[0])
	p.Header[len(p.Header)-1] ^= 1
	return []*ledgerv1.ValidatorsProof{p}, true, nil
}
