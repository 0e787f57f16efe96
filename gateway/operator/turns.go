package operator

import (
	"context"
	"time"
)

// maxTurn is how long somebody waits for a turn.
const maxTurn = 2 * time.Second

// turns bounds how many are at work at once; the others wait a while.
type turns chan struct{}

func (q turns) enter(ctx context.Context) error {
	select {
	case q <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(maxTurn)
	defer timer.Stop()
	select {
	case q <- struct{}{}:
		return nil
	case <-timer.C:
		return errFull
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (q turns) leave() { <-q }
