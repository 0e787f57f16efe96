package dashboard

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// proofView shows what stands behind a value of the ledger: a block, those who signed it, and the way through the trie.
type proofView struct {
	Checked  badge
	Said     string
	Facts    []fact
	Siblings []sibling
	Command  string // makes a file of the proof, and checks it without this orchestrator
}

// sibling is a hash beside the way from the root to a value.
type sibling struct {
	Level int
	Side  string // where it lies
	Hash  string
}

func headerHash(header []byte) []byte {
	h := seal.HeaderHash(header)
	return h[:]
}

// newProofView shows the proof of an account.
func newProofView(c certified, now *operatorv1.GetLedgerResponse, key []byte) proofView {
	v := proofView{Command: fmt.Sprintf("shardy ledger proof %x --genesis chain.genesis -o account.proof\nshardy ledger proof --check account.proof --genesis chain.genesis", key)}
	v.Checked, v.Said = checkProof(c, seal.AccountKey(key))
	what := "there is something at this place"
	if len(c.proof.GetValue()) == 0 {
		what = "there is nothing at this place"
	}
	filled := 0
	for i, s := range c.proof.GetSiblings() {
		if len(s) == 0 {
			continue
		}
		filled++
		v.Siblings = append(v.Siblings, sibling{Level: i + 1, Side: sideOf(c.proof.GetKey(), i), Hash: hex.EncodeToString(s)})
	}
	v.Facts = []fact{
		{"Block", linked(thousands(c.header.GetHeight()), linkBlock(c.header.GetHeight()))},
		{"Hash of its header", hexCell(c.hash, "")},
		{"Signatures", text(signaturesText(c.header, c.certificate, now.GetValidators()))},
		{"State root", hexCell(c.header.GetState(), "")},
		{"Place in the trie", hexCell(c.proof.GetKey(), "").with(what)},
		{"Siblings", text(strconv.Itoa(filled)).with(fmt.Sprintf("of %d levels; the others are empty", len(c.proof.GetSiblings())))},
	}
	return v
}

// sideOf is where the sibling of a level lies: opposite the way that the place takes there.
func sideOf(place []byte, level int) string {
	if level/8 >= len(place) {
		return "–"
	}
	if place[level/8]>>(7-level%8)&1 == 1 {
		return "left"
	}
	return "right"
}

// checkProof checks the proof of a place here, as the command does it elsewhere.
func checkProof(c certified, place trie.Hash) (badge, string) {
	var root trie.Hash
	if copy(root[:], c.header.GetState()) != len(root) {
		return badge{toneDead, "Broken"}, "The header has no state root."
	}
	if !bytes.Equal(c.proof.GetKey(), place[:]) {
		return badge{toneDead, "Broken"}, "The proof is about another place."
	}
	if _, err := trie.Verify(root, c.proof); err != nil {
		return badge{toneDead, "Broken"}, "The proof does not lead to the state root of the block."
	}
	switch {
	case c.header.GetHeight() == 0:
		return badge{toneVerified, "Leads to genesis"}, "The proof leads to the state that the chain began with: whoever has the genesis file can check it."
	case !c.known:
		return badge{toneVerified, "Leads to the block"}, "The block made new validators; its own signers are those of version " + thousands(c.header.GetValidatorsVersion()) + "."
	}
	if err := light.VerifyCertificate(c.encoded, c.set, c.certificate); err != nil {
		return badge{toneDead, "Broken"}, "Too few validators have signed the block."
	}
	return badge{toneVerified, "Verified"}, "The proof leads to a block that a quorum of the validators has signed. Checked when this page was made."
}

// signaturesText says how many of how many have signed a block, and how many must.
func signaturesText(h *ledgerv1.Header, c *ledgerv1.Certificate, set *ledgerv1.ValidatorSet) string {
	n := len(c.GetSignatures())
	if h.GetHeight() == 0 {
		return "none: genesis"
	}
	if h.GetValidatorsVersion() != set.GetVersion() {
		return plural(n, "signature")
	}
	of := len(set.GetValidators())
	return fmt.Sprintf("%d of %d, %d needed", n, of, light.Quorum(of))
}
