package cli

import (
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/claim"
)

// exportClaim writes the proof of having been cheated.
func (a *app) exportClaim(f receiptFlags, x *examiner, rows []*receiptRow) error {
	switch n := len(x.claims); {
	case n == 0:
		if err := a.printReceipts(rows, true); err != nil {
			return err
		}
		return failed(exitRefused, "none of these receipts proves that this worker was cheated")
	case n > 1:
		return usage("%d of these receipts prove that this worker was cheated: name one with --job and --orchestrator", n)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(x.claims[0])
	if err != nil {
		return err
	}
	v, err := claim.Check(x.claims[0], *x.root.client())
	if err != nil {
		return err
	}
	if err := a.writeOutput(f.to, encoded); err != nil || f.to == "-" {
		return err
	}
	return a.showClaim(f.to, len(encoded), x.root, v)
}

// verifyClaim checks a proof of having been cheated with nothing but a genesis.
func (a *app) verifyClaim(f receiptFlags) error {
	if f.genesis == "" || isHex32(f.genesis) {
		return usage("--verify needs --genesis FILE")
	}
	root, err := a.rootFile(f.genesis)
	if err != nil {
		return err
	}
	encoded, err := a.readInput(f.verify, claim.MaxBytes)
	if err != nil {
		return err
	}
	c, err := claim.Decode(encoded)
	if err != nil {
		return failed(exitRefused, "%s is no claim: %w", f.verify, err)
	}
	v, err := claim.Check(c, *root.client())
	if err != nil {
		return failed(exitRefused, "%s proves nothing: %w", f.verify, err)
	}
	return a.showClaim(f.verify, len(encoded), root, v)
}

// showClaim says what a claim proves.
func (a *app) showClaim(name string, size int, root *chainRoot, v claim.Verdict) error {
	paid := make([]string, len(v.Paid))
	for i, key := range v.Paid {
		paid[i] = hex.EncodeToString(key)
	}
	if a.json {
		return a.printJSON(map[string]any{
			"file": name, "bytes": size, "verdict": verdictCheated, "proven": true, "chain_id": v.Chain, "genesis": hexID(root.hash[:]),
			"orchestrator": hexID(v.Orchestrator), "worker": hexID(v.Worker), "job": v.Job, "slot": v.Slot, "token": v.Token,
			"checksum": hexID(v.Checksum), "recorded_us": v.RecordedUs, "transaction": hexID(v.Transaction[:]), "block": hexID(v.Block[:]),
			"height": v.Height, "time_us": v.TimeUs, "price": v.Price, "paid": paid,
		})
	}
	pairs := []any{
		"proven", "the worker was cheated", "worker", hexID(v.Worker), "by orchestrator", hexID(v.Orchestrator), "job", v.Job,
		"its result", fmt.Sprintf("%x, recorded %s", v.Checksum, when(v.RecordedUs)),
		"settled with it", fmt.Sprintf("block %d, %s, transaction %x", v.Height, when(v.TimeUs), v.Transaction),
		"price", moneyText(v.Price),
	}
	for _, key := range paid {
		pairs = append(pairs, "paid", key)
	}
	return a.facts(append(pairs, "ledger", fmt.Sprintf("%s, which begins with %x", v.Chain, root.hash), "file", fmt.Sprintf("%s, %s", name, bytesText(uint64(size))))...)
}
