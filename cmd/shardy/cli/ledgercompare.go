package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"sort"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// party is one orchestrator of a comparison.
type party struct {
	at    string
	api   *api
	stand *operatorv1.GetLedgerResponse
	root  *chainRoot
}

// comparison is what ledger verify --at prints with --json.
type comparison struct {
	ChainID string      `json:"chain_id"`
	Genesis string      `json:"genesis"`
	Trusted bool        `json:"genesis_trusted"`
	Height  uint64      `json:"height"` // the highest that all have
	Agree   bool        `json:"agree"`
	Parties []partyView `json:"orchestrators"`
	Fork    *fork       `json:"fork,omitempty"`
}

// partyView is what one says of the common height.
type partyView struct {
	At         string   `json:"at"`
	Last       uint64   `json:"last"` // its own height
	Hash       string   `json:"hash"`
	State      string   `json:"state"`
	Signers    []string `json:"signers"` // of the certificate, those that are validators and have signed
	Validators int      `json:"validators"`
	Problem    string   `json:"problem,omitempty"` // why what it says does not hold
}

// fork is two blocks of one height.
type fork struct {
	Height uint64     `json:"height"` // the first at which they differ
	Sides  []forkSide `json:"sides"`
	Both   []string   `json:"signed_both"` // validators
	View   bool       `json:"same_view"`   // their votes for both are for one view: equivocation that the ledger punishes
}

// forkSide is the evidence for one block of a fork.
type forkSide struct {
	At          string   `json:"at"`
	Hash        string   `json:"hash"`
	Header      string   `json:"header"`      // an encoded shardy.ledger.v1.Header
	Certificate string   `json:"certificate"` // an encoded shardy.ledger.v1.Certificate
	Proposer    string   `json:"proposer"`
	TimeUs      int64    `json:"time_us"`
	Signers     []string `json:"signers"`
	Problem     string   `json:"problem,omitempty"`

	view uint64
}

// compareLedgers asks several orchestrators about the highest block that all have.
func (a *app) compareLedgers(ctx context.Context, at []string, genesis string) error {
	if len(at) < 2 {
		return usage("--at: want two orchestrators or more")
	}
	parties := make([]party, len(at))
	c := comparison{Agree: true}
	for i, text := range at {
		clean, err := cleanAddress(text)
		if err != nil {
			return err
		}
		p := party{at: clean, api: dialAt(clean, "")} // the token is another one's secret, and the ledger is open to all
		if p.stand, err = p.api.GetLedger(ctx, &operatorv1.GetLedgerRequest{}); err != nil {
			return fmt.Errorf("%s: %w", clean, err)
		}
		if p.root, c.Trusted, err = a.anyRoot(ctx, p.api, genesis); err != nil {
			return fmt.Errorf("%s: %w", clean, err)
		}
		parties[i] = p
		if root := parties[0].root; root.hash != p.root.hash || !bytes.Equal(p.stand.Genesis, root.hash[:]) {
			return failed(exitRefused, "the ledger of %s begins with %x, not with %x: it is another one", p.at, p.stand.Genesis, root.hash)
		}
		if i == 0 || p.stand.Height < c.Height {
			c.Height = p.stand.Height
		}
	}
	root := parties[0].root
	c.ChainID, c.Genesis = root.state.Chain(), hexID(root.hash[:])
	err := c.ask(ctx, parties)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(c)
	} else {
		err = a.showComparison(c)
	}
	if err == nil && !c.Agree {
		err = failed(exitFailed, "they do not agree")
	}
	return err
}

// ask fills in what each says of the common height, and looks for the fork if they differ.
func (c *comparison) ask(ctx context.Context, parties []party) error {
	other := -1
	for i, p := range parties {
		side, h, err := p.side(ctx, c.Height)
		if err != nil {
			return fmt.Errorf("%s: %w", p.at, err)
		}
		c.Parties = append(c.Parties, partyView{
			At: p.at, Last: p.stand.Height, Hash: side.Hash, State: hexID(h.State), Signers: side.Signers, Validators: len(p.set(ctx, h)), Problem: side.Problem,
		})
		if side.Problem != "" {
			c.Agree = false
		}
		if side.Hash != c.Parties[0].Hash && other < 0 {
			other = i
		}
	}
	if other < 0 {
		return nil
	}
	c.Agree = false
	var err error
	c.Fork, err = findFork(ctx, parties[0], parties[other], c.Height)
	return err
}

// set are the validators who agree on a block, as far as they can be verified.
func (p party) set(ctx context.Context, h *ledgerv1.Header) []*ledgerv1.Validator {
	client := p.root.client()
	if _, err := p.api.follow(ctx, client, h.ValidatorsVersion); err != nil {
		return nil
	}
	return client.Validators.GetValidators()
}

