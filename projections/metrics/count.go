package metrics

import (
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// labelled are the facts whose contents are counted; of the others the type is enough.
var labelled = map[string]bool{
	"JobSubmitted": true, "TaskVerified": true, "JobDeadLettered": true, "RefereeDecided": true, "ResultReturned": true,
	"ResultRejected": true, "AssignmentStripped": true, "WorkerAdmitted": true, "AdmissionRejected": true,
	"ChallengePassed": true, "ChallengeFailed": true,
}

// count moves the series by one record. fact is nil unless its type is labelled.
func (m *Metrics) count(r *events.Record, fact events.Fact) {
	s := m.series
	s.events.WithLabelValues(typeLabel(r.Type)).Inc()
	switch f := fact.(type) {
	case *eventv1.JobSubmitted:
		kind := f.GetSpec().GetKind()
		if kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
			kind = eventv1.JobKind_JOB_KIND_STANDARD
		}
		s.submitted.WithLabelValues(label(kind.String(), "JOB_KIND_")).Inc()
		m.open.put(r.Stream, f.GetAtUs())
	case *eventv1.TaskVerified:
		m.verified(r.Stream, f)
	case *eventv1.JobDeadLettered:
		m.open.take(r.Stream)
		s.decided.WithLabelValues("dead_lettered", "").Inc()
		s.deadLetters.WithLabelValues(label(f.GetReason().String(), "DEAD_LETTER_REASON_")).Inc()
	case *eventv1.RefereeDecided:
		s.referees.WithLabelValues(label(f.GetOutcome().String(), "REFEREE_OUTCOME_")).Inc()
	case *eventv1.ResultReturned:
		s.returned.WithLabelValues(label(f.GetStatus().String(), "RESULT_STATUS_")).Inc()
		if ms := f.GetRunMs(); ms > 0 {
			s.run.Observe(float64(ms) / 1000)
		}
	case *eventv1.ResultRejected:
		s.rejected.WithLabelValues(label(f.GetReason().String(), "REJECT_REASON_")).Inc()
	case *eventv1.AssignmentStripped:
		s.stripped.WithLabelValues(label(f.GetReason().String(), "STRIP_REASON_")).Inc()
	case *eventv1.WorkerAdmitted:
		s.admitted.WithLabelValues(strconv.Itoa(int(min(f.GetTier(), 9)))).Inc()
	case *eventv1.AdmissionRejected:
		s.refused.WithLabelValues(label(f.GetReason().String(), "REJECTION_REASON_")).Inc()
	case *eventv1.ChallengePassed:
		s.challenges.WithLabelValues(label(f.GetKind().String(), "CHALLENGE_KIND_"), "passed").Inc()
	case *eventv1.ChallengeFailed:
		s.challenges.WithLabelValues(label(f.GetKind().String(), "CHALLENGE_KIND_"), "failed").Inc()
	default:
		m.countType(r)
	}
}

// countType counts the facts whose type says it all.
func (m *Metrics) countType(r *events.Record) {
	s := m.series
	switch r.Type {
	case "ConsensusMismatch":
		s.mismatches.Inc()
	case "WaveOpened":
		s.waves.Inc()
	case "AssignmentDispatched":
		s.attempts.Inc()
	case "JobRequeued":
		s.requeued.Inc()
	case "JobCancelled", "JobDiscarded":
		m.open.take(r.Stream)
		s.decided.WithLabelValues(strings.ToLower(r.Type[len("Job"):]), "").Inc()
	case "WorkerBanned":
		s.banned.Inc()
	case "PipelineSubmitted", "PipelineCompleted", "PipelineFailed", "PipelineCancelled":
		s.pipelines.WithLabelValues(strings.ToLower(r.Type[len("Pipeline"):])).Inc()
	}
}

func (m *Metrics) verified(stream string, f *eventv1.TaskVerified) {
	s := m.series
	s.decided.WithLabelValues("verified", label(f.GetBasis().String(), "VERDICT_BASIS_")).Inc()
	s.replicas.WithLabelValues("agreeing").Add(float64(len(f.GetAgreeing())))
	s.replicas.WithLabelValues("contradicted").Add(float64(len(f.GetContradicted())))
	s.fuel.Add(float64(f.GetFuel()))
	if since, ok := m.open.take(stream); ok && f.GetAtUs() >= since {
		s.latency.Observe(float64(f.GetAtUs()-since) / 1e6)
	}
}

var known = func() map[string]bool {
	m := make(map[string]bool)
	for _, t := range events.Types() {
		m[t] = true
	}
	return m
}()

// typeLabel keeps the set of labels closed: other writers may append what they like.
func typeLabel(t string) string {
	if known[t] {
		return t
	}
	return "other"
}
