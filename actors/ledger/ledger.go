// Package ledger is the state machine that orchestrators agree on: who has how much, who is paid for what, and who is
// punished on which evidence.
//
// It promises that the same blocks lead to the same state and receipts on every machine, that balances, stakes, escrows,
// frozen penalties, treasury and burned money always sum to what genesis gave out, and that nothing which input holds
// makes it panic, overflow or stop. It orders nothing, keeps no blocks and reads no clock: whoever calls it does.
//
// The road of a transaction: Check looks at the bytes alone (size, shape, every signature in it) and may run anywhere, in
// parallel, once; Execute does the rest, in order, and answers with a Receipt. A transaction that fails changes nothing
// but the fee that it pays and the memory that it was there; one that is replayed, expired or too early changes nothing
// at all, or whoever repeats it could spend its sender's money.
//
// What was decided where the plan was silent:
//   - Only a validator slashes and only a validator's payments move reputations. Attestations name no orchestrator, so
//     anybody who has read one could otherwise judge it with two keys of his own.
//   - An attestation is punished once, whoever reports it, and that is remembered for good: it carries no height, so it
//     never grows too old to be used again.
//   - A tombstoned key is not punished for a further equivocation: all of them are one fault. The money is taken at once,
//     half burned, half to the treasury; the reporter gets none, or reporting oneself would be cheap.
//   - What is due at a height lies in pages; a block does at most MaxDuePages of them and leaves the rest to the next one,
//     so that nobody can make one block expensive by aiming everything at it.
//   - A validator cannot unstake below the minimum; it leaves the set first.
package ledger

import (
	"crypto/sha256"
	"errors"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Limits of what comes from outside.
const (
	MaxTransactionBytes  = 64 << 10  // encoded SignedTransaction
	MaxActions           = 64        // of a transaction
	MaxBlockTransactions = 2048      // of a block
	MaxBlockBytes        = 2 << 20   // of a block's transactions; one alone always fits
	MaxGenesisBytes      = 16 << 20  // encoded Genesis
	MaxJobBytes          = 128       // id of a job
	MaxResults           = 32        // of one kind in a decision
	MaxNoteBytes         = 1 << 10   // signed log checkpoint
	MaxUnbonding         = 32        // parts of an account that wait for their release
	MaxDuePages          = 64        // of 256 things each, done by one block
	MaxSupply            = 1<<62 - 1 // micro-units: any two sums of money can be added
	MaxHeight            = 1<<62 - 1
	duesPerPage          = 256
)

// FirstReputation is that of an account nobody has judged, in millionths.
const FirstReputation = 500_000

// The refusals. What a transaction does wrong against the state is a ReceiptCode.
var (
	ErrMalformed = errors.New("malformed transaction")
	ErrTooLarge  = errors.New("transaction is too large")
	ErrSignature = errors.New("transaction is not signed by its sender")
	ErrChain     = errors.New("transaction of another chain")
	ErrEvidence  = errors.New("evidence is not signed by those it accuses or names")
	ErrGenesis   = errors.New("genesis makes no chain")
	ErrParams    = errors.New("parameters contradict each other")
	ErrBlock     = errors.New("block does not follow")
	ErrSnapshot  = errors.New("snapshot is not the state of its block")
)

// State is the ledger after a block. Nothing changes it: executing a block makes a new one, and both can be read by
// several goroutines. What its methods return MUST NOT be changed. The zero State is of no use.
type State struct {
	chain  string
	height uint64
	head   Hash  // of the header of the last block
	timeUs int64 // of the last block
	trie   trie.Trie
	people uint64 // accounts in the trie; none is ever taken out

	// What nearly every block reads, as the trie holds it.
	params     *ledgerv1.Params
	validators *ledgerv1.ValidatorSet
	supply     *ledgerv1.Supply
}

// Chain is the chain's id.
func (s State) Chain() string { return s.chain }

// Height is that of the last block.
func (s State) Height() uint64 { return s.height }

// Head names the last block: the hash of its header.
func (s State) Head() Hash { return s.head }

// TimeUs is the time that the last block claims.
func (s State) TimeUs() int64 { return s.timeUs }

// Root names the whole state.
func (s State) Root() Hash { return s.trie.Root() }

// Params are the rules.
func (s State) Params() *ledgerv1.Params { return s.params }

// Validators are those who agree on the next block.
func (s State) Validators() *ledgerv1.ValidatorSet { return s.validators }

// Supply is where all the money is.
func (s State) Supply() *ledgerv1.Supply { return s.supply }

// Len is the number of entries of the state.
func (s State) Len() int { return s.trie.Len() }

// Account returns what belongs to a key. Of a key that never had anything it is an account that nobody has judged.
func (s State) Account(key []byte) (a *ledgerv1.Account, known bool) {
	if v := s.trie.Get(seal.AccountKey(key)); v != nil {
		return decode(v, new(ledgerv1.Account)), true
	}
	return newAccount(key), false
}

// Escrow returns what an owner locked for a job, or nil.
func (s State) Escrow(owner []byte, job string) *ledgerv1.Escrow {
	return held[ledgerv1.Escrow](s, seal.EscrowKey(owner, job))
}

// Settled returns what is remembered of a job that an orchestrator paid for, or nil.
func (s State) Settled(orchestrator []byte, job string) *ledgerv1.Settled {
	return held[ledgerv1.Settled](s, seal.SettledKey(orchestrator, job))
}

// Penalty returns a penalty that is still frozen, or nil.
func (s State) Penalty(orchestrator, worker []byte, job string) *ledgerv1.Penalty {
	return held[ledgerv1.Penalty](s, seal.PenaltyKey(orchestrator, worker, job))
}

// Anchor returns the last log checkpoint of an orchestrator, or nil.
func (s State) Anchor(orchestrator []byte) *ledgerv1.Anchor {
	return held[ledgerv1.Anchor](s, seal.AnchorKey(orchestrator))
}

// Executed reports whether a transaction that has not yet expired was in a block.
func (s State) Executed(id Hash) bool { return s.trie.Get(seal.TransactionKey(id)) != nil }

// Prove returns the proof of what lies at a place (package seal names them), or that nothing does.
func (s State) Prove(place Hash) *ledgerv1.TrieProof { return s.trie.Prove(place) }
