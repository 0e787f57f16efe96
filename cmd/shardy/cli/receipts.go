package cli

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/cmd/shardy/receipts"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// receiptFlags say which receipts are wanted, and what to do with them.
type receiptFlags struct {
	keyFile, dir      string
	job, orchestrator string
	limit             uint32
	check             bool
	to, verify        string
	genesis           string
}

func (a *app) workerReceipts() *cobra.Command {
	var f receiptFlags
	c := &cobra.Command{
		Use: "receipts", Short: "Show what orchestrators have signed about this worker, and hold it against the ledger", Args: cobra.NoArgs,
		Long: "Receipts lists what a worker on this machine has kept, the newest first: results that orchestrators recorded, results\n" +
			"and admissions that they refused. With --check each recorded result is held against the ledger: paid, or settled\n" +
			"without this worker (cheated), or settled with another result (contradicted, or slashed), or not settled (open).\n" +
			"--export writes a proof of having been cheated, which --verify checks offline for whoever has the genesis.",
		Example: "  shardy worker receipts\n  shardy worker receipts --check --genesis lab.genesis\n" +
			"  shardy worker receipts --export cheated.claim --job 01jd2h7k3m5n7p9r1t3v5x7z9b\n" +
			"  shardy worker receipts --verify cheated.claim --genesis lab.genesis",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			if f.verify != "" {
				return a.verifyClaim(f)
			}
			rows, err := a.keptReceipts(f)
			if err != nil {
				return err
			}
			if !f.check && f.to == "" {
				return a.printReceipts(rows, false)
			}
			return a.checkReceipts(ctx, f, rows)
		}),
	}
	fl := c.Flags()
	workerKeyFlag(c, &f.keyFile)
	fl.StringVar(&f.dir, "receipts-dir", "", "folder of the receipts (default: beside the key file)")
	fl.StringVar(&f.job, "job", "", "only this job")
	fl.StringVar(&f.orchestrator, "orchestrator", "", "only this orchestrator: the beginning of its key")
	fl.Uint32Var(&f.limit, "limit", 100, "receipts to show, the newest; 0 for all")
	fl.BoolVar(&f.check, "check", false, "hold each against the ledger")
	fl.StringVar(&f.to, "export", "", "write a proof of having been cheated to this file")
	fl.StringVar(&f.verify, "verify", "", "check such a proof offline; needs --genesis FILE")
	genesisFlag(c, &f.genesis)
	return c
}

// receiptRow is one receipt: of a receipt for many recorded results, one result.
type receiptRow struct {
	Kind         string         `json:"kind"` // recorded, refused or rejected
	Orchestrator string         `json:"orchestrator"`
	Worker       string         `json:"worker"`
	AtUs         int64          `json:"at_us"`
	Job          string         `json:"job"`
	Slot         uint32         `json:"slot"`
	Token        uint64         `json:"token"`
	Checksum     string         `json:"checksum"` // recorded
	Attested     bool           `json:"attested"` // recorded
	Reason       string         `json:"reason"`   // refused and rejected
	Detail       string         `json:"detail"`   // refused and rejected
	Check        *receiptResult `json:"check,omitempty"`

	kept   *workerv1.KeptReceipt
	result *workerv1.RecordedResult // recorded
	index  int                      // of result
}

// receiptResult is what the ledger says of a recorded result.
type receiptResult struct {
	Verdict     string `json:"verdict"` // paid, cheated, contradicted, slashed, unattested, earlier_round, crowded, open or unknown
	Proven      bool   `json:"proven"`  // against the genesis: a quorum of validators signed what it rests on
	AsOf        uint64 `json:"as_of"`   // height of the ledger's last block then
	Height      uint64 `json:"height"`  // of the settlement; 0: none
	Block       string `json:"block"`
	TimeUs      int64  `json:"time_us"`
	Transaction string `json:"transaction"`
	Checksum    string `json:"checksum"` // that the job was settled with
	Slash       string `json:"slash"`    // transaction that punished this worker for the job
	Detail      string `json:"detail"`
}

