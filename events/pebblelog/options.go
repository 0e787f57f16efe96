package pebblelog

import (
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// MaxLinger is the longest that a commit may wait for company.
const MaxLinger = time.Millisecond

// Options tune a log. The zero value is right for most.
type Options struct {
	// Linger is how long a commit may wait for company, up to MaxLinger. It waits only while the last groups were
	// large, and no longer than until the group is as large as they were: a lone appender never waits.
	// Default: 0, the commit only lets those go first who are ready to append. On disks that sync within 0.3 ms no
	// linger was ever measured to gain anything over that, at 1 to 1,000 appenders; it is for slower disks.
	Linger time.Duration
	// HeadStreams is how many streams' last revisions are remembered (about 100 bytes each). Default: 131072.
	HeadStreams int
	// BlobCacheBytes bounds the staged blobs kept in memory for those who read them next. Default: 32 MiB.
	BlobCacheBytes int
	// BlockCacheBytes is the engine's read cache. Default: 64 MiB.
	BlockCacheBytes int64
	// MemTableBytes is the engine's write buffer; up to three exist at a time, and the write-ahead logs on disk
	// are up to four times as large. Default: 16 MiB.
	MemTableBytes int
	// RecentRecords and RecentBytes bound the records kept in memory for live tails. Default: 8192 and 8 MiB.
	RecentRecords, RecentBytes int
	// QueuedRequests and QueuedBytes bound what waits for the committer; then appenders wait.
	// Default: 16384 and 32 MiB.
	QueuedRequests, QueuedBytes int
	// Logger hears of stalls, damage and the failure that stops the log. Default: slog.Default().
	Logger *slog.Logger

	fs vfs.FS // the disk; tests inject faults here
}

// Validate refuses settings out of range.
func (o Options) Validate() error {
	if o.Linger < 0 || o.Linger > MaxLinger {
		return errors.New("event log: linger must be 0 to 1ms")
	}
	if o.HeadStreams < 0 || o.BlobCacheBytes < 0 || o.BlockCacheBytes < 0 || o.MemTableBytes < 0 ||
		o.RecentRecords < 0 || o.RecentBytes < 0 || o.QueuedRequests < 0 || o.QueuedBytes < 0 {
		return errors.New("event log: sizes must not be negative")
	}
	if o.MemTableBytes > 1<<30 {
		return errors.New("event log: write buffer must not exceed 1 GiB")
	}
	return nil
}

func (o Options) withDefaults() Options {
	def(&o.HeadStreams, 128<<10)
	o.HeadStreams = max(o.HeadStreams, 4*maxGroupEvents) // a group must find its own heads
	def(&o.BlobCacheBytes, 32<<20)
	def(&o.BlockCacheBytes, 64<<20)
	def(&o.MemTableBytes, 16<<20)
	if o.fs == nil { // tests may go below
		o.MemTableBytes = max(o.MemTableBytes, 4*maxGroupBytes) // a group must fit
	}
	def(&o.RecentRecords, 8<<10)
	def(&o.RecentBytes, 8<<20)
	def(&o.QueuedRequests, 16<<10)
	def(&o.QueuedBytes, 32<<20)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	return o
}

func def[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// pebble is the engine's part of the options: the newest format, Snappy above and Zstandard in the bottom level,
// filters so that a stream's first append looks nowhere in vain.
func (o Options) pebble(d *disk, cache *pebble.Cache) *pebble.Options {
	po := &pebble.Options{
		FS:                          d,
		Cache:                       cache,
		Comparer:                    pebble.DefaultComparer,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               128 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		Logger:                      d,
		EventListener:               d.listener(),
	}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 16 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].FilterType = pebble.TableFilter
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return po
}
