// Package orchestrator wires the rooms into the one process that takes jobs and hands them to workers: log (here or
// elsewhere, and served to others if wanted), blobs, projections, host, worker door, operator API, screens, module trials,
// challenges and referee; and, if it shares a ledger with others, mesh and settlement.
//
// It is a value: Config in, Run until ctx ends, Close; the command and the end-to-end tests run the same program. It
// decides nothing by itself.
package orchestrator
