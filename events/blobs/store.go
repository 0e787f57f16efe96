// Package blobs keeps content under its SHA-256: small blobs beside the events, in the log that can stage them, and
// all others in a bucket.
//
// A blob is durable before Put returns, except that a small one becomes durable with the next append to the log, which
// fails if it does not. Every read verifies the hash. The store does not know who may read what, nor what is still
// needed: Sweep asks.
package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"github.com/shardy-network/orchestrator/events"
)

// The refusals of a store; test with errors.Is. ErrNotFound is an events.ErrNotFound too.
var (
	ErrNotFound error = notFound{}
	ErrTooLarge       = errors.New("blob is too large")
	ErrCorrupt        = errors.New("blob is not what its name says")
	ErrConfig         = errors.New("blob store is not configured well")
)

type notFound struct{}

func (notFound) Error() string { return "no such blob" }

func (notFound) Is(target error) bool { return target == events.ErrNotFound }

// DefaultMaxBytes bounds one blob unless Options say otherwise.
const DefaultMaxBytes = 1 << 30

// Ref names a blob.
type Ref struct {
	Sum  [sha256.Size]byte
	Size uint64 // bytes
}

// Options of a store.
type Options struct {
	// Log keeps blobs of up to events.MaxStagedBytes if it is an events.Stager. May be nil.
	Log events.Log
	// MaxBytes bounds one blob. Default: DefaultMaxBytes.
	MaxBytes int64
}

// Store is safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	folder *folder // of a local bucket, else nil
	stager events.Stager
	max    int64

	// A stripe is held while a blob of the bucket is written, or judged and removed, so that a sweep cannot remove
	// what is being put.
	stripes [256]sync.Mutex
	known   known
}

// Open opens the store in a bucket: a folder's path, which is made if need be, "mem://" for tests, or any URL whose
// driver is linked in ("s3://...").
func Open(ctx context.Context, at string, opts Options) (*Store, error) {
	if opts.MaxBytes < 0 {
		return nil, fmt.Errorf("%w: negative limit", ErrConfig)
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	s := &Store{max: opts.MaxBytes}
	s.stager, _ = opts.Log.(events.Stager)
	path, local, err := localPath(at)
	if err != nil {
		return nil, err
	}
	switch {
	case local:
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("blob store: %w", err)
		}
		s.folder = newFolder(path)
		s.bucket, err = fileblob.OpenBucket(path, &fileblob.Options{
			DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
	case at == "mem://":
		s.bucket = memblob.OpenBucket(nil)
	default:
		s.bucket, err = blob.OpenBucket(ctx, at)
	}
	if err != nil {
		return nil, fmt.Errorf("blob store: %w", err)
	}
	return s, nil
}

// Close releases the bucket. The log is the caller's.
func (s *Store) Close() error { return s.bucket.Close() }

// Put keeps data. Putting what is there again is allowed, and cheap if it was put lately.
func (s *Store) Put(ctx context.Context, data []byte) (Ref, error) {
	if int64(len(data)) > s.max {
		return Ref{}, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(data), s.max)
	}
	ref := Ref{Sum: sha256.Sum256(data), Size: uint64(len(data))}
	if s.stager != nil && len(data) <= events.MaxStagedBytes {
		if err := s.stager.Stage(ctx, ref.Sum, data); err != nil {
			return Ref{}, fmt.Errorf("put blob: %w", err)
		}
		return ref, nil
	}
	return ref, s.upload(ctx, ref, bytes.NewReader(data))
}

// PutReader keeps what r yields, up to limit bytes (ErrTooLarge beyond). It spools large content to a temporary file.
func (s *Store) PutReader(ctx context.Context, r io.Reader, limit int64) (Ref, error) {
	limit = min(limit, s.max)
	r = io.LimitReader(r, limit+1)
	head, err := io.ReadAll(io.LimitReader(r, events.MaxStagedBytes+1))
	if err != nil {
		return Ref{}, fmt.Errorf("put blob: %w", err)
	}
	if int64(len(head)) > limit {
		return Ref{}, fmt.Errorf("%w: limit %d", ErrTooLarge, limit)
	}
	if len(head) <= events.MaxStagedBytes {
		return s.Put(ctx, head)
	}
	spool, err := os.CreateTemp("", "shardy-blob-*")
	if err != nil {
		return Ref{}, fmt.Errorf("put blob: %w", err)
	}
	defer spool.Close()
	defer os.Remove(spool.Name())
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(spool, h), io.MultiReader(bytes.NewReader(head), r))
	if err != nil {
		return Ref{}, fmt.Errorf("put blob: %w", err)
	}
	if n > limit {
		return Ref{}, fmt.Errorf("%w: limit %d", ErrTooLarge, limit)
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return Ref{}, fmt.Errorf("put blob: %w", err)
	}
	return Ref{Sum: [32]byte(h.Sum(nil)), Size: uint64(n)}, s.upload(ctx, Ref{Sum: [32]byte(h.Sum(nil)), Size: uint64(n)}, spool)
}

