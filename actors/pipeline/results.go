package pipeline

import (
	"math/bits"
	"slices"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// pageSize is how many chunks share a page.
const pageSize = 256

// Results is what became of a stage's chunks. It is a value: pages are copied before they are written, so an older
// Results stays what it was, and settling a batch costs the pages that it touches.
type Results struct{ pages []*page }

type page struct {
	verified [pageSize]*eventv1.BlobRef
	settled  [pageSize / 64]uint64 // a bit per chunk
	failures uint16                // settled without an output
}

// Range is the chunks [From, To).
type Range struct{ From, To uint32 }

func (r Results) page(chunk uint32) *page {
	i := chunk / pageSize
	if int(i) >= len(r.pages) {
		return nil
	}
	return r.pages[i]
}

// Output is a verified chunk's output; nil when it is not verified.
func (r Results) Output(chunk uint32) *eventv1.BlobRef {
	if p := r.page(chunk); p != nil {
		return p.verified[chunk%pageSize]
	}
	return nil
}

// Settled reports whether the chunk's job has ended.
func (r Results) Settled(chunk uint32) bool {
	p := r.page(chunk)
	return p != nil && p.settled[chunk%pageSize/64]>>(chunk%64)&1 == 1
}

// Failed reports whether the chunk's job ended without a verified output.
func (r Results) Failed(chunk uint32) bool { return r.Settled(chunk) && r.Output(chunk) == nil }

// with adds settled jobs. Chunks must be below MaxChunks.
func (r Results) with(jobs []*eventv1.SettledJob) Results {
	pages := slices.Clone(r.pages)
	fresh := make(map[uint32]bool)
	for _, j := range jobs {
		n := j.GetChunk() / pageSize
		for int(n) >= len(pages) {
			pages = append(pages, nil)
		}
		if !fresh[n] {
			p := new(page)
			if pages[n] != nil {
				*p = *pages[n]
			}
			pages[n], fresh[n] = p, true
		}
		pages[n].settle(j)
	}
	return Results{pages}
}

func (p *page) settle(j *eventv1.SettledJob) {
	i := j.GetChunk() % pageSize
	failed := p.settled[i/64]>>(i%64)&1 == 1 && p.verified[i] == nil
	p.settled[i/64] |= 1 << (i % 64)
	if j.GetVerified() {
		p.verified[i] = j.Output
	}
	switch {
	case failed && p.verified[i] != nil:
		p.failures--
	case !failed && p.verified[i] == nil:
		p.failures++
	}
}

// without takes back how chunks were settled. Chunks must be below MaxChunks.
func (r Results) without(chunks []uint32) Results {
	pages := slices.Clone(r.pages)
	fresh := make(map[uint32]bool)
	for _, c := range chunks {
		n := c / pageSize
		if int(n) >= len(pages) || pages[n] == nil {
			continue
		}
		if !fresh[n] {
			p := *pages[n]
			pages[n], fresh[n] = &p, true
		}
		pages[n].reopen(c % pageSize)
	}
	return Results{pages}
}

func (p *page) reopen(i uint32) {
	bit := uint64(1) << (i % 64)
	if p.settled[i/64]&bit != 0 && p.verified[i] == nil {
		p.failures--
	}
	p.settled[i/64] &^= bit
	p.verified[i] = nil
}

// Equal reports whether two Results say the same.
func (r Results) Equal(o Results) bool {
	for i := range uint32(max(len(r.pages), len(o.pages)) * pageSize) {
		if r.Settled(i) != o.Settled(i) || !proto.Equal(r.Output(i), o.Output(i)) {
			return false
		}
	}
	return true
}

// count is how many chunks are settled, and how many of them without an output.
func (r Results) count() (settled, failures uint32) {
	for _, p := range r.pages {
		if p == nil {
			continue
		}
		for _, word := range p.settled {
			settled += uint32(bits.OnesCount64(word))
		}
		failures += uint32(p.failures)
	}
	return settled, failures
}

func (r Results) outputs(chunks uint32) []*eventv1.BlobRef {
	var list []*eventv1.BlobRef
	for i := range chunks {
		if ref := r.Output(i); ref != nil {
			list = append(list, ref)
		}
	}
	return list
}

// open lists the unsettled ones of the first chunks, as ranges.
func (r Results) open(submitted uint32) []Range {
	var ranges []Range
	for i := uint32(0); i < submitted; {
		if r.Settled(i) {
			i++
			continue
		}
		from := i
		for i < submitted && !r.Settled(i) {
			i++
		}
		ranges = append(ranges, Range{from, i})
	}
	return ranges
}
