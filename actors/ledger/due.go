package ledger

import (
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// doDue does what is due at this height, page by page, after what earlier blocks have left.
func (d *draft) doDue() {
	at, page := d.height, uint32(0)
	cursor := d.get(seal.DueCursorKey())
	if cursor != nil {
		c := decode(cursor, new(ledgerv1.DueCursor))
		at, page = c.Height, c.Page
	}
	for done := 0; done < MaxDuePages && at <= d.height; {
		place := seal.DuePageKey(at, page)
		v := d.get(place)
		if v == nil {
			at, page = at+1, 0
			continue
		}
		for _, what := range decode(v, new(ledgerv1.DueList)).Dues {
			d.fallDue(what)
		}
		d.set(place, nil)
		page++
		done++
	}
	switch {
	case at <= d.height:
		d.set(seal.DueCursorKey(), encode(&ledgerv1.DueCursor{Height: at, Page: page}))
	case cursor != nil:
		d.set(seal.DueCursorKey(), nil)
	}
	d.keep()
}

// fallDue does one thing that was ordered before.
func (d *draft) fallDue(what *ledgerv1.Due) {
	switch k := what.Kind.(type) {
	case *ledgerv1.Due_Forget:
		if len(k.Forget) == len(Hash{}) {
			d.set(Hash(k.Forget), nil)
		}
	case *ledgerv1.Due_Release:
		d.release(k.Release)
	case *ledgerv1.Due_Refund:
		d.payBack(k.Refund.GetOwner(), k.Refund.GetJob())
	case *ledgerv1.Due_Penalty:
		d.execute(k.Penalty.GetOrchestrator(), k.Penalty.GetWorker(), k.Penalty.GetJob())
	case *ledgerv1.Due_Unslash:
		d.open.pots.inWindow -= min(k.Unslash, d.open.pots.inWindow)
	}
}

// fileDues writes what the block has ordered behind what was ordered before for the same heights.
func (d *draft) fileDues() {
	byHeight := map[uint64][]*ledgerv1.Due{}
	var heights []uint64
	for _, o := range d.block.dues {
		if byHeight[o.height] == nil {
			heights = append(heights, o.height)
		}
		byHeight[o.height] = append(byHeight[o.height], o.what)
	}
	for _, h := range heights {
		d.file(h, byHeight[h])
	}
	d.keep()
}

// file fills the last page of a height, then begins new ones. The first page counts them.
func (d *draft) file(height uint64, dues []*ledgerv1.Due) {
	first := decode(d.get(seal.DueKey(height)), new(ledgerv1.DueList))
	page := max(first.Pages, 1) - 1
	for last := first; len(dues) > 0; page++ {
		if page > 0 {
			last = decode(d.get(seal.DuePageKey(height, page)), new(ledgerv1.DueList))
		}
		n := min(duesPerPage-len(last.Dues), len(dues))
		last.Dues, dues = append(last.Dues, dues[:n]...), dues[n:]
		first.Pages = page + 1
		if page > 0 {
			d.set(seal.DuePageKey(height, page), encode(last))
		}
		if len(last.Dues) < duesPerPage {
			break
		}
	}
	d.set(seal.DueKey(height), encode(first))
}
