package main

import (
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/receipts"
	"github.com/shardy-network/orchestrator/gateway/agent"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Whatever an orchestrator signs is in the worker's folder, beside its key.
func TestAWorkerKeepsItsReceipts(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f := workerFlags{keyFile: filepath.Join(t.TempDir(), "pia.key"), receiptsMiB: 1}
	var cfg agent.Config
	closeStore, err := f.keepReceipts(&cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	orchestrator := make([]byte, 32)
	cfg.OnReceipt(agent.Receipt{Orchestrator: orchestrator, Recorded: &workerv1.Receipts{Body: []byte("body")}})
	cfg.OnReceipt(agent.Receipt{Orchestrator: orchestrator, Refused: &workerv1.TaskSettled{Detail: "no"}, Job: "job", Slot: 3})
	cfg.OnReceipt(agent.Receipt{Orchestrator: orchestrator, Rejected: &workerv1.Rejected{Detail: "away"}})
	if err := closeStore(); err != nil {
		t.Fatal(err)
	}
	var kept []*workerv1.KeptReceipt
	torn, err := receipts.Read(filepath.Join(filepath.Dir(f.keyFile), "pia.receipts"), func(k *workerv1.KeptReceipt) bool {
		kept = append(kept, k)
		return true
	})
	if err != nil || torn != 0 || len(kept) != 3 {
		t.Fatalf("%d kept, %d torn, %v", len(kept), torn, err)
	}
	public := cfg.Key.Public().(ed25519.PublicKey)
	if string(kept[0].GetRecorded().GetBody()) != "body" || kept[1].GetRefused().GetJob() != "job" || kept[1].GetRefused().GetSlot() != 3 ||
		kept[2].GetRejected().GetDetail() != "away" || string(kept[0].Worker) != string(public) || time.Since(time.UnixMicro(kept[0].KeptUs)) > time.Minute {
		t.Fatalf("kept %v", kept)
	}
}

// A key in a place where nothing can be written keeps nobody from working, but a folder that was asked for must be there.
func TestAWorkerWithoutAFolderForReceipts(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := t.TempDir()
	f := workerFlags{keyFile: filepath.Join(dir, "pia.key"), receiptsMiB: 1}
	if err := os.WriteFile(filepath.Join(dir, "pia.receipts"), nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	var cfg agent.Config
	closeStore, err := f.keepReceipts(&cfg, log)
	if err != nil || closeStore() != nil || cfg.OnReceipt != nil {
		t.Fatalf("%v, %v", err, cfg.OnReceipt != nil)
	}
	f.receiptsDir = filepath.Join(dir, "pia.receipts")
	if _, err := f.keepReceipts(&cfg, log); err == nil {
		t.Fatal("the folder that was asked for is none")
	}
	f.receiptsDir, f.receiptsMiB = filepath.Join(dir, "there"), -1
	if _, err := f.keepReceipts(&cfg, log); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a negative bound: %v", err)
	}
}
