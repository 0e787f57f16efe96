// Package seal says what of the ledger is hashed and signed, byte by byte: transactions, headers, votes, approvals, roots
// and the places of things in the trie of the state.
//
// It promises that two different things never have the same text under one key (every text begins with its own tag, and
// what has no fixed length comes behind its length), and that nothing is encoded a second time to be verified. It knows
// no rule of the ledger.
package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// The tags of texts that are signed or hashed.
const (
	transactionTag = "shardy/transaction/v1\x00"
	headerTag      = "shardy/block/v1\x00"
	voteTag        = "shardy/vote/v1\x00"
	validatorsTag  = "shardy/validators/v1\x00"
	voidTag        = "shardy/void/v1\x00"
)

// TransactionID names a transaction: the SHA-256 of its body.
func TransactionID(body []byte) Hash { return sha256.Sum256(body) }

// TransactionText is what the sender signs.
func TransactionText(body []byte) []byte { return append([]byte(transactionTag), body...) }

// SignTransaction makes a transaction of an encoded body.
func SignTransaction(body []byte, key ed25519.PrivateKey) *ledgerv1.SignedTransaction {
	return &ledgerv1.SignedTransaction{Body: body, Signature: ed25519.Sign(key, TransactionText(body))}
}

// HeaderHash names a block.
func HeaderHash(header []byte) Hash {
	h := sha256.New()
	h.Write([]byte(headerTag))
	h.Write(header)
	return Hash(h.Sum(nil))
}

// VoteText is what a validator signs when it commits to a block; nil for a vote whose hashes are none.
func VoteText(chain string, v *ledgerv1.Vote) []byte {
	if len(v.GetBlock()) != sha256.Size || len(v.GetMetadata()) != sha256.Size {
		return nil
	}
	b := behind(nil, voteTag, chain)
	b = binary.BigEndian.AppendUint64(b, v.GetHeight())
	b = binary.BigEndian.AppendUint64(b, v.GetView())
	b = append(b, v.GetBlock()...)
	b = append(b, v.GetMetadata()...)
	return binary.BigEndian.AppendUint64(b, v.GetValidatorsVersion())
}

// SignVote makes the signature of a vote; nil for one without a text.
func SignVote(chain string, v *ledgerv1.Vote, key ed25519.PrivateKey) []byte {
	text := VoteText(chain, v)
	if text == nil {
		return nil
	}
	return ed25519.Sign(key, text)
}

// VerifyVote reports whether the vote is the validator's.
func VerifyVote(chain string, v *ledgerv1.Vote, validator, signature []byte) bool {
	text := VoteText(chain, v)
	return text != nil && Verify(validator, text, signature)
}

// Verify reports whether the signature is the key's. A malformed key or signature is not.
func Verify(key, text, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize && len(signature) == ed25519.SignatureSize && ed25519.Verify(key, text, signature)
}

// VoteOf is what the certificate's signers have signed, without the signature.
func VoteOf(c *ledgerv1.Certificate, validatorsVersion uint64) *ledgerv1.Vote {
	metadata := sha256.Sum256(c.GetMetadata())
	return &ledgerv1.Vote{
		Height: c.GetHeight(), View: c.GetView(), Block: c.GetBlock(), Metadata: metadata[:], ValidatorsVersion: validatorsVersion,
	}
}

// ValidatorsText is what present validators sign to approve a new set: the encoded body of the change.
func ValidatorsText(chain string, change []byte) []byte {
	return append(behind(nil, validatorsTag, chain), change...)
}

// VoidText is what validators sign to void a penalty: the encoded body of the action.
func VoidText(chain string, void []byte) []byte {
	return append(behind(nil, voidTag, chain), void...)
}

// behind is a tag and a text behind its length.
func behind(b []byte, tag, text string) []byte {
	b = append(b, tag...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// Root is the RFC 6962 root over entries: the transactions of a block, or its encoded receipts.
func Root(entries [][]byte) Hash {
	root, err := tlog.TreeHash(int64(len(entries)), tree(entries))
	if err != nil {
		panic(err) // the reader never fails
	}
	return Hash(root)
}

// Path proves that an entry lies under the root, by RFC 6962. The index MUST be that of an entry.
func Path(entries [][]byte, index int) [][]byte {
	proof, err := tlog.ProveRecord(int64(len(entries)), int64(index), tree(entries))
	if err != nil {
		panic(err) // likewise
	}
	var path [][]byte
	for _, h := range proof {
		path = append(path, bytes.Clone(h[:]))
	}
	return path
}

// tree reads the hashes of the tree over entries.
func tree(entries [][]byte) tlog.HashReader {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, e := range entries {
		hashes, err := tlog.StoredHashes(int64(i), e, read)
		if err != nil {
			panic(err) // the reader above never fails
		}
		stored = append(stored, hashes...)
	}
	return read
}

// The places of things in the trie of the state.

// AccountKey is where an account lies.
func AccountKey(key []byte) trie.Hash { return trie.Key("account", key) }

// EscrowKey is where an orchestrator's escrow for a job lies.
func EscrowKey(owner []byte, job string) trie.Hash { return trie.Key("escrow", joined(owner, job)) }

// AnchorKey is where an orchestrator's last log checkpoint lies.
func AnchorKey(orchestrator []byte) trie.Hash { return trie.Key("anchor", orchestrator) }

// PenaltyKey is where a worker's frozen penalty for an orchestrator's job lies.
func PenaltyKey(orchestrator, worker []byte, job string) trie.Hash {
	return trie.Key("penalty", append(joined(orchestrator, ""), joined(worker, job)...))
}

// SettledKey is where it is remembered what an orchestrator's job was settled with.
func SettledKey(orchestrator []byte, job string) trie.Hash {
	return trie.Key("settled", joined(orchestrator, job))
}

// DueKey is where the first page of what happens at a height lies.
func DueKey(height uint64) trie.Hash { return DuePageKey(height, 0) }

// DuePageKey is where a page of what happens at a height lies, the first being 0.
func DuePageKey(height uint64, page uint32) trie.Hash {
	b := binary.BigEndian.AppendUint64(nil, height)
	if page > 0 {
		b = binary.BigEndian.AppendUint32(b, page)
	}
	return trie.Key("due", b)
}

// DueCursorKey is where it lies how far the work that was due is done, when it is behind.
func DueCursorKey() trie.Hash { return trie.Key("cursor", nil) }

// EvidenceKey is where it is remembered that evidence was used.
func EvidenceKey(id Hash) trie.Hash { return trie.Key("evidence", id[:]) }

// TransactionKey is where it is remembered that a transaction was executed, until it expires.
func TransactionKey(id Hash) trie.Hash { return trie.Key("transaction", id[:]) }

// ValidatorsKey is where the validators of the next block lie.
func ValidatorsKey() trie.Hash { return trie.Key("validators", nil) }

// SupplyKey is where it is counted where the money is.
func SupplyKey() trie.Hash { return trie.Key("supply", nil) }

// ParamsKey is where the chain's parameters lie.
func ParamsKey() trie.Hash { return trie.Key("params", nil) }

// joined is a key of fixed length, or one behind its length, and a name.
func joined(key []byte, name string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(key)))
	return append(append(b, key...), name...)
}
