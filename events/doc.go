// Package events is the event log's contract: append-only streams with one global order, the envelope around every
// fact, and the registry of types that turns bytes into facts and back.
//
// It promises nothing about durability by itself: the rooms below do. memlog keeps nothing, pebblelog syncs every
// acknowledged append, kurrent is as durable as the server that it speaks to; all of them pass the same suite,
// eventstest, and so does kurrent over esdbserver, which serves any of them to official clients of EventStoreDB. blobs
// keeps content by its hash, durable before the event that names it. What must never live here: a clock, a decision, a
// fact's meaning.
//
// The road of data: a decision's facts are encoded, wrapped in an Envelope that also holds the command that caused them,
// and appended under the expected revision of their stream; readers decode them again by their type ([Decode],
// [DecodeEnvelope]).
package events
