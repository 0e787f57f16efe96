// Package esdbserver serves any [events.Log] over EventStoreDB's gRPC protocol, so that official clients in every
// language can read, follow and audit the log, and several processes can share one.
//
// It is one node: there is no replication, no projections, no HTTP interface, and links between events are not resolved.
// What the log calls durable is what a client hears of; bytes of events and of their metadata pass untouched. Of a
// stream's metadata $maxCount, $maxAge and $tb bound what is read, nothing is ever removed, and $acl is kept and not
// followed: who may write what is the configuration's. A log without an optional power (events.Atomic, Tombstoner,
// Backward) refuses the calls that need it.
//
// The road of data: a call is authenticated and admitted (access.go), its bytes become drafts or places (append.go,
// read.go), the log answers, and every refusal leaves through one door (refusal.go) with the trailers that clients look
// at. Followers read the log in pages at their own pace (page.go); one tail for all of them (hub.go) tells when there is
// more, so that a follower that does not read costs its page and what the transport holds (64 KiB), and nothing else.
// Events leave in frames written by hand (frame.go). Persistent subscriptions (group.go) keep what they must in system
// streams of the very log.
package esdbserver
