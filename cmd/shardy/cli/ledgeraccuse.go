package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func (a *app) ledgerAccuse() *cobra.Command {
	var s sending
	var files []string
	var who string
	c := &cobra.Command{
		Use: "accuse", Short: "Have an orchestrator punished that signed two different logs", Args: cobra.NoArgs,
		Long: "Accuse hands in two checkpoints of one log, both signed by its orchestrator, of one size and with different roots.\n" +
			"Each can come from anywhere: from the orchestrator's own tree, from a proof, from a friend. It costs the orchestrator\n" +
			"a part of its stake, and its place among the validators for good.",
		Example: "  shardy ledger accuse --checkpoint mine.checkpoint --checkpoint theirs.checkpoint --key worker.key",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			if len(files) != 2 {
				return usage("want two files: --checkpoint A --checkpoint B")
			}
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
			return a.send(ctx, &s, &ledgerv1.Action{Kind: &ledgerv1.Action_Equivocation{Equivocation: &ledgerv1.Equivocation{
				Kind: &ledgerv1.Equivocation_Checkpoints{Checkpoints: &ledgerv1.CheckpointPair{Orchestrator: accused, First: pair[0], Second: pair[1]}},
			}}})
		}),
	}
	s.flags(c)
	c.Flags().StringArrayVar(&files, "checkpoint", nil, "file with a signed checkpoint (twice)")
	c.Flags().StringVar(&who, "accused", "", "the orchestrator's public key (default: the account whose key the checkpoints' origin begins)")
	return c
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