// upload writes a blob to the bucket unless it was written lately.
func (s *Store) upload(ctx context.Context, ref Ref, r io.Reader) error {
	stripe := &s.stripes[ref.Sum[0]]
	stripe.Lock()
	defer stripe.Unlock()
	if s.known.touch(ref.Sum, time.Now()) {
		return nil
	}
	if err := s.write(ctx, Key(ref.Sum), r); err != nil {
		return fmt.Errorf("put blob: %w", err)
	}
	s.known.add(ref.Sum, time.Now())
	return nil
}

func (s *Store) write(ctx context.Context, key string, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends an unfinished upload without leaving anything under the key
	var file *os.File
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/octet-stream",
		BeforeWrite: func(as func(any) bool) error {
			if s.folder != nil && !as(&file) {
				return errors.New("bucket hides its file")
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err == nil && file != nil {
		err = file.Sync() // before it gets its name
	}
	if err != nil {
		cancel()
		return errors.Join(err, quietly(w.Close()))
	}
	if err := w.Close(); err != nil {
		return err
	}
	if s.folder != nil {
		return s.folder.sync(key)
	}
	return nil
}

// quietly drops the error of a close that only repeats why the upload was given up.
func quietly(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Get returns a blob of up to limit bytes, verified.
func (s *Store) Get(ctx context.Context, sum [32]byte, limit int64) ([]byte, error) {
	data, err := s.staged(ctx, sum)
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(data), limit)
	}
	if !errors.Is(err, ErrNotFound) {
		return data, err
	}
	r, size, err := s.fromBucket(ctx, sum)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, limit)
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("get blob %x: %w", sum, err)
	}
	if sha256.Sum256(data) != sum {
		return nil, fmt.Errorf("%w: %x", ErrCorrupt, sum)
	}
	return data, nil
}

// staged returns a verified blob from the log.
func (s *Store) staged(ctx context.Context, sum [32]byte) ([]byte, error) {
	if s.stager == nil {
		return nil, ErrNotFound
	}
	data, err := s.stager.Staged(ctx, sum)
	switch {
	case errors.Is(err, events.ErrNotFound):
		return nil, fmt.Errorf("%w: %x", ErrNotFound, sum)
	case errors.Is(err, events.ErrCorrupt):
		return nil, fmt.Errorf("%w: %x: %w", ErrCorrupt, sum, err)
	case err != nil:
		return nil, fmt.Errorf("get blob %x: %w", sum, err)
	case sha256.Sum256(data) != sum:
		return nil, fmt.Errorf("%w: %x", ErrCorrupt, sum)
	}
	return data, nil
}

func (s *Store) fromBucket(ctx context.Context, sum [32]byte) (*blob.Reader, int64, error) {
	r, err := s.bucket.NewReader(ctx, Key(sum), nil)
	if err != nil {
		return nil, 0, missing(sum, err)
	}
	if size := r.Size(); size < 0 || size > s.max {
		r.Close()
		return nil, 0, fmt.Errorf("%w: %x has %d bytes", ErrCorrupt, sum, size)
	}
	return r, r.Size(), nil
}

func missing(sum [32]byte, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %x", ErrNotFound, sum)
	}
	return fmt.Errorf("blob %x: %w", sum, err)
}

// Open returns a blob's content as a stream. Its Read returns ErrCorrupt in place of io.EOF if the content was not
// what its name says, so that whoever acts before the end acts on unverified bytes.
func (s *Store) Open(ctx context.Context, sum [32]byte) (io.ReadCloser, int64, error) {
	data, err := s.staged(ctx, sum)
	if err == nil {
		return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, 0, err
	}
	r, size, err := s.fromBucket(ctx, sum)
	if err != nil {
		return nil, 0, err
	}
	return &verified{r: r, hash: sha256.New(), sum: sum}, size, nil
}

// Size returns a blob's length in bytes, without reading it from the bucket.
func (s *Store) Size(ctx context.Context, sum [32]byte) (int64, error) {
	if data, err := s.staged(ctx, sum); !errors.Is(err, ErrNotFound) {
		return int64(len(data)), err
	}
	a, err := s.bucket.Attributes(ctx, Key(sum))
	if err != nil {
		return 0, missing(sum, err)
	}
	return a.Size, nil
}

// Has tells whether a blob is there, without reading it from the bucket.
func (s *Store) Has(ctx context.Context, sum [32]byte) (bool, error) {
	if _, err := s.staged(ctx, sum); !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	ok, err := s.bucket.Exists(ctx, Key(sum))
	if err != nil {
		return false, fmt.Errorf("blob %x: %w", sum, err)
	}
	return ok, nil
}
