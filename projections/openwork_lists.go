package projections

import (
	"errors"
	"strconv"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrPage refuses a place in a list that no list gave.
var ErrPage = errors.New("malformed place in a list")

// Page is a part of a list. Lists show the newest first.
type Page struct {
	After string // where the part before ended: what the list returned as next; empty: from the start
	Limit int    // rows, 1 to MaxPage
}

// MaxPage bounds a page.
const MaxPage = 1000

// OpenJobs lists the ids of all open jobs, the oldest first; a requeued job is as old as its round.
func (w *OpenWork) OpenJobs() []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.jobs.ids()
}

// OpenPipelines lists the ids of all open pipelines, the oldest first.
func (w *OpenWork) OpenPipelines() []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.pipelines.ids()
}

// Counts is how much of everything there is.
type Counts struct{ OpenJobs, OpenPipelines, Modules int }

// Counts tells how much of everything there is.
func (w *OpenWork) Counts() Counts {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return Counts{OpenJobs: len(w.jobs.rows), OpenPipelines: len(w.pipelines.rows), Modules: len(w.modules.rows)}
}

// ListModules lists admitted modules; next is empty at the end.
func (w *OpenWork) ListModules(p Page) (rows []*eventv1.ModuleAdmitted, next string, err error) {
	before := uint64(0)
	if p.After != "" {
		if before, err = strconv.ParseUint(p.After, 10, 64); err != nil || before == 0 || strconv.FormatUint(before, 10) != p.After {
			return nil, "", ErrPage
		}
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	left, last := min(max(p.Limit, 1), MaxPage), uint64(0)
	w.modules.newest(before, func(_ string, at uint64, m *eventv1.ModuleAdmitted) bool {
		if left == 0 {
			next = strconv.FormatUint(last, 10)
			return false
		}
		rows = append(rows, proto.CloneOf(m))
		left--
		last = at
		return true
	})
	return rows, next, nil
}
