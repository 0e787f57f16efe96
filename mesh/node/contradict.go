package node

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// searchedBlocks is how far back the checkpoint is looked for that another one contradicts, when the sender has anchored a
// later one since.
const searchedBlocks = 64

// block looks for orchestrators whose logs contradict themselves: the ledger has refused a checkpoint because another one
// of the same size is anchored. Both are signed, so both together are evidence.
func (a *accuser) block(b chain.Committed) {
	for i, r := range b.Receipts {
		if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_CONTRADICTS {
			continue
		}
		if e := a.contradiction(b, i, r); e != nil {
			a.report(e)
		}
	}
	if a.size() > 0 {
		a.nudge()
	}
}

// contradiction is the evidence behind a receipt; nil when the other checkpoint cannot be found any more.
func (a *accuser) contradiction(b chain.Committed, i int, r *ledgerv1.Receipt) *ledgerv1.Equivocation {
	t := bodyOf(b.Block.GetBlock().GetTransactions()[i])
	if int(r.Action) >= len(t.GetActions()) {
		return nil
	}
	refused := t.Actions[r.Action].GetLogAnchor().GetCheckpoint()
	pair := func(other []byte) *ledgerv1.Equivocation {
		return &ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Checkpoints{Checkpoints: &ledgerv1.CheckpointPair{
			Orchestrator: t.Sender, First: other, Second: refused,
		}}}
	}
	for _, earlier := range t.Actions[:r.Action] {
		if other := earlier.GetLogAnchor().GetCheckpoint(); contradict(other, refused) {
			return pair(other)
		}
	}
	if other := a.n.chain.State().Anchor(t.Sender).GetCheckpoint(); contradict(other, refused) {
		return pair(other)
	}
	for h := b.Height; h > 0 && h+searchedBlocks > b.Height; h-- {
		at, err := a.n.chain.At(h)
		if err != nil {
			return nil
		}
		if other := anchoredIn(at, t.Sender, refused); other != nil {
			return pair(other)
		}
	}
	return nil
}

// anchoredIn finds the checkpoint of a sender in a block that another one contradicts.
func anchoredIn(b chain.Committed, sender, refused []byte) []byte {
	for i, r := range b.Receipts {
		if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			continue
		}
		t := bodyOf(b.Block.Block.Transactions[i])
		if !bytes.Equal(t.GetSender(), sender) {
			continue
		}
		for _, action := range t.Actions {
			if other := action.GetLogAnchor().GetCheckpoint(); contradict(other, refused) {
				return other
			}
		}
	}
	return nil
}

// contradict reports whether two checkpoints cannot be heads of one log.
func contradict(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, err := checkpoint.Read(a)
	y, err2 := checkpoint.Read(b)
	return err == nil && err2 == nil && x.Origin == y.Origin && x.Size == y.Size && x.Root != y.Root
}

// bodyOf reads a transaction of a block, which was checked when the block was; nil when it cannot be read.
func bodyOf(encoded []byte) *ledgerv1.Transaction {
	s, t := new(ledgerv1.SignedTransaction), new(ledgerv1.Transaction)
	if proto.Unmarshal(encoded, s) != nil || proto.Unmarshal(s.Body, t) != nil {
		return nil
	}
	return t
}
