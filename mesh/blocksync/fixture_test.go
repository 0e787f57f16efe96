package blocksync

import (
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

func chaintestGenesis(m *chaintest.Maker) []byte {
	h := sha256.Sum256(m.Genesis)
	return h[:]
}

func hashOf(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(b)
	return h[:]
}
