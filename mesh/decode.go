package mesh

import (
	"crypto/ed25519"
	"fmt"
	"unicode"

	"github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The topics.
const (
	PresenceTopic     = "shardy.presence.v1"
	TransactionsTopic = "shardy.blockchain.transactions.v1"
	AnnounceTopic     = "shardy.block.announce.v1"
)

// MaxBatch is how many transactions a message may hold.
const MaxBatch = 64

// Limits of what is decoded.
const (
	maxTransaction = 64 << 10
	maxPresence    = 4 << 10
	maxAnnounce    = light.MaxHeaderBytes + light.MaxCertificateBytes + 64
	maxName        = 64
	maxAddresses   = 8
	maxAddress     = 256
)

// batch is a message of transactions, with the ids of their bodies.
type batch struct {
	txs [][]byte
	ids []seal.Hash
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// parseBatch reads a message of TransactionsTopic. It does not verify.
func parseBatch(b []byte) (batch, error) {
	m := new(ledgerv1.TransactionBatch)
	if err := proto.Unmarshal(b, m); err != nil {
		return batch{}, malformed("batch: %v", err)
	}
	if n := len(m.Transactions); n == 0 || n > MaxBatch {
		return batch{}, malformed("batch of %d transactions", n)
	}
	out := batch{txs: m.Transactions, ids: make([]seal.Hash, 0, len(m.Transactions))}
	inside := make(map[seal.Hash]bool, len(m.Transactions))
	for i, tx := range m.Transactions {
		id, err := transactionID(tx)
		if err != nil {
			return batch{}, fmt.Errorf("transaction %d: %w", i, err)
		}
		if inside[id] {
			return batch{}, malformed("transaction %d is there twice", i)
		}
		inside[id] = true
		out.ids = append(out.ids, id)
	}
	return out, nil
}

func transactionID(tx []byte) (seal.Hash, error) {
	if len(tx) > maxTransaction {
		return seal.Hash{}, fmt.Errorf("%w: transaction of %d bytes", ErrTooLarge, len(tx))
	}
	s := new(ledgerv1.SignedTransaction)
	if err := proto.Unmarshal(tx, s); err != nil {
		return seal.Hash{}, malformed("transaction: %v", err)
	}
	if len(s.Body) == 0 || len(s.Signature) != ed25519.SignatureSize {
		return seal.Hash{}, malformed("transaction of %d bytes with a signature of %d", len(s.Body), len(s.Signature))
	}
	return seal.TransactionID(s.Body), nil
}

// parseAnnounce reads a message of AnnounceTopic. It does not verify.
func parseAnnounce(chain string, b []byte) (Announcement, error) {
	if len(b) > maxAnnounce {
		return Announcement{}, fmt.Errorf("%w: announcement of %d bytes", ErrTooLarge, len(b))
	}
	m := new(ledgerv1.BlockAnnounce)
	if err := proto.Unmarshal(b, m); err != nil {
		return Announcement{}, malformed("announcement: %v", err)
	}
	h, err := light.ParseHeader(chain, m.Header)
	if err != nil {
		return Announcement{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	c := new(ledgerv1.Certificate)
	if len(m.Certificate) > light.MaxCertificateBytes || proto.Unmarshal(m.Certificate, c) != nil {
		return Announcement{}, malformed("certificate of %d bytes", len(m.Certificate))
	}
	return Announcement{Hash: seal.HeaderHash(m.Header), Header: h, HeaderBytes: m.Header, Certificate: c}, nil
}

// parsePresence reads a message of PresenceTopic.
func parsePresence(b []byte) (*ledgerv1.Presence, error) {
	if len(b) > maxPresence {
		return nil, fmt.Errorf("%w: presence of %d bytes", ErrTooLarge, len(b))
	}
	p := new(ledgerv1.Presence)
	if err := proto.Unmarshal(b, p); err != nil {
		return nil, malformed("presence: %v", err)
	}
	switch {
	case len(p.Key) != ed25519.PublicKeySize:
		return nil, malformed("presence: key of %d bytes", len(p.Key))
	case !printable(p.Node, maxName) || !printable(p.Version, maxName):
		return nil, malformed("presence: node or version is not %d printable characters", maxName)
	case p.Sequence == 0 || p.AtUs <= 0:
		return nil, malformed("presence: no sequence or time")
	case len(p.Idle) > 3 || len(p.Addresses) > maxAddresses:
		return nil, malformed("presence: %d tiers, %d addresses", len(p.Idle), len(p.Addresses))
	}
	for _, a := range p.Addresses {
		if len(a) > maxAddress {
			return nil, malformed("presence: address of %d bytes", len(a))
		}
		if _, err := multiaddr.NewMultiaddr(a); err != nil {
			return nil, malformed("presence: %v", err)
		}
	}
	return p, nil
}

// printable reports whether a name can be shown to people as it is.
func printable(s string, limit int) bool {
	n := 0
	for _, r := range s {
		if n++; n > limit || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
