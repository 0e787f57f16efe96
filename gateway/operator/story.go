package operator

import (
	"fmt"
	"strings"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// story tells what became of a job, one sentence a line.
func (v *jobView) story(slots []*slotView) []string {
	j := v.job
	lines := []string{fmt.Sprintf("submitted %s by tenant %s: %s, %d replicas, margin %d",
		stamp(j.SubmittedUs), j.Spec.Tenant, plain(j.Spec.Kind.String(), "JOB_KIND_"), j.Policy.GetRedundancy(), j.Policy.GetMargin())}
	if j.Spec.Pipeline != "" {
		lines = append(lines, fmt.Sprintf("chunk %d of stage %d of pipeline %s", j.Spec.Chunk, j.Spec.Stage, j.Spec.Pipeline))
	}
	if j.Round > 1 || j.Wave > 1 {
		lines = append(lines, fmt.Sprintf("round %d, wave %d: earlier replicas did not agree or did not come", j.Round, j.Wave))
	}
	for _, s := range slots {
		lines = append(lines, s.story())
	}
	switch j.State {
	case operatorv1.JobState_JOB_STATE_VERIFIED:
		lines = append(lines, fmt.Sprintf("verified %s by %s: %d agree, %d contradicted", stamp(j.DecidedUs),
			plain(j.Verdict.GetBasis().String(), "VERDICT_BASIS_"), len(j.Verdict.GetAgreeing()), len(j.Verdict.GetContradicted())))
	case operatorv1.JobState_JOB_STATE_DEAD_LETTERED:
		lines = append(lines, fmt.Sprintf("dead-lettered %s: %s: %s", stamp(j.DecidedUs),
			plain(j.DeadLetter.GetReason().String(), "DEAD_LETTER_REASON_"), j.DeadLetter.GetDetail()))
	case operatorv1.JobState_JOB_STATE_OPEN:
		lines = append(lines, "open: no verdict yet")
	default:
		lines = append(lines, plain(j.State.String(), "JOB_STATE_")+" "+stamp(j.DecidedUs))
	}
	return lines
}

func (v *slotView) story() string {
	s := v.slot
	var line strings.Builder
	line.WriteString(fmt.Sprintf("slot %d: %s", s.Slot, s.State))
	if len(s.Worker) > 0 {
		line.WriteString(fmt.Sprintf(", worker %.8x", s.Worker))
	}
	if n := len(v.attempts); n > 0 {
		line.WriteString(fmt.Sprintf(", attempt %d", s.Attempt))
	}
	for _, a := range v.attempts {
		if a.EndedUs > 0 && a.Outcome != s.Detail {
			line.WriteString(fmt.Sprintf("; attempt %d %s", a.Attempt, a.Outcome))
		}
	}
	if s.Detail != "" {
		line.WriteString("; " + s.Detail)
	}
	return line.String()
}

func stamp(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }
