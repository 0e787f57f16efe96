package readmodel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	workerColumns = `seq, key, position, tier, state, flags, owner, party, node, claim, proven, record, chunk_bytes, rejection, detail,
		registered, seen, sessions`
	walkWorkers        = `SELECT seq FROM workers WHERE seq < ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3`
	walkWorkersTier    = `SELECT seq FROM workers INDEXED BY workers_tier WHERE tier = ?4 AND state = ?5 AND seq < ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3`
	walkWorkersKey     = `SELECT ` + workerColumns + ` FROM workers INDEXED BY workers_key WHERE key >= ?1 AND key <= ?2 AND (?3 IS NULL OR key > ?3) ORDER BY key`
	fetchWorker        = `SELECT ` + workerColumns + ` FROM workers WHERE seq = ?`
	workerByKey        = `SELECT ` + workerColumns + ` FROM workers WHERE key = ?`
	countWorkerRows    = `SELECT a, b, n FROM counters WHERE what = ? AND scope = ''`
	walkSessions       = `SELECT seq, id, party, node, connected, ended, why FROM sessions WHERE worker = ? AND seq < ? ORDER BY seq DESC LIMIT ?`
	maxSearchedWorkers = 100_000 // looked at for one search
)

func (r row) worker() Worker {
	w := Worker{
		Key: r.blob(1), Position: events.Position(r.int(2)), Tier: r.u32(3), State: workerState(r.int(4)), Connected: r.int(5)&flagConnected != 0,
		Owner: r.blob(6), Group: r.text(7), Node: r.text(8), Claim: readMessage[eventv1.Profile](r.blob(9)),
		Proven: readMessage[eventv1.Proven](r.blob(10)), Record: readMessage[eventv1.Tally](r.blob(11)), ChunkBytes: uint64(r.int(12)),
		Rejection: eventv1.RejectionReason(r.int(13)), Detail: r.text(14), Registered: timeOf(r.int(15)), LastSeen: timeOf(r.int(16)),
		Sessions: uint64(r.int(17)),
	}
	if w.Record == nil {
		w.Record = new(eventv1.Tally)
	}
	return w
}

func workerState(i int64) WorkerState {
	if i >= 0 && i < int64(len(WorkerStates)) {
		return WorkerStates[i]
	}
	return WorkerDisconnected
}

// takes tells whether the filters pass a worker.
func (q *WorkerQuery) takes(tier uint32, s WorkerState) bool {
	return (len(q.Tiers) == 0 || slices.Contains(q.Tiers, tier)) && (len(q.States) == 0 || slices.Contains(q.States, s))
}

