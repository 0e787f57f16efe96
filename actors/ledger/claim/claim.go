// Package claim checks a worker's claim that an orchestrator left it out: that it recorded the worker's result, and then
// settled the job on the ledger with that very result and without the worker.
//
// It promises that no claim passes unless one key signed both the receipt and the settlement, and a quorum of the
// validators that follow from a genesis carried the settlement out; that no claim passes against an orchestrator which
// pays everybody whose attested result agrees with the verdict; and that nothing but the claim and the genesis is needed.
//
// Limits: it proves nothing when receipt and settlement have different keys, as with several processes of one operator
// that have a key each. A result of before a requeue has no voice, and where a requeue took place is the orchestrator's
// word (Decision.first_slot): a lie about it is found in its log, not here. A quorum of the validators, also of those
// who have left, can certify what never was.
package claim

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// The refusals of claims.
var (
	ErrMalformed  = errors.New("malformed claim")
	ErrReceipt    = errors.New("the receipt is not the orchestrator's")
	ErrSettlement = errors.New("the transaction is no settlement of the receipt's job by that orchestrator")
	ErrBlock      = errors.New("the block is not one of this ledger")
	ErrInclusion  = errors.New("the transaction is not in the block")
	ErrFailed     = errors.New("the transaction was not carried out")
	ErrUnfounded  = errors.New("the worker was not left out")
)

// Fate is what a settlement means for a recorded result of the same job and orchestrator.
type Fate uint8

const (
	// Paid: the worker is among those that the settlement pays.
	Paid Fate = iota
	// LeftOut: the settlement is for the same result, and the worker is not among the paid. The worker was cheated.
	LeftOut
	// Contradicted: the verdict was for another result.
	Contradicted
	// Unattested: the result came without an attestation; the ledger pays for no such result.
	Unattested
	// EarlierRound: the orchestrator says that the job was requeued after the result.
	EarlierRound
	// Crowded: the settlement pays as many as a settlement can.
	Crowded
)

var fates = [...]string{"paid", "left out", "contradicted", "unattested", "of an earlier round", "crowded out"}

// String names the fate.
func (f Fate) String() string {
	if int(f) < len(fates) {
		return fates[f]
	}
	return "unknown"
}

// Judge says what a settlement means for a recorded result of a worker. Both MUST be of one job and one orchestrator.
func Judge(worker []byte, r *workerv1.RecordedResult, d *ledgerv1.Decision) Fate {
	requeued := r.GetSlot() < d.GetFirstSlot()
	for _, paid := range d.GetAgreeing() {
		if bytes.Equal(paid.GetWorker(), worker) {
			return Paid
		}
		if paid.GetSlot() < d.GetFirstSlot() {
			requeued = false // a round does not begin behind results that it counts
		}
	}
	switch {
	case !bytes.Equal(r.GetChecksum(), d.GetChecksum()):
		return Contradicted
	case !r.GetAttested():
		return Unattested
	case requeued:
		return EarlierRound
	case len(d.GetAgreeing()) >= ledger.MaxResults:
		return Crowded
	}
	return LeftOut
}

// Verdict is what a claim proves.
type Verdict struct {
	Chain        string
	Orchestrator []byte // key: it recorded the result, and it settled the job without it
	Worker       []byte // key: who was left out
	Job          string
	Slot         uint32
	Token        uint64
	Checksum     []byte // of the result, and of the verdict
	RecordedUs   int64  // when the receipt was signed
	Transaction  ledger.Hash
	Block        ledger.Hash // of its header
	Height       uint64
	TimeUs       int64    // of the block
	Price        uint64   // of each replica, before its multiplier
	Paid         [][]byte // who was paid instead
}

func (v Verdict) String() string {
	return fmt.Sprintf("orchestrator %x recorded the result %x of worker %x for job %s, and settled the job with it in block %d without that worker",
		v.Orchestrator, v.Checksum, v.Worker, v.Job, v.Height)
}
