package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Places of a data folder that are written while blocks are made.
const (
	votesPlace  = "mesh/votes/votes/*.wal"
	blocksPlace = "mesh/chain/blocks/*.blocks"
)

// damage is what a crash of a machine or a bad disk may do to the last file of a place.
type damage struct {
	name, place string
	do          func(d *rand.Rand, data []byte) []byte
	refused     bool // the orchestrator must not start from it
}

func tear(d *rand.Rand, b []byte) []byte   { return b[:len(b)-min(len(b), 1+d.IntN(40))] }
func zeroes(_ *rand.Rand, b []byte) []byte { return append(b, make([]byte, 4096)...) }
func zeroedTail(d *rand.Rand, b []byte) []byte {
	clear(b[len(b)-min(len(b), 1+d.IntN(100)):])
	return b
}

func noise(d *rand.Rand, b []byte) []byte {
	for range 1 + d.IntN(200) {
		b = append(b, byte(d.Uint32()))
	}
	return b
}

var damages = []damage{
	{"torn log of votes", votesPlace, tear, false},
	{"noise behind the log of votes", votesPlace, noise, false},
	{"zeroes behind the log of votes", votesPlace, zeroes, false},
	{"zeroed end of the log of votes", votesPlace, zeroedTail, false},
	{"no log of votes", votesPlace, func(*rand.Rand, []byte) []byte { return nil }, false},
	{"torn block", blocksPlace, tear, false},
	{"noise behind the blocks", blocksPlace, noise, false},
	{"zeroes behind the blocks", blocksPlace, zeroes, false},
	{"a flipped bit in an old block", blocksPlace, func(d *rand.Rand, b []byte) []byte { b[len(b)/4] ^= 1 << d.IntN(8); return b }, true},
}

// last is the newest file of a place.
func (o *member) last(place string) string {
	o.Helper()
	names, err := filepath.Glob(filepath.Join(o.dir, place))
	o.must(err)
	if len(names) == 0 {
		o.Fatalf("%s has nothing at %s", o.name, place)
	}
	return slices.Max(names)
}

// TestTornFilesMakeNoFork kills one validator after the other under load and damages what it wrote last. It comes back and
// votes, or says why it does not start; the chain does not fork.
func TestTornFilesMakeNoFork(t *testing.T) {
	t.Parallel()
	f := federate(t, charter{validators: 4, clients: 8})
	d := dice(t)
	tr := f.traffic(50*time.Millisecond, f.operators...)
	f.operators[0].reaches(10)
	for i, c := range damages {
		o := f.operators[i%len(f.operators)]
		f.kill(o)
		name := o.last(c.place)
		whole, err := os.ReadFile(name)
		f.must(err)
		if data := c.do(d, slices.Clone(whole)); data != nil {
			f.must(os.WriteFile(name, data, 0o600))
		} else {
			f.must(os.RemoveAll(filepath.Dir(name)))
		}
		if c.refused {
			f.refuses(o, c.name)
			f.must(os.WriteFile(name, whole, 0o600))
		}
		begin := time.Now()
		f.launch(o)
		height := f.others(o)[0].height()
		f.live(o)
		o.reaches(height)
		t.Logf("%s: %s votes again %s after its start", c.name, o.name, time.Since(begin).Round(10*time.Millisecond))
		o.reaches(height + 2) // so that the next one is damaged in the middle of something
	}
	tr.settle(f.operators...)
	f.running(f.operators...)
	f.agree(f.operators...)
}

// refuses starts an orchestrator that must end by itself and say why.
func (f *federation) refuses(o *member, why string) {
	f.Helper()
	args, _ := o.serveArgs()
	p, err := o.group.Start("refused", args...)
	f.must(err)
	select {
	case <-p.Done():
	case <-time.After(patience(20 * time.Second)):
		p.Kill()
		f.Errorf("%s: it starts", why)
	}
	said := strings.Join(o.group.LastLines("refused", 5), "\n")
	if !strings.Contains(said, "damaged on disk") || strings.Contains(said, "goroutine ") {
		f.Errorf("%s: it says: %s", why, said)
	}
	f.Logf("%s: %s", why, tail(said, 200))
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }
