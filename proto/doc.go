// Package proto is the ground floor: the schemas of facts, of every wire and of evidence, and the Go code that is
// generated from them.
//
// What lives here: shardy/event/v1 (facts, commands, the envelope: what the log stores for good), shardy/worker/v1 (the
// worker wire), shardy/operator/v1 (the API), shardy/audit/v1 (bundles of evidence), shardy/esdb/v1 (EventStoreDB's wire
// in our words) and shardy/ledger/v1 (what orchestrators agree on). What must never: Go code written by hand, beside the
// test that the generated code is fresh. Fields are only added; numbers are never used twice; a new meaning is a new
// message.
//
// Generate with `buf generate` in this folder; the plugins are pinned in tools.mod.
package proto
