package transparency

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// VerifyOptions say how to verify. The zero value compares log, tiles and kept checkpoints, and trusts the latter's
// signatures: give the key.
type VerifyOptions struct {
	// Key is the server's public key. Nil: signatures are not checked.
	Key ed25519.PublicKey
	// Outside are signed checkpoints that were kept elsewhere. Those that are malformed or not signed with the key
	// are an error.
	Outside [][]byte
	// Workers is the number of goroutines that hash. Default: one a core.
	Workers int
	// MaxFound bounds the findings that are listed. Default: 20.
	MaxFound int
}

const defaultMaxFound = 20

// Verify hashes the whole log again and holds it against the tiles and the checkpoints in a tree's folder, and against
// the checkpoints from outside. An empty folder's name means that there is no folder. It changes nothing. An error
// means that it could not be done; what is wrong with the log is in the report.
func Verify(ctx context.Context, log Log, dir string, opts VerifyOptions) (Report, error) {
	tree := folder(newMemory())
	if dir != "" {
		d, err := openDisk(dir, false)
		if err != nil {
			return Report{}, err
		}
		tree = d
	}
	return verify(ctx, log, tree, opts)
}

func verify(ctx context.Context, log Log, dir folder, opts VerifyOptions) (Report, error) {
	begun := time.Now()
	if opts.MaxFound < 1 {
		opts.MaxFound = defaultMaxFound
	}
	outside := make([]Checkpoint, len(opts.Outside))
	for i, signed := range opts.Outside {
		var err error
		if outside[i], err = openFor(signed, opts.Key); err != nil {
			return Report{}, fmt.Errorf("checkpoint from outside: %w", err)
		}
	}
	kept, _, kerr := readKept(dir, opts.Key)
	if kerr != nil && !errors.Is(kerr, ErrCheckpoint) && !errors.Is(kerr, ErrSignature) {
		return Report{}, kerr
	}
	tiles, terr := readStored(dir)
	if terr != nil && !errors.Is(terr, ErrDamaged) {
		return Report{}, terr
	}
	c := newComparer(tiles, kept, outside, opts.MaxFound)
	if kerr != nil {
		c.found.add(at(Signature, 0, 0, nil, "%v", kerr))
	}
	if terr != nil {
		c.found.add(at(Tile, 0, 0, nil, "%v", terr))
	}
	broken := scan(ctx, log, 0, opts.Workers, c.take)
	if broken != nil && !errors.Is(broken, events.ErrCorrupt) {
		return Report{}, broken
	}
	c.finish(broken)
	return c.report(kept, outside, begun), nil
}

// openFor reads a signed checkpoint, and checks its signature if there is a key.
func openFor(signed []byte, key ed25519.PublicKey) (Checkpoint, error) {
	if key != nil {
		return OpenCheckpoint(signed, key)
	}
	k, _, err := parseEntry(Kept{Signed: signed}.entry(), nil)
	return k.Checkpoint, err
}

func (c *comparer) report(kept []Kept, outside []Checkpoint, begun time.Time) Report {
	root := c.now.root()
	r := Report{
		Events: c.now.size, Root: root.String(), TreeSize: c.tiles.edge.size,
		Checkpoints: int64(len(kept)), Outside: []Compared{}, Found: []Finding{},
		Findings: c.found.count, Seconds: time.Since(begun).Seconds(),
	}
	r.Found = append(r.Found, c.found.kept...)
	for _, o := range outside {
		r.Outside = append(r.Outside, Compared{Origin: o.Origin, Size: o.Size, Root: o.Root.String()})
	}
	for _, m := range c.marks {
		switch {
		case m.outside >= 0:
			r.Outside[m.outside].Matches = m.matches
		case m.matches:
			r.Matched++
			r.Signed = m.checkpoint.Size
		}
	}
	if r.Seconds > 0 {
		r.EventsPerS = float64(r.Events) / r.Seconds
	}
	return r
}

// ReadCheckpoints returns the checkpoints that a tree's folder keeps, oldest first. Without a key signatures are not
// checked.
func ReadCheckpoints(dir string, server ed25519.PublicKey) ([]Kept, error) {
	d, err := openDisk(dir, false)
	if err != nil {
		return nil, err
	}
	kept, _, err := readKept(d, server)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return kept, err
}
