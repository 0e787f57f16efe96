package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/gateway/agent"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// stake has every worker bind money: one transaction each, signed with its own key, handed to its orchestrator.
func (f *federation) stake(ctx context.Context) error {
	err := f.each(ctx, func(ctx context.Context, o *operator) error {
		for _, w := range o.workers {
			key, err := agent.LoadKey(o.keyFile(w.name))
			if err != nil {
				return err
			}
			if err := o.stake(ctx, f.chain, key); err != nil {
				return fmt.Errorf("stake of %s: %w", w.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.screen.say("every worker has staked %d of its %d units: what a lie can cost it", workerStake/unit, workerPurse/unit)
	return nil
}

func (o *operator) stake(ctx context.Context, chain string, key ed25519.PrivateKey) error {
	now, err := o.client.ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
	if err != nil {
		return err
	}
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	res, err := o.client.ledger.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{
		WaitMs: 30_000,
		Transaction: ledger.Sign(&ledgerv1.Transaction{
			ChainId: chain, Sender: key.Public().(ed25519.PublicKey), Salt: salt, ValidUntil: now.Height + now.Params.WindowBlocks/2,
			Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: workerStake}}}},
		}, key),
	})
	if err != nil {
		return err
	}
	if code := res.Receipt.GetCode(); code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		return fmt.Errorf("%w: %s %s", ErrWrong, code, res.Receipt.GetDetail())
	}
	return nil
}

// settle waits until every verdict has become a payment or a punishment.
func (f *federation) settle(ctx context.Context) error {
	f.screen.say("verdicts become transactions, transactions become blocks")
	ctx, cancel := context.WithTimeoutCause(ctx, settlementWait, errors.New("not all verdicts were settled in time"))
	defer cancel()
	return f.each(ctx, func(ctx context.Context, o *operator) error {
		status, err := o.client.system.GetStatus(ctx, &operatorv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		for head := status.Head; ; {
			now, err := o.client.ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
			if err != nil {
				return err
			}
			s := now.GetSettlement()
			if s.GetPosition() >= head && s.GetOpen()+s.GetWaiting()+s.GetSent()+s.GetDoubts() == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: at %d of %d events, %d jobs open, %d payments wait, %d are under way, %d punishments wait for the referee: %s",
					context.Cause(ctx), s.GetPosition(), head, s.GetOpen(), s.GetWaiting(), s.GetSent(), s.GetDoubts(), s.GetLastRefusal())
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// agree waits until all orchestrators have come to one height and holds their blocks against each other. Then it believes
// none of them: every balance is read with its proof, by a light client that knows nothing but the genesis.
func (f *federation) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settlementWait, errors.New("the orchestrators do not come to one height"))
	defer cancel()
	for {
		same, err := f.compareHeads(ctx)
		if err != nil {
			return err
		}
		if same {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	f.screen.say("all %d orchestrators have the same block %d", len(f.operators), f.sum.Height)
	return f.balances(ctx)
}

// compareHeads looks at every chain, and reports whether all are at one height. At one height there is one block.
func (f *federation) compareHeads(ctx context.Context) (same bool, err error) {
	f.sum.Chains, f.sum.Paid, f.sum.Refused = nil, 0, 0
	for _, o := range f.operators {
		now, err := o.client.ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
		if err != nil {
			return false, err
		}
		f.sum.Paid += now.GetSettlement().GetPaid()
		f.sum.Refused += now.GetSettlement().GetRefused()
		f.sum.Chains = append(f.sum.Chains, Chain{
			Name: o.node, Role: now.GetConsensus().GetRole(), Height: now.Height, Block: hex.EncodeToString(now.Block), StateRoot: hex.EncodeToString(now.State),
		})
	}
	first := f.sum.Chains[0]
	f.sum.Height, f.sum.StateRoot = first.Height, first.StateRoot
	for _, c := range f.sum.Chains {
		switch {
		case c.Height != first.Height:
			return false, nil
		case c.Block != first.Block || c.StateRoot != first.StateRoot:
			return false, fmt.Errorf("%w: %s and %s have different blocks at height %d", ErrWrong, first.Name, c.Name, c.Height)
		}
	}
	return true, nil
}

func (f *federation) balances(ctx context.Context) error {
	client, err := f.light(ctx, f.operators[len(f.operators)-1])
	if err != nil {
		return err
	}
	for i, o := range f.operators {
		// Ask somebody else than the one whose workers these are.
		from := f.operators[(i+1)%len(f.operators)]
		if err := f.balance(ctx, client, from, Holder{Name: o.node, Kind: "orchestrator", Key: hex.EncodeToString(o.key)}); err != nil {
			return err
		}
		for _, w := range o.workers {
			if err := f.balance(ctx, client, from, Holder{Name: o.node + " " + w.name, Kind: string(w.kind), Key: w.key}); err != nil {
				return err
			}
		}
	}
	return nil
}

// light makes a client of the genesis that was written here, and follows the validators from there.
func (f *federation) light(ctx context.Context, o *operator) (*light.Client, error) {
	begin, _, err := ledger.Genesis(f.genesis)
	if err != nil {
		return nil, err
	}
	c := &light.Client{Chain: f.chain, Validators: begin.Validators()}
	for {
		res, err := o.client.ledger.ListValidatorChanges(ctx, &operatorv1.ListValidatorChangesRequest{AfterVersion: c.Validators.Version})
		if err != nil {
			return nil, err
		}
		for _, p := range res.Changes {
			if err := c.Change(p.Header, p.Certificate, p.Proof); err != nil {
				return nil, fmt.Errorf("%w: change of validators: %w", ErrWrong, err)
			}
		}
		if !res.More {
			return c, nil
		}
	}
}

// balance asks one orchestrator for an account, and takes its word for nothing.
func (f *federation) balance(ctx context.Context, c *light.Client, from *operator, h Holder) error {
	key, err := hex.DecodeString(h.Key)
	if err != nil {
		return err
	}
	p, err := from.client.ledger.GetProof(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}})
	if err != nil {
		return fmt.Errorf("%s: account of %s: %w", from.node, h.Name, err)
	}
	a, header, err := c.Account(&ledgerv1.AccountProof{Header: p.Header, Certificate: p.Certificate, Account: key, Proof: p.Proof})
	if err != nil {
		return fmt.Errorf("%w: account of %s, as %s proves it: %w", ErrWrong, h.Name, from.node, err)
	}
	certificate := new(ledgerv1.Certificate)
	if err := proto.Unmarshal(p.Certificate, certificate); err != nil {
		return err
	}
	h.Balance, h.Stake, h.Earned, h.Slashed = a.GetBalance(), a.GetStake(), a.GetEarned(), a.GetSlashed()
	h.Settled, h.Contradicted, h.ReputationPPM = a.GetSettled(), a.GetContradicted(), a.GetReputationPpm()
	h.ProvenAt, h.Signatures = header.Height, len(certificate.Signatures)
	f.sum.Accounts = append(f.sum.Accounts, h)
	return nil
}