// side is one orchestrator's block of a height with its certificate, verified.
func (p party) side(ctx context.Context, height uint64) (s forkSide, h *ledgerv1.Header, err error) {
	res, err := p.api.GetBlock(ctx, blockAt(height))
	if err != nil {
		return s, nil, err
	}
	b := res.GetBlock()
	header := b.GetBlock().GetHeader()
	if h, err = light.ParseHeader(p.root.state.Chain(), header); err != nil {
		return s, nil, lightError(err)
	}
	certificate, err := proto.Marshal(b.GetCertificate())
	if err != nil {
		return s, nil, err
	}
	hash := seal.HeaderHash(header)
	s = forkSide{
		At: p.at, Hash: hexID(hash[:]), Header: hex.EncodeToString(header), Certificate: hex.EncodeToString(certificate),
		Proposer: hexID(h.Proposer), TimeUs: h.TimeUs, Signers: []string{}, view: b.GetCertificate().GetView(),
	}
	if h.Height != height {
		s.Problem = fmt.Sprintf("it is block %d", h.Height)
		return s, h, nil
	}
	if height == 0 {
		return s, h, nil // the genesis was compared
	}
	client := p.root.client()
	if _, err := p.api.follow(ctx, client, h.ValidatorsVersion); err != nil {
		s.Problem = err.Error()
		return s, h, nil
	}
	if _, err := client.Block(header, b.GetCertificate()); err != nil {
		s.Problem = err.Error()
	}
	for _, key := range signers(p.root.state.Chain(), client.Validators, b.GetCertificate()) {
		s.Signers = append(s.Signers, hexID(key))
	}
	return s, h, nil
}

// findFork looks for the first height at which two orchestrators differ; they do at the given one.
func findFork(ctx context.Context, a, b party, height uint64) (*fork, error) {
	low := max(a.stand.LowHeight, b.stand.LowHeight, 1)
	var failure error
	n := sort.Search(int(height-min(low, height)), func(i int) bool {
		if failure != nil {
			return true
		}
		at := low + uint64(i)
		x, _, err := a.side(ctx, at)
		y, _, err2 := b.side(ctx, at)
		if err != nil || err2 != nil {
			failure = firstError(err, err2)
		}
		return x.Hash != y.Hash
	})
	if failure != nil {
		return nil, failure
	}
	f := &fork{Height: min(low, height) + uint64(n), Both: []string{}}
	for _, p := range []party{a, b} {
		s, _, err := p.side(ctx, f.Height)
		if err != nil {
			return nil, err
		}
		f.Sides = append(f.Sides, s)
	}
	f.View = f.Sides[0].view == f.Sides[1].view
	for _, key := range f.Sides[0].Signers {
		for _, other := range f.Sides[1].Signers {
			if key == other {
				f.Both = append(f.Both, key)
			}
		}
	}
	return f, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showComparison(c comparison) error {
	verdict := fmt.Sprintf("they agree on block %d", c.Height)
	switch {
	case c.Fork != nil:
		verdict = fmt.Sprintf("FORK at block %d: two blocks of one height", c.Fork.Height)
	case !c.Agree:
		verdict = "what one says does not hold"
	}
	err := a.facts("verdict", verdict, "chain", c.ChainID, "genesis", c.Genesis)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	err = a.table("ORCHESTRATOR LAST BLOCK STATE SIGNED PROBLEM", func(row func(...any)) {
		for _, p := range c.Parties {
			row(p.At, p.Last, p.Hash[:16], p.State[:16], fmt.Sprintf("%d/%d", len(p.Signers), p.Validators), p.Problem)
		}
	})
	if err != nil || c.Fork == nil {
		return err
	}
	for _, s := range c.Fork.Sides {
		fmt.Fprintln(a.out)
		pairs := []any{"at", s.At, "block", s.Hash, "proposer", s.Proposer, "time", when(s.TimeUs)}
		for _, key := range s.Signers {
			pairs = append(pairs, "signed by", key)
		}
		if err := a.facts(append(pairs, "problem", s.Problem, "header", s.Header, "certificate", s.Certificate)...); err != nil {
			return err
		}
	}
	pairs := []any{}
	for _, key := range c.Fork.Both {
		pairs = append(pairs, "signed both", key)
	}
	if c.Fork.View && len(c.Fork.Both) > 0 {
		pairs = append(pairs, "that is", "equivocation: two votes for one height and view")
	}
	fmt.Fprintln(a.out)
	return a.facts(pairs...)
}
