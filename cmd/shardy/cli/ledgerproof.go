package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxProofFile bounds a file of a proof: a change of the validators may carry all of them, and there may be many.
const maxProofFile = 64 << 20

func accountPlace(key []byte) *operatorv1.GetProofRequest {
	return &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}}
}

// placeOf is where in the state a thing lies, and what kind of message lies there.
func placeOf(r *operatorv1.GetProofRequest) (place ledger.Hash, kind proto.Message, err error) {
	switch p := r.GetPlace().(type) {
	case *operatorv1.GetProofRequest_Account:
		return seal.AccountKey(p.Account), new(ledgerv1.Account), keySize(p.Account)
	case *operatorv1.GetProofRequest_Validators:
		return seal.ValidatorsKey(), new(ledgerv1.ValidatorSet), nil
	case *operatorv1.GetProofRequest_Anchor:
		return seal.AnchorKey(p.Anchor), new(ledgerv1.Anchor), keySize(p.Anchor)
	case *operatorv1.GetProofRequest_Settled:
		return seal.SettledKey(p.Settled.GetOrchestrator(), p.Settled.GetJob()), new(ledgerv1.Settled), keySize(p.Settled.GetOrchestrator())
	case *operatorv1.GetProofRequest_Escrow:
		return seal.EscrowKey(p.Escrow.GetOrchestrator(), p.Escrow.GetJob()), new(ledgerv1.Escrow), keySize(p.Escrow.GetOrchestrator())
	case *operatorv1.GetProofRequest_Supply:
		return seal.SupplyKey(), new(ledgerv1.Supply), nil
	case *operatorv1.GetProofRequest_Params:
		return seal.ParamsKey(), new(ledgerv1.Params), nil
	case *operatorv1.GetProofRequest_Penalty:
		q := p.Penalty
		return seal.PenaltyKey(q.GetOrchestrator(), q.GetWorker(), q.GetJob()), new(ledgerv1.Penalty), keySize(q.GetOrchestrator(), q.GetWorker())
	}
	return place, nil, fmt.Errorf("%w: it is of nothing that is known", light.ErrProof)
}

func keySize(keys ...[]byte) error {
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: a key has %d bytes", light.ErrProof, len(k))
		}
	}
	return nil
}

// placeText says what a proof is about.
func placeText(r *operatorv1.GetProofRequest) string {
	switch p := r.GetPlace().(type) {
	case *operatorv1.GetProofRequest_Account:
		return fmt.Sprintf("account %x", p.Account)
	case *operatorv1.GetProofRequest_Validators:
		return "validators of the next block"
	case *operatorv1.GetProofRequest_Anchor:
		return fmt.Sprintf("anchored log of %x", p.Anchor)
	case *operatorv1.GetProofRequest_Settled:
		return fmt.Sprintf("settled job %s of %x", p.Settled.GetJob(), p.Settled.GetOrchestrator())
	case *operatorv1.GetProofRequest_Escrow:
		return fmt.Sprintf("escrow of %x for job %s", p.Escrow.GetOrchestrator(), p.Escrow.GetJob())
	case *operatorv1.GetProofRequest_Supply:
		return "supply"
	case *operatorv1.GetProofRequest_Params:
		return "rules"
	case *operatorv1.GetProofRequest_Penalty:
		return fmt.Sprintf("penalty of %x for job %s of %x", p.Penalty.GetWorker(), p.Penalty.GetJob(), p.Penalty.GetOrchestrator())
	}
	return "nothing"
}

// holding is what lies at a place of the state after a block.
type holding struct {
	value  proto.Message // nil: nothing does
	header *ledgerv1.Header
	by     *verification // nil: nobody has checked it
}

