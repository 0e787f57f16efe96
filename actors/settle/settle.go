// Package settle turns what an orchestrator's log says about jobs into transactions of the ledger: who is paid for which
// result, who is punished for which, and what is given back.
//
// It promises that what was decided is paid once: the same facts and blocks from the same checkpoint make the same
// transactions, a transaction is made anew only when the old one can no longer be executed, and a payment that turns out
// to have been made counts as made. It computes no verdict, signs nothing and sends nothing; it trusts the attestations
// in the log, which the door has verified, until the ledger's Check says otherwise.
//
// The order that its owner MUST keep: Seal, store Encode, then sign and submit; hear every block in order by Committed;
// after a restart Decode, go on in the log behind Position, and submit again what Sent holds. A new book is told the
// chain's height by Committed(height, nil) before it seals anything. A checkpoint older than the chain's evidence_blocks
// must not be used: by then the ledger has forgotten what it paid.
package settle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/events"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The refusals.
var (
	ErrConfig     = errors.New("settlement is configured wrongly")
	ErrCheckpoint = errors.New("checkpoint of settlement is damaged")
	ErrOrder      = errors.New("block is heard out of order")
)

// Limits of what is kept.
const (
	MaxSent   = 64     // transactions on their way
	MaxDoubts = 10_000 // slashes that wait for the referee; the oldest give way
	maxDelay  = 1_000  // blocks between two tries of what there is no money for
	maxTries  = 20     // of a payment that its escrow does not cover
)

// million is one, in millionths.
const million = 1_000_000

// Schedule is what an operator pays.
type Schedule struct {
	PerMegafuel uint64 // micro-units for a million units of fuel, rounded up
	Least       uint64 // micro-units for any replica; 0 means 1
	Most        uint64 // micro-units for any replica; 0 means no bound below the supply
}

// Price is what each agreeing replica earns before its multiplier.
func (s Schedule) Price(fuel uint64) uint64 {
	most := s.Most
	if most == 0 || most > ledger.MaxSupply {
		most = ledger.MaxSupply
	}
	hi, lo := bits.Mul64(fuel, s.PerMegafuel)
	lo, carry := bits.Add64(lo, million-1, 0)
	price := most
	if hi += carry; hi < million {
		price, _ = bits.Div64(hi, lo, million)
	}
	return min(max(price, s.Least, 1), most)
}

// Config says for whom and how it is settled.
type Config struct {
	Chain  string
	Sender []byte // the orchestrator's ed25519 key
	Prices Schedule
	// Ahead locks money when a job is submitted, so that workers can see it; what is too much comes back. Otherwise it is
	// locked and paid in one transaction, and nothing has to be given back.
	Ahead bool
	// BonusPpm is the chain's stake_bonus_ppm: escrows must cover the best paid workers.
	BonusPpm uint64
	// SlashOnQuorum is the chain's slash_on_quorum: slashes need no referee.
	SlashOnQuorum bool
	// Life is for how many blocks a transaction is good, at least half of it. 0 means 100; at most the chain's window.
	Life uint64
}

// Validate refuses what cannot work.
func (c Config) Validate() error {
	switch {
	case c.Chain == "":
		return fmt.Errorf("%w: no chain", ErrConfig)
	case len(c.Sender) != ed25519.PublicKeySize:
		return fmt.Errorf("%w: the sender's key has %d bytes", ErrConfig, len(c.Sender))
	case c.Life == 1 || c.Life > 1<<32:
		return fmt.Errorf("%w: transactions are good for %d blocks", ErrConfig, c.Life)
	case c.BonusPpm > 1<<32:
		return fmt.Errorf("%w: bonus of %d", ErrConfig, c.BonusPpm)
	}
	return nil
}

// Settler is one orchestrator's book of payments. It is used by one goroutine at a time.
type Settler struct {
	config Config
	jobs   map[string]*ledgerv1.PendingJob
	state  *ledgerv1.SettlerState // all but the jobs
}

// New makes an empty book, for the beginning of the log.
func New(c Config) (*Settler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Life == 0 {
		c.Life = 100
	}
	return &Settler{config: c, jobs: map[string]*ledgerv1.PendingJob{}, state: new(ledgerv1.SettlerState)}, nil
}

// Decode makes a book of a checkpoint.
func Decode(c Config, checkpoint []byte) (*Settler, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(checkpoint, s.state); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if !sound(s.state) {
		return nil, fmt.Errorf("%w: a digest or a key is missing", ErrCheckpoint)
	}
	for _, j := range s.state.Jobs {
		s.jobs[j.Id] = j
	}
	s.state.Jobs = nil
	return s, nil
}

// sound reports whether a checkpoint holds what Encode writes, as far as anything here relies on it.
func sound(state *ledgerv1.SettlerState) bool {
	result := func(r *ledgerv1.Result) bool {
		return len(r.GetAttestation()) == 0 || len(r.Output) == sha256.Size
	}
	deed := func(d *ledgerv1.Deed) bool {
		dec := d.GetDecision()
		return dec == nil || len(dec.Module) == sha256.Size && len(dec.Input) == sha256.Size && len(dec.Checksum) == sha256.Size &&
			!slices.ContainsFunc(slices.Concat(dec.Agreeing, dec.Contradicted), func(r *ledgerv1.Result) bool { return len(r.GetOutput()) != sha256.Size })
	}
	deeds := slices.Concat(state.Queue, state.Doubts)
	for _, t := range state.Sent {
		deeds = append(deeds, t.Deeds...)
	}
	for _, d := range deeds {
		if !deed(d) || d.Then != nil && (!deed(d.Then) || d.Then.Then != nil) {
			return false
		}
	}
	for _, d := range state.Doubts {
		if d.Decision == nil {
			return false
		}
	}
	for _, j := range state.Jobs {
		if len(j.Module) != sha256.Size || len(j.Input) != sha256.Size {
			return false
		}
		if slices.ContainsFunc(j.Slots, func(slot *ledgerv1.PendingSlot) bool { return slot.GetResult() == nil || !result(slot.Result) }) {
			return false
		}
	}
	return true
}

// Encode makes the checkpoint. The same book always makes the same bytes.
func (s *Settler) Encode() ([]byte, error) {
	whole := proto.CloneOf(s.state)
	whole.Jobs = s.sorted()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("settlement checkpoint: %w", err)
	}
	return b, nil
}

// Position is the place in the log up to which everything was heard.
func (s *Settler) Position() events.Position { return events.Position(s.state.Position) }

// Height is the last block that was heard.
func (s *Settler) Height() uint64 { return s.state.Height }

// Open is how many jobs are not decided, how many deeds wait to be sent, and how many transactions are on their way.
func (s *Settler) Open() (jobs, waiting, sent int) {
	return len(s.jobs), len(s.state.Queue), len(s.state.Sent)
}

// Counts are how many jobs were paid, how many deeds the ledger refused for good, and how many verified jobs could not be
// paid because too few of their results carry an attestation.
func (s *Settler) Counts() (paid, refused, unpaid uint64) {
	return s.state.Paid, s.state.Refused, s.state.Unpaid
}
