package gateway

import (
	"encoding/hex"
	"math/bits"
	"sync"
	"time"
)

const (
	metaBuffer = 4 << 10
	minClass   = 10 // 1 KiB
	maxClass   = 22 // 4 MiB; larger ones are left to the collector
)

// buffer is a byte slice from a pool of its size class.
type buffer struct {
	b     []byte
	class int
}

var classes [maxClass + 1]sync.Pool

// takeBuffer returns a buffer of at least n bytes.
func takeBuffer(n int) *buffer {
	class := minClass
	if n > 1<<minClass {
		class = bits.Len(uint(n - 1))
	}
	if class > maxClass {
		return &buffer{b: make([]byte, n), class: class}
	}
	if b, ok := classes[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 1<<class), class: class}
}

// releaseBuffer gives a buffer back; nil is allowed.
func releaseBuffer(b *buffer) {
	if b != nil && b.class <= maxClass {
		classes[b.class].Put(b)
	}
}

// messageWindow counts a session's messages by whole seconds.
type messageWindow struct {
	second int64
	count  int
}

func (w *messageWindow) take(now time.Time, limit int) bool {
	if second := now.Unix(); second != w.second {
		w.second, w.count = second, 0
	}
	w.count++
	return w.count <= limit
}

func shortKey(key []byte) string { return hex.EncodeToString(key[:min(4, len(key))]) }
