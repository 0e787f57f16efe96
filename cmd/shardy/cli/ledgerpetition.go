package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxPetition bounds a file of a petition: it must fit into a transaction.
const maxPetition = 64 << 10

func (a *app) ledgerValidators() *cobra.Command {
	var genesis string
	c := &cobra.Command{
		Use: "validators", Short: "List the validators; change them with the approval of a quorum", Args: cobra.NoArgs,
		Long: "Without a verb it lists who agrees on the next block, verified if there is a genesis to do it with.\n" +
			"To change them, one proposes a file, enough of the present validators approve it, and anybody submits it.",
		Example: "  shardy ledger validators",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			return a.listValidators(ctx, genesis)
		}),
	}
	genesisFlag(c, &genesis)
	c.AddCommand(a.validatorsPropose(), a.petitionApprove("validators", isValidators), a.petitionSubmit("validators", isValidators))
	return c
}

func (a *app) listValidators(ctx context.Context, genesis string) error {
	api, err := a.dial()
	if err != nil {
		return err
	}
	root, err := a.root(ctx, api, genesis)
	if err != nil {
		return err
	}
	h, err := api.held(ctx, root, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Validators{Validators: true}})
	if err != nil {
		return err
	}
	set, ok := h.value.(*ledgerv1.ValidatorSet)
	if !ok {
		return failed(exitRefused, "%w: no validators", light.ErrMalformed)
	}
	if a.json {
		doc := plainMessage(set.ProtoReflect())
		doc["height"] = h.header.Height
		if h.by != nil {
			doc["verified"] = h.by
		}
		return a.printJSON(doc)
	}
	word := "no: this is what the orchestrator says"
	if h.by != nil {
		word = h.by.String()
	}
	n := len(set.Validators)
	err = a.facts("version", set.Version, "quorum", fmt.Sprintf("%d of %d, %d may lie", light.Quorum(n), n, light.Faults(n)), "verified", word)
	if err != nil {
		return err
	}
	return a.showValidators(set.Validators, shortID)
}

func (a *app) ledgerVoid() *cobra.Command {
	c := &cobra.Command{
		Use: "void", Short: "Give a frozen penalty back, with the approval of a quorum of validators",
		Long: "One proposes a file, enough of the present validators approve it, and anybody submits it, while the penalty is frozen.",
	}
	c.AddCommand(a.voidPropose(), a.petitionApprove("void", isVoid), a.petitionSubmit("void", isVoid))
	return c
}

func isValidators(p *operatorv1.Petition) bool { return p.GetValidators() != nil }
func isVoid(p *operatorv1.Petition) bool       { return p.GetVoid() != nil }

func (a *app) validatorsPropose() *cobra.Command {
	var add, remove []string
	var to, genesis string
	c := &cobra.Command{
		Use: "propose", Short: "Write a change of the validators that they can approve", Args: cobra.NoArgs,
		Long: "KEY is a public key in hex or base 64, a key file or a data folder. One with a key that is there replaces it.\n" +
			"There are 1, or 4 and more validators, and each has the stake that the rules ask for.",
		Example: "  shardy ledger validators propose --add ./d@dora,/ip4/192.0.2.4/tcp/7430 --remove ./c -o change.pb",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			body := new(ledgerv1.ValidatorChangeBody)
			for _, text := range add {
				v, err := parseValidator("--add", text)
				if err != nil {
					return err
				}
				body.Add = append(body.Add, v)
			}
			if len(add)+len(remove) == 0 {
				return usage("want --add or --remove")
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			for _, text := range remove {
				key, err := api.accountKey(ctx, text)
				if err != nil {
					return err
				}
				body.Remove = append(body.Remove, key)
			}
			stand, err := a.stand(ctx, api, genesis)
			if err != nil {
				return err
			}
			body.Version = stand.GetValidators().GetVersion() + 1
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
			if err != nil {
				return err
			}
			return a.writePetition(to, &operatorv1.Petition{
				ChainId: stand.ChainId, What: &operatorv1.Petition_Validators{Validators: &ledgerv1.ValidatorChange{Body: encoded}},
			})
		}),
	}
	c.Flags().StringArrayVar(&add, "add", nil, "KEY[@NAME[,MULTIADDR...]] who joins (may be repeated)")
	c.Flags().StringArrayVar(&remove, "remove", nil, "KEY who leaves (may be repeated)")
	c.Flags().StringVarP(&to, "output", "o", "", "file to write, - for stdout")
	genesisFlag(c, &genesis)
	need(c, "output")
	return c
}

