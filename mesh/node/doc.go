// Package node is one orchestrator's side of the ledger: its chain on disk, its door to the others, and its vote.
//
// It promises that a transaction which Submit took is offered until it is in a block or expired, as long as this process
// lives; that a node which fell behind goes on by itself, by blocks or by a snapshot; that whoever is seen to contradict
// itself is accused on the ledger until it is punished or cannot be any more, restarts included; and that Close ends every
// goroutine. Limits: it decides nothing itself (package consensus orders, package chain executes); what was submitted and
// is in no block is forgotten when the process ends; and when the engine gives up, Failed says so and the process must end.
//
// What belongs together:
//
//	node.go      opening and closing, in order
//	ports.go     what the mesh asks and tells
//	keep.go      catching up, the engine, and starting it anew when it is left behind
//	submit.go    transactions of this orchestrator and its clients; waiting.go keeps them until they are in a block
//	purse.go     who can pay for what waits
//	follow.go    what a committed block sets going: announcements, and whom it accuses
//	accuse.go    accusations: evidence becomes transactions; docket.go keeps them on disk, contradict.go finds some in blocks
package node
