package dashboard

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// actionView is one action of a transaction with what it rests on.
type actionView struct {
	Number    int
	Kind      string
	State     badge // what became of it
	Said      saying
	Facts     []fact
	Groups    []evidence  // results, those with one checksum together
	Pair      []statement // signed statements that contradict each other
	Penalties table       // of a slash, while they are frozen
	Approvals []signer
	Note      string
	Folded    bool
}

// Rests reports whether there is more to see of the action than what it does.
func (a actionView) Rests() bool {
	return len(a.Facts)+len(a.Groups)+len(a.Pair)+len(a.Approvals)+len(a.Penalties.Rows) > 0
}

// evidence are results with one checksum.
type evidence struct {
	Standing badge
	Checksum string
	Full     string
	Said     string
	Results  table
}

// statement is one of two that one key has signed.
type statement struct {
	Title string
	Facts []fact
	Text  string // what was signed, when it is text
}

// knownJob leads to a job of this orchestrator's log that the viewer may see. Jobs of others are only named.
func (d *Dashboard) knownJob(ctx context.Context, q *ask, id string) word {
	if events.CheckEntityID(id) == nil {
		if j, err := d.deps.Model.Job(ctx, id); err == nil && q.Viewer.seesJob(j.Tenant, j.Kind) {
			return word{id, linkJob(id)}
		}
	}
	return word{Text: clip(plain(id), 100)}
}

// view shows an action. Index counts the actions of the transaction.
func (t teller) view(index int, a *ledgerv1.Action, of *operatorv1.TransactionView, p *ledgerv1.Params) actionView {
	v := actionView{Number: index + 1, Kind: kindOfAction(a), State: actionState(index, of.GetReceipt()), Said: t.tell(a)}
	switch k := a.GetKind().(type) {
	case *ledgerv1.Action_TaskVerified:
		t.settlement(&v, k.TaskVerified, p)
	case *ledgerv1.Action_ConsensusMismatch:
		t.slash(&v, k.ConsensusMismatch.GetDecision())
	case *ledgerv1.Action_Equivocation:
		t.contradiction(&v, k.Equivocation)
	case *ledgerv1.Action_LogAnchor:
		v.Pair = []statement{noteOf("Checkpoint", k.LogAnchor.GetCheckpoint())}
	case *ledgerv1.Action_ValidatorSet:
		v.Approvals = approvalsOf(k.ValidatorSet.GetApprovals(), t.names)
	case *ledgerv1.Action_VoidSlash:
		v.Approvals = approvalsOf(k.VoidSlash.GetApprovals(), t.names)
	}
	return v
}

// actionState says what became of one action: the failure of any undoes all.
func actionState(index int, r *ledgerv1.Receipt) badge {
	switch code := r.GetCode(); {
	case code == ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		return badge{toneVerified, "Done"}
	case code == ledgerv1.ReceiptCode_RECEIPT_CODE_UNSPECIFIED:
		return badge{toneQuiet, "Not known"}
	case int(r.GetAction()) == index:
		return refusedBadge(r)
	case int(r.GetAction()) > index:
		return badge{toneWaiting, "Undone"}
	}
	return badge{toneWaiting, "Not tried"}
}

// decisionFacts are what a settlement and a slash share.
func decisionFacts(d *ledgerv1.Decision) []fact {
	word := text("no").with("the results alone decided")
	if d.GetReferee() {
		word = text("yes").with("the sender has computed it itself")
	}
	facts := []fact{
		{"Decided checksum", hexCell(d.GetChecksum(), "")},
		{"Basis", text(enumText(d.GetBasis()))},
		{"Referee's word", word},
		{"Margin", text(strconv.Itoa(margin(d))).with(fmt.Sprintf("%d agree, %d contradicted", len(d.GetAgreeing()), len(d.GetContradicted())))},
		{"Module", hexCell(d.GetModule(), "")},
		{"Input", hexCell(d.GetInput(), "")},
	}
	if n := d.GetPolicyVersion(); n > 0 {
		facts = append(facts, fact{"Policy", text("version " + thousands(n))})
	}
	if n := d.GetLogSize(); n > 0 {
		facts = append(facts, fact{"In the log", text("of " + thousands(n) + " events")})
	}
	return facts
}

