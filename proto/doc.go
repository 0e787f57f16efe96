// Package proto is the ground floor: the schemas of facts, of the worker wire and of the operator API, and the Go code
// that is generated from them.
//
// What lives here: shardy/event/v1 (facts, commands, the envelope: what the log stores for good), shardy/worker/v1 (the
// worker wire) and shardy/operator/v1 (the API). What must never: Go code written by hand, beside the test that the
// generated code is fresh. Fields are only added; numbers are never used twice; a new meaning is a new message.
//
// Generate with `buf generate` in this folder; the plugins are pinned in tools.mod.
package proto
