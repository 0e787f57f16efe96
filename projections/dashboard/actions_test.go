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

func (a *fakeActions) RequeueJob(_ context.Context, by, job, reason string) error {
	return a.note("requeue", by, job, reason)
}

func (a *fakeActions) DiscardJob(_ context.Context, by, job, reason string) error {
	return a.note("discard", by, job, reason)
}

func (a *fakeActions) CancelJob(_ context.Context, by, job, reason string) error {
	return a.note("cancel", by, job, reason)
}

func (a *fakeActions) CancelPipeline(_ context.Context, by, pipeline, reason string) error {
	return a.note("cancel pipeline", by, pipeline, reason)
}

func (a *fakeActions) EditJob(_ context.Context, by, job string, _ JobEdit, reason string) (string, error) {
	return job, a.note("edit", by, job, reason)
}
