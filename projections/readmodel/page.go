package readmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// A place in a list is a letter for the list's order and the number of the last row shown.
const (
	orderBegun   = 'b' // rows in the order in which they began
	orderHanded  = 'h' // jobs in the order of a worker's hand-overs
	orderByJob   = 'j' // attempts in the order of their jobs
	orderDead    = 'd'
	orderVerdict = 'v'
	orderSlot    = 's' // attempts of a job by slot
	orderKey     = 'k'

	maxPlace = math.MaxInt64
)

// open reads a place: rows with numbers below the one returned are still to be shown.
func (p Page) open(order byte) (before int64, limit int, err error) {
	limit = p.Limit
	if limit <= 0 {
		limit = DefaultPage
	}
	limit = min(limit, MaxPage)
	if p.After == "" {
		return math.MaxInt64, limit, nil
	}
	if p.After[0] != order {
		return 0, 0, ErrPage
	}
	before, err = strconv.ParseInt(p.After[1:], 10, 64)
	if err != nil || before <= 0 || strconv.FormatInt(before, 10) != p.After[1:] {
		return 0, 0, ErrPage
	}
	return before, limit, nil
}

func placeOf(order byte, n int64) string { return string(order) + strconv.FormatInt(n, 10) }

// source is one walk along an index, from the newest row down. Its text has the parameters ?1: rows below this number,
// ?2: rows from this number on, ?3: how many.
type source struct {
	text string
	args []any // ?4 and on
}

// newest merges walks: the numbers of the rows of a page, and the place of the next one.
func newest(ctx context.Context, c *conn, order byte, before, from int64, limit int, sources []source) (seqs []int64, next string, err error) {
	for _, s := range sources {
		args := append([]any{before, from, limit + 1}, s.args...)
		err := c.each(ctx, s.text, args, func(r row) error {
			seqs = append(seqs, r.int(0))
			return nil
		})
		if err != nil {
			return nil, "", err
		}
		if len(sources) > 1 && len(seqs) > limit {
			slices.SortFunc(seqs, func(a, b int64) int { return int(min(max(b-a, -1), 1)) })
			seqs = seqs[:limit+1]
			from = seqs[limit] + 1 // only newer ones are of interest
		}
	}
	slices.SortFunc(seqs, func(a, b int64) int { return int(min(max(b-a, -1), 1)) })
	if len(seqs) > limit {
		seqs = seqs[:limit]
		next = placeOf(order, seqs[limit-1])
	}
	return seqs, next, nil
}

// fetch reads the rows of a page one by one, along their primary key.
func fetch[T any](ctx context.Context, c *conn, text string, seqs []int64, scan func(row) T) ([]T, error) {
	rows := make([]T, 0, len(seqs))
	for _, seq := range seqs {
		if _, err := c.one(ctx, text, []any{seq}, func(r row) { rows = append(rows, scan(r)) }); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// any of them, as a mask over small numbers; none: all.
func mask[T ~int32 | ~uint8](values []T) int64 {
	if len(values) == 0 {
		return -1
	}
	m := int64(0)
	for _, v := range values {
		if v >= 0 && v < 63 {
			m |= 1 << v
		}
	}
	return m
}

// texts is a list for json_each; nil: no filter.
func texts(values []string) any {
	if values == nil {
		return nil
	}
	list, err := json.Marshal(values) // never fails for strings; invalid UTF-8 becomes valid
	if err != nil {
		return "[]"
	}
	return string(list)
}

// orNone is nil for no bytes.
func orNone(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// span is a range of times in microseconds; zero times do not bound it.
func span(since, until time.Time) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	if !until.IsZero() {
		to = until.UnixMicro()
	}
	return from, to
}

func checkFilter(lengths ...int) error {
	for _, n := range lengths {
		if n > MaxFilter {
			return fmt.Errorf("%w: a filter of %d values, at most %d", ErrQuery, n, MaxFilter)
		}
	}
	return nil
}

// timeOf is the time of a column, zero for 0.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func distinct[T comparable](values []T) []T {
	out := make([]T, 0, len(values))
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