// keptReceipts reads what is wanted, the newest first. A receipt whose signature is not in order is none.
func (a *app) keptReceipts(f receiptFlags) ([]*receiptRow, error) {
	dir := f.dir
	if dir == "" {
		dir = receipts.Beside(f.keyFile)
	}
	var rows []*receiptRow
	unsound := 0
	torn, err := receipts.Read(dir, func(k *workerv1.KeptReceipt) bool {
		more, ok := rowsOf(k)
		if !ok {
			unsound++
		}
		for _, r := range more {
			if (f.job == "" || r.Job == f.job) && strings.HasPrefix(r.Orchestrator, strings.ToLower(f.orchestrator)) {
				rows = append(rows, r)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		a.say("%d files in %s end in the middle of a receipt, as after a crash", torn, dir)
	}
	if unsound > 0 {
		a.say("%d entries in %s are not signed by the orchestrator that they name: passed over", unsound, dir)
	}
	slices.SortStableFunc(rows, func(x, y *receiptRow) int { return int(min(max(y.AtUs-x.AtUs, -1), 1)) })
	if f.limit > 0 && len(rows) > int(f.limit) {
		a.say("%d older receipts are not shown: --limit 0 shows all", len(rows)-int(f.limit))
		rows = rows[:f.limit]
	}
	return rows, nil
}

// rowsOf opens a kept receipt. ok says that its signature is in order.
func rowsOf(k *workerv1.KeptReceipt) (rows []*receiptRow, ok bool) {
	base := receiptRow{Orchestrator: hexID(k.Orchestrator), Worker: hexID(k.Worker), kept: k}
	sound := func(text, signature []byte) bool {
		return len(k.Orchestrator) == ed25519.PublicKeySize && ed25519.Verify(k.Orchestrator, text, signature)
	}
	switch kind := k.Kind.(type) {
	case *workerv1.KeptReceipt_Recorded:
		body, err := proof.VerifyRecorded(k.Orchestrator, k.Worker, kind.Recorded)
		if err != nil {
			return nil, false
		}
		for i, r := range body.Results {
			row := base
			row.Kind, row.AtUs, row.Job, row.Slot, row.Token = "recorded", body.AtUs, r.Job, r.Slot, r.Token
			row.Checksum, row.Attested, row.result, row.index = hexID(r.Checksum), r.Attested, r, i
			rows = append(rows, &row)
		}
		return rows, true
	case *workerv1.KeptReceipt_Refused:
		s := kind.Refused.GetSettled()
		if len(s.GetTokens()) != 1 || !sound(wire.RefusedText(k.Worker, s.Tokens[0], s.Reason, s.AtUs), s.Receipt) {
			return nil, false
		}
		base.Kind, base.AtUs, base.Job, base.Slot, base.Token = "refused", s.AtUs, kind.Refused.Job, kind.Refused.Slot, s.Tokens[0]
		base.Reason, base.Detail = name(eventv1.RejectReason(s.Reason)), s.Detail
	case *workerv1.KeptReceipt_Rejected:
		r := kind.Rejected
		if !sound(wire.RejectedText(k.Worker, uint32(r.GetReason()), r.GetAtUs(), r.GetDetail()), r.GetReceipt()) {
			return nil, false
		}
		base.Kind, base.AtUs, base.Reason, base.Detail = "rejected", r.AtUs, name(r.Reason), r.Detail
	default:
		return nil, false
	}
	return []*receiptRow{&base}, true
}

// printReceipts prints rows as a table, or as one document.
func (a *app) printReceipts(rows []*receiptRow, checked bool) error {
	if a.json {
		if rows == nil {
			rows = []*receiptRow{}
		}
		return a.printJSON(map[string]any{"receipts": rows})
	}
	heading := "TIME KIND JOB SLOT RESULT ORCHESTRATOR"
	if checked {
		heading += " LEDGER BLOCK TRANSACTION"
	}
	return a.table(heading, func(row func(...any)) {
		for _, r := range rows {
			result := printable(strings.TrimSpace(r.Reason + " " + r.Detail))
			if r.Kind == "recorded" {
				result = shorten(r.Checksum)
			}
			cells := []any{when(r.AtUs), r.Kind, printable(r.Job), r.Slot, result, shorten(r.Orchestrator)}
			if c := r.Check; checked && c != nil {
				block := any("")
				if c.Height > 0 {
					block = c.Height
				}
				cells = append(cells, ledgerText(c), block, shorten(c.Transaction))
			} else if checked {
				cells = append(cells, "", "", "")
			}
			row(cells...)
		}
	})
}

// ledgerText is a verdict for people.
func ledgerText(c *receiptResult) string {
	text := strings.ReplaceAll(c.Verdict, "_", " ")
	if c.Verdict == verdictCheated && c.Proven {
		text += ": proven"
	}
	return text
}

// shorten is the beginning of a hash or key.
func shorten(hex string) string { return hex[:min(16, len(hex))] }
