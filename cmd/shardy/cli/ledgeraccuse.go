package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func (a *app) ledgerAccuse() *cobra.Command {
	var s sending
	var files []string
	var who, fork string
	c := &cobra.Command{
		Use: "accuse", Short: "Have an orchestrator punished that signed two logs, or validators that signed two blocks of one height", Args: cobra.NoArgs,
		Long: "With --checkpoint (twice) it hands in two checkpoints of one log, both signed by its orchestrator, of one size and with\n" +
			"different roots. Each can come from anywhere: from the orchestrator's own tree, from a proof, from a friend.\n" +
			"With --fork it hands in what ledger verify --at --json has found: validators whose votes for one height and view are\n" +
			"under two blocks. Either costs a part of the stake, and the place among the validators for good.",
		Example: "  shardy ledger accuse --checkpoint mine.checkpoint --checkpoint theirs.checkpoint --key worker.key\n" +
			"  shardy ledger accuse --fork fork.json --key worker.key",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			switch {
			case fork != "" && len(files) == 0:
				return a.accuseVoters(ctx, &s, fork)
			case fork == "" && len(files) == 2:
				return a.accuseLog(ctx, &s, files, who)
			}
			return usage("want two files, --checkpoint A --checkpoint B, or --fork FILE")
		}),
	}
	s.flags(c)
	c.Flags().StringArrayVar(&files, "checkpoint", nil, "file with a signed checkpoint (twice)")
	c.Flags().StringVar(&who, "accused", "", "the orchestrator's public key (default: the account whose key the checkpoints' origin begins)")
	c.Flags().StringVar(&fork, "fork", "", "file with what ledger verify --at --json printed")
	return c
}

// accuseLog hands in two checkpoints.
func (a *app) accuseLog(ctx context.Context, s *sending, files []string, who string) error {
	pair := make([][]byte, 2)
	for i, file := range files {
		var err error
		if pair[i], err = readSmall(file, ledger.MaxNoteBytes); err != nil {
			return err
		}
	}
	origin, err := contradict(pair[0], pair[1])
	if err != nil {
		return err
	}
	accused, err := a.accused(ctx, who, origin)
	if err != nil {
		return err
	}
	for i, note := range pair {
		if _, err := checkpoint.Open(note, accused); err != nil {
			return failed(exitRefused, "%s: %w", files[i], err)
		}
	}
	if err := a.confirm("accuse %x of signing two logs", accused); err != nil {
		return err
	}
	return a.send(ctx, s, accusation(&ledgerv1.Equivocation{
		Kind: &ledgerv1.Equivocation_Checkpoints{Checkpoints: &ledgerv1.CheckpointPair{Orchestrator: accused, First: pair[0], Second: pair[1]}},
	}))
}

func accusation(e *ledgerv1.Equivocation) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: e}}
}

// maxFork bounds a file of a comparison.
const maxFork = 1 << 20

// accuseVoters hands in every validator that signed both sides of a fork, each in a transaction of its own: one that was
// punished already does not save the others.
func (a *app) accuseVoters(ctx context.Context, s *sending, file string) error {
	data, err := a.readInput(file, maxFork)
	if err != nil {
		return err
	}
	pairs, err := votesTwice(data)
	if err != nil {
		return failed(exitRefused, "%s: %w", file, err)
	}
	for _, p := range pairs {
		if err := a.confirm("accuse %x of signing two blocks of height %d", p.Validator, p.First.Height); err != nil {
			return err
		}
	}
	var errs []error
	for _, p := range pairs {
		errs = append(errs, a.send(ctx, s, accusation(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: p}})))
	}
	return firstError(errs...)
}

// votesTwice finds the validators that voted for both blocks of a fork in one view. Votes whose signatures
// are wrong are nobody's.
func votesTwice(data []byte) (pairs []*ledgerv1.VotePair, err error) {
	var c comparison
	if err := json.Unmarshal(data, &c); err != nil || c.Fork == nil || len(c.Fork.Sides) != 2 {
		return nil, errors.New("it shows no fork: want what ledger verify --at --json printed")
	}
	votes := make([]map[string]*ledgerv1.Vote, 2)
	for i, side := range c.Fork.Sides {
		if votes[i], err = side.votes(c.ChainID); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(votes[0])) {
		first, second := votes[0][key], votes[1][key]
		if second != nil && first.Height == second.Height && first.View == second.View && first.ValidatorsVersion == second.ValidatorsVersion &&
			!bytes.Equal(first.Block, second.Block) {
			pairs = append(pairs, &ledgerv1.VotePair{Validator: []byte(key), First: first, Second: second})
		}
	}
	if len(pairs) == 0 {
		return nil, errors.New("no validator has signed both sides in one view")
	}
	return pairs, nil
}

// votes are the votes under one side of a fork, by key.
func (s forkSide) votes(chain string) (map[string]*ledgerv1.Vote, error) {
	header, err := hex.DecodeString(s.Header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	encoded, err := hex.DecodeString(s.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	h, err := light.ParseHeader(chain, header)
	if err != nil {
		return nil, err
	}
	certificate, err := parseCertificate(encoded)
	if err != nil {
		return nil, err
	}
	votes := map[string]*ledgerv1.Vote{}
	for _, sig := range certificate.GetSignatures() {
		v := seal.VoteOf(certificate, h.ValidatorsVersion)
		v.Signature = sig.GetSignature()
		if seal.VerifyVote(chain, v, sig.GetValidator(), v.Signature) {
			votes[string(sig.GetValidator())] = v
		}
	}
	return votes, nil
}

// contradict refuses two checkpoints that can both be heads of one log, and returns its origin.
func contradict(first, second []byte) (origin string, err error) {
	a, err := checkpoint.Read(first)
	if err != nil {
		return "", failed(exitRefused, "%w", err)
	}
	b, err := checkpoint.Read(second)
	switch {
	case err != nil:
		return "", failed(exitRefused, "%w", err)
	case a.Origin != b.Origin:
		return "", failed(exitRefused, "they are of two logs, %s and %s", a.Origin, b.Origin)
	case a.Size != b.Size:
		return "", failed(exitRefused, "they have %d and %d records: both can be heads of one log", a.Size, b.Size)
	case a.Root == b.Root:
		return "", failed(exitRefused, "they agree")
	}
	return a.Origin, nil
}

// accused is whose log it is. The origin of an orchestrator's log holds the beginning of its key.
func (a *app) accused(ctx context.Context, given, origin string) ([]byte, error) {
	api, err := a.dial()
	if err != nil {
		return nil, err
	}
	if given != "" {
		return api.accountKey(ctx, given)
	}
	begin, ok := strings.CutPrefix(origin, "shardy/")
	prefix, err := hex.DecodeString(begin)
	if !ok || err != nil || len(prefix) != 8 {
		return nil, usage("the log %s does not say whose it is: --accused", origin)
	}
	key, err := api.accountKey(ctx, begin)
	if err == nil && !bytes.HasPrefix(key, prefix) {
		err = failed(exitNotFound, "no account begins with %s", begin)
	}
	return key, err
}
