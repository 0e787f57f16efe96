package node

import (
	"bytes"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/consensus"
)

// Phase is how catching up goes.
type Phase string

// The phases.
const (
	Asking  Phase = "asking"  // others are asked how far the chain is, or their blocks are fetched
	Current Phase = "current" // nothing was missing when it was last looked
	Behind  Phase = "behind"  // it could not be had; see Err
)

// Sync is how catching up goes.
type Sync struct {
	Phase Phase
	Err   error
}

// Status is a look at a node.
type Status struct {
	Role       consensus.Role
	Leader     []byte // key of who leads; nil when this node does not vote
	Height     uint64
	Hash       ledger.Hash // of the last block's header
	Low        uint64      // height of the first block that is kept
	Snapshot   uint64      // height of the newest snapshot; 0: none
	Genesis    ledger.Hash
	Heard      uint64 // height of the highest block that is known to be there
	Sync       Sync
	Pending    int    // transactions in the engine that are in no block yet
	Waiting    int    // of these and of an observer's, those that were submitted here
	Dropped    uint64 // messages of validators that no queue had room for
	Restarts   uint64 // of the ordering, since the engine was opened
	Accusing   int    // accusations that are not decided yet
	Validators int    // of the present set
	Version    uint64 // of the present set
	Failure    error  // why the node has given up
}

// Status looks at the node.
func (n *Node) Status() Status {
	c, set := n.chain.Status(), n.chain.Validators()
	s := Status{
		Role: consensus.Starting, Height: c.Height, Hash: c.Hash, Low: c.Low, Snapshot: c.Snapshot, Genesis: c.Genesis,
		Heard: max(n.heard.Load(), c.Height), Sync: *n.sync.Load(), Waiting: n.waiting.size(), Accusing: n.accuser.size(),
		Validators: len(set.GetValidators()), Version: set.GetVersion(),
	}
	if e := n.engine.Load(); e != nil {
		es := e.Status()
		s.Role, s.Pending, s.Dropped, s.Restarts, s.Failure = es.Role, es.Pending, es.Dropped, es.Restarts, es.Err
		if !bytes.Equal(es.Leader[:], make([]byte, len(es.Leader))) {
			s.Leader = es.Leader[:]
		}
	}
	if err := n.failure.Load(); err != nil {
		s.Role, s.Failure = consensus.Failed, *err
	}
	return s
}