// checkProof holds a proof against a genesis.
func checkProof(root *chainRoot, file *operatorv1.ProofFile) (h holding, err error) {
	if !bytes.Equal(file.GetGenesis(), root.hash[:]) {
		return h, fmt.Errorf("%w: it is for genesis %x, not for %x", light.ErrChain, file.GetGenesis(), root.hash)
	}
	state := file.GetState()
	header, err := light.ParseHeader(root.state.Chain(), state.GetHeader())
	if err != nil {
		return h, err
	}
	client := root.client()
	if err := client.FollowTo(header.ValidatorsVersion, file.GetChanges()); err != nil {
		return h, err
	}
	place, kind, err := placeOf(file.GetPlace())
	if err != nil {
		return h, err
	}
	value, header, err := client.Held(state.GetHeader(), state.GetCertificate(), state.GetProof(), place)
	if err != nil {
		return h, err
	}
	certificate, err := parseCertificate(state.GetCertificate())
	if err != nil {
		return h, err
	}
	block := seal.HeaderHash(state.GetHeader())
	h.by = &verification{
		Genesis: hexID(root.hash[:]), Height: header.Height, Block: hexID(block[:]), Version: header.ValidatorsVersion,
		Signers: []string{}, Validators: len(client.Validators.GetValidators()),
	}
	if header.Height > 0 { // nobody signs genesis
		for _, key := range signers(root.state.Chain(), client.Validators, certificate) {
			h.by.Signers = append(h.by.Signers, hexID(key))
		}
	}
	h.header = header
	h.value, err = decodeHeld(value, kind)
	return h, err
}

// decodeHeld reads what lies at a place. Nil: nothing does.
func decodeHeld(value []byte, kind proto.Message) (proto.Message, error) {
	if len(value) == 0 {
		return nil, nil
	}
	if err := proto.Unmarshal(value, kind); err != nil {
		return nil, fmt.Errorf("%w: its value does not parse", light.ErrMalformed)
	}
	return kind, nil
}

// prove fetches a proof of a place, and all that leads to it from genesis.
func (c *api) prove(ctx context.Context, root *chainRoot, place *operatorv1.GetProofRequest) (*operatorv1.ProofFile, error) {
	state, err := c.GetProof(ctx, place)
	if err != nil {
		return nil, err
	}
	header, err := light.ParseHeader(root.state.Chain(), state.GetHeader())
	if err != nil {
		return nil, lightError(err)
	}
	changes, err := c.follow(ctx, root.client(), header.ValidatorsVersion)
	if err != nil {
		return nil, err
	}
	return &operatorv1.ProofFile{Genesis: root.hash[:], Place: place, Changes: changes, State: state}, nil
}

// held asks what lies at a place, and verifies it if there is a genesis to do it with.
func (c *api) held(ctx context.Context, root *chainRoot, place *operatorv1.GetProofRequest) (h holding, err error) {
	if root != nil {
		file, err := c.prove(ctx, root, place)
		if err != nil {
			return h, err
		}
		h, err = checkProof(root, file)
		return h, lightError(err)
	}
	_, kind, err := placeOf(place)
	if err != nil {
		return h, lightError(err)
	}
	res, err := c.GetProof(ctx, place)
	if err != nil {
		return h, err
	}
	if h.header, err = light.ParseHeader("", res.GetHeader()); err != nil {
		return h, lightError(err)
	}
	h.value, err = decodeHeld(res.GetProof().GetValue(), kind)
	return h, lightError(err)
}

// proofFlags say of what a proof is wanted.
type proofFlags struct {
	validators, supply, params       bool
	anchor, settled, escrow, penalty string
	to, check, genesis               string
}

func (a *app) ledgerProof() *cobra.Command {
	var f proofFlags
	c := &cobra.Command{
		Use: "proof [KEY]", Short: "Prove an account, or another part of the state, to somebody who has only the genesis", Args: cobra.MaximumNArgs(1),
		Long: "Proof writes a file with all that it takes: the block's header, the validators' signatures under it, the way to\n" +
			"the place in its state, and how the validators of genesis became those who signed. --check verifies it offline.\n" +
			"Without a KEY and without a flag that names something else it proves nothing. What is not there is proven not to be.",
		Example: "  shardy ledger proof 9f3c8a51 -o account.proof --genesis lab.genesis\n" +
			"  shardy ledger proof --settled 9f3c8a51/01jd2h7k3m5n7p9r1t3v5x7z9b -o job.proof\n" +
			"  shardy ledger proof --check account.proof --genesis lab.genesis",
		RunE: a.call(func(ctx context.Context, args []string) error {
			if f.check != "" {
				return a.checkProofFile(args, f)
			}
			return a.writeProof(ctx, args, f)
		}),
	}
	fl := c.Flags()
	fl.BoolVar(&f.validators, "validators", false, "prove who agrees on the next block")
	fl.BoolVar(&f.supply, "supply", false, "prove where all the money is")
	fl.BoolVar(&f.params, "params", false, "prove the rules")
	fl.StringVar(&f.anchor, "anchor", "", "prove the last log checkpoint of an orchestrator: KEY")
	fl.StringVar(&f.settled, "settled", "", "prove what a job was settled with: ORCHESTRATOR/JOB")
	fl.StringVar(&f.escrow, "escrow", "", "prove what is locked for a job: ORCHESTRATOR/JOB")
	fl.StringVar(&f.penalty, "penalty", "", "prove a penalty that is frozen: ORCHESTRATOR/WORKER/JOB")
	fl.StringVarP(&f.to, "output", "o", "-", "file to write, - for stdout")
	fl.StringVar(&f.check, "check", "", "check a proof offline; needs --genesis FILE")
	genesisFlag(c, &f.genesis)
	return c
}

