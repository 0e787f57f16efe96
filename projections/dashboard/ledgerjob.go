package dashboard

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// settled tells what the ledger holds of a job of this orchestrator: two looks at places of its state. It is nil where
// there is nothing to tell.
func (d *Dashboard) settled(ctx context.Context, j *readmodel.Job) *fact {
	if d.deps.Ledger == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	place := &operatorv1.JobPlace{Orchestrator: d.ownKey(ctx), Job: j.ID}
	if len(place.Orchestrator) == 0 {
		return nil
	}
	of := list(linkTransactions(), "job", j.ID)
	settled, escrow := &ledgerv1.Settled{}, &ledgerv1.Escrow{}
	if d.at(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{Settled: place}}, settled) {
		return &fact{"Ledger", linked("settled in block "+thousands(settled.GetHeight()), linkBlock(settled.GetHeight()))}
	}
	if d.at(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Escrow{Escrow: place}}, escrow) {
		c := linked(money(escrow.GetAmount())+" in escrow", of)
		if escrow.GetRefundAt() > 0 {
			return &fact{"Ledger", c.with("goes back at block " + thousands(escrow.GetRefundAt()))}
		}
		return &fact{"Ledger", c.with("since block " + thousands(escrow.GetOpened()))}
	}
	if j.Verdict == nil {
		return nil
	}
	return &fact{"Ledger", linked("not settled", of).with("it waits, was refused, or is forgotten by now")}
}

// ownKey is this orchestrator's account. It never changes.
func (d *Dashboard) ownKey(ctx context.Context) []byte {
	if key := d.self.Load(); key != nil {
		return *key
	}
	now, err := d.ledgerNow(ctx)
	if err != nil || len(now.GetConsensus().GetKey()) == 0 {
		return nil
	}
	key := now.GetConsensus().GetKey()
	d.self.Store(&key)
	return key
}

// at reads what lies at a place of the ledger, and reports whether anything does.
func (d *Dashboard) at(ctx context.Context, req *operatorv1.GetProofRequest, into proto.Message) bool {
	res, err := d.deps.Ledger.GetProof(ctx, req)
	return err == nil && len(res.GetProof().GetValue()) > 0 && proto.Unmarshal(res.GetProof().GetValue(), into) == nil
}
