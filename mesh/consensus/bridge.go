package consensus

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	bft "github.com/hyperledger-labs/SmartBFT/pkg/types"
	"github.com/hyperledger-labs/SmartBFT/smartbftprotos"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// What the library asks of its surroundings, answered by an instance.

var (
	errProposal  = errors.New("bad proposal")
	errSignature = errors.New("bad signature")
	errDone      = errors.New("committed already")
)

// AssembleProposal makes the next block of a leader.
func (in *instance) AssembleProposal(metadata []byte, txs [][]byte) bft.Proposal {
	md := metadataOf(metadata)
	e := in.engine
	e.chain.Lock()
	defer e.chain.Unlock()
	m := e.members()
	at := Place{Height: md.GetLatestSequence(), Proposer: m.keys[m.leader(md.GetViewId())], ValidatorsVersion: m.set.Version}
	txs = slices.DeleteFunc(txs, func(tx []byte) bool { // committed by a pull, or brought again by a slow peer
		done := e.pending.isCommitted(sha256.Sum256(tx))
		if done {
			in.forget(tx)
		}
		return done
	})
	header, err := e.cfg.Application.Propose(at, txs, time.Now())
	if err != nil {
		in.fail(fmt.Errorf("propose height %d: %w", at.Height, err))
		runtime.Goexit()
	}
	p := bft.Proposal{
		Header: header, Payload: encodePayload(txs), Metadata: metadata, VerificationSequence: int64(m.set.Version),
	}
	in.own = p
	return p
}

// VerifyProposal checks all of a proposed block before it is voted for.
func (in *instance) VerifyProposal(p bft.Proposal) ([]bft.RequestInfo, error) {
	e := in.engine
	e.chain.Lock()
	defer e.chain.Unlock()
	m := e.members()
	md := metadataOf(p.Metadata)
	switch {
	case md == nil || len(p.Metadata) > light.MaxMetadataBytes || len(md.BlackList) > 0 || len(md.PrevCommitSignatureDigest) > 0:
		return nil, fmt.Errorf("%w: metadata", errProposal)
	case md.LatestSequence != e.height.Load()+1:
		return nil, fmt.Errorf("%w: height %d after %d", errProposal, md.LatestSequence, e.height.Load())
	case uint64(p.VerificationSequence) != m.set.Version:
		return nil, fmt.Errorf("%w: validators of version %d, want %d", errProposal, p.VerificationSequence, m.set.Version)
	case len(p.Header) > light.MaxHeaderBytes:
		return nil, fmt.Errorf("%w: header of %d bytes", errProposal, len(p.Header))
	}
	b, err := in.batch(p.Payload)
	if err != nil {
		return nil, err
	}
	if err := binds(e.cfg.Chain, p, b.txs); err != nil {
		return nil, err
	}
	in.bound.Store(&p)
	if same(in.own, p) { // the leader verifies what it has just made
		return b.infos, nil
	}
	at := Place{Height: md.LatestSequence, Proposer: m.keys[m.leader(md.ViewId)], ValidatorsVersion: m.set.Version}
	if err := e.cfg.Application.Verify(at, &ledgerv1.Block{Header: p.Header, Transactions: b.txs}); err != nil {
		e.log.Warn("block refused", "height", at.Height, "proposer", at.Proposer, "err", err)
		return nil, fmt.Errorf("%w: %w", errProposal, err)
	}
	return b.infos, nil
}

// batch is a payload as it was read.
type batch struct {
	payload []byte
	txs     [][]byte
	ids     []txID
	infos   []bft.RequestInfo // must not be changed
}

// batch reads a payload, or remembers it: that of the block in flight is asked for at every step.
func (in *instance) batch(payload []byte) (*batch, error) {
	if last := in.lastBatch.Load(); last != nil && bytes.Equal(last.payload, payload) {
		return last, nil
	}
	txs, err := decodePayload(payload)
	if err != nil {
		return nil, err
	}
	b := &batch{payload: payload, txs: txs, ids: idsOf(txs), infos: make([]bft.RequestInfo, len(txs))}
	for i, id := range b.ids {
		b.infos[i] = infoOf(id)
	}
	in.lastBatch.Store(b)
	return b, nil
}

// forget takes a transaction out of the library's pool. Of blocks that were pulled the library does not do it.
func (in *instance) forget(tx []byte) {
	if in.ready.Load() {
		_ = in.core.Pool.RemoveRequest(infoOf(sha256.Sum256(tx))) // it may not be there
	}
}

func same(a, b bft.Proposal) bool {
	return a.VerificationSequence == b.VerificationSequence && bytes.Equal(a.Header, b.Header) &&
		bytes.Equal(a.Metadata, b.Metadata) && bytes.Equal(a.Payload, b.Payload)
}

