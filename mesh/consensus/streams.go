package consensus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Protocol is the libp2p protocol of the streams between validators: frames, each behind its length (uvarint).
const Protocol protocol.ID = "/shardy/consensus/1.0.0"

// Patience and bounds of streams.
const (
	streamOpen    = 5 * time.Second
	streamWrite   = 10 * time.Second
	streamRetry   = 50 * time.Millisecond // doubled up to streamRetryAt
	streamRetryAt = time.Second
	streamPenalty = 5 * time.Second // after a peer has broken the protocol
	streamQueue   = 4096            // frames to one peer
)

// Streams is a Transport over libp2p: to each validator one stream that is only written, from each one that is only
// read. The host has authenticated the peer; the validators' set says which key it votes with (no peer id there: the
// key's own).
type Streams struct {
	host host.Host
	log  *slog.Logger

	receive func(Key, []byte) error
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	meeting network.Notifiee

	mu      sync.Mutex
	limit   int
	senders map[Key]*streamSender
	keys    map[peer.ID]Key
	inbound map[Key]network.Stream
	penalty map[Key]time.Time // no stream before
	closed  bool
}

// streamSender writes to one peer; it ends when its context does.
type streamSender struct {
	peer   peer.ID
	queue  chan []byte
	met    chan struct{} // a connection to the peer was made; holds one
	cancel context.CancelFunc

	mu     sync.Mutex
	queued int // bytes
}

// NewStreams makes a transport of a host. The host stays its maker's.
func NewStreams(h host.Host, log *slog.Logger) *Streams {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Streams{
		host: h, log: log, senders: map[Key]*streamSender{}, keys: map[peer.ID]Key{}, inbound: map[Key]network.Stream{},
		penalty: map[Key]time.Time{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Receive begins to take streams.
func (s *Streams) Receive(f func(Key, []byte) error) {
	s.receive = f
	s.host.SetStreamHandler(Protocol, s.handle)
	s.meeting = &network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) { s.connected(c.RemotePeer()) }}
	s.host.Network().Notify(s.meeting)
}

// connected lets the sender to a peer try at once.
func (s *Streams) connected(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.senders[s.keys[id]]; q != nil {
		select {
		case q.met <- struct{}{}:
		default:
		}
	}
}

// peerOf is the peer of a validator.
func peerOf(v *ledgerv1.Validator) (peer.ID, error) {
	if len(v.GetPeer()) > 0 {
		if id, err := peer.IDFromBytes(v.Peer); err == nil {
			return id, nil
		}
		return peer.Decode(string(v.Peer))
	}
	k, err := crypto.UnmarshalEd25519PublicKey(v.GetKey())
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(k)
}

// Peers opens streams to whom there is none yet and ends those of who is gone. Validators listen to each other alone, so a
// host that is none of them opens no stream.
func (s *Streams) Peers(validators []*ledgerv1.Validator, maxFrame int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.limit = maxFrame
	keys := map[peer.ID]Key{}
	wanted := map[Key]peer.ID{}
	member := false
	for _, v := range validators {
		key, ok := KeyOf(v.GetKey())
		id, err := peerOf(v)
		if !ok || err != nil {
			s.log.Warn("validator without a usable peer id", "validator", key, "err", err)
			continue
		}
		if id == s.host.ID() {
			member = true
			continue
		}
		keys[id], wanted[key] = key, id
		for _, a := range v.Addresses {
			if addr, err := multiaddr.NewMultiaddr(a); err == nil {
				s.host.Peerstore().AddAddr(id, addr, peerstore.PermanentAddrTTL)
			}
		}
	}
	if !member {
		clear(keys)
		clear(wanted)
	}
	s.keys = keys
	for key, sender := range s.senders {
		if wanted[key] != sender.peer {
			sender.cancel()
			delete(s.senders, key)
		}
	}
	for key, in := range s.inbound {
		if wanted[key] != in.Conn().RemotePeer() {
			_ = in.Reset()
		}
	}
	for key, id := range wanted {
		if s.senders[key] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(s.ctx)
		sender := &streamSender{peer: id, queue: make(chan []byte, streamQueue), met: make(chan struct{}, 1), cancel: cancel}
		s.senders[key] = sender
		s.wg.Go(func() { s.send(ctx, sender) })
	}
}

// Send queues a frame.
func (s *Streams) Send(to Key, frame []byte) bool {
	s.mu.Lock()
	sender, limit := s.senders[to], s.limit
	s.mu.Unlock()
	return sender != nil && sender.put(frame, 2*limit)
}

func (q *streamSender) put(frame []byte, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued+len(frame) > limit {
		return false
	}
	select {
	case q.queue <- frame:
		q.queued += len(frame)
		return true
	default:
		return false
	}
}

func (q *streamSender) took(frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued -= len(frame)
}

// drain drops what waits: old messages are worth nothing when a stream could not be had.
func (q *streamSender) drain() {
	for {
		select {
		case f := <-q.queue:
			q.took(f)
		default:
			return
		}
	}
}

// send keeps a stream to a peer and writes what is queued.
func (s *Streams) send(ctx context.Context, q *streamSender) {
	retry := streamRetry
	for ctx.Err() == nil {
		began := time.Now()
		if err := s.stream(ctx, q); err != nil && ctx.Err() == nil {
			s.log.Debug("stream to validator", "peer", q.peer, "err", err)
		}
		if time.Since(began) > 10*streamRetryAt {
			retry = streamRetry
		}
		select {
		case <-ctx.Done():
		case <-q.met:
			retry = streamRetry
		case <-time.After(retry):
			retry = min(2*retry, streamRetryAt)
		}
		q.drain()
	}
}

// stream opens one stream and writes until it breaks.
func (s *Streams) stream(ctx context.Context, q *streamSender) error {
	open, cancel := context.WithTimeout(ctx, streamOpen)
	st, err := s.host.NewStream(open, q.peer, Protocol)
	cancel()
	if err != nil {
		return err
	}
	defer st.Reset()
	if err := st.Scope().SetService(string(Protocol)); err != nil {
		return err
	}
	// The other side never writes: a read returns when it has ended the stream.
	ended := make(chan error, 1)
	go func() {
		_, err := st.Read(make([]byte, 1))
		ended <- fmt.Errorf("ended by the peer: %w", errors.Join(err, io.EOF))
	}()
	defer func() {
		_ = st.Reset()
		<-ended
	}()
	// What is written first also finishes the negotiation of the protocol: the peer knows the stream before it matters.
	w := bufio.NewWriterSize(st, 64<<10)
	if err := flush(st, w); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return err
		case f := <-q.queue:
			if err := s.write(st, w, q, f); err != nil {
				return err
			}
		}
	}
}

