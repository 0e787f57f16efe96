package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func genesisFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "genesis", "", "genesis file, or its hash, to hold the answers against (default: the context's)")
}

// root is the genesis that is trusted: of a file, or with a hash of which the orchestrator has the bytes. Nil: the flag is
// empty, and the context has none.
func (a *app) root(ctx context.Context, api *api, given string) (*chainRoot, error) {
	if given == "" {
		r, err := a.resolve()
		if err != nil {
			return nil, err
		}
		given = r.Genesis.Value
	}
	switch {
	case given == "":
		return nil, nil
	case !isHex32(given):
		return a.rootFile(given)
	}
	root, err := api.claimedRoot(ctx)
	if err != nil {
		return nil, err
	}
	if got := hexID(root.hash[:]); got != given {
		return nil, failed(exitRefused, "the orchestrator's ledger begins with %s, not with %s", got, given)
	}
	return root, nil
}

// anyRoot is the genesis that is trusted, or else the one that the orchestrator claims.
func (a *app) anyRoot(ctx context.Context, api *api, given string) (root *chainRoot, trusted bool, err error) {
	if root, err = a.root(ctx, api, given); root != nil || err != nil {
		return root, true, err
	}
	root, err = api.claimedRoot(ctx)
	return root, false, err
}

func (a *app) rootFile(name string) (*chainRoot, error) {
	encoded, err := a.readInput(name, ledger.MaxGenesisBytes)
	if err != nil {
		return nil, err
	}
	root, err := readRoot(encoded)
	if err != nil {
		return nil, failed(exitRefused, "%s: %w", name, err)
	}
	return root, nil
}

// claimedRoot is the genesis that an orchestrator says its ledger begins with.
func (c *api) claimedRoot(ctx context.Context) (*chainRoot, error) {
	res, err := c.GetGenesis(ctx, &operatorv1.GetGenesisRequest{})
	if err != nil {
		return nil, err
	}
	root, err := readRoot(res.Genesis)
	if err != nil {
		return nil, failed(exitRefused, "the orchestrator's genesis: %w", err)
	}
	return root, nil
}

// client knows the ledger's first validators.
func (r *chainRoot) client() *light.Client {
	return &light.Client{Chain: r.state.Chain(), Validators: r.state.Validators(), Genesis: r.hash}
}

// follow brings a client to the validators of a version, and returns the proofs that led there.
func (c *api) follow(ctx context.Context, client *light.Client, version uint64) (proofs []*ledgerv1.ValidatorsProof, err error) {
	for client.Validators.Version < version {
		res, err := c.ListValidatorChanges(ctx, &operatorv1.ListValidatorChangesRequest{AfterVersion: client.Validators.Version})
		if err != nil {
			return nil, err
		}
		if len(res.Changes) == 0 {
			break
		}
		for _, p := range res.Changes {
			if client.Validators.Version >= version {
				break
			}
			if err := client.Follow(p); err != nil {
				return nil, lightError(err)
			}
			proofs = append(proofs, p)
		}
	}
	return proofs, lightError(client.FollowTo(version, nil))
}

// lightError gives what a check of the ledger refuses its exit code.
func lightError(err error) error {
	for _, refusal := range []error{
		light.ErrMalformed, light.ErrChain, light.ErrQuorum, light.ErrValidators, light.ErrCertificate, light.ErrProof,
		ledger.ErrMalformed, ledger.ErrTooLarge, ledger.ErrSignature, ledger.ErrChain, ledger.ErrEvidence, ledger.ErrBlock,
	} {
		if errors.Is(err, refusal) {
			return failed(exitRefused, "%w", err)
		}
	}
	return err
}

// signers are the validators of a set whose signatures a certificate holds.
func signers(chain string, set *ledgerv1.ValidatorSet, c *ledgerv1.Certificate) (keys [][]byte) {
	vote := seal.VoteOf(c, set.GetVersion())
	seen := map[string]bool{}
	for _, s := range c.GetSignatures() {
		if !seen[string(s.GetValidator())] && light.Member(set, s.GetValidator()) && seal.VerifyVote(chain, vote, s.Validator, s.Signature) {
			seen[string(s.Validator)] = true
			keys = append(keys, s.Validator)
		}
	}
	return keys
}

// parseCertificate reads an encoded certificate; nothing is one without signatures, as genesis has.
func parseCertificate(encoded []byte) (*ledgerv1.Certificate, error) {
	c := new(ledgerv1.Certificate)
	if len(encoded) > light.MaxCertificateBytes || proto.Unmarshal(encoded, c) != nil {
		return nil, failed(exitRefused, "%w", light.ErrMalformed)
	}
	return c, nil
}
