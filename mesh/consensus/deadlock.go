package consensus

import "errors"

// When the library stops a view (it complains of the leader) in the moment in which that view has decided, it commits the
// block and then waits for the view to take note, for ever: it neither votes nor leads any more, and cannot be stopped once
// two more changes of the view have come. Under a steady stream of blocks this is no rare moment. So an instance that does
// not go on from a block is replaced.

var errDeadlock = errors.New("smartbft does not go on from a block")

// decides hears from the library that it has handed over a block that it had decided on, or goes on from one.
func (in *instance) decides(begins bool) {
	if begins {
		in.deciding.Store(in.decisions.Add(1))
	} else {
		in.deciding.Store(0)
	}
}

// goesOn looks whether the library has gone on from the block that it was at when it was looked at last.
func (in *instance) goesOn(last uint64) (now uint64) {
	now = in.deciding.Load()
	if now != 0 && now == last {
		in.fail(errDeadlock)
	}
	return now
}