// place is the one thing that the arguments name.
func (f proofFlags) place(ctx context.Context, api *api, args []string) (*operatorv1.GetProofRequest, error) {
	var found []*operatorv1.GetProofRequest
	add := func(p *operatorv1.GetProofRequest, err error) error {
		found = append(found, p)
		return err
	}
	var err error
	if len(args) > 0 {
		var key []byte
		key, err = api.accountKey(ctx, args[0])
		err = add(accountPlace(key), err)
	}
	if f.anchor != "" && err == nil {
		var key []byte
		key, err = api.accountKey(ctx, f.anchor)
		err = add(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Anchor{Anchor: key}}, err)
	}
	if f.settled != "" && err == nil {
		var at *operatorv1.JobPlace
		at, err = api.jobPlace(ctx, "settled", f.settled)
		err = add(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{Settled: at}}, err)
	}
	if f.escrow != "" && err == nil {
		var at *operatorv1.JobPlace
		at, err = api.jobPlace(ctx, "escrow", f.escrow)
		err = add(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Escrow{Escrow: at}}, err)
	}
	if f.penalty != "" && err == nil {
		var at *operatorv1.PenaltyPlace
		at, err = api.penaltyPlace(ctx, f.penalty)
		err = add(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Penalty{Penalty: at}}, err)
	}
	if err != nil {
		return nil, err
	}
	if f.validators {
		found = append(found, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Validators{Validators: true}})
	}
	if f.supply {
		found = append(found, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Supply{Supply: true}})
	}
	if f.params {
		found = append(found, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Params{Params: true}})
	}
	if len(found) != 1 {
		return nil, usage("want one thing to prove: a KEY, or one of --validators, --supply, --params, --anchor, --settled, --escrow, --penalty")
	}
	return found[0], nil
}

func (c *api) jobPlace(ctx context.Context, flag, text string) (*operatorv1.JobPlace, error) {
	who, job, ok := strings.Cut(text, "/")
	if !ok || job == "" {
		return nil, usage("--%s %q: want ORCHESTRATOR/JOB", flag, text)
	}
	key, err := c.accountKey(ctx, who)
	return &operatorv1.JobPlace{Orchestrator: key, Job: job}, err
}

func (c *api) penaltyPlace(ctx context.Context, text string) (*operatorv1.PenaltyPlace, error) {
	parts := strings.SplitN(text, "/", 3)
	if len(parts) != 3 || parts[2] == "" {
		return nil, usage("--penalty %q: want ORCHESTRATOR/WORKER/JOB", text)
	}
	orchestrator, err := c.accountKey(ctx, parts[0])
	if err != nil {
		return nil, err
	}
	worker, err := c.accountKey(ctx, parts[1])
	return &operatorv1.PenaltyPlace{Orchestrator: orchestrator, Worker: worker, Job: parts[2]}, err
}

