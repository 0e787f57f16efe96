package ledger

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// canonical encodes what goes into the state, a header or a receipt. None of these messages holds a map or a float, so
// their bytes follow from their content; a test pins them, because all validators must write the same ones.
var canonical = proto.MarshalOptions{Deterministic: true}

func encode(m proto.Message) []byte {
	b, err := canonical.Marshal(m)
	if err != nil {
		return nil // only a text that is not UTF-8 fails, and none gets past Check or ParseGenesis
	}
	return b
}

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }

// decode reads what this package wrote. The root of the state vouches for it.
func decode[M proto.Message](b []byte, m M) M {
	if unmarshal(b, m) != nil {
		proto.Reset(m)
	}
	return m
}

// held reads what lies at a place of a state; nil if nothing does.
func held[T any, M interface {
	*T
	proto.Message
}](s State, place Hash,
) M {
	v := s.trie.Get(place)
	if v == nil {
		return nil
	}
	return decode(v, M(new(T)))
}

// known reports whether a message holds only fields that this version knows. What it does not know it could not execute
// as a newer version does, and the two would part.
func known(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return false
	}
	ok := true
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				ok = ok && known(v.List().Get(i).Message())
			}
		default:
			ok = known(v.Message())
		}
		return ok
	})
	return ok
}

func newAccount(key []byte) *ledgerv1.Account {
	return &ledgerv1.Account{Key: key, ReputationPpm: FirstReputation}
}

// cloneAccount copies what a draft changes. Parts of unbonding money are replaced, never changed.
func cloneAccount(a *ledgerv1.Account) *ledgerv1.Account {
	return &ledgerv1.Account{
		Balance: a.Balance, Stake: a.Stake, Unbonding: append([]*ledgerv1.Unbonding(nil), a.Unbonding...),
		JailedUntil: a.JailedUntil, Tombstoned: a.Tombstoned, ReputationPpm: a.ReputationPpm, Settled: a.Settled,
		Contradicted: a.Contradicted, Earned: a.Earned, Slashed: a.Slashed, Key: a.Key,
	}
}