// Workers lists workers, the newest first; with Search in the order of their keys. Next is empty at the end.
func (m *Model) Workers(ctx context.Context, q WorkerQuery) (rows []Worker, next string, err error) {
	if err := checkFilter(len(q.Tiers), len(q.States)); err != nil {
		return nil, "", err
	}
	if q.Search != "" {
		return m.searchWorkers(ctx, q)
	}
	before, limit, err := q.open(orderBegun)
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var walks []source
		if len(q.Tiers) == 0 && len(q.States) == 0 {
			walks = []source{{text: walkWorkers}}
		} else {
			err := c.each(ctx, countWorkerRows, []any{countWorkers}, func(r row) error {
				if q.takes(r.u32(0), workerState(r.int(1))) {
					walks = append(walks, source{walkWorkersTier, []any{r.int(0), r.int(1)}})
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		var seqs []int64
		if seqs, next, err = newest(ctx, c, orderBegun, before, 0, limit, walks); err == nil {
			rows, err = fetch(ctx, c, fetchWorker, seqs, row.worker)
		}
		return err
	})
	return rows, next, err
}

// keyRange are the keys whose hex begins so.
func keyRange(search string) (low, high []byte, ok bool) {
	search = strings.ToLower(search)
	if len(search) > 64 {
		return nil, nil, false
	}
	low, err1 := hex.DecodeString(search + strings.Repeat("0", 64-len(search)))
	high, err2 := hex.DecodeString(search + strings.Repeat("f", 64-len(search)))
	return low, high, err1 == nil && err2 == nil
}

func (m *Model) searchWorkers(ctx context.Context, q WorkerQuery) (rows []Worker, next string, err error) {
	low, high, ok := keyRange(q.Search)
	if !ok {
		return nil, "", nil // no key begins so
	}
	limit := min(q.Limit, MaxPage)
	if limit <= 0 {
		limit = DefaultPage
	}
	var after any
	if q.After != "" {
		key, err := hex.DecodeString(q.After[1:])
		if q.After[0] != orderKey || err != nil {
			return nil, "", ErrPage
		}
		after = key
	}
	looked := 0
	err = m.read(ctx, func(c *conn) error {
		return c.each(ctx, walkWorkersKey, []any{low, high, after}, func(r row) error {
			w := r.worker()
			if looked++; looked > maxSearchedWorkers || len(rows) == limit {
				next = string(orderKey) + hex.EncodeToString(rows[len(rows)-1].Key)
				return errEnough
			}
			if q.takes(w.Tier, w.State) {
				rows = append(rows, w)
			}
			return nil
		})
	})
	if err == errEnough {
		err = nil
	}
	return rows, next, err
}

// CountWorkers counts the workers that a query would list, by tier and state, in that order.
func (m *Model) CountWorkers(ctx context.Context, q WorkerQuery) (counts []WorkerCount, err error) {
	if err := checkFilter(len(q.Tiers), len(q.States)); err != nil {
		return nil, err
	}
	err = m.read(ctx, func(c *conn) error {
		if q.Search != "" {
			counts, err = q.countFound(ctx, c)
			return err
		}
		return c.each(ctx, countWorkerRows, []any{countWorkers}, func(r row) error {
			if n := (WorkerCount{r.u32(0), workerState(r.int(1)), r.int(2)}); n.N > 0 && q.takes(n.Tier, n.State) {
				counts = append(counts, n)
			}
			return nil
		})
	})
	return counts, err
}

func (q *WorkerQuery) countFound(ctx context.Context, c *conn) (counts []WorkerCount, err error) {
	low, high, ok := keyRange(q.Search)
	if !ok {
		return nil, nil
	}
	found, looked := map[WorkerCount]int64{}, 0
	err = c.each(ctx, walkWorkersKey, []any{low, high, nil}, func(r row) error {
		if looked++; looked > CountLimit {
			return errEnough
		}
		if k := (WorkerCount{Tier: r.u32(3), State: workerState(r.int(4))}); q.takes(k.Tier, k.State) {
			found[k]++
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	for k, n := range found {
		counts = append(counts, WorkerCount{k.Tier, k.State, n})
	}
	slices.SortFunc(counts, func(a, b WorkerCount) int { return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.State, b.State)) })
	return counts, err
}

// Worker returns one worker, or ErrNotFound.
func (m *Model) Worker(ctx context.Context, key []byte) (*Worker, error) {
	var w Worker
	err := m.read(ctx, func(c *conn) error {
		found, err := c.one(ctx, workerByKey, []any{key}, func(r row) { w = r.worker() })
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// Sessions lists a worker's connections.
func (m *Model) Sessions(ctx context.Context, key []byte, p Page) (rows []Session, next string, err error) {
	before, limit, err := p.open(orderBegun)
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var worker, last int64
		found, err := c.one(ctx, workerByKey, []any{bytes.Clone(key)}, func(r row) { worker = r.int(0) })
		if err != nil || !found {
			return err
		}
		return c.each(ctx, walkSessions, []any{worker, before, limit + 1}, func(r row) error {
			if len(rows) == limit {
				next = placeOf(orderBegun, last)
				return nil
			}
			last = r.int(0)
			rows = append(rows, Session{
				ID: r.blob(1), Group: r.text(2), Node: r.text(3), Connected: timeOf(r.int(4)), Ended: timeOf(r.int(5)), Why: r.text(6),
			})
			return nil
		})
	})
	return rows, next, err
}
