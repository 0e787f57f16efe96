package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// does hands an orchestrator a transaction and waits for its receipt.
func (f *federation) does(at *member, key ed25519.PrivateKey, actions ...*ledgerv1.Action) *ledgerv1.Receipt {
	f.Helper()
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	tx := ledger.Sign(&ledgerv1.Transaction{
		ChainId: f.chain, Sender: public(key), Salt: salt, ValidUntil: at.height() + 200, Actions: actions,
	}, key)
	res, err := at.ledger.SubmitTransaction(f.Context(), &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: uint32(min(patience(20*time.Second), time.Minute).Milliseconds())})
	f.must(err)
	return res.Receipt
}

// done is does for what must be carried out.
func (f *federation) done(at *member, key ed25519.PrivateKey, actions ...*ledgerv1.Action) {
	f.Helper()
	if r := f.does(at, key, actions...); r.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		f.Fatalf("the ledger answers %v", r)
	}
}

func bond(amount uint64) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: amount}}}
}

// change is a change of the validators with the approvals of some.
func (f *federation) change(body *ledgerv1.ValidatorChangeBody, by ...*member) *ledgerv1.Action {
	f.Helper()
	encoded, err := proto.Marshal(body)
	f.must(err)
	c := &ledgerv1.ValidatorChange{Body: encoded}
	for _, o := range by {
		c.Approvals = append(c.Approvals, &ledgerv1.ValidatorSignature{
			Validator: o.public(), Signature: ed25519.Sign(o.key, seal.ValidatorsText(f.chain, encoded)),
		})
	}
	return &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: c}}
}

// seats waits until all know a set of validators of a version and size.
func (f *federation) seats(version uint64, n int, all ...*member) {
	f.Helper()
	for _, o := range all {
		o.poll(o.name+" knows the new validators", func() bool {
			v := o.look().GetValidators()
			return v.GetVersion() == version && len(v.GetValidators()) == n
		})
	}
}

// TestAnOrchestratorJoinsFromZeroAndVotes brings a fifth orchestrator in, which knows the genesis and one address. It
// follows, has money to stake, is voted in, is needed for a quorum and votes; then one of the first four is voted out and
// only follows.
func TestAnOrchestratorJoinsFromZeroAndVotes(t *testing.T) {
	t.Parallel()
	f := found(t, charter{validators: 4, clients: 4, outsiders: []string{"joiner"}})
	old, joiner := f.operators[:4], f.operators[4]
	f.launch(old...)
	f.live(old...)
	tr := f.traffic(50*time.Millisecond, old...)
	old[0].reaches(20)
	for i, flag := range joiner.flags { // it knows one address of an API, and nothing else
		if flag == "--mesh-bootstrap" {
			joiner.flags = append(joiner.flags[:i:i], flag, old[2].url())
			break
		}
	}
	begin := time.Now()
	f.launch(joiner)
	height := old[0].height()
	joiner.reaches(height)
	t.Logf("the joiner has %d blocks %s after its start", height, time.Since(begin).Round(10*time.Millisecond))
	if role := joiner.look().GetConsensus().GetRole(); role != "observer" {
		t.Errorf("the joiner is %q", role)
	}

	seat := &ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{{Key: joiner.public(), Name: joiner.name}}}
	if r := f.does(old[0], f.clients[0], f.change(seat, old[:3]...)); r.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_STAKE {
		t.Errorf("a validator without a stake: %v", r)
	}
	f.done(joiner, joiner.key, bond(stake)) // through the observer: it gossips what it is told
	if r := f.does(old[0], f.clients[0], f.change(seat, old[:2]...)); r.GetCode() != ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_APPROVED {
		t.Errorf("a change that two of four approve: %v", r)
	}
	f.done(old[0], f.clients[0], f.change(seat, old[:3]...))
	f.seats(2, 5, f.operators...)
	f.live(joiner)

	// Four of five must sign: with one of the old ones dead, the joiner is needed.
	f.kill(old[1])
	begin = time.Now()
	height = old[0].height()
	old[0].reaches(height + 10)
	t.Logf("10 blocks that need the joiner's vote, %s after another died", time.Since(begin).Round(10*time.Millisecond))
	f.signed(old[0], old[0].height(), joiner)
	f.launch(old[1])
	f.live(old[1])

	leaves := old[3]
	f.done(joiner, f.clients[0], f.change(&ledgerv1.ValidatorChangeBody{Version: 3, Remove: [][]byte{leaves.public()}}, old[0], old[1], old[2], joiner))
	f.seats(3, 4, f.operators...)
	leaves.poll("who was voted out only follows", func() bool { return leaves.look().GetConsensus().GetRole() == "observer" })
	height = old[0].height()
	leaves.reaches(height + 5)
	tr.settle(f.operators...)
	f.running(f.operators...)
	f.agree(f.operators...)
	sameRoot(f)
}

