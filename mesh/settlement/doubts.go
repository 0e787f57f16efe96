package settlement

import (
	"context"
	"errors"
	"time"
)

const (
	maxTries   = 3               // of the referee at one job
	minBudget  = time.Second     // pause when there is no budget, or a job failed; it doubles
	mostBudget = 5 * time.Minute // at most
)

// refereeing asks the referee about one doubt at a time, the oldest first, until ctx ends.
func (s *Settlement) refereeing(ctx context.Context) {
	tries := map[string]int{} // of the oldest doubt
	wait := time.Duration(0)
	for ctx.Err() == nil {
		switch s.inquire(ctx, tries) {
		case settled:
			wait = 0
		case idleNow:
			wait = 0
			select {
			case <-s.doubted:
			case <-ctx.Done():
			}
		case unanswered:
			wait = min(max(2*wait, minBudget), mostBudget)
			sleep(ctx, wait)
		}
	}
}

// answer is what came of asking the referee.
type answer uint8

const (
	settled answer = iota
	idleNow
	unanswered
)

// inquire asks about the oldest doubt. Nobody is punished for a job that the referee cannot compute.
func (s *Settlement) inquire(ctx context.Context, tries map[string]int) answer {
	s.mu.Lock()
	doubts := s.book.Doubts(1)
	s.mu.Unlock()
	if len(doubts) == 0 {
		return idleNow
	}
	job := doubts[0].Job
	asking, end := context.WithTimeout(ctx, s.config.RefereeTime)
	sum, err := s.config.Referee(asking, job)
	end()
	if ctx.Err() != nil {
		return unanswered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if errors.Is(err, ErrBudget) {
			return unanswered
		}
		n := tries[job] + 1
		clear(tries)
		tries[job] = n
		if n < maxTries {
			return unanswered
		}
		s.config.Logger.Info("the referee gives up, nobody is punished", "job", job, "error", err)
		sum = [32]byte{} // the checksum of no job
	}
	clear(tries)
	s.book.Confirm(job, sum)
	s.dirty = true
	s.look()
	signal(s.kick)
	return settled
}
