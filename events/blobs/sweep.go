package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/shardy-network/orchestrator/events"
)

// StagedSweeper is what a log that stages blobs must also do so that a store can remove some.
type StagedSweeper interface {
	// StagedBefore yields the sums of the blobs that were staged before the given time and not since.
	StagedBefore(ctx context.Context, at time.Time) iter.Seq2[[32]byte, error]
	// Unstage removes a blob unless it was staged at or after the given time, and tells whether it did.
	Unstage(ctx context.Context, sum [32]byte, before time.Time) (bool, error)
}

// Swept says what a sweep did.
type Swept struct {
	Kept, Removed int   // blobs older than the limit
	Bytes         int64 // of those that were removed
	Leftovers     int   // remains of interrupted uploads that were removed
}

// Sweep removes the blobs that were last put at least olderThan ago and that keep does not want. A blob that is put
// while the sweep runs stays. olderThan must exceed the time between a Put and the append of the event that names the
// blob, and so must be positive.
func (s *Store) Sweep(ctx context.Context, keep func(sum [32]byte) bool, olderThan time.Duration) (Swept, error) {
	return s.sweep(ctx, &sweep{keep: keep}, olderThan)
}

// Orphans says what Sweep would do, and removes nothing.
func (s *Store) Orphans(ctx context.Context, keep func(sum [32]byte) bool, olderThan time.Duration) (Swept, error) {
	return s.sweep(ctx, &sweep{keep: keep, dry: true}, olderThan)
}

// sweep is one walk over all blobs.
type sweep struct {
	keep   func(sum [32]byte) bool
	dry    bool      // count only
	before time.Time // blobs put since are not looked at
	done   Swept
}

func (s *Store) sweep(ctx context.Context, w *sweep, olderThan time.Duration) (Swept, error) {
	if olderThan <= 0 {
		return Swept{}, fmt.Errorf("%w: sweep of blobs of any age", ErrConfig)
	}
	w.before = time.Now().Add(-olderThan)
	if err := s.sweepLog(ctx, w); err != nil {
		return w.done, fmt.Errorf("sweep blobs: %w", err)
	}
	if err := s.sweepBucket(ctx, w); err != nil {
		return w.done, fmt.Errorf("sweep blobs: %w", err)
	}
	return w.done, nil
}

func (s *Store) sweepLog(ctx context.Context, w *sweep) error {
	log, ok := s.stager.(StagedSweeper)
	if !ok {
		return nil
	}
	for sum, err := range log.StagedBefore(ctx, w.before) {
		if err != nil {
			return err
		}
		if w.keep(sum) {
			w.done.Kept++
			continue
		}
		data, err := s.stager.Staged(ctx, sum)
		if err != nil && !errors.Is(err, events.ErrNotFound) && !errors.Is(err, events.ErrCorrupt) { // what is broken goes too
			return err
		}
		removed := w.dry
		if !w.dry {
			if removed, err = log.Unstage(ctx, sum, w.before); err != nil {
				return err
			}
		}
		if removed {
			w.done.Removed++
			w.done.Bytes += int64(len(data))
		}
	}
	return nil
}

// listAttempts is how often one part of a bucket is listed anew when files vanish under the listing, as those of
// uploads in progress do.
const listAttempts = 16

func (s *Store) sweepBucket(ctx context.Context, w *sweep) error {
	for part := range 256 {
		for attempt := 1; ; attempt++ {
			before := w.done
			err := s.sweepPart(ctx, fmt.Sprintf("%02x/", part), w)
			if err == nil {
				break
			}
			if gcerrors.Code(err) != gcerrors.NotFound || attempt == listAttempts {
				return err
			}
			if w.done.Kept = before.Kept; w.dry { // they will be met again
				w.done = before
			}
		}
	}
	return nil
}

func (s *Store) sweepPart(ctx context.Context, prefix string, w *sweep) error {
	list := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		obj, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if obj.IsDir || !obj.ModTime.Before(w.before) {
			continue
		}
		if err := s.sweepObject(ctx, obj, w); err != nil {
			return err
		}
	}
}

func (s *Store) sweepObject(ctx context.Context, obj *blob.ListObject, w *sweep) error {
	sum, err := ParseKey(obj.Key)
	if err != nil {
		if s.folder == nil || !isLeftover(obj.Key) {
			return nil // not ours
		}
		if !w.dry {
			if err := gone(s.bucket.Delete(ctx, obj.Key)); err != nil {
				return err
			}
		}
		w.done.Leftovers++
		return nil
	}
	if w.keep(sum) {
		w.done.Kept++
		return nil
	}
	removed := w.dry
	if !w.dry {
		if removed, err = s.removeOld(ctx, sum, obj, w.before); err != nil {
			return err
		}
	}
	if removed {
		w.done.Removed++
		w.done.Bytes += obj.Size
	}
	return nil
}

// removeOld removes a blob from the bucket unless it was put since it was listed.
func (s *Store) removeOld(ctx context.Context, sum [32]byte, listed *blob.ListObject, before time.Time) (bool, error) {
	stripe := &s.stripes[sum[0]]
	stripe.Lock()
	defer stripe.Unlock()
	if at, ok := s.known.last(sum); ok && !at.Before(before) {
		return false, nil
	}
	now, err := s.bucket.Attributes(ctx, listed.Key)
	if err != nil {
		return false, gone(err)
	}
	if !now.ModTime.Before(before) {
		return false, nil
	}
	s.known.forget(sum)
	return true, gone(s.bucket.Delete(ctx, listed.Key))
}

// gone takes it as done when there is nothing to remove.
func gone(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}

// Delete removes a blob wherever it is. Removing what is not there is no error.
func (s *Store) Delete(ctx context.Context, sum [32]byte) error {
	if log, ok := s.stager.(StagedSweeper); ok {
		if _, err := log.Unstage(ctx, sum, time.UnixMicro(math.MaxInt64/2)); err != nil {
			return fmt.Errorf("delete blob %x: %w", sum, err)
		}
	}
	stripe := &s.stripes[sum[0]]
	stripe.Lock()
	defer stripe.Unlock()
	s.known.forget(sum)
	if err := gone(s.bucket.Delete(ctx, Key(sum))); err != nil {
		return fmt.Errorf("delete blob %x: %w", sum, err)
	}
	return nil
}
