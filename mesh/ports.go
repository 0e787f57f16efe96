package mesh

import (
	"errors"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The refusals of a mesh.
var (
	ErrClosed    = errors.New("mesh: closed")
	ErrBusy      = errors.New("mesh: too many transactions wait to be sent")
	ErrOff       = errors.New("mesh: this topic is off: its port is not plugged")
	ErrMalformed = errors.New("mesh: malformed message")
	ErrTooLarge  = errors.New("mesh: message too large")
	// ErrNotNow is wrapped by CheckTransaction for what is not wrong but not wanted now, as an expired transaction: it is
	// dropped, and its sender keeps its score.
	ErrNotNow = errors.New("mesh: not wanted now")
)

// Ports is what a mesh asks of the rest of the process and tells it. All are called from several goroutines at once,
// except the two that receive: each of these has one reader, in order of arrival. While one of them does not return,
// messages of its topic queue, then are dropped and counted; other topics go on, but Close waits. The others MUST NOT wait
// for anything: they are asked with locks of the network held.
type Ports struct {
	// CheckTransaction checks an encoded SignedTransaction by itself. It MUST NOT depend on state that differs between
	// honest orchestrators unless it wraps ErrNotNow: every other error costs the sender score. Nil: transactions are off.
	CheckTransaction func(tx []byte) error
	// Transactions receives checked transactions that were not received before. It may keep them.
	Transactions func(txs [][]byte)
	// Validators returns the present set, nil when not known yet. Nil port: block announcements are off.
	Validators func() *ledgerv1.ValidatorSet
	// Announced receives announcements whose certificate the present set signed, once a block.
	Announced func(Announcement)
	// Height returns the height of the last block. Nil: 0.
	Height func() uint64
	// Capacity returns what presence tells others. Nil: nothing.
	Capacity func() Capacity
}

// Capacity is what an orchestrator could take over from others.
type Capacity struct {
	Idle        [3]uint32 `json:"idle"`         // willing workers of tiers 1 to 3
	FreeCredits uint64    `json:"free_credits"` // assignments that could start at once
}

// Announcement is a block that a quorum has committed to.
type Announcement struct {
	From        string // peer id of the one that published it
	Hash        [32]byte
	Header      *ledgerv1.Header
	HeaderBytes []byte // as hashed
	Certificate *ledgerv1.Certificate
}