// signed checks that the certificate of a block, which the light client believes, has somebody's vote.
func (f *federation) signed(ask *member, height uint64, by *member) {
	f.Helper()
	res, err := ask.ledger.GetBlock(f.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: height}})
	f.must(err)
	if _, err := ask.reader().Block(res.Block.Block.Header, res.Block.Certificate); err != nil {
		f.Errorf("block %d: %v", height, err)
	}
	if !voted(res.Block.Certificate, by) {
		f.Errorf("block %d of %s is not signed by %s", height, ask.name, by.name)
	}
}

func voted(c *ledgerv1.Certificate, by *member) bool {
	return slices.ContainsFunc(c.GetSignatures(), func(s *ledgerv1.ValidatorSignature) bool { return bytes.Equal(s.Validator, by.public()) })
}

// inStep waits until one that was away takes part again: its own copy of the last certificate has its vote. Before that
// it has the blocks, but they come too fast for it to vote on them.
func (o *member) inStep() {
	o.Helper()
	o.poll(o.name+" is in step", func() bool {
		ctx, cancel := context.WithTimeout(o.Context(), patience(2*time.Second))
		defer cancel()
		res, err := o.ledger.GetBlock(ctx, &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: o.height()}})
		return err == nil && voted(res.Block.Certificate, o)
	})
}

// sameRoot holds the last block of all against each other: same block, same state.
func sameRoot(f *federation) {
	f.Helper()
	var first *operatorv1.GetLedgerResponse
	for _, o := range f.operators {
		o.poll(o.name+" has the same state", func() bool {
			now := o.look()
			if first == nil || now.GetHeight() > first.Height {
				first = now
			}
			return now.GetHeight() == first.Height && bytes.Equal(now.State, first.State) && bytes.Equal(now.Block, first.Block)
		})
	}
}

// TestAnOrchestratorJoinsBySnapshot has orchestrators forget their oldest blocks. Who joins then, with nothing but the
// genesis, takes a snapshot, although the validators have changed since, and ends with the same state.
func TestAnOrchestratorJoinsBySnapshot(t *testing.T) {
	t.Parallel()
	f := found(t, charter{validators: 4, clients: 4, outsiders: []string{"joiner"}, flags: []string{
		"--mesh-snapshot-blocks", "8", "--mesh-keep-blocks", "8", "--mesh-segment-bytes", "4096",
	}})
	old, joiner := f.operators[:4], f.operators[4]
	f.launch(old...)
	f.live(old...)
	tr := f.traffic(50*time.Millisecond, old...)
	renamed := &ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{{Key: old[3].public(), Name: "renamed"}}}
	f.done(old[0], f.clients[0], f.change(renamed, old[:3]...))
	f.seats(2, 4, old...)
	changed := old[0].height()
	for _, o := range old {
		o.poll(o.name+" has forgotten the change", func() bool { return o.look().GetLowHeight() > changed })
	}
	begin := time.Now()
	f.launch(joiner)
	height := old[0].height()
	joiner.reaches(height)
	now := joiner.look()
	t.Logf("the joiner is at block %d %s after its start; it has blocks from %d, the others from %d", now.Height,
		time.Since(begin).Round(10*time.Millisecond), now.LowHeight, old[0].look().LowHeight)
	if now.LowHeight <= changed {
		t.Errorf("the joiner has block %d, which nobody keeps", now.LowHeight)
	}
	joiner.reaches(height + 20) // it goes on by blocks
	f.kill(joiner)
	f.launch(joiner) // and from its folder
	joiner.reaches(old[0].height())
	tr.end()
	f.running(f.operators...)
	sameRoot(f)
	f.agree(f.operators...)
}
