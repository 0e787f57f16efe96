package ledger

import (
	"bytes"
	"slices"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// quorum refuses what fewer than a quorum of the present validators approve. Check has verified the signatures; those of
// others, or a second one, have no weight.
func (d *draft) quorum(approvals []*ledgerv1.ValidatorSignature) *refusal {
	set := d.open.validators
	voices := map[string]bool{}
	for _, s := range approvals {
		if light.Member(set, s.Validator) {
			voices[string(s.Validator)] = true
		}
	}
	if want := light.Quorum(len(set.Validators)); len(voices) < want {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_APPROVED, "%d of %d validators approve, want %d", len(voices), len(set.Validators), want)
	}
	return nil
}

// changeValidators makes the set that agrees on the blocks after this one.
func (d *draft) changeValidators(t *ledgerv1.ValidatorChange) *refusal {
	b, err := changeOf(t)
	if err != nil {
		return refuse(badEvidence, "%v", err) // Check takes none
	}
	present := d.open.validators
	if b.Version != present.Version+1 {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_WRONG_VERSION, "version %d after %d", b.Version, present.Version)
	}
	if r := d.quorum(t.Approvals); r != nil {
		return r
	}
	for _, key := range b.Remove {
		if !light.Member(present, key) {
			return refuse(forbidden, "%x is not a validator", key)
		}
	}
	for _, v := range b.Add {
		if r := d.unfitMember(v.Key); r != nil {
			return r
		}
	}
	next := changed(present.Validators, b)
	if why := unfitSet(next); why != "" {
		return refuse(outside, "%s", why)
	}
	d.open.validators = &ledgerv1.ValidatorSet{Version: b.Version, Validators: sortedByKey(next)}
	return nil
}

// unfitMember says why a key cannot become a validator's.
func (d *draft) unfitMember(key []byte) *refusal {
	if !d.exists(key) {
		if d.params.MinValidatorStake == 0 {
			return nil
		}
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_STAKE, "%x has no account", key)
	}
	switch a := d.account(key); {
	case a.Tombstoned:
		return refuse(forbidden, "%x has equivocated", key)
	case a.Stake < d.params.MinValidatorStake:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_STAKE, "stake of %x is %d, want %d", key, a.Stake, d.params.MinValidatorStake)
	}
	return nil
}

// changed is the set without those who leave, with those who join or are replaced.
func changed(present []*ledgerv1.Validator, b *ledgerv1.ValidatorChangeBody) []*ledgerv1.Validator {
	gone := slices.Clone(b.Remove)
	for _, v := range b.Add {
		gone = append(gone, v.Key)
	}
	stay := slices.DeleteFunc(slices.Clone(present), func(v *ledgerv1.Validator) bool {
		return slices.ContainsFunc(gone, func(key []byte) bool { return bytes.Equal(key, v.Key) })
	})
	return append(stay, b.Add...)
}

// expel takes a key out of the validators at once. The last one stays: a chain without validators would have ended.
func (d *draft) expel(key []byte) {
	present := d.open.validators
	if !light.Member(present, key) || len(present.Validators) == 1 {
		return
	}
	d.open.validators = &ledgerv1.ValidatorSet{
		Version:    present.Version + 1,
		Validators: slices.DeleteFunc(slices.Clone(present.Validators), func(v *ledgerv1.Validator) bool { return bytes.Equal(v.Key, key) }),
	}
}
