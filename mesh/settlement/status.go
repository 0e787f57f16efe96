package settlement

import (
	"time"

	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/events"
)

// Poverty is what the account lacks.
type Poverty struct {
	Needed  uint64 // micro-units, for the next transaction
	Balance uint64
	Since   time.Time
}

// Refused is a deed that the ledger will never do.
type Refused struct {
	settle.Refusal
	Height uint64 // at which that became known
	At     time.Time
}

// Status is how a settlement fares.
type Status struct {
	Position events.Position // in the log: heard up to here
	Height   uint64          // of the last block that was heard
	Behind   uint64          // blocks that are there and were not heard
	Lag      time.Duration   // how old the last record was when it was heard

	Paid    uint64 // jobs
	Refused uint64 // deeds, for good
	Unpaid  uint64 // verified jobs without enough attestations
	Passed  uint64 // records from before the ledger's memory, or before Config.Since

	Open    int // jobs that are not decided
	Waiting int // deeds that are in no transaction
	Sent    int // transactions that are in no block
	Doubts  int // slashes that wait for the referee

	Stale       bool     // a new book hears nothing from before it until there is a block from after it
	LastRefusal *Refused // nil: none since the start
	Poor        *Poverty // nil: the account can pay
	Anchored    uint64   // size of the log that the ledger has anchored

	Stored    time.Time     // when the book was last written
	Bytes     int           // of it
	Worked    time.Duration // since the start
	Err       error         // the last failure of the node, the disk or a port; nil once it went well
	Failed    error         // why it has ended; nil: it has not
	Resubmits uint64        // since the start
}

// Status tells how the settlement fares.
func (s *Settlement) Status() Status {
	state := s.config.Ledger.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{
		Position: s.book.Position(), Height: s.book.Height(), Lag: s.heard, Passed: s.title.passed, Stale: s.stale,
		Doubts: len(s.book.Doubts(settle.MaxDoubts)), LastRefusal: s.refusal, Poor: s.poor,
		Anchored: state.Anchor(s.rules.Sender).GetSize(),
		Stored:   s.stored.at, Bytes: s.stored.bytes, Worked: s.pace.total(), Err: s.trouble, Failed: s.failed, Resubmits: s.resubmits,
	}
	out.Paid, out.Refused, out.Unpaid = s.book.Counts()
	out.Open, out.Waiting, out.Sent = s.book.Open()
	if h := state.Height(); h > out.Height {
		out.Behind = h - out.Height
	}
	return out
}
