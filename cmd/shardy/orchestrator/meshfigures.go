package orchestrator

import (
	"github.com/shardy-network/orchestrator/mesh/consensus"
	"github.com/shardy-network/orchestrator/projections/metrics"
)

// meshFigures are what a scrape hears of the ledger and of those who share it.
func (o *Orchestrator) meshFigures() []metrics.Figure {
	if o.node == nil {
		return nil
	}
	n, m := o.node.Status(), o.node.Mesh().Status()
	all := []metrics.Figure{
		gauge("ledger_height", "Height of the last block.", float64(n.Height)),
		gauge("ledger_height_heard", "Height of the highest block that is known to be there.", float64(n.Heard)),
		gauge("ledger_validators", "Validators of the next block.", float64(n.Validators)),
		gauge("ledger_votes", "1 while this orchestrator votes on blocks.", one(n.Role == consensus.Validator)),
		gauge("ledger_failed", "1 when the ordering of blocks has given up here.", one(n.Failure != nil)),
		gauge("ledger_pending", "Transactions accepted here that are in no block yet.", float64(n.Pending)),
		gauge("ledger_accusations", "Contradictions that are being reported to the ledger.", float64(n.Accusing)),
		total("ledger_restarts", "Times that the ordering was started anew.", float64(n.Restarts)),
		total("ledger_messages_dropped", "Messages of validators that no queue had room for.", float64(n.Dropped)),
		gauge("mesh_peers", "Connected peers.", float64(len(m.Peers))),
		gauge("mesh_orchestrators", "Other orchestrators that say they live.", float64(m.Orchestrators)),
		gauge("mesh_validators_reached", "Other validators that are connected.", float64(m.Reached)),
		total("mesh_refused", "Connections, dials and streams that were refused.", float64(m.Refused)),
		total("mesh_gossip_cut", "Gossip messages beyond their sender's allowance.", float64(m.Cut)),
		total("mesh_bytes_in", "Bytes from peers.", float64(m.Bandwidth.In)),
		total("mesh_bytes_out", "Bytes to peers.", float64(m.Bandwidth.Out)),
	}
	for _, t := range m.Topics {
		all = append(all,
			metrics.Figure{Name: "mesh_messages_in_total", Help: "Gossip messages accepted.", Counter: true, Label: "topic", Of: t.Name, Value: float64(t.In)},
			metrics.Figure{Name: "mesh_messages_rejected_total", Help: "Gossip messages that were provably wrong.", Counter: true, Label: "topic", Of: t.Name, Value: float64(t.Rejected)})
	}
	return append(all, o.settlementFigures()...)
}

// settlementFigures are what a scrape hears of what is paid.
func (o *Orchestrator) settlementFigures() []metrics.Figure {
	if o.settlement == nil {
		return nil
	}
	s := o.settlement.Status()
	return []metrics.Figure{
		gauge("settlement_lag_seconds", "Age of the last event when it was heard.", s.Lag.Seconds()),
		gauge("settlement_waiting", "Payments and punishments that are in no transaction yet.", float64(s.Waiting)),
		gauge("settlement_sent", "Transactions that are in no block yet.", float64(s.Sent)),
		gauge("settlement_doubts", "Punishments that wait for the referee.", float64(s.Doubts)),
		gauge("settlement_poor", "1 while the account cannot pay.", one(s.Poor != nil)),
		gauge("settlement_stale", "1 while a new book waits for a block before it hears what is older.", one(s.Stale)),
		gauge("settlement_failed", "1 when nothing is settled any more.", one(s.Failed != nil)),
		gauge("settlement_anchored_events", "Size of the log that the ledger has anchored.", float64(s.Anchored)),
		total("settlement_paid", "Jobs paid.", float64(s.Paid)),
		total("settlement_refused", "Payments and punishments that the ledger refused for good.", float64(s.Refused)),
		total("settlement_unpaid", "Verified jobs with too few attested results.", float64(s.Unpaid)),
	}
}