// Deliver commits a block.
func (in *instance) Deliver(p bft.Proposal, signatures []bft.Signature) bft.Reconfig {
	e := in.engine
	e.chain.Lock()
	defer e.chain.Unlock()
	md := metadataOf(p.Metadata)
	b, err := in.batch(p.Payload)
	if md == nil || err != nil {
		e.giveUp(fmt.Errorf("agreed on what is no block: %w", errors.Join(errProposal, err)))
		runtime.Goexit()
	}
	if md.LatestSequence > e.height.Load() {
		block := &ledgerv1.Block{Header: p.Header, Transactions: b.txs}
		if err := e.commit(block, b.ids, certificateOf(p, md, signatures, e.members())); err != nil {
			e.giveUp(err)
			runtime.Goexit()
		}
	}
	if md.LatestSequence == in.restored { // the library does not know what is in it, and would propose it again
		for _, info := range b.infos {
			_ = in.core.Pool.RemoveRequest(info) // it may not be there
		}
	}
	return bft.Reconfig{InLatestDecision: in.follow(), CurrentNodes: e.members().nodes, CurrentConfig: in.config}
}

// certificateOf is what proves a block to others. Signers are in the order of their numbers.
func certificateOf(p bft.Proposal, md *smartbftprotos.ViewMetadata, signatures []bft.Signature, m *members) *ledgerv1.Certificate {
	hash := seal.HeaderHash(p.Header)
	c := &ledgerv1.Certificate{Height: md.LatestSequence, Block: hash[:], View: md.ViewId, Metadata: p.Metadata}
	byNode := map[uint64][]byte{}
	for _, s := range signatures {
		byNode[s.ID] = s.Value
	}
	for _, node := range m.nodes {
		if signature := byNode[node]; signature != nil {
			key := m.keys[node]
			c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{Validator: key[:], Signature: signature})
		}
	}
	return c
}

// decisionOf is a committed block as the library knows it.
func decisionOf(b *ledgerv1.CertifiedBlock) (bft.Decision, error) {
	h, err := light.ParseHeader("", b.GetBlock().GetHeader())
	if err != nil {
		return bft.Decision{}, err
	}
	d := bft.Decision{Proposal: bft.Proposal{
		Header: b.Block.Header, Payload: encodePayload(b.Block.Transactions), Metadata: b.GetCertificate().GetMetadata(),
		VerificationSequence: int64(h.ValidatorsVersion),
	}}
	vote := voteOf(d.Proposal)
	if vote == nil || vote.Height != h.Height {
		return bft.Decision{}, fmt.Errorf("%w: metadata of height %d", errProposal, h.Height)
	}
	for _, s := range b.GetCertificate().GetSignatures() {
		if k, ok := KeyOf(s.Validator); ok {
			d.Signatures = append(d.Signatures, bft.Signature{ID: nodeOf(k), Value: s.Signature, Msg: noteOf(vote)})
		}
	}
	return d, nil
}

// Sync pulls what others have and this one has not. What arrives meanwhile waits until the library has asked the others
// where they are, and has begun again.
func (in *instance) Sync() bft.SyncResponse {
	e := in.engine
	in.in.pausing(math.MaxInt32)
	e.pull(in.ctx)
	in.in.pausing(int(in.config.CollectTimeout/e.cfg.Tick) + 2)
	e.chain.Lock()
	defer e.chain.Unlock()
	r := bft.SyncResponse{Reconfig: bft.ReconfigSync{
		InReplicatedDecisions: in.follow(), CurrentNodes: e.members().nodes, CurrentConfig: in.config,
	}}
	if h := e.height.Load(); h > 0 {
		d, err := e.decision(h)
		if err != nil {
			e.giveUp(err)
			runtime.Goexit()
		}
		r.Latest = d
	}
	return r
}

// VerifyRequest checks a transaction that a follower has forwarded.
func (in *instance) VerifyRequest(tx []byte) (bft.RequestInfo, error) {
	if in.engine.pending.isCommitted(sha256.Sum256(tx)) {
		return bft.RequestInfo{}, errDone
	}
	if err := in.engine.cfg.Application.Check(tx); err != nil {
		return bft.RequestInfo{}, err
	}
	return infoOf(sha256.Sum256(tx)), nil
}

// RequestID names a transaction. The one that is being offered it names often.
func (in *instance) RequestID(tx []byte) bft.RequestInfo {
	if o := in.offered.Load(); o != nil && len(tx) == len(o.tx) && len(tx) > 0 && &tx[0] == &o.tx[0] {
		return o.info
	}
	return infoOf(sha256.Sum256(tx))
}

// offered is a transaction that is being offered. Nobody changes its bytes, and while it is here they are nobody else's.
type offered struct {
	tx   []byte
	info bft.RequestInfo
}

// RequestsFromProposal names the transactions of a block.
func (in *instance) RequestsFromProposal(p bft.Proposal) []bft.RequestInfo {
	b, err := in.batch(p.Payload)
	if err != nil {
		return nil
	}
	return b.infos
}

