package ledger

import (
	"bytes"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// equivocation punishes a key for two statements that cannot both be meant. It has signed both, so nobody is asked.
func (d *draft) equivocation(e *ledgerv1.Equivocation) *refusal {
	accused, r := d.accused(e)
	if r != nil {
		return r
	}
	if !light.Member(d.open.validators, accused) && !d.exists(accused) {
		return refuse(forbidden, "%x has nothing that could be taken", accused)
	}
	a := d.account(accused)
	if a.Tombstoned {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN, "%x is tombstoned", accused)
	}
	amount := penaltyOf(d.params, d.params.SlashEquivocationPpm, d.open.pots.inWindow, d.open.pots.stakes)(a)
	take(a, amount)
	a.Tombstoned = true
	count(&a.Slashed, amount)
	move(&d.open.pots.stakes, &d.open.pots.treasury, amount/2)
	move(&d.open.pots.stakes, &d.open.pots.burned, amount-amount/2)
	d.correlate(amount)
	d.expel(accused)
	return nil
}

// accused says who has signed two statements that contradict each other.
func (d *draft) accused(e *ledgerv1.Equivocation) ([]byte, *refusal) {
	switch k := e.Kind.(type) {
	case *ledgerv1.Equivocation_Votes:
		return k.Votes.Validator, d.votedTwice(k.Votes.First, k.Votes.Second)
	case *ledgerv1.Equivocation_Checkpoints:
		return k.Checkpoints.Orchestrator, logsDiffer(k.Checkpoints.First, k.Checkpoints.Second)
	case *ledgerv1.Equivocation_Results:
		return k.Results.First.Worker, answeredTwice(k.Results.First, k.Results.Second)
	}
	return nil, refuse(badEvidence, "no such evidence") // Check takes none
}

// votedTwice refuses two votes that one validator can both have meant.
func (d *draft) votedTwice(a, b *ledgerv1.Vote) *refusal {
	switch {
	case a.Height != b.Height || a.View != b.View || a.ValidatorsVersion != b.ValidatorsVersion:
		return refuse(badEvidence, "the votes are not for one view of one height")
	case bytes.Equal(a.Block, b.Block):
		return refuse(badEvidence, "the votes are for the same block")
	case a.Height < d.height && d.height-a.Height > d.params.EvidenceBlocks:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_OLD_EVIDENCE, "votes of height %d", a.Height)
	}
	return nil
}

// logsDiffer refuses two checkpoints that can be heads of one log.
func logsDiffer(first, second []byte) *refusal {
	a, err := checkpoint.Read(first)
	b, err2 := checkpoint.Read(second)
	switch {
	case err != nil || err2 != nil:
		return refuse(badEvidence, "malformed checkpoint") // Check takes none
	case a.Origin != b.Origin || a.Size != b.Size:
		return refuse(badEvidence, "the checkpoints are not of one log with one size")
	case a.Root == b.Root:
		return refuse(badEvidence, "the checkpoints agree")
	}
	return nil
}

// answeredTwice refuses two results of which a worker can have meant both.
func answeredTwice(a, b *ledgerv1.Result) *refusal {
	switch {
	case !bytes.Equal(a.Worker, b.Worker) || a.Slot != b.Slot || a.Token != b.Token:
		return refuse(badEvidence, "the results are not of one worker for one token")
	case checksum(a) == checksum(b):
		return refuse(badEvidence, "the results agree")
	}
	return nil
}

// anchor keeps the sender's log checkpoint.
func (d *draft) anchor(sender []byte, t *ledgerv1.LogAnchor) *refusal {
	if d.exists(sender) && d.account(sender).Tombstoned {
		return refuse(forbidden, "the key has equivocated")
	}
	head, err := checkpoint.Read(t.Checkpoint)
	if err != nil {
		return refuse(badEvidence, "malformed checkpoint") // Check takes none
	}
	place := seal.AnchorKey(sender)
	if v := d.get(place); v != nil {
		if r := unfitAnchor(decode(v, new(ledgerv1.Anchor)), head); r != nil {
			return r
		}
	}
	d.set(place, encode(&ledgerv1.Anchor{
		Origin: head.Origin, Size: uint64(head.Size), Root: head.Root[:], Height: d.height, Checkpoint: t.Checkpoint,
	}))
	return nil
}

// unfitAnchor says why a checkpoint does not follow the one before.
func unfitAnchor(last *ledgerv1.Anchor, head checkpoint.Head) *refusal {
	size := uint64(head.Size) // never negative
	switch {
	case head.Origin != last.Origin:
		return refuse(forbidden, "the log of this key is %s", last.Origin)
	case size < last.Size:
		return refuse(outside, "size %d is anchored", last.Size)
	case size == last.Size && bytes.Equal(head.Root[:], last.Root):
		return refuse(outside, "it is anchored already")
	case size == last.Size:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_CONTRADICTS, "size %d is anchored with another root", last.Size)
	}
	return nil
}
