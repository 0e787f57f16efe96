package main

import (
	"log/slog"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/receipts"
	"github.com/shardy-network/orchestrator/gateway/agent"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// keepReceipts has an agent keep what orchestrators sign about it. A disk that is full costs receipts, not work.
func keepReceipts(cfg *agent.Config, dir string, mib int64, worker []byte, log *slog.Logger) (closeStore func() error, err error) {
	store, err := receipts.Open(dir, receipts.Config{MaxBytes: mib * mebibyte})
	if err != nil {
		return nil, err
	}
	cfg.OnReceipt = func(r agent.Receipt) {
		if err := store.Keep(kept(r, worker, time.Now())); err != nil {
			log.Error("receipt not kept", "folder", dir, "error", err)
		}
	}
	return store.Close, nil
}

func kept(r agent.Receipt, worker []byte, now time.Time) *workerv1.KeptReceipt {
	k := &workerv1.KeptReceipt{Orchestrator: r.Orchestrator, Worker: worker, KeptUs: now.UnixMicro()}
	switch {
	case r.Recorded != nil:
		k.Kind = &workerv1.KeptReceipt_Recorded{Recorded: r.Recorded}
	case r.Refused != nil:
		k.Kind = &workerv1.KeptReceipt_Refused{Refused: &workerv1.RefusedResult{Settled: r.Refused, Job: r.Job, Slot: r.Slot}}
	case r.Rejected != nil:
		k.Kind = &workerv1.KeptReceipt_Rejected{Rejected: r.Rejected}
	}
	return k
}
