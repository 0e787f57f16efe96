package pebblelog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
)

// blob is a staged blob in memory.
type blob struct {
	sum     [32]byte
	data    []byte
	staged  time.Time // last time
	pending int       // times that it is in the committer's queue; not forgotten until all are settled
}

// blobCache knows the blobs that were staged or read last. It forgets by halves, as heads does, but never a blob that
// is on its way to the disk.
type blobCache struct {
	mu         sync.Mutex // guards what follows
	young, old map[[32]byte]*blob
	bytes      int // of the young half
	half       int // limit of bytes of one half
}

func (c *blobCache) init(limit int) {
	c.half = limit / 2
	c.young, c.old = make(map[[32]byte]*blob), make(map[[32]byte]*blob)
}

// find must be called with the lock held. It makes the blob young.
func (c *blobCache) find(sum [32]byte) *blob {
	if b := c.young[sum]; b != nil {
		return b
	}
	b := c.old[sum]
	if b != nil {
		delete(c.old, sum)
		c.insert(b)
	}
	return b
}

func (c *blobCache) insert(b *blob) {
	if c.bytes+len(b.data) > c.half && len(c.young) > 0 {
		old := c.old
		c.old, c.young, c.bytes = c.young, make(map[[32]byte]*blob), 0
		for sum, o := range old {
			if o.pending > 0 {
				c.young[sum] = o
				c.bytes += len(o.data)
			}
		}
	}
	c.young[b.sum] = b
	c.bytes += len(b.data)
}

// remove must be called with the lock held.
func (c *blobCache) remove(b *blob) {
	if c.young[b.sum] == b {
		delete(c.young, b.sum)
		c.bytes -= len(b.data)
	}
	if c.old[b.sum] == b {
		delete(c.old, b.sum)
	}
}

// settle ends a blob's way to the disk.
func (c *blobCache) settle(b *blob, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.pending--
	if !ok && b.pending == 0 {
		c.remove(b)
	}
}

// Stage takes a copy of data under its SHA-256 and queues it before every append that begins later. It does not wait
// for the disk, only for space in the queue. What was staged or read lately is not written again.
func (l *Log) Stage(ctx context.Context, sum [32]byte, data []byte) error {
	if err := events.CheckStaged(sum, data); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	if l.disk.frozen() {
		return l.unavailable()
	}
	c := &l.blobs
	c.mu.Lock()
	b := c.find(sum)
	if b != nil && b.pending == 0 {
		b.staged = time.Now()
		c.mu.Unlock()
		return nil
	}
	// A blob that is pending may still fail to be queued by the one who brought it, so that it is queued again.
	if b == nil {
		b = &blob{sum: sum, data: append(make([]byte, 0, len(data)), data...)}
		c.insert(b)
	}
	b.pending++
	b.staged = time.Now()
	c.mu.Unlock()
	r := l.take(kindStage)
	r.sum, r.blob = sum, b
	if err := l.push(ctx, r); err != nil {
		c.settle(b, false)
		l.give(r)
		return err
	}
	return nil
}

// Staged returns what Stage kept.
func (l *Log) Staged(ctx context.Context, sum [32]byte) ([]byte, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	defer l.calls.Done()
	c := &l.blobs
	c.mu.Lock()
	if b := c.find(sum); b != nil {
		c.mu.Unlock()
		return append(make([]byte, 0, len(b.data)), b.data...), nil
	}
	c.mu.Unlock()
	v, closer, err := l.db.Get(blobKey(make([]byte, 0, blobKeyLen), &sum))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, events.ErrNotFound
	}
	if err != nil {
		return nil, typed(err)
	}
	defer closer.Close()
	_, data, err := parseBlob(v)
	if err == nil && sha256.Sum256(data) != sum {
		err = fmt.Errorf("%w: blob %x is not what its name says", events.ErrCorrupt, sum)
	}
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(data)), data...), nil
}

func parseBlob(v []byte) (micros int64, data []byte, err error) {
	if len(v) < blobHeader || len(v) > blobHeader+events.MaxStagedBytes {
		return 0, nil, fmt.Errorf("%w: blob entry of %d bytes", events.ErrCorrupt, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), v[blobHeader:], nil
}

// writeBlob is the committer's part of Stage.
func (l *Log) writeBlob(r *request) error {
	op := l.c.batch.SetDeferred(blobKeyLen, blobHeader+len(r.blob.data))
	blobKey(op.Key[:0], &r.sum)
	binary.BigEndian.PutUint64(op.Value, uint64(l.c.now))
	copy(op.Value[blobHeader:], r.blob.data)
	return op.Finish()
}

// StagedBefore yields the sums of the blobs that were written before the given time.
func (l *Log) StagedBefore(ctx context.Context, at time.Time) iter.Seq2[[32]byte, error] {
	return func(yield func([32]byte, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield([32]byte{}, err)
			return
		}
		defer l.calls.Done()
		for from := []byte(blobPrefix); from != nil; {
			sums, next, err := l.stagedChunk(from, at.UnixMicro())
			for i := 0; err == nil && i < len(sums); i++ {
				if err = l.ended(ctx); err == nil && !yield(sums[i], nil) {
					return
				}
			}
			if err == nil {
				err = l.ended(ctx)
			}
			if err != nil {
				yield([32]byte{}, err)
				return
			}
			from = next
		}
	}
}

func (l *Log) stagedChunk(from []byte, before int64) (sums [][32]byte, next []byte, err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte(blobsEnd)})
	if err != nil {
		return nil, nil, typed(err)
	}
	defer it.Close()
	n := 0
	for more := it.First(); more; more = it.Next() {
		if n++; n > chunkRecords {
			return sums, append([]byte(nil), it.Key()...), nil
		}
		sum, err := parseBlobKey(it.Key())
		if err != nil {
			return nil, nil, err
		}
		micros, _, err := parseBlob(it.Value())
		if err != nil {
			return nil, nil, err
		}
		if micros < before {
			sums = append(sums, sum)
		}
	}
	return sums, nil, typed(it.Error())
}

// Unstage removes a blob, unless it was staged again at or after the given time. It tells whether it did. A blob that
// is staged while it is being removed is written anew.
func (l *Log) Unstage(ctx context.Context, sum [32]byte, before time.Time) (bool, error) {
	if err := l.begin(ctx); err != nil {
		return false, err
	}
	defer l.calls.Done()
	r := l.take(kindUnstage)
	r.sum, r.until = sum, before.UnixMicro()
	if err := l.run(ctx, r); err != nil {
		return false, err
	}
	removed := r.removed
	l.give(r)
	return removed, nil
}

// removeBlob is the committer's part of Unstage. A Stage that finds the blob in the cache comes before the look at
// the cache here and saves it; one that does not find it queues it again, behind this.
func (l *Log) removeBlob(r *request) error {
	key := blobKey(make([]byte, 0, blobKeyLen), &r.sum)
	if len(l.c.group) > 0 {
		return errOpenGroup
	}
	v, closer, err := l.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return typed(err)
	}
	micros, _, err := parseBlob(v)
	closer.Close()
	if err != nil || micros >= r.until {
		return err
	}
	c := &l.blobs
	c.mu.Lock()
	b := c.young[r.sum]
	if b == nil {
		b = c.old[r.sum]
	}
	if b != nil {
		if b.pending > 0 || b.staged.UnixMicro() >= r.until {
			c.mu.Unlock()
			return nil
		}
		c.remove(b)
	}
	c.mu.Unlock()
	r.removed = true
	return l.c.batch.Delete(key, nil)
}
