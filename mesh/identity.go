package mesh

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ErrIdentity is a key or peer id that is no ed25519 key.
var ErrIdentity = errors.New("mesh: not an ed25519 identity")

// PeerOf returns the peer id of an orchestrator's key.
func PeerOf(key ed25519.PublicKey) (peer.ID, error) {
	if len(key) != ed25519.PublicKeySize {
		return "", fmt.Errorf("%w: key of %d bytes", ErrIdentity, len(key))
	}
	k, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	id, err := peer.IDFromPublicKey(k)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return id, nil
}

// KeyOf returns the key of an orchestrator's peer id: an ed25519 key is written into the id itself.
func KeyOf(id peer.ID) (ed25519.PublicKey, error) {
	k, err := id.ExtractPublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if k.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("%w: key type %v", ErrIdentity, k.Type())
	}
	raw, err := k.Raw()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return ed25519.PublicKey(raw), nil
}

func privateKey(key ed25519.PrivateKey) (crypto.PrivKey, error) {
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return k, nil
}
