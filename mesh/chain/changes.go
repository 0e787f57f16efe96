package chain

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/events/durable"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Limits of Changes.
const (
	MaxChanges      = 64
	MaxChangesBytes = 1 << 20 // of an answer; the first change always fits
)

const (
	changesMagic = "shardy validators 1\n" // then the hash of the genesis
	changesHead  = len(changesMagic) + 32
)

// changes are the proofs of how the validators changed: a file that only grows. One goroutine writes, before the block of
// the change is written; any may read. A change that its block does not follow is forgotten at the next opening.
type changes struct {
	file *os.File

	mu   sync.RWMutex // guards all below
	all  []change     // ascending
	size int64
}

// change is where the proof of one lies.
type change struct {
	height   uint64 // of the block
	from, to uint64 // versions of the sets; some blocks hold several changes
	at       int64
	size     int
}

// openChanges opens the file and reads it to where it ends or is torn. What follows is cut off: the blocks bring it back.
func openChanges(path string, genesis ledgerHash) (_ *changes, lost int64, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := durable.Replace(path, []byte(changesMagic), genesis[:]); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	s := &changes{file: f}
	if lost, err = s.load(genesis); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return s, lost, nil
}

func (s *changes) load(genesis ledgerHash) (lost int64, err error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(s.file, 64<<10)
	head := make([]byte, changesHead)
	switch _, err := io.ReadFull(r, head); {
	case err != nil || string(head[:len(changesMagic)]) != changesMagic:
		return 0, fmt.Errorf("%w: the file of validators does not begin as one", ErrDamaged)
	case ledgerHash(head[len(changesMagic):]) != genesis:
		return 0, fmt.Errorf("%w: the validators are of another chain", ErrGenesis)
	}
	if s.all, s.size, err = scanChanges(r, int64(changesHead), info.Size()); err != nil {
		return 0, err
	}
	if s.size == info.Size() {
		return 0, nil
	}
	return info.Size() - s.size, cutTail(s.file, int(s.size))
}

// scanChanges reads whole records that ascend, and returns where they end.
func scanChanges(r io.Reader, at, size int64) (all []change, end int64, err error) {
	var last change
	for size-at >= recordHead {
		b := make([]byte, recordHead)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, 0, err
		}
		length := int64(binary.BigEndian.Uint32(b))
		if length > min(maxBody, size-at-recordHead) {
			break
		}
		b = slices.Grow(b, int(length))[:recordHead+int(length)]
		if _, err := io.ReadFull(r, b[recordHead:]); err != nil {
			return nil, 0, err
		}
		c, _, err := cutChange(b)
		if err != nil || c.height <= last.height || c.from < max(last.to, 1) {
			break
		}
		c.at = at
		all, last, at = append(all, c), c, at+int64(c.size)
	}
	return all, at, nil
}

// cutChange reads the record of a change: its versions, and then the encoded proof.
func cutChange(b []byte) (c change, proof []byte, err error) {
	r, err := cutRecord(b)
	if err != nil {
		return change{}, nil, err
	}
	from, n := binary.Uvarint(r.body)
	to, m := binary.Uvarint(r.body[max(n, 0):])
	if n <= 0 || m <= 0 || from >= to {
		return change{}, nil, errTorn
	}
	return change{height: r.height, from: from, to: to, size: r.size}, r.body[n+m:], nil
}

// made is a change that is to be kept.
type made struct {
	change
	proof *ledgerv1.ValidatorsProof
}

// madeBy returns the change that a block made to these validators; false: it made none.
func madeBy(before *ledgerv1.ValidatorSet, v view) (made, bool, error) {
	after := v.state.Validators()
	if after.GetVersion() <= before.GetVersion() {
		return made{}, false, nil
	}
	certificate, err := stable.Marshal(v.block.Certificate)
	if err != nil {
		return made{}, false, fmt.Errorf("encode certificate: %w", err)
	}
	return made{
		change{height: v.state.Height(), from: before.GetVersion(), to: after.GetVersion()},
		&ledgerv1.ValidatorsProof{Header: v.block.Block.Header, Certificate: certificate, Proof: v.state.Prove(seal.ValidatorsKey())},
	}, true, nil
}

