package dashboard

import (
	"bytes"
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) ledgerPages() []page {
	return []page{{
		name: "ledger", route: "/ledger", title: "Ledger", nav: "ledger", chain: true, every: 5 * time.Second, view: d.ledger,
	}}
}

type ledgerView struct {
	Chain      string
	Verdict    saying // how the ledger is, in one sentence
	Tone       tone
	Figures    []figure
	Facts      []fact
	Validators table
	Version    uint64
	Supply     supplyBar
	Settlement []fact
	Progress   []share // of what was to be paid
	Settles    saying
	Params     []fact
	Blocks     table
}

func (d *Dashboard) ledger(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	head, err := d.certified(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Supply{Supply: true}}, now)
	if err != nil {
		return nil, err
	}
	blocks, err := d.deps.Ledger.ListBlocks(ctx, &operatorv1.ListBlocksRequest{PageSize: latest})
	if err != nil {
		return nil, err
	}
	v := &ledgerView{
		Chain: clip(plain(now.GetChainId()), 40), Facts: ledgerFacts(now), Validators: validatorTable(now, head), Version: now.GetValidators().GetVersion(),
		Supply: newSupplyBar(now.GetSupply()), Params: paramFacts(now.GetParams()), Blocks: blockTable(blocks.GetBlocks(), now),
	}
	v.Verdict, v.Tone = ledgerSaying(now)
	v.Figures = []figure{
		{Name: "Height", Value: thousands(now.GetHeight()), Href: linkBlocks()},
		{Name: "Accounts", Value: thousands(now.GetAccounts()), Href: linkAccounts()},
		{Name: "Validators", Value: thousands(len(now.GetValidators().GetValidators())), Href: linkLedger() + "#validators"},
		{Name: "Pending here", Value: thousands(now.GetConsensus().GetPending()), Href: linkTransactions()},
	}
	v.settlement(now.GetSettlement())
	return v, nil
}

// ledgerSaying is the state of the ledger in one sentence.
func ledgerSaying(now *operatorv1.GetLedgerResponse) (saying, tone) {
	c := now.GetConsensus()
	block := word{"block " + thousands(now.GetHeight()), linkBlock(now.GetHeight())}
	switch c.GetRole() {
	case "failed":
		return saying{say("The ordering of transactions has given up: %s", clip(plain(c.GetFailure()), 300))}, toneDead
	case "starting":
		return saying{say("This orchestrator is catching up; it has come to "), block, say(".")}, toneRunning
	case "validator":
		if bytes.Equal(c.GetLeader(), c.GetKey()) {
			return saying{say("This orchestrator votes on blocks, and leads. The last one is "), block, say(".")}, toneVerified
		}
		if len(c.GetLeader()) == 0 {
			return saying{say("This orchestrator votes on blocks; nobody leads at the moment. The last one is "), block, say(".")}, toneMismatch
		}
		return saying{say("This orchestrator votes on blocks. The last one is "), block, say(".")}, toneVerified
	case "observer":
		return saying{say("This orchestrator follows the ledger without a vote. The last block is "), block, say(".")}, toneVerified
	}
	return saying{say("The last block is "), block, say(".")}, toneQuiet
}

func ledgerFacts(now *operatorv1.GetLedgerResponse) []fact {
	c := now.GetConsensus()
	kept := text("all blocks")
	if low := now.GetLowHeight(); low > 1 {
		kept = linked("from block "+thousands(low)+" on", linkBlock(low))
	}
	if s := now.GetSnapshotHeight(); s > 0 {
		kept = kept.with("snapshot at " + thousands(s))
	}
	facts := []fact{
		{"Last block", hexCell(now.GetBlock(), linkBlock(now.GetHeight()))},
		{"Block time", microsCell(now.GetTimeUs())},
		{"State root", hexCell(now.GetState(), "")},
		{"Genesis", hexCell(now.GetGenesis(), linkBlock(0))},
		{"Kept here", kept},
	}
	if len(c.GetKey()) > 0 {
		facts = append(facts, fact{"This orchestrator", accountCell(c.GetKey(), nicknamesOf(now)).with(clip(plain(c.GetRole()), 40))})
	}
	if c.GetRestarts() > 0 {
		facts = append(facts, fact{"Restarts of the ordering", count(c.GetRestarts())})
	}
	return facts
}

func microsCell(us int64) cell {
	if us <= 0 {
		return none()
	}
	return when(time.UnixMicro(us))
}

// exactly shows a time on a page that stays as it is.
func exactly(us int64) cell {
	c := microsCell(us)
	if us > 0 {
		c.More = exact(time.UnixMicro(us))
	}
	return c
}

