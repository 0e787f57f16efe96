package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// purse is what the server can pay: more than any run verifies.
const purse = 1 << 50

// meshOf is the ledger of a run, nil if it has none: a chain whose only validator is the server.
func meshOf(cfg config) (*orchestrator.MeshConfig, error) {
	if cfg.mesh == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(cfg.dir, 0o700); err != nil {
		return nil, err
	}
	key, err := identity.Server(cfg.dir)
	if err != nil {
		return nil, err
	}
	own := key.Public().(ed25519.PublicKey)
	rules := ledger.DefaultParams()
	genesis, err := proto.MarshalOptions{Deterministic: true}.Marshal(&ledgerv1.Genesis{
		ChainId: "bench", TimeUs: 1, Params: rules, Validators: []*ledgerv1.Validator{{Key: own}},
		Endowments: []*ledgerv1.Endowment{{Key: own, Balance: purse, Stake: rules.MinValidatorStake}},
	})
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return &orchestrator.MeshConfig{
		Genesis: genesis, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Private: true,
		Prices: settle.Schedule{PerMegafuel: 1000, Least: 10}, Share: cfg.share,
	}, nil
}

// settled is how far a run's ledger is; nil if it has none.
func (d *deployment) settled(ctx context.Context) (*operatorv1.GetLedgerResponse, error) {
	if d.cfg.mesh == 0 {
		return nil, nil
	}
	l, err := d.client.ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
	if err != nil {
		return nil, fmt.Errorf("get ledger: %w", err)
	}
	return l, nil
}

// settlement adds what of a window was paid for in it.
func (f figures) settlement(before, after *operatorv1.GetLedgerResponse, seconds float64) {
	if after == nil {
		return
	}
	s := after.GetSettlement()
	paid := float64(s.GetPaid() - before.GetSettlement().GetPaid())
	f["settled"], f["settled_per_s"] = paid, round(paid/seconds, 1)
	f["blocks"] = after.GetHeight() - before.GetHeight()
	f["settlement_behind"] = s.GetLogHead() - min(s.GetPosition(), s.GetLogHead())
	f["refused"], f["unpaid"] = s.GetRefused(), s.GetUnpaid()
}

// catchUp waits until all that was verified is paid for, as long as for the last verdicts, and adds how that went.
func (d *deployment) catchUp(ctx context.Context, f figures) error {
	if d.cfg.mesh == 0 {
		return nil
	}
	begin := time.Now()
	for {
		l, err := d.settled(ctx)
		if err != nil {
			return err
		}
		s, waited := l.GetSettlement(), time.Since(begin)
		done := s.GetPosition() >= s.GetLogHead() && s.GetOpen()+s.GetWaiting()+s.GetSent() == 0
		if done || waited > d.cfg.drain {
			f["paid"], f["caught_up"], f["catch_up_s"] = s.GetPaid(), done, round(waited.Seconds(), 1)
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
