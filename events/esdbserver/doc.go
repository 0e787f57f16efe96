// Package esdbserver serves any [events.Log] over EventStoreDB's gRPC protocol, so that official clients in every
// language can read, follow and audit the log, and several processes can share one.
//
// It is one node: there is no replication, no projections, no HTTP interface, and links between events are not resolved.
// What the log calls durable is what a client hears of; bytes of events and of their metadata pass untouched.
//
// The road of data: a call is authenticated and admitted (access.go), its bytes become drafts or places (append.go,
// read.go), the log answers, and every refusal leaves through one door (refusal.go) with the trailers that clients look
// at. Followers read the log in pages at their own pace (page.go); one tail for all of them (hub.go) tells when there is
// more, so that a follower that does not read costs its page and nothing else.
package esdbserver