// infoOf is a name as the library wants it: it compares names and logs them.
func infoOf(id txID) bft.RequestInfo { return bft.RequestInfo{ID: string(id[:])} }

func idsOf(txs [][]byte) []txID {
	ids := make([]txID, len(txs))
	for i, tx := range txs {
		ids[i] = sha256.Sum256(tx)
	}
	return ids
}

// SignProposal votes for a block. The second argument serves leader rotation, which is off.
func (in *instance) SignProposal(p bft.Proposal, _ []byte) *bft.Signature {
	vote := voteOf(p)
	if vote == nil {
		in.fail(fmt.Errorf("%w: nothing to vote for", errProposal))
		runtime.Goexit()
	}
	return &bft.Signature{ID: in.node, Value: seal.SignVote(in.engine.cfg.Chain, vote, in.engine.cfg.Key), Msg: noteOf(vote)}
}

// VerifyConsenterSig checks the vote of a validator for a block.
func (in *instance) VerifyConsenterSig(s bft.Signature, p bft.Proposal) ([]byte, error) {
	vote, m := voteOf(p), in.engine.members()
	key, known := m.keys[s.ID]
	if !known || vote == nil || !in.bind(p) || !bytes.Equal(s.Msg, noteOf(vote)) || !seal.VerifyVote(in.engine.cfg.Chain, vote, key[:], s.Value) {
		return nil, errSignature
	}
	return nil, nil
}

// bind reports whether a proposal is what its header says. Votes are for headers, but the library takes blocks from
// view changes for the votes alone.
func (in *instance) bind(p bft.Proposal) bool {
	if last := in.bound.Load(); last != nil && same(*last, p) {
		return true
	}
	b, err := in.batch(p.Payload)
	if err != nil || binds(in.engine.cfg.Chain, p, b.txs) != nil {
		return false
	}
	in.bound.Store(&p)
	return true
}

// binds holds a header against what it is the header of.
func binds(chain string, p bft.Proposal, txs [][]byte) error {
	h, err := light.ParseHeader(chain, p.Header)
	if err != nil {
		return err
	}
	md, root := metadataOf(p.Metadata), seal.Root(txs)
	switch {
	case md == nil || md.LatestSequence != h.Height || len(p.Metadata) > light.MaxMetadataBytes:
		return fmt.Errorf("%w: metadata of another height", errProposal)
	case h.ValidatorsVersion != uint64(p.VerificationSequence):
		return fmt.Errorf("%w: header of other validators", errProposal)
	case !bytes.Equal(h.Transactions, root[:]):
		return fmt.Errorf("%w: other transactions than the header's", errProposal)
	}
	return nil
}

// Sign signs what this validator states about a view.
func (in *instance) Sign(raw []byte) []byte {
	return ed25519.Sign(in.engine.cfg.Key, statementText(in.engine.cfg.Chain, raw))
}

// VerifySignature checks what a validator states about a view.
func (in *instance) VerifySignature(s bft.Signature) error {
	key, known := in.engine.members().keys[s.ID]
	if !known || !seal.Verify(key[:], statementText(in.engine.cfg.Chain, s.Msg), s.Value) {
		return errSignature
	}
	return nil
}

// VerificationSequence is the version of the validators.
func (in *instance) VerificationSequence() uint64 { return in.engine.members().set.Version }

// AuxiliaryData serves leader rotation, which is off.
func (in *instance) AuxiliaryData([]byte) []byte { return nil }

// MembershipChange serves leader rotation, which is off.
func (in *instance) MembershipChange() bool { return false }

// Nodes are the validators.
func (in *instance) Nodes() []uint64 { return in.engine.members().nodes }

// The kinds of frames between validators.
const (
	frameConsensus byte = iota + 1
	frameTransaction
)

// SendConsensus sends a message of the library. It is called once for each peer with the same message.
func (in *instance) SendConsensus(node uint64, m *message) {
	if in.dead.Load() {
		return
	}
	last := in.lastSent.Load()
	if last == nil || last.m != m {
		b, err := frameOf(m)
		if err != nil {
			return // only text that is not UTF-8 can be the cause, and there is none
		}
		last = &encoded{m, b}
		in.lastSent.Store(last)
		in.said.note(m, b)
	}
	in.send(node, last.frame)
}

func frameOf(m *message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend([]byte{frameConsensus}, m)
}

type encoded struct {
	m     *message
	frame []byte
}

// SendTransaction forwards a transaction to the leader.
func (in *instance) SendTransaction(node uint64, tx []byte) {
	in.send(node, append([]byte{frameTransaction}, tx...))
}

func (in *instance) send(node uint64, frame []byte) {
	if key, ok := in.engine.members().keys[node]; ok && !in.engine.cfg.Transport.Send(key, frame) {
		in.engine.dropped.Add(1)
	}
}
