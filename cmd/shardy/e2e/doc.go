// Package e2e tries the whole product as its users meet it: the built binary, real processes, real sockets, a log on
// disk; and what may happen to them: kill -9, stopped processes, silent networks, full disks, torn files, liars; one
// operator, or several that share a ledger.
//
// It holds tests only. They take minutes, so -short leaves them out; each one prints the seed of what it drew.
package e2e
