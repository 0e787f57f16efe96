package blocksync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-msgio/pbio"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Source is what a Server hands out. It MUST be safe for concurrent use, and what it returns MUST NOT change any more.
type Source interface {
	Status() chain.Status
	// Block returns chain.ErrNotFound above the last block and chain.ErrPruned below the first one that is kept.
	Block(height uint64) (*ledgerv1.CertifiedBlock, error)
	// Manifest and Chunk return chain.ErrNotFound for what is not there (any more).
	Manifest(height uint64) (*ledgerv1.SnapshotManifest, error)
	Chunk(height uint64, n uint32) ([]byte, error)
	// Changes returns at most limit proofs of how validators changed after a version, and whether others follow;
	// chain.ErrPruned: it is not known what became of that version.
	Changes(after uint64, limit int) (changes []*ledgerv1.ValidatorsProof, more bool, err error)
}

// ServerConfig bounds what a Server gives away.
type ServerConfig struct {
	Allowance Allowance
	Patience  Patience
	Log       *slog.Logger // nil: nothing
}

// Server answers both protocols until it is closed.
type Server struct {
	host   host.Host
	source Source
	cfg    ServerConfig
	peers  *allowances
	reads  chan struct{} // a token for each read of the disk

	mu      sync.Mutex
	streams map[network.Stream]struct{} // nil: closed
	done    sync.WaitGroup
}

// Serve begins to answer.
func Serve(h host.Host, source Source, cfg ServerConfig) *Server {
	cfg.Allowance, cfg.Patience = cfg.Allowance.withDefaults(), cfg.Patience.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		host: h, source: source, cfg: cfg, peers: newAllowances(cfg.Allowance),
		reads: make(chan struct{}, cfg.Allowance.Reads), streams: map[network.Stream]struct{}{},
	}
	h.SetStreamHandler(blocksProtocol, func(st network.Stream) { s.handle(st, "shardy.blocks", maxResponse, s.blocks) })
	h.SetStreamHandler(snapshotProtocol, func(st network.Stream) { s.handle(st, "shardy.snapshots", 2*ledger.MaxChunkBytes, s.snapshot) })
	return s
}

// Close ends all answers and returns when no handler runs any more.
func (s *Server) Close() error {
	s.host.RemoveStreamHandler(blocksProtocol)
	s.host.RemoveStreamHandler(snapshotProtocol)
	s.mu.Lock()
	for st := range s.streams {
		_ = st.Reset()
	}
	s.streams = nil
	s.mu.Unlock()
	s.done.Wait()
	return nil
}

func (s *Server) begin(st network.Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		return false
	}
	s.streams[st] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) finish(st network.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.done.Done()
}

// answer is one stream that is being answered.
type answer struct {
	stream network.Stream
	writer pbio.Writer
	peer   *allowance // nil: it gets nothing but BUSY
	s      *Server
	end    time.Time
}

// handle frames what all answers have in common: limits, deadlines, and a reset when anything goes wrong.
func (s *Server) handle(st network.Stream, service string, memory int, f func(*answer) error) {
	if !s.begin(st) {
		_ = st.Reset()
		return
	}
	defer s.finish(st)
	a := &answer{stream: st, writer: pbio.NewDelimitedWriter(st), s: s, end: time.Now().Add(s.cfg.Patience.Total)}
	if a.peer = s.peers.enter(st.Conn().RemotePeer(), time.Now()); a.peer != nil {
		defer s.peers.leave(a.peer)
	}
	err := st.Scope().SetService(service)
	if err == nil {
		err = st.Scope().ReserveMemory(memory, network.ReservationPriorityMedium)
	}
	if err == nil {
		defer st.Scope().ReleaseMemory(memory)
		patience := s.cfg.Patience.Message
		if a.peer == nil {
			patience /= 10
		}
		err = st.SetReadDeadline(time.Now().Add(patience))
	}
	if err == nil {
		err = f(a)
	}
	if err != nil {
		s.cfg.Log.Debug("stream not answered", "protocol", st.Protocol(), "peer", st.Conn().RemotePeer(), "error", err)
		_ = st.Reset()
		return
	}
	_ = st.Close() // all was written
}

// send writes one message. A peer that does not read is given up.
func (a *answer) send(m proto.Message) error {
	deadline := time.Now().Add(a.s.cfg.Patience.Message)
	if a.end.Before(deadline) {
		deadline = a.end
	}
	if err := a.stream.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if a.peer != nil {
		a.peer.spend(proto.Size(m), time.Now())
	}
	return a.writer.WriteMsg(m)
}

func (s *Server) blocks(a *answer) error {
	var q ledgerv1.BlockRequest
	if err := readMessage(a.stream, maxRequest, &q); err != nil {
		return err
	}
	if a.peer == nil {
		return a.endBlocks(ledgerv1.SyncCode_SYNC_CODE_BUSY)
	}
	switch k := q.Kind.(type) {
	case *ledgerv1.BlockRequest_Status:
		st := s.source.Status()
		return a.send(&ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Status{Status: &ledgerv1.ChainStatus{
			Height: st.Height, Hash: st.Hash[:], LowHeight: st.Low, SnapshotHeight: st.Snapshot, Genesis: st.Genesis[:],
		}}})
	case *ledgerv1.BlockRequest_Range:
		return a.sendRange(k.Range)
	case *ledgerv1.BlockRequest_Changes:
		return a.sendChanges(k.Changes.GetAfterVersion())
	}
	return a.endBlocks(ledgerv1.SyncCode_SYNC_CODE_BAD_REQUEST)
}

