package dashboard

import (
	"context"
	"encoding/hex"
)

// fakeActions notes what is asked for.
type fakeActions struct{ deeds }

func (a *fakeActions) DrainWorker(_ context.Context, by string, key []byte, reason string) error {
	return a.note("drain", by, hex.EncodeToString(key), reason)
}

func (a *fakeActions) BanWorker(_ context.Context, by string, key []byte, reason string) error {
	return a.note("ban", by, hex.EncodeToString(key), reason)
}

func (a *fakeActions) ReinstateWorker(_ context.Context, by string, key []byte, reason string) error {
	return a.note("reinstate", by, hex.EncodeToString(key), reason)
}

func (a *fakeActions) RequeueJobs(_ context.Context, by string, jobs []string, reason string, _ bool) ([]Outcome, error) {
	return outcomesOf(jobs), a.note(append([]string{"requeue", by, reason}, jobs...)...)
}

func (a *fakeActions) DiscardJobs(_ context.Context, by string, jobs []string, reason string, _ bool) ([]Outcome, error) {
	return outcomesOf(jobs), a.note(append([]string{"discard", by, reason}, jobs...)...)
}

func outcomesOf(jobs []string) []Outcome {
	var all []Outcome
	for _, job := range jobs {
		all = append(all, Outcome{Job: job})
	}
	return all
}

func (a *fakeActions) CancelJob(_ context.Context, by, job, reason string) error {
	return a.note("cancel", by, job, reason)
}

func (a *fakeActions) CancelPipeline(_ context.Context, by, pipeline, reason string) error {
	return a.note("cancel pipeline", by, pipeline, reason)
}

func (a *fakeActions) EditJob(_ context.Context, by, job string, _ JobEdit, reason string, _ bool) (Edited, error) {
	return Edited{ID: job}, a.note("edit", by, job, reason)
}
