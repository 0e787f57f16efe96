package sandbox

import (
	"math"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// regions hands out linear memories straight from the kernel: zeroed on first touch, gone at once when freed,
// never a burden of Go's collector. One freed region is kept for the next instance.
type regions struct {
	spare []byte
}

func newAllocator() experimental.MemoryAllocator { return &regions{} }

// Allocate reserves room for max bytes. When the kernel refuses, the region stays empty and the instantiation
// fails in wazero's bounds check.
func (r *regions) Allocate(_, most uint64) experimental.LinearMemory {
	size := max(most, 65536)
	spare := r.spare
	r.spare = nil
	if uint64(len(spare)) == size {
		return &linearMemory{owner: r, region: spare}
	}
	if spare != nil {
		_ = unix.Munmap(spare) // it would count against the limit of the process
	}
	if size > math.MaxInt {
		return &linearMemory{owner: r}
	}
	region, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return &linearMemory{owner: r}
	}
	return &linearMemory{owner: r, region: region}
}

type linearMemory struct {
	owner  *regions
	region []byte
}

func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.region)) {
		return nil
	}
	return m.region[:size]
}

func (m *linearMemory) Free() {
	region := m.region
	m.region = nil
	if region == nil {
		return
	}
	// Dropping the pages makes the region read as zeroes again.
	if m.owner.spare == nil && unix.Madvise(region, unix.MADV_DONTNEED) == nil {
		m.owner.spare = region
		return
	}
	_ = unix.Munmap(region)
}
