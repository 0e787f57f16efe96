package transparency

import (
	"encoding/binary"
	"fmt"
	"time"
)

// work writes and signs when it is due, until Close.
func (t *Tree) work() {
	defer close(t.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(t.step())
		select {
		case <-timer.C:
		case <-t.wake:
		case <-t.quit:
			return
		}
	}
}

// idle is how long work sleeps when nothing is due.
const idle = time.Hour

// retryAfter is the pause after a folder that could not be written to.
const retryAfter = time.Second

// step does what is due and returns when to look again.
func (t *Tree) step() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped != nil || t.dueSince.IsZero() {
		return idle
	}
	fresh := t.live.size - max(t.signedSize(), t.written)
	if wait := t.opts.SignAfter - time.Since(t.dueSince); wait > 0 && fresh < t.opts.SignEvery {
		return wait
	}
	if err := t.settle(); err != nil {
		t.opts.Logger.Warn("tree could not be written, trying again", "error", err, "again_in", retryAfter)
		return retryAfter
	}
	return idle
}

// settle writes and signs all that was taken in.
func (t *Tree) settle() error {
	if err := t.write(); err != nil {
		return err
	}
	if t.passed != nil {
		t.publish(t.kept[len(t.kept)-1], t.passed)
		t.passed = nil
	}
	if err := t.sign(); err != nil {
		return err
	}
	t.dueSince = time.Time{}
	return nil
}

// write makes durable what was taken in. The order is what a crash at any point relies on:
//
//  1. Full tiles. The size record does not cover them yet: after a crash they are written again.
//  2. Their positions, behind those that the size record covers.
//  3. The size record, whole or not at all. From here on a restart goes on behind these leaves.
func (t *Tree) write() error {
	if t.live.size == t.written && t.at == t.writtenAt {
		return nil
	}
	if err := t.dir.create(t.tiles); err != nil {
		return fmt.Errorf("write tiles: %w", err)
	}
	if first := t.written >> tileHeight; int64(len(t.positions)) > first {
		var b []byte
		for _, p := range t.positions[first:] {
			b = binary.BigEndian.AppendUint64(b, uint64(p))
		}
		if err := t.dir.extend(positionsFile, 8*first, b); err != nil {
			return fmt.Errorf("write positions: %w", err)
		}
	}
	if err := t.dir.replace(edgeFile, encodeEdge(t.live, t.at)); err != nil {
		return fmt.Errorf("write the size record: %w", err)
	}
	clear(t.tiles)
	t.tiles, t.written, t.writtenAt = t.tiles[:0], t.live.size, t.at
	return nil
}

// sign makes a checkpoint of what was written, unless it is one that was signed already. The tree must lead to all those
// before, and the checkpoint is on disk before anyone sees it: after a crash between the two it is published by the next
// start, so that no other root can be signed for its size.
func (t *Tree) sign() error {
	if t.checked < len(t.kept) || t.written <= t.signedSize() || t.written != t.live.size {
		return nil
	}
	c := Checkpoint{Origin: t.opts.Origin, Size: t.live.size, Root: t.live.root()}
	signed, err := SignCheckpoint(c, t.key)
	if err != nil {
		return err
	}
	k := Kept{At: time.Now().UTC().Truncate(time.Second), Checkpoint: c, Signed: signed}
	entry := k.entry()
	if err := t.dir.extend(checkpointsFile, t.keptBytes, entry); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	t.kept = append(t.kept, k)
	t.keptBytes += int64(len(entry))
	t.checked = len(t.kept)
	t.publish(k, t.live.clone())
	if err := t.thin(); err != nil {
		t.opts.Logger.Warn("old checkpoints stay", "error", err)
	}
	return nil
}

func (t *Tree) publish(k Kept, e *edge) {
	t.head.Store(&head{kept: k, edge: e, positions: t.positions[:e.size>>tileHeight]})
}

// thin writes the file of checkpoints anew when it holds many that need not be kept.
func (t *Tree) thin() error {
	if len(t.kept)%thinAt != 0 {
		return nil
	}
	kept := thin(t.kept)
	if len(kept) == len(t.kept) {
		return nil
	}
	var b []byte
	for _, k := range kept {
		b = append(b, k.entry()...)
	}
	if err := t.dir.replace(checkpointsFile, b); err != nil {
		return err
	}
	t.kept, t.keptBytes, t.checked = kept, int64(len(b)), len(kept)
	return nil
}
