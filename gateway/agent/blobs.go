package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// ErrBlob means that the orchestrator's answer to a blob's name was not that blob.
var ErrBlob = errors.New("agent: blob does not match its name")

// library fetches modules by hash, once each, and keeps them within bounds.
type library struct {
	cfg Config

	mu    sync.Mutex
	kept  map[[32]byte][]byte // guarded by mu
	order [][32]byte          // oldest first; guarded by mu
	size  uint64              // guarded by mu

	shelf map[[32]byte]*loading // modules that the runner has, or is being given; guarded by mu
}

// loading is one module's way into the runner; ready is closed when it is over.
type loading struct {
	ready chan struct{}
	err   error // valid once ready is closed
}

func newLibrary(cfg Config) *library {
	return &library{cfg: cfg, kept: make(map[[32]byte][]byte), shelf: make(map[[32]byte]*loading)}
}

// load gives a module to the runner unless it has it. Callers that come together wait for one load; a failure is tried
// again by the next caller.
func (l *library) load(ctx context.Context, name [32]byte) error {
	l.mu.Lock()
	way := l.shelf[name]
	first := way == nil
	if first {
		way = &loading{ready: make(chan struct{})}
		l.shelf[name] = way
	}
	l.mu.Unlock()
	if !first {
		select {
		case <-way.ready:
			return way.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	module, err := l.get(ctx, name)
	if err == nil {
		err = l.cfg.Runner.Load(ctx, name, module)
	}
	way.err = err
	if err != nil {
		l.forget(name)
	}
	close(way.ready)
	return err
}

// forget makes the next load of a module start anew: the runner has dropped it, or never got it.
func (l *library) forget(name [32]byte) {
	l.mu.Lock()
	delete(l.shelf, name)
	l.mu.Unlock()
}

// get finds a blob in memory, on disk, or at the orchestrator.
func (l *library) get(ctx context.Context, name [32]byte) ([]byte, error) {
	l.mu.Lock()
	data, ok := l.kept[name]
	l.mu.Unlock()
	if ok {
		return data, nil
	}
	data, err := l.fromDisk(name)
	if err != nil {
		if data, err = l.fetch(ctx, name); err != nil {
			return nil, err
		}
		l.toDisk(name, data)
	}
	l.keep(name, data)
	return data, nil
}

func (l *library) keep(name [32]byte, data []byte) {
	n := uint64(len(data))
	if n > l.cfg.CacheBytes {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.kept[name]; ok {
		return
	}
	for l.size+n > l.cfg.CacheBytes {
		l.size -= uint64(len(l.kept[l.order[0]]))
		delete(l.kept, l.order[0])
		l.order = l.order[1:]
	}
	l.kept[name] = data
	l.order = append(l.order, name)
	l.size += n
}

func (l *library) fetch(ctx context.Context, name [32]byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.cfg.Server+"/blob/"+hex.EncodeToString(name[:]), nil)
	if err != nil {
		return nil, err
	}
	resp, err := l.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch blob: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch blob %x: HTTP status %d", name[:4], resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(l.cfg.MaxBlob)+1))
	if err != nil {
		return nil, fmt.Errorf("fetch blob: %w", err)
	}
	if uint64(len(data)) > l.cfg.MaxBlob || sha256.Sum256(data) != name {
		return nil, fmt.Errorf("%w: %x", ErrBlob, name[:4])
	}
	return data, nil
}

func (l *library) path(name [32]byte) string {
	return filepath.Join(l.cfg.CacheDir, hex.EncodeToString(name[:]))
}

func (l *library) fromDisk(name [32]byte) ([]byte, error) {
	if l.cfg.CacheDir == "" {
		return nil, os.ErrNotExist
	}
	info, err := os.Stat(l.path(name))
	if err != nil || uint64(info.Size()) > l.cfg.MaxBlob {
		return nil, os.ErrNotExist
	}
	data, err := os.ReadFile(l.path(name))
	if err != nil || sha256.Sum256(data) != name {
		return nil, os.ErrNotExist
	}
	return data, nil
}

// toDisk keeps a copy. Failing to is no failure: the blob is there.
func (l *library) toDisk(name [32]byte, data []byte) {
	if l.cfg.CacheDir == "" || os.MkdirAll(l.cfg.CacheDir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(l.cfg.CacheDir, ".blob-*")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), l.path(name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		l.cfg.Log.Debug("blob not kept on disk", "error", err)
	}
}