// margin is by how many workers those who agree are ahead of the largest group of the contradicted.
func margin(d *ledgerv1.Decision) int {
	agree, groups, most := map[string]bool{}, map[[32]byte]map[string]bool{}, 0
	for _, r := range d.GetAgreeing() {
		agree[string(r.GetWorker())] = true
	}
	for _, r := range d.GetContradicted() {
		sum := checksumOf(r)
		if groups[sum] == nil {
			groups[sum] = map[string]bool{}
		}
		groups[sum][string(r.GetWorker())] = true
		most = max(most, len(groups[sum]))
	}
	return len(agree) - most
}

// checksumOf is what a result says, as results are compared.
func checksumOf(r *ledgerv1.Result) [32]byte {
	var out [32]byte
	copy(out[:], r.GetOutput())
	return proof.Checksum(r.GetStatus(), r.GetFuel(), out)
}

func (t teller) settlement(v *actionView, s *ledgerv1.Settlement, p *ledgerv1.Params) {
	d := s.GetDecision()
	v.Facts = append([]fact{{"Price", moneyCell(s.GetPrice()).with("of each result, before the bonus")}}, decisionFacts(d)...)
	sum := d.GetChecksum()
	v.Groups = []evidence{{
		Standing: badge{toneVerified, "paid"}, Checksum: shortKey(sum), Full: hex.EncodeToString(sum),
		Said: plural(len(d.GetAgreeing()), "signed result"), Results: t.resultTable(v.Number, "Paid results", d.GetAgreeing(), true, s.GetPrice()),
	}}
	if bonus := p.GetStakeBonusPpm(); bonus > 0 {
		v.Note = fmt.Sprintf("Each earns the price and up to %s more by its stake at that block; %s of it go to the treasury. What is left of the escrow went back.", percent(bonus), percent(p.GetTreasuryPpm()))
	}
}

func (t teller) slash(v *actionView, d *ledgerv1.Decision) {
	v.Facts = decisionFacts(d)
	sum := d.GetChecksum()
	v.Groups = []evidence{{
		Standing: badge{toneVerified, "agree"}, Checksum: shortKey(sum), Full: hex.EncodeToString(sum),
		Said: plural(len(d.GetAgreeing()), "signed result"), Results: t.resultTable(v.Number, "Agreeing results", d.GetAgreeing(), false, 0),
	}}
	var order [][32]byte
	by := map[[32]byte][]*ledgerv1.Result{}
	for _, r := range d.GetContradicted() {
		sum := checksumOf(r)
		if by[sum] == nil {
			order = append(order, sum)
		}
		by[sum] = append(by[sum], r)
	}
	for _, sum := range order {
		v.Groups = append(v.Groups, evidence{
			Standing: badge{toneMismatch, "contradicted"}, Checksum: shortKey(sum[:]), Full: hex.EncodeToString(sum[:]),
			Said: plural(len(by[sum]), "signed result"), Results: t.resultTable(v.Number, "Contradicted results", by[sum], false, 0),
		})
	}
}

// resultTable lists results. All of one table have the same checksum, which is said above it.
func (t teller) resultTable(action int, caption string, all []*ledgerv1.Result, paid bool, price uint64) table {
	titles := []string{"Worker", "Slot#", "Checksum", "Status~", "Fuel#~", "Output~"}
	if paid {
		titles = append(titles, "Price#")
	}
	out := table{Caption: caption, Compact: true, Columns: columns(titles...), Empty: empty{Title: "No result"}}
	for i, r := range all {
		sum := checksumOf(r)
		cells := []cell{
			accountCell(r.GetWorker(), t.names), count(r.GetSlot()), hexCell(sum[:], ""), text(enumText(r.GetStatus())), count(r.GetFuel()), hexCell(r.GetOutput(), ""),
		}
		if paid {
			cells = append(cells, moneyCell(price))
		}
		out.add(fmt.Sprintf("%d-%s-%d-%x", action, domID(caption), i, sum[:4]), cells...)
	}
	return out
}

