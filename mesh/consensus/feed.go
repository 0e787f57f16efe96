package consensus

import "time"

// A transaction costs a validator as much in the library's pool as all else of its ordering, and only the leader needs it
// there at once. So a follower puts in only what is still in no block after a while: the library then forwards it, and at
// last complains of the leader. A validator that begins to lead puts in all that waits.

// feedEvery is how often a follower looks for what waits. What it finds was accepted before the last look.
func (c Config) feedEvery() time.Duration { return max(c.Heartbeat/8, 2*c.BatchInterval) }

// leads reports whether this validator leads, as far as it knows.
func (in *instance) leads() bool {
	return in.engine.members().leader(in.view.Load()) == in.node
}

// begun hears that a view runs. It is called by the library, which must not be called back.
func (in *instance) begun(view uint64) {
	in.view.Store(view)
	in.deciding.Store(0)
	in.said.begun(view)
	in.in.begun(view)
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

// feed is the goroutine that looks after the library: it puts into its pool what Submit has not, repeats what nobody may
// have heard, and sees that it goes on. What was accepted up to a number waits since the last look at least; what is above
// it may still be on its way into a block.
func (in *instance) feed() {
	defer close(in.fed)
	look := time.NewTicker(in.engine.cfg.feedEvery())
	defer look.Stop()
	var done, mark, decision uint64
	for {
		select {
		case <-in.ctx.Done():
			return
		case <-in.changed:
			if !in.leads() {
				continue
			}
			mark = in.engine.pending.last()
		case <-look.C:
			decision = in.goesOn(decision)
			in.repeat()
			in.offerAgain(done)
		}
		in.offerAll(in.engine.pending.between(done, mark))
		done, mark = mark, in.engine.pending.last()
	}
}

// offeredAgain bounds what is offered a second time at one look.
const offeredAgain = 256

// offerAgain offers the oldest of what was offered before and still waits: the library may not have been ready for it, or
// had no room. What it has already it does not take twice.
func (in *instance) offerAgain(done uint64) {
	waiting := in.engine.pending.between(0, done)
	in.offerAll(waiting[:min(len(waiting), offeredAgain)])
}

// offerAll offers transactions until the instance ends.
func (in *instance) offerAll(txs []pendingTx) {
	for _, tx := range txs {
		if in.ctx.Err() != nil {
			return
		}
		in.offer(tx.id, tx.tx)
	}
}
