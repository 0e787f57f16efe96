package mesh

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Submit checks a transaction and sends it to the other orchestrators, together with others that come within the linger.
// One that has come by gossip or through Submit not long ago is not sent again. It does not wait: ErrBusy says that the
// queue is full. Nothing of it reaches this orchestrator's own Transactions port. What is queued at Close is lost.
func (m *Mesh) Submit(tx []byte) error {
	if m.cfg.Ports.CheckTransaction == nil {
		return ErrOff
	}
	id, err := transactionID(tx)
	if err != nil {
		return err
	}
	if m.checks.txs.has(id) {
		return nil
	}
	if err := m.cfg.Ports.CheckTransaction(tx); err != nil {
		return fmt.Errorf("mesh: submit: %w", err)
	}
	select {
	case <-m.closing:
		return ErrClosed
	default:
	}
	select {
	case m.outgoing <- tx:
		m.checks.txs.add(id)
		return nil
	default:
		return ErrBusy
	}
}

// PublishTransactions sends transactions now, MaxBatch to a message.
func (m *Mesh) PublishTransactions(ctx context.Context, txs [][]byte) error {
	if m.cfg.Ports.CheckTransaction == nil {
		return ErrOff
	}
	for len(txs) > 0 {
		n, size := 0, 0
		for n < len(txs) && n < MaxBatch && (n == 0 || size+len(txs[n])+8 <= m.cfg.MaxMessage/2) {
			size += len(txs[n]) + 8
			n++
		}
		b, err := proto.Marshal(&ledgerv1.TransactionBatch{Transactions: txs[:n]})
		if err != nil {
			return fmt.Errorf("mesh: batch: %w", err)
		}
		if err := m.gossip.publish(ctx, TransactionsTopic, b); err != nil {
			return err
		}
		txs = txs[n:]
	}
	return nil
}

// batches sends what Submit has queued: when a message is full, or when the first in it has waited for the linger.
func (m *Mesh) batches(ctx context.Context) {
	linger := time.NewTimer(0)
	<-linger.C
	defer linger.Stop()
	for {
		var txs [][]byte
		select {
		case tx := <-m.outgoing:
			txs = append(txs, tx)
		case <-ctx.Done():
			return
		}
		linger.Reset(m.cfg.Linger)
		size, late := len(txs[0]), false
		for len(txs) < MaxBatch && size < m.cfg.MaxMessage/2 && !late {
			select {
			case tx := <-m.outgoing:
				txs = append(txs, tx)
				size += len(tx)
			case <-linger.C:
				late = true
			case <-ctx.Done():
				return
			}
		}
		if !late {
			linger.Stop()
		}
		if err := m.PublishTransactions(ctx, txs); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("transactions not published", "count", len(txs), "error", err)
		}
	}
}

// PublishAnnounce tells others of a block that this orchestrator has committed to.
func (m *Mesh) PublishAnnounce(ctx context.Context, header, certificate []byte) error {
	if m.cfg.Ports.Validators == nil {
		return ErrOff
	}
	b, err := proto.Marshal(&ledgerv1.BlockAnnounce{Header: header, Certificate: certificate})
	if err != nil {
		return fmt.Errorf("mesh: announcement: %w", err)
	}
	return m.gossip.publish(ctx, AnnounceTopic, b)
}