// nicknames are what validators call themselves, by key.
type nicknames map[string]string

func nicknamesOf(now *operatorv1.GetLedgerResponse) nicknames {
	n := nicknames{}
	for _, v := range now.GetValidators().GetValidators() {
		if v.GetName() != "" {
			n[string(v.GetKey())] = clip(plain(v.GetName()), 40)
		}
	}
	return n
}

// of is what a key is called: its name and its beginning, or its beginning and end.
func (n nicknames) of(key []byte) string {
	if name := n[string(key)]; name != "" {
		return name
	}
	return shortKey(key)
}

// accountCell shows whose key it is.
func accountCell(key []byte, n nicknames) cell {
	if len(key) == 0 {
		return none()
	}
	c := hexCell(key, linkAccount(key))
	if name := n[string(key)]; name != "" {
		c.Text, c.Mono, c.More = name, false, shortKey(key)
	}
	return c
}

// whose is accountCell on one line.
func whose(key []byte, n nicknames) cell {
	c := accountCell(key, n)
	c.More = ""
	return c
}

// sayAccount leads to an account.
func sayAccount(key []byte, n nicknames) word {
	if len(key) == 0 {
		return word{Text: "nobody"}
	}
	if name := n[string(key)]; name != "" {
		return word{name, linkAccount(key)}
	}
	return word{shortHex(key), linkAccount(key)}
}

// validatorTable lists who votes, who leads, and who signed the last block.
func validatorTable(now *operatorv1.GetLedgerResponse, head certified) table {
	c, known := now.GetConsensus(), head.known
	t := table{
		Caption: "Validators", Compact: true, Columns: columns("Validator", "Part", "Last block", "Peer~"),
		Empty: empty{Title: "No validator", Text: "Nobody agrees on blocks."},
	}
	for _, v := range now.GetValidators().GetValidators() {
		part := state(toneQuiet, "Votes")
		if bytes.Equal(v.GetKey(), c.GetLeader()) {
			part = state(toneRunning, "Leads")
		}
		if bytes.Equal(v.GetKey(), c.GetKey()) {
			part = part.with("this orchestrator")
		}
		signed := none()
		switch {
		case head.header.GetHeight() == 0:
			signed = text("genesis")
		case head.signed(v.GetKey()):
			signed = state(toneVerified, "Signed")
		case known:
			signed = state(toneWaiting, "Not needed")
			signed.Title = "A quorum was complete without this one"
		}
		if bytes.Equal(v.GetKey(), head.header.GetProposer()) {
			signed = signed.with("proposed it")
		}
		t.add(hex.EncodeToString(v.GetKey()), accountCell(v.GetKey(), nicknamesOf(now)), part, signed, peerCell(v))
	}
	return t
}

// peerCell shows how a validator is reached.
func peerCell(v *ledgerv1.Validator) cell {
	c := none()
	if len(v.GetAddresses()) > 0 {
		c = text(v.GetAddresses()[0])
		if n := len(v.GetAddresses()); n > 1 {
			c = c.with("and " + strconv.Itoa(n-1) + " more")
		}
	}
	return c
}

// settlement tells how far this orchestrator has paid.
func (v *ledgerView) settlement(s *operatorv1.SettlementStatus) {
	if s == nil {
		return
	}
	lag := s.GetLogHead() - min(s.GetPosition(), s.GetLogHead())
	behind := text("up to date")
	if lag > 0 {
		behind = text(thousands(lag) + " events behind").with("at " + thousands(s.GetPosition()) + " of " + thousands(s.GetLogHead()))
	}
	refused := count(s.GetRefused())
	if s.GetLastRefusal() != "" {
		refused = refused.with("last: " + s.GetLastRefusal())
	}
	v.Settlement = []fact{
		{"Paid jobs", count(s.GetPaid())},
		{"Waiting", count(s.GetWaiting()).with("in no transaction yet")},
		{"On their way", count(s.GetSent()).with("transactions")},
		{"Refused for good", refused},
		{"Doubts", count(s.GetDoubts()).with("slashes that wait for the referee")},
		{"Not payable", count(s.GetUnpaid()).with("too few signed results")},
		{"Undecided jobs", count(s.GetOpen())},
		{"Log", behind},
	}
	v.Progress = shares(map[tone]uint64{
		toneVerified: s.GetPaid(), toneWaiting: s.GetWaiting(), toneDead: s.GetRefused(), toneMismatch: s.GetDoubts(),
	}, toneVerified, toneWaiting, toneMismatch, toneDead)
	switch {
	case s.GetTrouble() != "":
		v.Settles = saying{say("Payments wait: %s.", s.GetTrouble())}
	case lag == 0 && s.GetWaiting() == 0 && s.GetSent() == 0:
		v.Settles = saying{say("Every verdict of this orchestrator that can be paid has been paid.")}
	case lag > 0:
		v.Settles = saying{say("Verdicts are being settled; %s of the log are still to be heard.", plural(int(min(lag, 1<<31)), "event"))}
	default:
		v.Settles = saying{say("Verdicts are being settled; a block has still to hold the last of them.")}
	}
}

