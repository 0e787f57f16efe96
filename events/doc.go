// Package events is the event log's contract: append-only streams with one global order, the envelope around every
// fact, and the registry that turns bytes into facts and back.
//
// It promises nothing about durability by itself: the rooms below do (memlog keeps nothing, pebblelog syncs every
// acknowledged append), and all of them pass the same suite, eventstest. What must never live here: a clock, a
// decision, a fact's meaning.
//
// The road of data: a decision's facts are encoded by the [Registry], wrapped in an Envelope that also holds the
// command that caused them, and appended under the expected revision of their stream; readers decode them again.
package events
