// Package projections turns the event log into answers: a runner that keeps read models up to date, and the open work,
// which is what a restart needs.
//
// It promises that a projection sees every event that passes its filter once and in order, as far as its own stored
// place goes, and that nothing here slows an append down. It promises no instant: a projection lags behind the log,
// and says by how much. What must never live here: a decision, a write to the log, a clock that a decision could see.
//
// The road of data: record at a position -> Apply -> rows and place, stored together -> a list, a page, a command to
// something that was found open.
//
// The rooms below. Projections that the runner keeps: readmodel (rows in SQLite for lists, counts and screens),
// transparency (the Merkle tree over the log, checkpoints, proofs), metrics (Prometheus series) and traces
// (OpenTelemetry spans). Readers that come when they are asked: audit (the log decided again, stories, bundles, other
// policies) and, two floors up, dashboard (the screens).
package projections
