package ledger

import (
	"crypto/ed25519"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const saltBytes = 16

// Checked is a transaction whose form and signatures are right, for one chain. The zero Checked is none.
type Checked struct {
	id      Hash
	encoded []byte
	body    *ledgerv1.Transaction
}

// ID names the transaction.
func (c Checked) ID() Hash { return c.id }

// Encoded is the SignedTransaction as it travels. It MUST NOT be changed.
func (c Checked) Encoded() []byte { return c.encoded }

// Body is what was signed. It MUST NOT be changed.
func (c Checked) Body() *ledgerv1.Transaction { return c.body }

// Check looks at all that the bytes of a transaction show by themselves: size, form, chain, and every signature in it.
// It depends on nothing else, so its answer holds for good and may be kept by the hash of the bytes. It keeps encoded.
func Check(chain string, encoded []byte) (Checked, error) {
	return CheckWith(chain, encoded, proof.Statement.Verify)
}

// CheckWith is Check for those who have verified attestations before.
func CheckWith(chain string, encoded []byte, attested proof.Attested) (Checked, error) {
	if len(encoded) > MaxTransactionBytes {
		return Checked{}, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(encoded), MaxTransactionBytes)
	}
	body, signature, ok := open(encoded)
	if !ok {
		return Checked{}, fmt.Errorf("%w: want a body and a signature, once each", ErrMalformed)
	}
	t := new(ledgerv1.Transaction)
	if err := unmarshal(body, t); err != nil {
		return Checked{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !known(t.ProtoReflect()) {
		return Checked{}, fmt.Errorf("%w: it has fields of a newer version", ErrMalformed)
	}
	if err := checkFrame(chain, t); err != nil {
		return Checked{}, err
	}
	for i, a := range t.Actions {
		if err := checkShape(a); err != nil {
			return Checked{}, fmt.Errorf("%w: action %d: %w", ErrMalformed, i, err)
		}
	}
	if !seal.Verify(t.Sender, seal.TransactionText(body), signature) {
		return Checked{}, ErrSignature
	}
	for i, a := range t.Actions {
		if err := checkEvidence(chain, t.Sender, a, attested); err != nil {
			return Checked{}, fmt.Errorf("action %d: %w", i, err)
		}
	}
	return Checked{id: seal.TransactionID(body), encoded: encoded, body: t}, nil
}

// open takes a SignedTransaction apart. Only one encoding of a body and a signature is taken, so that nobody can make a
// second transaction of the same id out of one.
func open(encoded []byte) (body, signature []byte, ok bool) {
	body, rest, ok := cut(encoded, 1)
	if !ok {
		return nil, nil, false
	}
	signature, rest, ok = cut(rest, 2)
	return body, signature, ok && len(rest) == 0 && len(body) > 0 && len(signature) == ed25519.SignatureSize
}

// cut reads one field of bytes from the front.
func cut(b []byte, field protowire.Number) (value, rest []byte, ok bool) {
	num, kind, n := protowire.ConsumeTag(b)
	if n < 0 || num != field || kind != protowire.BytesType || n != protowire.SizeTag(num) {
		return nil, nil, false
	}
	value, m := protowire.ConsumeBytes(b[n:])
	if m < 0 || m != protowire.SizeBytes(len(value)) {
		return nil, nil, false
	}
	return value, b[n+m:], true
}

// checkFrame looks at what all transactions have.
func checkFrame(chain string, t *ledgerv1.Transaction) error {
	switch {
	case t.ChainId != chain:
		return fmt.Errorf("%w: %.40q, want %q", ErrChain, t.ChainId, chain)
	case len(t.Sender) != ed25519.PublicKeySize:
		return fmt.Errorf("%w: sender has %d bytes", ErrMalformed, len(t.Sender))
	case len(t.Salt) != saltBytes:
		return fmt.Errorf("%w: salt has %d bytes, want %d", ErrMalformed, len(t.Salt), saltBytes)
	case t.ValidUntil == 0 || t.ValidUntil > MaxHeight:
		return fmt.Errorf("%w: valid until %d", ErrMalformed, t.ValidUntil)
	case len(t.Actions) < 1 || len(t.Actions) > MaxActions:
		return fmt.Errorf("%w: %d actions, want 1 to %d", ErrMalformed, len(t.Actions), MaxActions)
	}
	return nil
}

// Sign makes a transaction as it travels. It does not check it.
func Sign(t *ledgerv1.Transaction, key ed25519.PrivateKey) []byte {
	return encode(seal.SignTransaction(encode(t), key))
}