func (a *app) voidPropose() *cobra.Command {
	var orchestrator, worker, job, to, genesis string
	c := &cobra.Command{
		Use: "propose", Short: "Write the end of a penalty that validators can approve", Args: cobra.NoArgs,
		Example: "  shardy ledger void propose --orchestrator 9f3c8a51 --worker 77aa01b2 --job 01jd2h7k3m5n7p9r1t3v5x7z9b -o void.pb",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			body := &ledgerv1.SlashVoidBody{Job: job}
			if body.Orchestrator, err = api.accountKey(ctx, orchestrator); err != nil {
				return err
			}
			if body.Worker, err = api.accountKey(ctx, worker); err != nil {
				return err
			}
			stand, err := a.stand(ctx, api, genesis)
			if err != nil {
				return err
			}
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
			if err != nil {
				return err
			}
			return a.writePetition(to, &operatorv1.Petition{
				ChainId: stand.ChainId, What: &operatorv1.Petition_Void{Void: &ledgerv1.SlashVoid{Body: encoded}},
			})
		}),
	}
	c.Flags().StringVar(&orchestrator, "orchestrator", "", "who had it slashed")
	c.Flags().StringVar(&worker, "worker", "", "who was punished")
	c.Flags().StringVar(&job, "job", "", "for which job")
	c.Flags().StringVarP(&to, "output", "o", "", "file to write, - for stdout")
	genesisFlag(c, &genesis)
	need(c, "orchestrator", "worker", "job", "output")
	return c
}

func (a *app) petitionApprove(noun string, fits func(*operatorv1.Petition) bool) *cobra.Command {
	var key, to string
	c := &cobra.Command{
		Use: "approve FILE", Short: "Sign what a file proposes, as a validator", Args: cobra.ExactArgs(1),
		Example: "  shardy ledger " + noun + " approve change.pb --key /var/lib/shardy --yes",
		RunE: a.call(func(_ context.Context, args []string) error {
			p, err := a.readPetition(args[0], fits)
			if err != nil {
				return err
			}
			private, err := loadSigner(key)
			if err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintln(a.err, strings.Join(petitionLines(p), "\n"))
			}
			if err := a.confirm("approve this as %x", publicHalf(private)); err != nil {
				return err
			}
			approve(p, private)
			if to == "" {
				to = args[0]
			}
			return a.writePetition(to, p)
		}),
	}
	c.Flags().StringVar(&key, "key", "", "who approves: data folder or key file of a validator")
	c.Flags().StringVarP(&to, "output", "o", "", "file to write (default: the same)")
	need(c, "key")
	return c
}

func (a *app) petitionSubmit(noun string, fits func(*operatorv1.Petition) bool) *cobra.Command {
	var s sending
	c := &cobra.Command{
		Use: "submit FILE", Short: "Hand in what enough validators have approved", Args: cobra.ExactArgs(1),
		Example: "  shardy ledger " + noun + " submit change.pb --key /var/lib/shardy",
		RunE: a.act(&s, func(_ context.Context, args []string) (*ledgerv1.Action, error) {
			p, err := a.readPetition(args[0], fits)
			if err != nil {
				return nil, err
			}
			if _, approvals := petitionText(p); len(approvals) == 0 {
				return nil, usage("%s: nobody has approved it", args[0])
			}
			if v := p.GetVoid(); v != nil {
				return &ledgerv1.Action{Kind: &ledgerv1.Action_VoidSlash{VoidSlash: v}}, nil
			}
			return &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: p.GetValidators()}}, nil
		}),
	}
	s.flags(c)
	return c
}

// petitionText is what is signed to approve a petition, and who has.
func petitionText(p *operatorv1.Petition) (text []byte, approvals []*ledgerv1.ValidatorSignature) {
	if v := p.GetVoid(); v != nil {
		return seal.VoidText(p.ChainId, v.Body), v.Approvals
	}
	return seal.ValidatorsText(p.GetChainId(), p.GetValidators().GetBody()), p.GetValidators().GetApprovals()
}

