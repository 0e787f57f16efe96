// Package gateway is the door for workers: it turns a WebSocket into a session, a session's words into commands, and
// effects into words.
//
// It promises that nothing a worker sends reaches a slot before it was measured (token, length, digest, shape, finite
// numbers, fuel, signature, further proof), that thanks leave only after the append is durable, that a socket that is
// gone has its tasks stripped at once, that every recorded result is in a signed receipt within seconds, unless its worker
// stays away, and that no worker can hold more memory, time or turns than the limits of Config.
// It decides nothing about jobs: whether a result is right, a worker good or a task late is for the entities to say.
//
// What lives below: wire (frames, pure), crew (goroutines that wait for work), socket (one connection), agent (the far
// side, with its sandbox), operator (the API of those who bring work, settle dead letters, read and audit).
//
// The road of data: bytes -> socket.Conn -> wire.Reader -> session -> command -> Orchestrator.Tell; and back: effect ->
// Door.Deliver -> session -> socket.Conn. Refusals before the upgrade are HTTP answers with the header Shardy-Error:
//
//	403  Origin       the page's origin is not allowed
//	429  RATE         handshakes or connections of one address, or handshakes over all
//	503  UNAVAILABLE  the door is full
//	503  DRAINING     the door is closing
//
// Refusals after it are an Error (or Rejected) message and a close frame; wire.CloseCode has the table.
package gateway
