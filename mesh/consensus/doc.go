// Package consensus orders transactions into blocks on which a quorum of validators agrees that distrust each other.
//
// It promises that, as long as at most f = (n-1)/3 of n validators lie, no two honest ones commit different blocks at one
// height, that every block comes out once and in order with a certificate that actors/ledger/light verifies alone, and
// that a transaction which an honest validator accepted is in a block in the end. Limits: one key has one vote, n = 3
// stands one crash but no liar, with more than f liars nothing is promised, and what a transaction means is not known
// here: the Application does.
//
// The engine behind it is SmartBFT with one leader until it fails. Around it stands what it lacks:
//
//   - gate: what may reach it, and when: a view change, and blocks while it catches up; nothing that a liar sends gets it
//     to panic or to forget;
//   - repeat: what was said about a block is said again until it is final, as messages may be lost;
//   - feed: what waits is offered to the library by who leads; by the others only when it waits long;
//   - votes: commits are signed as seal.SignVote says, two of them that contradict are evidence;
//   - supervise: catches up before it starts, restarts it when it lags or gives up, makes an observer of who may not vote.
//
// What the library refuses to go on with (its own panics) ends the goroutine and the instance, never the process; the
// instance is started again from its log, and after a few failures without a block the engine gives up and says so
// (Config.OnFailure). A runtime error inside the library's goroutines cannot be caught: it ends the process, and the
// folder holds all that is needed to go on. So run it under a supervisor of processes.
package consensus
