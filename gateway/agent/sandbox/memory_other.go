//go:build !linux

package sandbox

import "github.com/tetratelabs/wazero/experimental"

// newAllocator leaves linear memories to wazero, which takes them from Go's heap.
func newAllocator() experimental.MemoryAllocator { return nil }
