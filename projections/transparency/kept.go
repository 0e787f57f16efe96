package transparency

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Kept is a checkpoint that was signed.
type Kept struct {
	At         time.Time // by the clock of the server, to the second; not signed
	Checkpoint Checkpoint
	Signed     []byte
}

// The file of checkpoints is text: for each a line "== <time, RFC 3339> <length>" and then the signed note, that many
// bytes. It is only ever added to, and from time to time written anew without those that need not be kept: the newest
// 256 stay, before them the last of every hour for 30 days, and before those the last of every day for good. That a
// checkpoint was left out loses nothing: the next one that is kept says the same about the records below it.
const (
	keptMark   = "== "
	keepNewest = 256
	keepHourly = 30 * 24 * time.Hour
	// thinAt is how many more than needed there may be before the file is written anew.
	thinAt = 512
)

func (k Kept) entry() []byte {
	return append(fmt.Appendf(nil, "%s%s %d\n", keptMark, k.At.UTC().Format(time.RFC3339), len(k.Signed)), k.Signed...)
}

// parseEntry takes one checkpoint off the front. The signature is checked if there is a key to check it with.
func parseEntry(b []byte, server ed25519.PublicKey) (k Kept, rest []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	fields := strings.Split(strings.TrimPrefix(string(line), keptMark), " ")
	if !ok || !bytes.HasPrefix(b, []byte(keptMark)) || len(fields) != 2 {
		return k, b, fmt.Errorf("%w: no heading", ErrCheckpoint)
	}
	at, err := time.Parse(time.RFC3339, fields[0])
	if err != nil {
		return k, b, fmt.Errorf("%w: time %q", ErrCheckpoint, fields[0])
	}
	n, err := strconv.ParseUint(fields[1], 10, 31)
	if err != nil || n > MaxCheckpointBytes {
		return k, b, fmt.Errorf("%w: length %q", ErrCheckpoint, fields[1])
	}
	if n > uint64(len(rest)) {
		return k, b, fmt.Errorf("%w: is cut short", ErrCheckpoint)
	}
	k = Kept{At: at.UTC(), Signed: bytes.Clone(rest[:n])}
	if server == nil {
		text, _, _ := strings.Cut(string(k.Signed), "\n\n")
		k.Checkpoint, err = ParseCheckpoint(text + "\n")
	} else {
		k.Checkpoint, err = OpenCheckpoint(k.Signed, server)
	}
	if err != nil {
		return k, b, err
	}
	return k, rest[n:], nil
}

// parseKept reads a file of checkpoints. It says how many bytes are good: what a crash left behind them was never
// published. Anything else that is wrong is an error, and comes with what was good before it.
func parseKept(b []byte, server ed25519.PublicKey) (kept []Kept, good int, err error) {
	for rest := b; len(rest) > 0; {
		k, next, err := parseEntry(rest, server)
		if err != nil {
			if torn(rest) {
				return kept, good, nil
			}
			return kept, good, fmt.Errorf("%s: entry %d: %w", checkpointsFile, len(kept), err)
		}
		if n := len(kept); n > 0 && k.Checkpoint.Size <= kept[n-1].Checkpoint.Size {
			return kept, good, fmt.Errorf("%s: entry %d: %w: %d leaves after %d", checkpointsFile, n, ErrCheckpoint,
				k.Checkpoint.Size, kept[n-1].Checkpoint.Size)
		}
		kept = append(kept, k)
		good += len(rest) - len(next)
		rest = next
	}
	return kept, good, nil
}

// torn tells whether these last bytes of the file look like what a crash leaves of one entry: less than what its heading
// says, or blocks that were never filled.
func torn(b []byte) bool {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return len(bytes.Trim(b[i:], "\x00")) == 0
	}
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return len(b) < 64 && strings.HasPrefix(keptMark+"2", string(b[:min(len(b), len(keptMark)+1)]))
	}
	fields := strings.Fields(string(line))
	if len(fields) != 3 || !bytes.HasPrefix(line, []byte(keptMark)) {
		return false
	}
	n, err := strconv.ParseUint(fields[2], 10, 31)
	return err == nil && n <= MaxCheckpointBytes && uint64(len(rest)) < n
}

// readKept reads the checkpoints of a folder.
func readKept(dir folder, server ed25519.PublicKey) ([]Kept, int, error) {
	b, err := dir.read(checkpointsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return parseKept(b, server)
}

// thin leaves out what need not be kept. Checkpoints are in order; now is the time of the newest.
func thin(kept []Kept) []Kept {
	if len(kept) <= keepNewest {
		return kept
	}
	old := kept[:len(kept)-keepNewest]
	now := kept[len(kept)-1].At
	out := make([]Kept, 0, len(kept))
	for i, k := range old {
		span := 24 * time.Hour
		if now.Sub(k.At) < keepHourly {
			span = time.Hour
		}
		if next := kept[i+1]; !next.At.Truncate(span).Equal(k.At.Truncate(span)) {
			out = append(out, k)
		}
	}
	return append(out, kept[len(kept)-keepNewest:]...)
}