func (t teller) contradiction(v *actionView, e *ledgerv1.Equivocation) {
	switch k := e.GetKind().(type) {
	case *ledgerv1.Equivocation_Votes:
		v.Pair = []statement{voteOf("First vote", k.Votes.GetFirst()), voteOf("Second vote", k.Votes.GetSecond())}
	case *ledgerv1.Equivocation_Checkpoints:
		v.Pair = []statement{noteOf("First checkpoint", k.Checkpoints.GetFirst()), noteOf("Second checkpoint", k.Checkpoints.GetSecond())}
	case *ledgerv1.Equivocation_Results:
		v.Facts = []fact{{"Module", hexCell(k.Results.GetModule(), "")}, {"Input", hexCell(k.Results.GetInput(), "")}}
		v.Pair = []statement{resultOf("First result", k.Results.GetFirst()), resultOf("Second result", k.Results.GetSecond())}
	}
}

func voteOf(title string, v *ledgerv1.Vote) statement {
	return statement{Title: title, Facts: []fact{
		{"Block", hexCell(v.GetBlock(), "")},
		{"Height", count(v.GetHeight())},
		{"View", count(v.GetView())},
		{"Validators", text("version " + thousands(v.GetValidatorsVersion()))},
		{"Signature", hexCell(v.GetSignature(), "")},
	}}
}

func resultOf(title string, r *ledgerv1.Result) statement {
	sum := checksumOf(r)
	return statement{Title: title, Facts: []fact{
		{"Checksum", hexCell(sum[:], "")},
		{"Output", hexCell(r.GetOutput(), "")},
		{"Slot", count(r.GetSlot())},
		{"Token", count(r.GetToken())},
		{"Fuel", count(r.GetFuel())},
		{"Status", text(enumText(r.GetStatus()))},
		{"Attestation", hexCell(r.GetAttestation(), "")},
	}}
}

// noteOf shows a signed checkpoint of a log.
func noteOf(title string, note []byte) statement {
	s := statement{Title: title}
	if h, err := checkpoint.Read(note); err == nil {
		s.Facts = []fact{{"Log", text(h.Origin)}, {"Size", count(h.Size)}, {"Root", hexCell(h.Root[:], "")}}
	}
	var lines [][]byte
	for line := range bytes.Lines(note[:min(len(note), 2048)]) {
		lines = append(lines, []byte(plain(string(bytes.TrimRight(line, "\n")))))
	}
	s.Text = string(bytes.Join(lines, []byte("\n")))
	return s
}

func approvalsOf(all []*ledgerv1.ValidatorSignature, n nicknames) []signer {
	var out []signer
	for _, s := range all {
		out = append(out, signer{Who: n.of(s.GetValidator()), Href: linkAccount(s.GetValidator()), Signed: true})
	}
	return out
}

// shownPenalties bounds the workers of a slash whose penalties are looked up.
const shownPenalties = 16

// penalties tells what became of the penalties of a slash.
func (d *Dashboard) penalties(ctx context.Context, t *operatorv1.TransactionView, dec *ledgerv1.Decision, now *operatorv1.GetLedgerResponse, n nicknames) (table, error) {
	out := table{Caption: "Penalties", Compact: true, Columns: columns("Worker", "Penalty", "Amount#")}
	all := dec.GetContradicted()
	for _, r := range all[:min(len(all), shownPenalties)] {
		res, err := d.deps.Ledger.GetProof(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Penalty{Penalty: &operatorv1.PenaltyPlace{
			Orchestrator: t.GetBody().GetSender(), Worker: r.GetWorker(), Job: dec.GetJob(),
		}}})
		if errors.Is(err, ErrNotFound) {
			res, err = nil, nil
		}
		if err != nil {
			return out, err
		}
		what, amount := state(toneWaiting, "Over").with("given away, or voided by the validators"), none()
		if b := res.GetProof().GetValue(); len(b) > 0 {
			p := &ledgerv1.Penalty{}
			if err := proto.Unmarshal(b, p); err != nil {
				return out, err
			}
			what = state(toneMismatch, "Frozen").with("until block " + thousands(p.GetDue()) + ", then half is burned and half goes to those who were right")
			amount = moneyCell(p.GetAmount())
		}
		out.add("penalty-"+dec.GetJob()+"-"+hex.EncodeToString(r.GetWorker()), accountCell(r.GetWorker(), n), what, amount)
	}
	return out, nil
}
