package blobs

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// keyLen is the length of a key: "ab/cd/" and 64 hex digits.
const keyLen = 6 + 64

// Key is a blob's name in the bucket, with two levels of folders: "ab/cd/abcd...".
func Key(sum [32]byte) string {
	name := hex.EncodeToString(sum[:])
	return name[:2] + "/" + name[2:4] + "/" + name
}

// ParseKey is the inverse of Key.
func ParseKey(key string) (sum [32]byte, err error) {
	if len(key) != keyLen {
		return sum, fmt.Errorf("blob key of %d bytes", len(key))
	}
	if _, err := hex.Decode(sum[:], []byte(key[6:])); err != nil {
		return sum, fmt.Errorf("blob key: %w", err)
	}
	if Key(sum) != key {
		return [32]byte{}, fmt.Errorf("blob key %q is not in its normal form", key)
	}
	return sum, nil
}

// isLeftover recognises what an upload to a folder leaves when the process dies in the middle of it.
func isLeftover(key string) bool {
	if len(key) <= keyLen || !strings.HasSuffix(key, ".tmp") {
		return false
	}
	_, err := ParseKey(key[:keyLen])
	return err == nil
}

// localPath tells whether a store's address is a folder, and which.
func localPath(at string) (path string, local bool, err error) {
	if at == "" {
		return "", false, fmt.Errorf("%w: no address", ErrConfig)
	}
	if !strings.Contains(at, "://") {
		return at, true, nil
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if u.Scheme != "file" {
		return "", false, nil
	}
	if u.Host != "" && u.Host != "." || u.RawQuery != "" || u.Path == "" {
		return "", false, fmt.Errorf("%w: %q: want file:///path", ErrConfig, at)
	}
	return filepath.FromSlash(u.Path), true, nil
}

// verified hashes what is read through it.
type verified struct {
	r    io.ReadCloser
	hash hash.Hash
	sum  [32]byte
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && [32]byte(v.hash.Sum(nil)) != v.sum {
		return n, fmt.Errorf("%w: %x", ErrCorrupt, v.sum)
	}
	return n, err
}

func (v *verified) Close() error { return v.r.Close() }

// known remembers which blobs this process put into the bucket lately, and when. It forgets by halves.
type known struct {
	mu         sync.Mutex // guards what follows
	young, old map[[32]byte]time.Time
}

// maxKnown bounds one half.
const maxKnown = 32 << 10

func (k *known) add(sum [32]byte, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= maxKnown {
		k.old, k.young = k.young, make(map[[32]byte]time.Time)
	}
	k.young[sum] = at
}

// touch renews a blob's time, if it is known.
func (k *known) touch(sum [32]byte, at time.Time) bool {
	_, ok := k.last(sum)
	if ok {
		k.add(sum, at)
	}
	return ok
}

func (k *known) last(sum [32]byte) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at, ok := k.young[sum]; ok {
		return at, true
	}
	at, ok := k.old[sum]
	return at, ok
}

func (k *known) forget(sum [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.young, sum)
	delete(k.old, sum)
}
