// Package socket is a WebSocket connection that is cheap to hold idle and cheap to write small messages to.
//
// It promises that Send never blocks, that messages of one Send stay together, and that everything queued while a write
// is under way leaves in the next one. It does not promise delivery: a queue that grows over its limit refuses, and the
// owner closes the connection. A connection that rests holds no buffer beyond a few hundred bytes and no goroutine, where
// the system can watch its descriptor (Linux, and no TLS of this process); elsewhere it keeps one parked goroutine.
//
// It is the one importer of gorilla/websocket.
package socket
