package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// FederationSummary is the last line of `shardy demo --orchestrators 4 --json`.
type FederationSummary struct {
	Orchestrators int      `json:"orchestrators"`
	Jobs          int      `json:"jobs"`
	Verified      int      `json:"verified"`
	DeadLettered  int      `json:"dead_lettered"`
	WrongResults  int      `json:"wrong_results"`
	Mismatches    int      `json:"mismatches"`
	Replayed      int      `json:"replayed_commands"`
	Divergences   int      `json:"divergences"`
	Height        uint64   `json:"height"`     // of the block that was compared
	StateRoot     string   `json:"state_root"` // of it, the same everywhere
	Paid          uint64   `json:"paid"`       // jobs
	Refused       uint64   `json:"refused"`    // payments and slashes
	Chains        []Chain  `json:"chains"`
	Accounts      []Holder `json:"accounts"`
	Seconds       float64  `json:"seconds"`
	DataDir       string   `json:"data_dir"`
}

// Chain is the ledger as one orchestrator has it.
type Chain struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Height    uint64 `json:"height"`
	Block     string `json:"block"` // hash of the header
	StateRoot string `json:"state_root"`
}

// Holder is an account as its proof shows it. Money is in micro-units.
type Holder struct {
	Name          string `json:"name"`
	Kind          string `json:"kind"`
	Key           string `json:"key"`
	Balance       uint64 `json:"balance"`
	Stake         uint64 `json:"stake"`
	Earned        uint64 `json:"earned"`
	Slashed       uint64 `json:"slashed"`
	Settled       uint64 `json:"settled"`      // paid results
	Contradicted  uint64 `json:"contradicted"` // punished results
	ReputationPPM uint64 `json:"reputation_ppm"`
	ProvenAt      uint64 `json:"proven_at"`  // height
	Signatures    int    `json:"signatures"` // of validators, under that block
}

// add counts what one orchestrator did.
func (s *FederationSummary) add(o Summary) {
	s.Orchestrators++
	s.Jobs += o.Jobs
	s.Verified += o.Verified
	s.DeadLettered += o.DeadLettered
	s.WrongResults += o.WrongResults
	s.Mismatches += o.Mismatches
	s.Replayed += o.Replayed
	s.Divergences += o.Divergences
}

// verdict is ErrWrong unless all is as it has to be: every job verified and paid, every liar slashed, nobody else.
func (s *FederationSummary) verdict() error {
	if s.WrongResults > 0 || s.DeadLettered > 0 || s.Verified != s.Jobs || s.Divergences > 0 {
		return fmt.Errorf("%w: %d of %d jobs verified, %d wrong, %d divergences in the replay", ErrWrong, s.Verified, s.Jobs, s.WrongResults, s.Divergences)
	}
	if s.Paid < uint64(s.Jobs) || s.Refused > 0 {
		return fmt.Errorf("%w: %d of %d jobs paid, the ledger refused %d deeds", ErrWrong, s.Paid, s.Jobs, s.Refused)
	}
	for _, h := range s.Accounts {
		if lied := h.Kind == string(liar); lied != (h.Slashed > 0) {
			return fmt.Errorf("%w: %s, who is %s, was slashed by %s", ErrWrong, h.Name, h.Kind, money(h.Slashed))
		}
	}
	return nil
}

// report prints the summary: for people, or as one line of JSON.
func (f *federation) report() error {
	if f.cfg.JSON {
		line, err := json.Marshal(f.sum)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f.cfg.Out, "%s\n", line)
		return err
	}
	s := f.sum
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d orchestrators of different operators: %d jobs, %d verified, %d paid, in %.1f s.\n", s.Orchestrators, s.Jobs, s.Verified, s.Paid, s.Seconds)
	fmt.Fprintf(&b, "Every output equals its reference; %d of their own decisions were made again from the logs: %d divergences.\n\n", s.Replayed, s.Divergences)
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "orchestrator\trole\theight\tstate root")
	for _, c := range s.Chains {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", c.Name, c.Role, c.Height, c.StateRoot)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteByte('\n')
	w = tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "account\tbalance\tstake\tearned\tslashed\tresults\treputation\tproven at block\t")
	for _, h := range s.Accounts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.1f %%\t%d, %d signatures\t\n", h.Name, money(h.Balance), money(h.Stake), money(h.Earned), money(h.Slashed),
			h.Settled, float64(h.ReputationPPM)/1e4, h.ProvenAt, h.Signatures)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nEach line was proven to a client that knows the genesis and nothing else. What a liar loses stays frozen until the\n"+
		"time for appeals is over; then half is burned and half goes to those who were right.\n\n")
	first := f.operators[0].dir
	fmt.Fprintf(&b, "Where to look next:\n  shardy serve --mesh --data-dir %[1]s      then open http://127.0.0.1:7420/ledger\n  shardy audit replay --data-dir %[1]s\n", first)
	_, err := io.WriteString(f.cfg.Out, b.String())
	return err
}

// money writes micro-units as units.
func money(micro uint64) string { return fmt.Sprintf("%d.%06d", micro/unit, micro%unit) }
