package esdbserver

import (
	"slices"
	"testing"

	"github.com/shardy-network/orchestrator/actors/rooms"
)

// TestEveryRoomIsProtected: a kind of entity that comes later must not be open to writers who are not of the product.
func TestEveryRoomIsProtected(t *testing.T) {
	for _, k := range rooms.All() {
		if !slices.Contains(DefaultProtected(), k.Prefix()+"-") {
			t.Errorf("anyone who may write may write to the streams of %s", k.Prefix())
		}
	}
}
