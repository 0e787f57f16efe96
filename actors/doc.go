// Package actors is the vocabulary of the pure rooms below it: what a room decides, and what follows from it.
//
// Every entity (job, assignment, worker, pipeline, module, policy, shard) is a room with the same furniture: State,
// Decide (state and command give facts, or a refusal), Evolve (state and fact give the next state), React (facts give
// effects). Rooms know no clock, dice, goroutine, lock or socket: time and dice arrive inside the command. What lives
// here must never read anything but its arguments.
//
// The road of data: host, one floor up, loads a room's state from its stream, hands it a command, appends the facts
// under the expected revision, evolves, answers, and only then carries out the effects.
package actors