// approve adds a signature, in place of one by the same key.
func approve(p *operatorv1.Petition, key ed25519.PrivateKey) {
	text, approvals := petitionText(p)
	public := publicHalf(key)
	approvals = slices.DeleteFunc(approvals, func(s *ledgerv1.ValidatorSignature) bool { return bytes.Equal(s.GetValidator(), public) })
	approvals = append(approvals, &ledgerv1.ValidatorSignature{Validator: public, Signature: ed25519.Sign(key, text)})
	if v := p.GetVoid(); v != nil {
		v.Approvals = approvals
	} else {
		p.GetValidators().Approvals = approvals
	}
}

// readPetition reads a petition of one kind. Signatures that are none are refused here, where the culprit is at hand.
func (a *app) readPetition(file string, fits func(*operatorv1.Petition) bool) (*operatorv1.Petition, error) {
	encoded, err := a.readInput(file, maxPetition)
	if err != nil {
		return nil, err
	}
	p, err := parsePetition(encoded)
	switch {
	case err != nil:
		return nil, failed(exitRefused, "%s: %w", file, err)
	case !fits(p):
		return nil, failed(exitRefused, "%s is about something else: %s", file, petitionLines(p)[0])
	}
	return p, nil
}

func parsePetition(encoded []byte) (*operatorv1.Petition, error) {
	p := new(operatorv1.Petition)
	if err := proto.Unmarshal(encoded, p); err != nil || p.GetWhat() == nil || p.ChainId == "" {
		return nil, fmt.Errorf("it is no petition")
	}
	var err error
	if v := p.GetVoid(); v != nil {
		err = proto.Unmarshal(v.GetBody(), new(ledgerv1.SlashVoidBody))
	} else {
		err = proto.Unmarshal(p.GetValidators().GetBody(), new(ledgerv1.ValidatorChangeBody))
	}
	if err != nil {
		return nil, fmt.Errorf("it is no petition: %w", err)
	}
	text, approvals := petitionText(p)
	for _, s := range approvals {
		if !seal.Verify(s.GetValidator(), text, s.GetSignature()) {
			return nil, fmt.Errorf("the approval of %x is not signed by it", s.GetValidator())
		}
	}
	return p, nil
}

// petitionLines say what a petition asks for, and who has approved it.
func petitionLines(p *operatorv1.Petition) (lines []string) {
	if v := p.GetVoid(); v != nil {
		b := new(ledgerv1.SlashVoidBody)
		_ = proto.Unmarshal(v.Body, b) // it was parsed
		lines = append(lines, fmt.Sprintf("on %s, void the penalty of %x for job %s of %x", p.ChainId, b.Worker, b.Job, b.Orchestrator))
	} else {
		b := new(ledgerv1.ValidatorChangeBody)
		_ = proto.Unmarshal(p.GetValidators().GetBody(), b) // it was parsed
		lines = append(lines, fmt.Sprintf("on %s, make version %d of the validators:", p.ChainId, b.Version))
		for _, v := range b.Add {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("  add %x %s %s", v.Key, v.Name, strings.Join(v.Addresses, " ")), " "))
		}
		for _, key := range b.Remove {
			lines = append(lines, fmt.Sprintf("  remove %x", key))
		}
	}
	_, approvals := petitionText(p)
	for _, s := range approvals {
		lines = append(lines, fmt.Sprintf("  approved by %x", s.Validator))
	}
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}

func (a *app) writePetition(to string, p *operatorv1.Petition) error {
	encoded, err := proto.Marshal(p)
	if err != nil {
		return err
	}
	if err := a.writeOutput(to, encoded); err != nil || to == "-" {
		return err
	}
	_, approvals := petitionText(p)
	if a.json {
		keys := []string{}
		for _, s := range approvals {
			keys = append(keys, hexID(s.Validator))
		}
		return a.printJSON(map[string]any{"file": to, "chain_id": p.ChainId, "asks": petitionLines(p), "approvals": keys})
	}
	_, err = fmt.Fprintf(a.out, "%s\nwritten to %s, %s\n", strings.Join(petitionLines(p), "\n"), to, plural(int64(len(approvals)), "approval"))
	return err
}
