package pebblelog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the engine's file system and logger. It turns the first failed write into the log's failed state, in place
// of the engine's own answers, which are to end the process or to panic with a lock held.
//
// From then on the disk is as a crash at that moment would have left it: the write-ahead log swallows what comes
// (nobody is told that it is durable, see Log.finish), nothing is removed, and every other write fails. In particular
// no table is entered in the manifest whose name may not be durable. Reads are untouched.
type disk struct {
	vfs.FS
	log    *slog.Logger
	failed chan struct{} // closed when err is set
	once   sync.Once
	err    error // set before failed is closed
}

func newDisk(fs vfs.FS, log *slog.Logger) *disk {
	return &disk{FS: fs, log: log, failed: make(chan struct{})}
}

// fail stops the log. The first cause counts.
func (d *disk) fail(err error) {
	d.once.Do(func() {
		d.err = err
		d.log.Error("event log stopped taking appends", "error", err)
		close(d.failed)
	})
}

func (d *disk) cause() error {
	select {
	case <-d.failed:
		return d.err
	default:
		return nil
	}
}

func (d *disk) frozen() bool { return d.cause() != nil }

// isWAL tells the engine's write-ahead logs by their names.
func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

func (d *disk) Unwrap() vfs.FS { return d.FS }

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !isWAL(name) {
		if err := d.cause(); err != nil {
			return nil, err
		}
		f, err := d.FS.Create(name, c)
		if err != nil {
			return nil, err
		}
		return &otherFile{File: f, d: d}, nil
	}
	if d.frozen() {
		return sink{}, nil
	}
	f, err := d.FS.Create(name, c)
	return d.wal(f, err)
}

func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !isWAL(to) {
		if err := d.cause(); err != nil {
			return nil, err
		}
		return d.FS.ReuseForWrite(from, to, c)
	}
	if d.frozen() {
		return sink{}, nil
	}
	f, err := d.FS.ReuseForWrite(from, to, c)
	return d.wal(f, err)
}

func (d *disk) wal(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		d.fail(err)
		return sink{}, nil
	}
	return &walFile{File: f, d: d}, nil
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &dirFile{File: f, d: d}, nil
}

func (d *disk) Rename(from, to string) error {
	if err := d.cause(); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *disk) Link(from, to string) error {
	if err := d.cause(); err != nil {
		return err
	}
	return d.FS.Link(from, to)
}

func (d *disk) Remove(name string) error {
	if d.frozen() {
		return nil
	}
	return d.FS.Remove(name)
}

func (d *disk) RemoveAll(name string) error {
	if d.frozen() {
		return nil
	}
	return d.FS.RemoveAll(name)
}

// walFile is a write-ahead log being written.
type walFile struct {
	vfs.File
	d *disk
}

// hold runs a write unless the disk is frozen, and freezes it when the write fails.
func (f *walFile) hold(write func() error) {
	if f.d.frozen() {
		return
	}
	if err := write(); err != nil {
		f.d.fail(err)
	}
}

func (f *walFile) Write(p []byte) (int, error) {
	f.hold(func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

func (f *walFile) Sync() error {
	f.hold(f.File.Sync)
	return nil
}

func (f *walFile) SyncData() error {
	f.hold(f.File.SyncData)
	return nil
}

func (f *walFile) SyncTo(n int64) (full bool, err error) {
	f.hold(func() error { full, err = f.File.SyncTo(n); return err })
	return full, nil
}

func (f *walFile) Preallocate(off, n int64) error {
	if f.d.frozen() {
		return nil
	}
	return f.File.Preallocate(off, n) // the engine takes a refusal lightly, and so may we: the write will tell
}

func (f *walFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.d.fail(err)
	}
	return nil
}

// otherFile is any other file being written.
type otherFile struct {
	vfs.File
	d *disk
}

func (f *otherFile) Write(p []byte) (int, error) {
	if err := f.d.cause(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *otherFile) Sync() error {
	if err := f.d.cause(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *otherFile) SyncData() error {
	if err := f.d.cause(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *otherFile) SyncTo(n int64) (bool, error) {
	if err := f.d.cause(); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

// dirFile is a folder being synced. A new write-ahead log needs that, so that a failure must not reach the engine.
type dirFile struct {
	vfs.File
	d *disk
}

func (f *dirFile) Sync() error {
	if f.d.frozen() {
		return nil
	}
	if err := f.File.Sync(); err != nil {
		f.d.fail(err)
	}
	return nil
}

// sink stands in for a write-ahead log that could not be made.
type sink struct{ vfs.File }

func (sink) Close() error                   { return nil }
func (sink) Write(p []byte) (int, error)    { return len(p), nil }
func (sink) Preallocate(int64, int64) error { return nil }
func (sink) Sync() error                    { return nil }
func (sink) SyncData() error                { return nil }
func (sink) SyncTo(int64) (bool, error)     { return true, nil }
func (sink) Prefetch(int64, int64) error    { return nil }
func (sink) Fd() uintptr                    { return vfs.InvalidFd }
func (sink) Stat() (vfs.FileInfo, error)    { return sinkInfo{}, nil }

type sinkInfo struct{}

func (sinkInfo) Name() string           { return "" }
func (sinkInfo) Size() int64            { return 0 }
func (sinkInfo) Mode() fs.FileMode      { return 0 }
func (sinkInfo) ModTime() time.Time     { return time.Time{} }
func (sinkInfo) IsDir() bool            { return false }
func (sinkInfo) Sys() any               { return nil }
func (sinkInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// retryPause slows the engine down when it repeats failed background work without a pause of its own.
const retryPause = 100 * time.Millisecond

func (d *disk) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if errors.Is(err, pebble.ErrCancelledCompaction) || errors.Is(err, pebble.ErrClosed) {
				return
			}
			d.fail(err)
			time.Sleep(retryPause)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			d.fail(typed(info.Details))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			d.log.Warn("event log stalls: the disk does not keep up", "reason", info.Reason)
		},
		WriteStallEnd: func() { d.log.Warn("event log goes on after a stall") },
		DiskSlow: func(info pebble.DiskSlowInfo) {
			d.log.Warn("event log waits for a slow disk", "path", info.Path, "duration", info.Duration)
		},
	}
}

// Infof leaves out the engine's chatter.
func (d *disk) Infof(string, ...any) {}

// Errorf passes the engine's complaints on.
func (d *disk) Errorf(format string, args ...any) {
	d.log.Error("event log engine", "message", fmt.Sprintf(format, args...))
}

// Fatalf stops the log where the engine would end the process.
func (d *disk) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			d.fail(err)
		}
	}
	d.fail(fmt.Errorf(format, args...))
}
