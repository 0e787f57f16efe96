// Package cmd is the top floor: binaries that wire every port below, and the tests that hold the house together.
//
// What lives here: shardy (the one binary: orchestrator, worker, client, audit), its example programs, and
// shardy-bench (load generator). What must never: a decision, a frame, a query; those have rooms below.
//
// The road of data ends here as exit codes, text and JSON, and begins here as flags.
package cmd
