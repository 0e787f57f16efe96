// Package mesh is where orchestrators of different operators meet: libp2p host, gossip, discovery, presence, and below it
// the streams of blocks and their ordering.
//
// It promises that a peer is known by the ed25519 key that its orchestrator signs with, that what gossip hands over was
// checked and what is provably wrong costs its sender score, that one peer's flood takes only that peer's share of time
// and memory, and that Close ends every goroutine it started. Limits: gossip is best effort, a message may be lost or come
// late, twice or out of order, so whoever must have something asks for it on a stream; presence is what an orchestrator
// says of itself; and nothing here orders anything. What must never live here: a job's path. Nothing that a job waits for
// may wait for another operator.
//
// The rooms: consensus orders transactions into blocks, chain keeps and executes them, blocksync fetches what is missing,
// node puts these and the host together, settlement turns verdicts of the log into transactions.
//
// The road of a message: RPC -> a peer's allowance (flood.go) -> signature of its author -> size and form (decode.go) ->
// seen before? -> a fair turn (lanes.go) -> the check that its topic demands (check.go) -> one reader a topic -> the port.
package mesh
