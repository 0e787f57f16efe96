package mesh

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/shardy-network/orchestrator/events/durable"
)

// Limits of the book.
const (
	maxBookPeers = 1_024
	maxBookBytes = 4 * mebibyte
	bookAge      = 90 * 24 * time.Hour
)

// ErrBook is a file that is no peer book.
var ErrBook = errors.New("mesh: broken peer book")

// Met is a peer that was connected once.
type Met struct {
	Peer      string    `json:"peer"`
	Addresses []string  `json:"addresses"`
	Seen      time.Time `json:"seen"`
	Score     float64   `json:"score"` // of gossip, when it was seen last
}

// book remembers peers over restarts. A save replaces the file as a whole: after a crash it is the old one or the new one.
type book struct {
	file string // empty: none

	mu  sync.Mutex
	met map[peer.ID]Met
}

type bookFile struct {
	Format int   `json:"format"` // 1
	Peers  []Met `json:"peers"`
}

// openBook reads a book; there may be none yet. A broken one is set aside with .broken at the end of its name: the book is
// an aid, and not worth a refusal to start. The error tells, the book is empty and works.
func openBook(file string) (*book, error) {
	b := &book{file: file, met: map[peer.ID]Met{}}
	if file == "" {
		return b, nil
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("mesh: peer book: %w", err)
	}
	err = fmt.Errorf("%w: %d bytes", ErrBook, info.Size())
	if info.Size() <= maxBookBytes {
		var raw []byte
		if raw, err = os.ReadFile(file); err != nil {
			return b, fmt.Errorf("mesh: peer book: %w", err)
		}
		var met []Met
		if met, err = parseBook(raw); err == nil {
			for _, p := range met {
				b.put(p)
			}
			return b, nil
		}
	}
	return b, errors.Join(err, os.Rename(file, file+".broken"))
}

// parseBook reads the bytes of a book. Every entry of what it returns can be dialed as it is.
func parseBook(raw []byte) ([]Met, error) {
	var f bookFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBook, err)
	}
	if f.Format != 1 || len(f.Peers) > maxBookPeers {
		return nil, fmt.Errorf("%w: format %d, %d peers", ErrBook, f.Format, len(f.Peers))
	}
	for i, p := range f.Peers {
		if _, err := peer.Decode(p.Peer); err != nil {
			return nil, fmt.Errorf("%w: peer %d: %w", ErrBook, i, err)
		}
		if len(p.Addresses) > maxAddresses {
			return nil, fmt.Errorf("%w: peer %d: %d addresses", ErrBook, i, len(p.Addresses))
		}
		if _, err := multiaddrs(p.Addresses); err != nil {
			return nil, fmt.Errorf("%w: peer %d: %w", ErrBook, i, err)
		}
	}
	return f.Peers, nil
}

func (b *book) put(p Met) {
	id, err := peer.Decode(p.Peer)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.met[id] = p
}

// best returns peers in the order in which to try them: by good standing, then by when they were seen.
func (b *book) best(n int) []Met {
	b.mu.Lock()
	out := make([]Met, 0, len(b.met))
	for _, p := range b.met {
		out = append(out, p)
	}
	b.mu.Unlock()
	slices.SortFunc(out, func(x, y Met) int {
		return cmp.Or(cmp.Compare(standing(y), standing(x)), y.Seen.Compare(x.Seen), cmp.Compare(x.Peer, y.Peer))
	})
	return out[:min(n, len(out))]
}

func standing(p Met) int {
	if p.Score < 0 {
		return 0
	}
	return 1
}

func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.met)
}

// save writes the book: those seen within its age, the best of them.
func (b *book) save() error {
	kept := b.best(maxBookPeers)
	kept = slices.DeleteFunc(kept, func(p Met) bool { return time.Since(p.Seen) > bookAge })
	b.mu.Lock()
	clear(b.met)
	b.mu.Unlock()
	for _, p := range kept {
		b.put(p)
	}
	if b.file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(bookFile{Format: 1, Peers: kept}, "", " ")
	if err != nil {
		return fmt.Errorf("mesh: peer book: %w", err)
	}
	if err := durable.Replace(b.file, raw); err != nil {
		return fmt.Errorf("mesh: peer book: %w", err)
	}
	return nil
}

// dialable are the addresses of a peer worth writing down.
func dialable(all []multiaddr.Multiaddr) []string {
	var out []string
	for _, a := range all {
		if s := a.String(); len(out) < maxAddresses && len(s) <= maxAddress {
			out = append(out, s)
		}
	}
	return out
}