// write writes a frame and all that are queued behind it.
func (s *Streams) write(st network.Stream, w *bufio.Writer, q *streamSender, f []byte) error {
	for n := len(q.queue); ; n-- {
		q.took(f)
		var size [binary.MaxVarintLen64]byte
		if err := st.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		if _, err := w.Write(size[:binary.PutUvarint(size[:], uint64(len(f)))]); err != nil {
			return err
		}
		if _, err := w.Write(f); err != nil {
			return err
		}
		if n == 0 {
			return flush(st, w)
		}
		f = <-q.queue // there are n: this goroutine is the only one that takes
	}
}

func flush(st network.Stream, w *bufio.Writer) error {
	if err := st.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	return w.Flush()
}

// handle reads a stream of a peer until it breaks. A newer stream of the same peer ends an older one.
func (s *Streams) handle(st network.Stream) {
	key, ok := s.admit(st)
	if !ok {
		_ = st.Reset()
		return
	}
	defer s.wg.Done()
	err := s.read(key, st)
	s.mu.Lock()
	if s.inbound[key] == st {
		delete(s.inbound, key)
	}
	if errors.Is(err, ErrFrame) { // before the peer can know and come again
		s.penalty[key] = time.Now().Add(streamPenalty)
		s.log.Warn("validator broke the protocol", "validator", key, "err", err)
	}
	s.mu.Unlock()
	_ = st.Reset()
}

func (s *Streams) admit(st network.Stream) (Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, known := s.keys[st.Conn().RemotePeer()]
	if !known || s.closed || time.Now().Before(s.penalty[key]) || st.Scope().SetService(string(Protocol)) != nil {
		return Key{}, false
	}
	if old := s.inbound[key]; old != nil {
		_ = old.Reset()
	}
	s.inbound[key] = st
	s.wg.Add(1)
	return key, true
}

func (s *Streams) read(key Key, st network.Stream) error {
	r := bufio.NewReaderSize(st, 64<<10)
	for {
		s.mu.Lock()
		limit := s.limit
		s.mu.Unlock()
		frame, err := readFrame(r, limit)
		if err != nil {
			return err
		}
		if err := s.receive(key, frame); err != nil {
			return err
		}
	}
}

// readFrame reads one frame of at most limit bytes. Memory grows with what arrives, not with what is announced.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size == 0 || size > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, size, limit)
	}
	if size <= 64<<10 {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(size)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Close ends all streams. The host goes on.
func (s *Streams) Close() error {
	s.host.RemoveStreamHandler(Protocol)
	if s.meeting != nil {
		s.host.Network().StopNotify(s.meeting)
	}
	s.cancel()
	s.mu.Lock()
	s.closed = true
	for _, in := range s.inbound {
		_ = in.Reset()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}
