// Package cmd is the top floor: binaries that wire every port below, and the tests that hold the house together.
//
// What lives here: shardy, the one binary, and shardy-bench, the load generator. Below shardy: orchestrator (the process
// that serves, as a value), logserver (a log served to others), cli (the commands that ask, look, sign and audit), receipts (what a worker keeps of orchestrators' words), demo,
// process and relay (what demo and tests run it with), examples (programs for jobs), e2e (the whole, tried). What must
// never: a decision, a frame, a query; those have rooms below.
//
// The road of data ends here as exit codes, text and JSON (shardy/JSON.md is the contract), and begins here as flags.
package cmd