func (a *app) writeProof(ctx context.Context, args []string, f proofFlags) error {
	if f.to == "-" && isTerminal(a.out) {
		return usage("a proof is not text: -o FILE")
	}
	api, err := a.dial()
	if err != nil {
		return err
	}
	root, trusted, err := a.anyRoot(ctx, api, f.genesis)
	if err != nil {
		return err
	}
	place, err := f.place(ctx, api, args)
	if err != nil {
		return err
	}
	file, err := api.prove(ctx, root, place)
	if err != nil {
		return err
	}
	h, err := checkProof(root, file)
	if err != nil {
		return lightError(err)
	}
	encoded, err := proto.Marshal(file)
	if err != nil {
		return err
	}
	if err := a.writeOutput(f.to, encoded); err != nil || f.to == "-" {
		return err
	}
	if !trusted {
		a.say("the genesis %x is what the orchestrator says: whoever checks the proof needs one that they trust", root.hash)
	}
	return a.showProof(f.to, len(encoded), file, h)
}

func (a *app) checkProofFile(args []string, f proofFlags) error {
	switch {
	case len(args) > 0:
		return usage("--check takes no KEY: the proof says what it is about")
	case f.genesis == "" || isHex32(f.genesis):
		return usage("--check needs --genesis FILE")
	}
	root, err := a.rootFile(f.genesis)
	if err != nil {
		return err
	}
	encoded, err := a.readInput(f.check, maxProofFile)
	if err != nil {
		return err
	}
	file := new(operatorv1.ProofFile)
	if err := proto.Unmarshal(encoded, file); err != nil {
		return failed(exitRefused, "%s is no proof: %w", f.check, err)
	}
	h, err := checkProof(root, file)
	if err != nil {
		return failed(exitRefused, "%s does not hold: %w", f.check, err)
	}
	return a.showProof(f.check, len(encoded), file, h)
}

// showProof says what a proof shows.
func (a *app) showProof(name string, size int, file *operatorv1.ProofFile, h holding) error {
	if a.json {
		doc := map[string]any{
			"file": name, "bytes": size, "place": plainMessage(file.Place.ProtoReflect()), "known": h.value != nil,
			"verified": h.by, "state": hexID(h.header.State), "time_us": h.header.TimeUs, "changes": len(file.Changes),
		}
		if h.value != nil {
			doc["value"] = plainMessage(h.value.ProtoReflect())
		}
		return a.printJSON(doc)
	}
	pairs := []any{"proven", placeText(file.Place)}
	if h.value == nil {
		pairs = append(pairs, "state", "there is no such thing")
	} else {
		pairs = append(pairs, valueFacts(h.value)...)
	}
	pairs = append(pairs, "after block", fmt.Sprintf("%d, %s", h.header.Height, when(h.header.TimeUs)), "verified", h.by,
		"file", fmt.Sprintf("%s, %s", name, bytesText(uint64(size))))
	return a.facts(pairs...)
}

// valueFacts are what lies in the state, for people.
func valueFacts(m proto.Message) []any {
	switch v := m.(type) {
	case *ledgerv1.Account:
		return accountFacts(v)
	case *ledgerv1.ValidatorSet:
		pairs := []any{"version", v.Version}
		for _, m := range v.Validators {
			pairs = append(pairs, "validator", strings.TrimSpace(hexID(m.Key)+" "+m.Name))
		}
		return pairs
	case *ledgerv1.Anchor:
		return []any{"log", v.Origin, "size", v.Size, "root", hexID(v.Root), "anchored at", v.Height}
	case *ledgerv1.Settled:
		return []any{"checksum", hexID(v.Checksum), "settled at", v.Height}
	case *ledgerv1.Escrow:
		refund := ""
		if v.RefundAt > 0 {
			refund = fmt.Sprintf("at height %d", v.RefundAt)
		}
		return []any{"amount", moneyText(v.Amount), "opened at", v.Opened, "refund", refund}
	case *ledgerv1.Supply:
		return []any{
			"total", moneyText(v.Total), "balances", moneyText(v.Balances), "stakes", moneyText(v.Stakes), "escrows", moneyText(v.Escrows),
			"frozen", moneyText(v.Penalties), "treasury", moneyText(v.Treasury), "burned", moneyText(v.Burned),
		}
	case *ledgerv1.Params:
		return ruleFacts(v)
	case *ledgerv1.Penalty:
		return []any{"amount", moneyText(v.Amount), "due at", v.Due, "to", fmt.Sprintf("%d who were right", len(v.Beneficiaries))}
	}
	return nil
}