func (a *answer) endBlocks(code ledgerv1.SyncCode) error {
	return a.send(&ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_End{End: code}})
}

// sendRange sends blocks in order, without a gap, as many as there are and as fit.
func (a *answer) sendRange(r *ledgerv1.RangeRequest) error {
	if r.From == 0 || r.Count == 0 || r.Count > MaxRange || r.MaxBytes == 0 || r.MaxBytes > MaxRangeBytes || r.From > r.From+uint64(r.Count) {
		return a.endBlocks(ledgerv1.SyncCode_SYNC_CODE_BAD_REQUEST)
	}
	size := 0
	for h := r.From; h < r.From+uint64(r.Count); h++ {
		b, code, err := read(a.s, func() (*ledgerv1.CertifiedBlock, error) { return a.s.source.Block(h) })
		if err != nil {
			return err
		}
		if code != ledgerv1.SyncCode_SYNC_CODE_OK {
			if h > r.From {
				code = ledgerv1.SyncCode_SYNC_CODE_OK
			}
			return a.endBlocks(code)
		}
		if size += proto.Size(b); h > r.From && size > int(r.MaxBytes) {
			break
		}
		if err := a.send(&ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Block{Block: b}}); err != nil {
			return err
		}
	}
	return a.endBlocks(ledgerv1.SyncCode_SYNC_CODE_OK)
}

// sendChanges sends how the validators changed after a version, as much as fits a message.
func (a *answer) sendChanges(after uint64) error {
	m, code, err := read(a.s, func() (m *ledgerv1.ValidatorChanges, err error) {
		m = new(ledgerv1.ValidatorChanges)
		m.Changes, m.More, err = a.s.source.Changes(after, chain.MaxChanges)
		return m, err
	})
	if err != nil {
		return err
	}
	if code != ledgerv1.SyncCode_SYNC_CODE_OK {
		return a.endBlocks(code)
	}
	return a.send(&ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Changes{Changes: m}})
}

// read reads from the source when it is its turn. What is not there is a code, all else an error.
func read[T any](s *Server, f func() (T, error)) (T, ledgerv1.SyncCode, error) {
	var none T
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Patience.Status)
	defer cancel()
	select {
	case s.reads <- struct{}{}:
	case <-ctx.Done():
		return none, ledgerv1.SyncCode_SYNC_CODE_BUSY, nil
	}
	v, err := f()
	<-s.reads
	switch {
	case err == nil:
		return v, ledgerv1.SyncCode_SYNC_CODE_OK, nil
	case errors.Is(err, chain.ErrNotFound):
		return none, ledgerv1.SyncCode_SYNC_CODE_NOT_FOUND, nil
	case errors.Is(err, chain.ErrPruned):
		return none, ledgerv1.SyncCode_SYNC_CODE_PRUNED, nil
	}
	return none, ledgerv1.SyncCode_SYNC_CODE_UNSPECIFIED, fmt.Errorf("read the chain: %w", err)
}

func (s *Server) snapshot(a *answer) error {
	var q ledgerv1.SnapshotRequest
	if err := readMessage(a.stream, maxRequest, &q); err != nil {
		return err
	}
	if a.peer == nil {
		return a.endSnapshot(ledgerv1.SyncCode_SYNC_CODE_BUSY)
	}
	switch k := q.Kind.(type) {
	case *ledgerv1.SnapshotRequest_List:
		return a.sendManifest()
	case *ledgerv1.SnapshotRequest_Chunk:
		return a.sendChunk(k.Chunk)
	}
	return a.endSnapshot(ledgerv1.SyncCode_SYNC_CODE_BAD_REQUEST)
}

func (a *answer) endSnapshot(code ledgerv1.SyncCode) error {
	return a.send(&ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_End{End: code}})
}

func (a *answer) sendManifest() error {
	height := a.s.source.Status().Snapshot
	if height == 0 {
		return a.endSnapshot(ledgerv1.SyncCode_SYNC_CODE_NOT_FOUND)
	}
	m, code, err := read(a.s, func() (*ledgerv1.SnapshotManifest, error) { return a.s.source.Manifest(height) })
	if err != nil {
		return err
	}
	if code != ledgerv1.SyncCode_SYNC_CODE_OK {
		return a.endSnapshot(code)
	}
	return a.send(&ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_Manifest{Manifest: m}})
}

func (a *answer) sendChunk(r *ledgerv1.SnapshotChunkRequest) error {
	if r.Chunk >= chain.MaxChunks {
		return a.endSnapshot(ledgerv1.SyncCode_SYNC_CODE_BAD_REQUEST)
	}
	c, code, err := read(a.s, func() (*ledgerv1.SnapshotChunk, error) {
		b, err := a.s.source.Chunk(r.Height, r.Chunk)
		if err != nil {
			return nil, err
		}
		c := new(ledgerv1.SnapshotChunk)
		return c, proto.Unmarshal(b, c)
	})
	if err != nil {
		return err
	}
	if code != ledgerv1.SyncCode_SYNC_CODE_OK {
		return a.endSnapshot(code)
	}
	return a.send(&ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_Chunk{Chunk: c}})
}