// paramFacts are the rules of the chain, with what they mean.
func paramFacts(p *ledgerv1.Params) []fact {
	blocks := func(n uint64) cell { return text(thousands(n) + " blocks") }
	basis := text("referee").with("a slash needs the referee's word")
	if p.GetSlashOnQuorum() {
		basis = text("quorum").with("a margin of two is enough")
	}
	return []fact{
		{"Fee", moneyCell(p.GetFee()).with("of a transaction, to the treasury")},
		{"Treasury", text(percent(p.GetTreasuryPpm())).with("of every payment")},
		{"Bonus for stake", text("up to " + percent(p.GetStakeBonusPpm())).with("half of it at a stake of " + money(p.GetStakeHalf()))},
		{"Wrong result", text(percent(p.GetSlashWrongPpm())).with("of the stake")},
		{"Equivocation", text(percent(p.GetSlashEquivocationPpm())).with("of the stake, and out for good")},
		{"Together", text("× " + thousands(p.GetCorrelationFactor())).with("the part of all stake slashed within " + thousands(p.GetCorrelationBlocks()) + " blocks, on top")},
		{"Slashes stand on", basis},
		{"Appeal", blocks(p.GetAppealBlocks()).with("a penalty is frozen so long")},
		{"Jail", blocks(p.GetJailBlocks()).with("below a reputation of " + percent(p.GetReputationJailPpm()))},
		{"Unbonding", blocks(p.GetUnbondingBlocks()).with("until stake is free")},
		{"Evidence", blocks(p.GetEvidenceBlocks()).with("so long it counts")},
		{"Claim", blocks(p.GetClaimBlocks()).with("before a refund takes effect")},
		{"Window", blocks(p.GetWindowBlocks()).with("a transaction may wait")},
		{"Validator's stake", moneyCell(p.GetMinValidatorStake()).with("at least")},
	}
}

// moneyCell shows an amount, and on hover its micro-units.
func moneyCell(n uint64) cell {
	return cell{Text: money(n), Title: thousands(n) + " micro-units", Faint: n == 0}
}

// tally counts something that often is nothing.
func tally(n uint64) cell { return cell{Text: thousands(n), Faint: n == 0} }

// money writes micro-units as units, without digits that say nothing.
func money(n uint64) string {
	whole, part := thousands(n/1_000_000), strconv.FormatUint(1_000_000+n%1_000_000, 10)[1:]
	if part = strings.TrimRight(part, "0"); part == "" {
		return whole
	}
	return whole + "." + part
}

// percent writes millionths.
func percent(ppm uint64) string {
	return strconv.FormatFloat(float64(ppm)/10_000, 'f', -1, 64) + " %"
}

// certified is the header of the last block, its certificate and a proof under its state.
type certified struct {
	hash        []byte
	header      *ledgerv1.Header
	certificate *ledgerv1.Certificate
	proof       *ledgerv1.TrieProof
	encoded     []byte // header
	known       bool   // the set that signed it is the present one
	set         *ledgerv1.ValidatorSet
}

// certified asks for a proof, and reads what it came with.
func (d *Dashboard) certified(ctx context.Context, req *operatorv1.GetProofRequest, now *operatorv1.GetLedgerResponse) (certified, error) {
	res, err := d.deps.Ledger.GetProof(ctx, req)
	if err != nil {
		return certified{}, err
	}
	c := certified{encoded: res.GetHeader(), proof: res.GetProof(), certificate: &ledgerv1.Certificate{}, set: now.GetValidators()}
	if c.header, err = light.ParseHeader(now.GetChainId(), res.GetHeader()); err != nil {
		return certified{}, err
	}
	if err := proto.Unmarshal(res.GetCertificate(), c.certificate); err != nil {
		return certified{}, err
	}
	c.hash, c.known = headerHash(res.GetHeader()), c.header.GetValidatorsVersion() == c.set.GetVersion()
	return c, nil
}

// signed reports whether a validator's signature is in the certificate.
func (c certified) signed(key []byte) bool { return signedBy(c.certificate, key) }

func signedBy(c *ledgerv1.Certificate, key []byte) bool {
	for _, s := range c.GetSignatures() {
		if bytes.Equal(s.GetValidator(), key) {
			return true
		}
	}
	return false
}
