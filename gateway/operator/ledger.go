package operator

import (
	"context"
	"crypto/ed25519"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Limits of LedgerService. Whoever waits for its turn longer than maxTurn is refused.
const (
	maxScans   = 8  // calls at once that look through blocks or accounts
	maxChecks  = 4  // verifications of a transaction's signatures at once
	maxProofs  = 64 // proofs made at once
	maxChanges = 64 // proofs of changed validators in an answer
	maxLook    = 20_000
)

// shared is the ledger, or why there is none.
func (a *API) shared() (Ledger, error) {
	if a.deps.Ledger == nil {
		return nil, errNoMesh
	}
	return a.deps.Ledger, nil
}

// GetLedger says how the ledger stands.
func (a *API) GetLedger(context.Context, *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	s, here := l.State(), l.Standing()
	head, root := s.Head(), s.Root()
	return &operatorv1.GetLedgerResponse{
		ChainId: s.Chain(), Genesis: here.Genesis[:], Height: s.Height(), Block: head[:], State: root[:], TimeUs: s.TimeUs(),
		LowHeight: here.Low, SnapshotHeight: here.Snapshot, Params: s.Params(), Supply: s.Supply(), Validators: s.Validators(),
		Accounts: s.CountAccounts(), Consensus: here.Consensus, Settlement: here.Settlement,
	}, nil
}

// GetGenesis answers the bytes that the chain begins with.
func (a *API) GetGenesis(ctx context.Context, _ *operatorv1.GetGenesisRequest) (*operatorv1.GetGenesisResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	encoded, err := l.Genesis()
	if err != nil {
		return nil, err
	}
	return &operatorv1.GetGenesisResponse{Genesis: encoded}, nil
}

// GetProof proves what lies at a place of the state, or that nothing does.
func (a *API) GetProof(ctx context.Context, req *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	place, err := placeOf(req)
	if err != nil {
		return nil, err
	}
	if err := a.proofs.enter(ctx); err != nil {
		return nil, err
	}
	defer a.proofs.leave()
	header, certificate, proof, err := l.Prove(place)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GetProofResponse{Header: header, Certificate: certificate, Proof: proof}, nil
}

// placeOf finds where in the state lies what is asked for.
func placeOf(req *operatorv1.GetProofRequest) (ledger.Hash, error) {
	switch p := req.Place.(type) {
	case *operatorv1.GetProofRequest_Account:
		return seal.AccountKey(p.Account), checkPublicKey("account", p.Account)
	case *operatorv1.GetProofRequest_Validators:
		return seal.ValidatorsKey(), nil
	case *operatorv1.GetProofRequest_Anchor:
		return seal.AnchorKey(p.Anchor), checkPublicKey("anchor", p.Anchor)
	case *operatorv1.GetProofRequest_Settled:
		return seal.SettledKey(p.Settled.GetOrchestrator(), p.Settled.GetJob()), checkJobPlace("settled", p.Settled)
	case *operatorv1.GetProofRequest_Escrow:
		return seal.EscrowKey(p.Escrow.GetOrchestrator(), p.Escrow.GetJob()), checkJobPlace("escrow", p.Escrow)
	case *operatorv1.GetProofRequest_Supply:
		return seal.SupplyKey(), nil
	case *operatorv1.GetProofRequest_Params:
		return seal.ParamsKey(), nil
	case *operatorv1.GetProofRequest_Penalty:
		at := p.Penalty
		err := checkJobPlace("penalty", &operatorv1.JobPlace{Orchestrator: at.GetOrchestrator(), Job: at.GetJob()})
		if err == nil {
			err = checkPublicKey("penalty.worker", at.GetWorker())
		}
		return seal.PenaltyKey(at.GetOrchestrator(), at.GetWorker(), at.GetJob()), err
	}
	return ledger.Hash{}, refuse("place", "is missing")
}

func checkJobPlace(field string, p *operatorv1.JobPlace) error {
	if err := checkPublicKey(field+".orchestrator", p.GetOrchestrator()); err != nil {
		return err
	}
	return checkJobName(field+".job", p.GetJob())
}

func checkPublicKey(field string, key []byte) error {
	if len(key) != ed25519.PublicKeySize {
		return refuse(field, "32 bytes")
	}
	return nil
}

// checkJobName refuses what names a job on no ledger.
func checkJobName(field, job string) error {
	if job == "" || len(job) > ledger.MaxJobBytes || !utf8.ValidString(job) {
		return refuse(field, "1 to 128 bytes")
	}
	return nil
}

// ListAccounts lists accounts in the order of their places in the state. A page looks at maxLook entries of the state at
// most, so it may be empty although there are more.
func (a *API) ListAccounts(ctx context.Context, req *operatorv1.ListAccountsRequest) (*operatorv1.ListAccountsResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "accounts")
	if err != nil {
		return nil, err
	}
	var from ledger.Hash
	if page.After != "" && len(page.After) != len(from) {
		return nil, ErrPage
	}
	copy(from[:], page.After)
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	s := l.State()
	res := &operatorv1.ListAccountsResponse{Height: s.Height()}
	var next ledger.Hash
	var more bool
	if res.Accounts, next, more = s.AccountsFrom(from, page.Limit, maxLook); more {
		res.NextPageToken = cursor.token(string(next[:]))
	}
	return res, nil
}

// ListValidatorChanges proves how the validators of a version became those of today.
func (a *API) ListValidatorChanges(ctx context.Context, req *operatorv1.ListValidatorChangesRequest) (*operatorv1.ListValidatorChangesResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	after := max(req.AfterVersion, 1) // that of genesis
	if after > l.State().Validators().GetVersion() {
		return nil, refuse("after_version", "there is no such version yet")
	}
	if err := a.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer a.scans.leave()
	changes, more, err := l.Changes(after, maxChanges)
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListValidatorChangesResponse{Changes: changes, More: more}, nil
}
