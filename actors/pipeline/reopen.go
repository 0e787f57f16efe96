package pipeline

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// JobID is the id of the job that a pipeline submits for a chunk: always the same.
func JobID(pipeline string, stage, chunk uint32) string {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], stage)
	binary.BigEndian.PutUint32(b[4:], chunk)
	return events.DeriveEntityID([]byte("chunk"), []byte(pipeline), b[:4], b[4:])
}

// Claim is a job, in one of its rounds, that stands for a chunk: the chunk is settled with its end alone.
type Claim struct {
	Job   string // edited out of another; empty: the job that the pipeline submitted
	Round uint32
}

// Reopened are the claims to the chunks of a stage that were opened again; every other chunk is claimed by round 1 of
// the job that the pipeline submitted. It is a value: a change makes a copy.
type Reopened map[uint32]Claim

// claimed is Reopened with the claims of a fact.
func (s *State) claimed(chunks []*eventv1.ReopenedChunk) Reopened {
	next := make(Reopened, len(s.Reopened)+len(chunks))
	maps.Copy(next, s.Reopened)
	for _, c := range chunks {
		claim := Claim{c.GetJob(), c.GetRound()}
		if claim.Job == JobID(s.ID, s.Stage, c.GetChunk()) {
			claim.Job = ""
		}
		next[c.GetChunk()] = claim
	}
	return next
}

// claim is who stands for a chunk of the stage.
func (s *State) claim(chunk uint32) Claim {
	if c, ok := s.Reopened[chunk]; ok {
		return c
	}
	return Claim{Round: 1}
}

// claimOf is the claim that a job's news makes.
func claimOf(j *eventv1.SettledJob) Claim { return Claim{j.Job, max(j.Round, 1)} }

// jobOf is the id of a claim's job.
func (s *State) jobOf(c Claim, stage, chunk uint32) string {
	if c.Job == "" {
		return JobID(s.ID, stage, chunk)
	}
	return c.Job
}

// succeeds reports whether news comes from the successor of a claim: a later round of the same job, or the job that was
// edited out of it. A successor may be heard of by its end first: news can overtake each other.
func (s *State) succeeds(claim Claim, j *eventv1.SettledJob) bool {
	news := claimOf(j)
	if news.Job == claim.Job {
		return news.Round > claim.Round
	}
	return j.ReplacedRound >= claim.Round && j.Replaces == s.jobOf(claim, s.Stage, j.Chunk)
}

// handOver finds the claims that pass to a successor, and the jobs that are open for a chunk which has its output or
// which somebody else stands for.
func (s *State) handOver(jobs []*eventv1.SettledJob) *eventv1.ChunksReopened {
	next := Reopened{}
	fact := &eventv1.ChunksReopened{Stage: s.Stage}
	for _, j := range jobs {
		if j.Chunk >= s.Submitted {
			continue
		}
		claim, ok := next[j.Chunk]
		if !ok {
			claim = s.claim(j.Chunk)
		}
		news := claimOf(j)
		switch {
		case news == claim || news.Job == claim.Job && news.Round < claim.Round: // known, or old
		case s.Results.Output(j.Chunk) == nil && s.succeeds(claim, j):
			next[j.Chunk] = news
		case j.Open:
			fact.Unneeded = append(fact.Unneeded, s.jobOf(news, s.Stage, j.Chunk))
		}
	}
	for _, chunk := range slices.Sorted(maps.Keys(next)) {
		c := next[chunk]
		fact.Chunks = append(fact.Chunks, &eventv1.ReopenedChunk{
			Chunk: chunk, Job: s.jobOf(c, s.Stage, chunk), Round: c.Round, Hole: s.Results.Failed(chunk),
		})
	}
	return fact
}

// dismiss cancels jobs whose chunk is in other hands.
func dismiss(jobs []string) []actors.Effect {
	var effects []actors.Effect
	for _, job := range jobs {
		effects = append(effects, cancel(job, "the pipeline's chunk is in other hands"))
	}
	return effects
}

// unneeded cancels jobs that are open for a stage that does not run.
func (s *State) unneeded(c *eventv1.SettleJobs) []actors.Effect {
	reason := "the stage of the pipeline is over"
	if s.Phase >= Completed {
		reason = "the pipeline has ended"
	}
	var effects []actors.Effect
	for _, j := range c.Jobs {
		if j.Open {
			effects = append(effects, cancel(s.jobOf(claimOf(j), c.Stage, j.Chunk), reason))
		}
	}
	return effects
}

// edited lists the jobs of unsettled chunks that the pipeline has not submitted itself.
func (s *State) edited() []string {
	var jobs []string
	for _, chunk := range slices.Sorted(maps.Keys(s.Reopened)) {
		if c := s.Reopened[chunk]; c.Job != "" && !s.Results.Settled(chunk) {
			jobs = append(jobs, c.Job)
		}
	}
	return jobs
}

// askEdited asks the jobs that are not handed out again how they ended.
func (s *State) askEdited() []actors.Effect {
	var effects []actors.Effect
	for _, job := range s.edited() {
		effects = append(effects, actors.Tell{To: actors.JobAddress(job), Command: &eventv1.Command{
			Kind: &eventv1.Command_ReopenJob{ReopenJob: &eventv1.ReopenJob{}},
		}})
	}
	return effects
}

func cancel(job, reason string) actors.Effect {
	return actors.Tell{To: actors.JobAddress(job), Command: &eventv1.Command{
		Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "pipeline", Reason: reason}},
	}}
}
