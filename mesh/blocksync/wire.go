package blocksync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio/pbio"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
)

// Limits of the protocols.
const (
	MaxRange      = 128     // blocks of an answer
	MaxRangeBytes = 4 << 20 // of blocks in an answer; the first block always fits

	maxRequest  = 1 << 10
	maxResponse = chain.MaxBlockBytes + 16
	maxManifest = chain.MaxManifestBytes + 16
	maxChunk    = ledger.MaxChunkBytes + 16
	maxChanges  = chain.MaxChangesBytes + 16
)

// The refusals of a peer.
var (
	ErrLiar      = errors.New("blocksync: a peer sent what is provably wrong")
	ErrBusy      = errors.New("blocksync: the peer has no time")
	ErrNotThere  = errors.New("blocksync: the peer does not have it")
	ErrNobody    = errors.New("blocksync: no peer has what is missing")
	ErrNoTarget  = errors.New("blocksync: too few peers say how far the chain is")
	errMalformed = errors.New("malformed message")
)

// Patience is how long a peer is waited for. Zero durations mean their defaults.
type Patience struct {
	Open    time.Duration // until a stream is open, 5 s
	Message time.Duration // for one whole message, 10 s
	Total   time.Duration // for a whole answer, 60 s
	Status  time.Duration // for a status, 3 s
}

func (p Patience) withDefaults() Patience {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&p.Open, 5*time.Second)
	def(&p.Message, 10*time.Second)
	def(&p.Total, time.Minute)
	def(&p.Status, 3*time.Second)
	return p
}

// readMessage reads one message that must not be longer than limit. It allocates nothing for a longer one.
func readMessage(r io.Reader, limit int, m proto.Message) error {
	err := pbio.NewDelimitedReader(r, limit).ReadMsg(m)
	if errors.Is(err, io.ErrShortBuffer) || errors.Is(err, proto.Error) {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return err
}

// call is one request and what is heard of the answer.
type call struct {
	stream  network.Stream
	reader  pbio.Reader
	message time.Duration
	end     time.Time
}

// ask opens a stream and sends the only request of it. The answer is given up when ctx ends; hang must be called.
func ask(ctx context.Context, h host.Host, to peer.ID, id protocol.ID, p Patience, limit int, request proto.Message) (*call, func(), error) {
	opening, cancel := context.WithTimeout(ctx, p.Open)
	defer cancel()
	s, err := h.NewStream(opening, to, id)
	if err != nil {
		return nil, nil, fmt.Errorf("open stream to %s: %w", to, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	hang := func() {
		stop()
		_ = s.Reset() // what was needed has been read
	}
	c := &call{stream: s, reader: pbio.NewDelimitedReader(s, limit), message: p.Message, end: time.Now().Add(p.Total)}
	err = s.SetWriteDeadline(time.Now().Add(p.Message))
	if err == nil {
		err = pbio.NewDelimitedWriter(s).WriteMsg(request)
	}
	if err == nil {
		err = s.CloseWrite()
	}
	if err != nil {
		hang()
		return nil, nil, fmt.Errorf("ask %s: %w", to, err)
	}
	return c, hang, nil
}

// next reads the next message of the answer. It must be there, whole, in the time for a message.
func (c *call) next(m proto.Message) error {
	deadline := time.Now().Add(c.message)
	if c.end.Before(deadline) {
		deadline = c.end
	}
	if err := c.stream.SetReadDeadline(deadline); err != nil {
		return err
	}
	err := c.reader.ReadMsg(m)
	if errors.Is(err, io.ErrShortBuffer) || errors.Is(err, proto.Error) {
		return fmt.Errorf("%w: %w", ErrLiar, err)
	}
	return err
}

// The protocols.
const (
	blocksProtocol   = mesh.BlockSyncProtocol
	snapshotProtocol = mesh.SnapshotProtocol
)
