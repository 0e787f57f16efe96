// Package settlement makes an orchestrator's verdicts transactions of the ledger: it is the shell of actors/settle, which
// decides what is paid, punished and given back.
//
// It promises that what the log has verified is paid once, whatever moment the process is killed in, that nothing on the
// road of a job waits for it, and that it takes no more than its share of the processor: the log is the queue, and a
// settlement that falls behind is late, not lost. Limits: it settles what one log says with one key, in one process; its
// memory is what settle keeps (some 700 bytes an open job, as many again for each of some thousands that wait), and what
// its account cannot pay waits until money comes.
//
// # What is stored when
//
// The book is one file, written whole: a new file, synced, renamed, its folder synced. It may be older than what was heard
// (facts and blocks are heard again), but never older than a transaction that was signed. A kill may come
//
//	before the file is written    nothing was signed; the same facts make the same transactions
//	after it, before a submit     what is in the file is submitted after the restart
//	after a submit                it is submitted again, which has no effect: it is the same transaction
//	after its block               the block is heard again, by its height in the file
//
// A file that is damaged is ErrDamaged, and one of another chain, key or log ErrForeign: neither ever becomes a new book
// by itself. One that is older than what the ledger remembers (evidence_blocks) is ErrForgotten: it may be a copy from
// before payments that nobody could recognise any more.
//
// # A new book
//
// Without a file the log is heard from its beginning, and what it says is paid. Most of that may have been paid before:
// the ledger refuses it (ALREADY_SETTLED), and the book takes that for paid. Only what the ledger has forgotten could be
// paid twice, so of the records from before the book those are passed over that are older than the ledger's memory, or
// than Config.Since. They are counted (Status.Passed), not paid. How far the memory reaches is known once the chain has a
// block from about the time of the book (an anchor makes one): with the book the chain may have been lost, and is fetched
// again. Until then nothing from before the book is heard (Status.Stale).
//
// Therefore Reset, a rebuild that any operator of the screens may ask for, is refused (ErrRebuild): it would cost fees and
// find nothing. Who means it removes the file while the process is down.
package settlement