// append writes changes and syncs them. After an error nothing may be appended until the folder is opened anew.
func (s *changes) append(new []made) error {
	if len(new) == 0 {
		return nil
	}
	var b []byte
	for i := range new {
		m := &new[i]
		encoded, err := stable.Marshal(m.proof)
		if err != nil {
			return err
		}
		at := len(b)
		b = append(b, make([]byte, recordHead)...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, m.from), m.to)
		b = append(b, encoded...)
		m.at, m.size = s.size+int64(at), len(b)-at
		closeRecord(b[at:], m.height, 0)
	}
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range new {
		s.all = append(s.all, m.change)
	}
	s.size += int64(len(b))
	return nil
}

// forget takes away the changes of blocks from a height on.
func (s *changes) forget(height uint64) error {
	n := slices.IndexFunc(s.all, func(c change) bool { return c.height >= height })
	if n < 0 {
		return nil
	}
	s.mu.Lock()
	s.size, s.all = s.all[n].at, s.all[:n]
	s.mu.Unlock()
	return cutTail(s.file, int(s.size))
}

// again keeps a change that is found once more when blocks are executed at the opening.
func (s *changes) again(m made) error {
	for _, c := range s.all {
		if c.height == m.height && c.from == m.from && c.to == m.to {
			if there, err := s.read(c); err == nil && bytes.Equal(there.Header, m.proof.Header) {
				return nil
			}
		}
	}
	if err := s.forget(m.height); err != nil {
		return err
	}
	return s.append([]made{m})
}

// lead reports whether the changes lead from the validators of genesis to those of a version, without a gap.
func (s *changes) lead(to uint64, height uint64) bool {
	version := uint64(1)
	for _, c := range s.all {
		if c.height > height || c.from != version {
			break
		}
		version = c.to
	}
	return version == to
}

// after returns the changes from a version on that follow each other and fit an answer, of blocks up to a height.
func (s *changes) after(version, height uint64, limit int) (found []change, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, _ := slices.BinarySearchFunc(s.all, version, func(c change, v uint64) int {
		if c.from < v {
			return -1
		}
		return 1
	})
	size := 0
	for _, c := range s.all[n:] {
		if c.height > height || c.from != version {
			return found, false
		}
		if size += c.size; len(found) == limit || len(found) > 0 && size > MaxChangesBytes {
			return found, true
		}
		found, version = append(found, c), c.to
	}
	return found, false
}

func (s *changes) read(c change) (*ledgerv1.ValidatorsProof, error) {
	b := make([]byte, c.size)
	if _, err := s.file.ReadAt(b, c.at); err != nil {
		if errors.Is(err, os.ErrClosed) {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("%w: validators of version %d: %w", ErrDamaged, c.to, err)
	}
	_, encoded, err := cutChange(b)
	p := new(ledgerv1.ValidatorsProof)
	if err != nil || proto.Unmarshal(encoded, p) != nil {
		return nil, fmt.Errorf("%w: validators of version %d", ErrDamaged, c.to)
	}
	return p, nil
}

// Changes proves how the validators of a version (genesis has 1) became those of today: one proof for each block that
// changed them, in order and without a gap, each by the certificate of those before it (light.Client.Follow). At most limit
// of them (1 to MaxChanges; else MaxChanges) and MaxChangesBytes are returned; more says that others follow. They are kept
// for ever. ErrPruned: it is not known here what became of this version, because the chain went on from a trusted snapshot,
// or no block ever ended with it.
func (c *Chain) Changes(after uint64, limit int) (_ []*ledgerv1.ValidatorsProof, more bool, err error) {
	if limit < 1 || limit > MaxChanges {
		limit = MaxChanges
	}
	state := c.State() // before the changes are looked at: its own are there
	after = max(after, 1)
	found, more := c.changes.after(after, state.Height(), limit)
	if len(found) == 0 && after < state.Validators().GetVersion() {
		return nil, false, fmt.Errorf("%w: validators after version %d", ErrPruned, after)
	}
	proofs := make([]*ledgerv1.ValidatorsProof, len(found))
	for i, at := range found {
		if proofs[i], err = c.changes.read(at); err != nil {
			return nil, false, err
		}
	}
	return proofs, more, nil
}

// keepChanges puts on disk how blocks that follow a state change the validators.
func (c *Chain) keepChanges(before ledger.State, views []view) error {
	var all []made
	for _, v := range views {
		m, ok, err := madeBy(before.Validators(), v)
		if err != nil {
			return err
		}
		if ok {
			all = append(all, m)
		}
		before = v.state
	}
	return c.changes.append(all)
}
