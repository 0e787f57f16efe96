package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// store is the blob store in the shape that the rooms above it want.
type store struct{ *blobs.Store }

func (s store) Get(ctx context.Context, sum [32]byte) ([]byte, error) {
	data, err := s.Store.Get(ctx, sum, blobs.DefaultMaxBytes)
	return data, notFound(err)
}

func (s store) Put(ctx context.Context, data []byte) (*eventv1.BlobRef, error) {
	ref, err := s.Store.Put(ctx, data)
	if err != nil {
		return nil, err
	}
	return &eventv1.BlobRef{Sha256: ref.Sum[:], Size: ref.Size}, nil
}

// notFound says in the log's words that a blob is not there, for rooms that do not know the store.
func notFound(err error) error {
	if errors.Is(err, blobs.ErrNotFound) && !errors.Is(err, events.ErrNotFound) {
		return fmt.Errorf("%w: %w", events.ErrNotFound, err)
	}
	return err
}

// courier lets the host be built before the door. Nothing is delivered until the host is started, which is after.
type courier struct{ o *Orchestrator }

func (c courier) Deliver(t actors.Task, restored bool) { c.o.door.Deliver(t, restored) }

func (c courier) Recall(worker []byte, token uint64, reason string) {
	c.o.door.Recall(worker, token, reason)
}
