package projections

import (
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	// maxDetail bounds the explanations kept, in bytes.
	maxDetail = 512
	// maxTenants bounds the names that are kept once for all rows.
	maxTenants = 10_000
)

// apply takes in one fact. Facts about what was forgotten, or never began, change nothing.
func (w *OpenWork) apply(r *events.Record, fact events.Fact) {
	if id, ok := entity(r.Stream, "job-"); ok {
		w.applyJob(id, r, fact)
	} else if id, ok := entity(r.Stream, "pipeline-"); ok {
		w.applyPipeline(id, r, fact)
	} else if id, ok := entity(r.Stream, "worker-"); ok {
		w.applyWorker(id, r, fact)
	} else if f, ok := fact.(*eventv1.ModuleAdmitted); ok {
		w.modules.begin(hex.EncodeToString(f.GetName()), uint64(r.Pos), f)
	}
}

func (w *OpenWork) applyJob(id string, r *events.Record, fact events.Fact) {
	j, known := w.jobs.get(id)
	if f, ok := fact.(*eventv1.JobSubmitted); ok && !known {
		spec := f.GetSpec()
		kind := spec.GetKind()
		if kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
			kind = eventv1.JobKind_JOB_KIND_STANDARD
		}
		w.jobs.begin(strings.Clone(id), uint64(r.Pos), jobRow{
			tenant: w.intern(spec.GetTenant()), pipeline: w.pipelineName(spec.GetPipeline()),
			submitted: moment(f.GetAtUs(), r), kind: uint8(kind), state: uint8(operatorv1.JobState_JOB_STATE_OPEN),
		})
		w.openJobs++
		return
	}
	if !known {
		return
	}
	wasOpen, wasForgettable := j.open(), j.forgettable()
	switch f := fact.(type) {
	case *eventv1.TaskVerified:
		j.end(operatorv1.JobState_JOB_STATE_VERIFIED, moment(f.GetAtUs(), r))
		j.basis = uint8(f.GetBasis())
	case *eventv1.JobDeadLettered:
		j.end(operatorv1.JobState_JOB_STATE_DEAD_LETTERED, moment(f.GetAtUs(), r))
		j.reason = uint8(f.GetReason())
		w.letters.begin(strings.Clone(id), uint64(r.Pos), &operatorv1.DeadLetter{
			Id: id, Reason: f.GetReason(), Detail: brief(f.GetDetail()), Tenant: j.tenant, Pipeline: j.pipeline,
			AtUs: j.decided, Round: j.round,
		})
	case *eventv1.JobRequeued:
		j.state, j.decided, j.reason, j.round = uint8(operatorv1.JobState_JOB_STATE_OPEN), 0, 0, f.GetRound()
		w.letters.drop(id)
	case *eventv1.JobDiscarded:
		j.end(operatorv1.JobState_JOB_STATE_DISCARDED, moment(f.GetAtUs(), r))
		w.letters.drop(id)
	case *eventv1.JobCancelled:
		j.end(operatorv1.JobState_JOB_STATE_CANCELLED, moment(f.GetAtUs(), r))
		w.letters.drop(id)
	default:
		return
	}
	w.jobs.set(id, j)
	switch {
	case wasOpen && !j.open():
		w.openJobs--
	case !wasOpen && j.open():
		w.openJobs++
	}
	if j.forgettable() && !wasForgettable {
		w.closed.push(strings.Clone(id))
		w.forgetJobs()
	}
}

// forgetJobs holds the closed jobs to their number.
func (w *OpenWork) forgetJobs() {
	for w.closed.len() > w.opts.ClosedJobs {
		id := w.closed.pop()
		if j, ok := w.jobs.get(id); ok && j.forgettable() {
			w.jobs.drop(id)
		}
	}
}

func (j *jobRow) open() bool { return j.state == uint8(operatorv1.JobState_JOB_STATE_OPEN) }

func (j *jobRow) forgettable() bool {
	return !j.open() && j.state != uint8(operatorv1.JobState_JOB_STATE_DEAD_LETTERED)
}

func (j *jobRow) end(s operatorv1.JobState, at int64) { j.state, j.decided = uint8(s), at }

// moment is when a fact says that it happened, or else when it was appended.
func moment(us int64, r *events.Record) int64 {
	if us != 0 {
		return us
	}
	return r.Time.UnixMicro()
}

func brief(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "")
}

func (w *OpenWork) intern(s string) string {
	if known, ok := w.tenants[s]; ok {
		return known
	}
	if len(w.tenants) < maxTenants {
		w.tenants[s] = s
	}
	return s
}

// pipelineName returns the pipeline's own string for its id, so that its jobs do not each keep one.
func (w *OpenWork) pipelineName(id string) string {
	if p, ok := w.pipelines.get(id); ok {
		return p.GetId()
	}
	return id
}

func (w *OpenWork) applyPipeline(id string, r *events.Record, fact events.Fact) {
	old, known := w.pipelines.get(id)
	if f, ok := fact.(*eventv1.PipelineSubmitted); ok && !known {
		spec := f.GetSpec()
		id = strings.Clone(id)
		w.pipelines.begin(id, uint64(r.Pos), &operatorv1.Pipeline{
			Id: id, State: operatorv1.PipelineState_PIPELINE_STATE_RUNNING, Name: brief(spec.GetName()),
			Tenant: w.intern(spec.GetTenant()), Stages: uint32(len(spec.GetStages())), Chunks: spec.GetChunks(),
			SubmittedUs: r.Time.UnixMicro(),
		})
		return
	}
	if !known || old.GetState() != operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
		return
	}
	p := proto.CloneOf(old)
	switch f := fact.(type) {
	case *eventv1.StageStarted:
		p.Stage, p.Chunks, p.Settled = f.GetStage(), f.GetChunks(), 0
	case *eventv1.JobsSettled:
		if f.GetStage() == p.GetStage() {
			p.Settled += uint32(len(f.GetJobs()))
		}
		for _, j := range f.GetJobs() {
			if !j.GetVerified() {
				p.Failed++
			}
		}
	case *eventv1.ChunksReopened:
		for _, c := range f.GetChunks() {
			if c.GetHole() && f.GetStage() == p.GetStage() {
				p.Settled--
				p.Failed--
			}
		}
	case *eventv1.PipelineCompleted:
		p.State, p.OutputBytes = operatorv1.PipelineState_PIPELINE_STATE_COMPLETED, f.GetOutputBytes()
	case *eventv1.PipelineFailed:
		p.State, p.Detail = operatorv1.PipelineState_PIPELINE_STATE_FAILED, brief(f.GetDetail())
	case *eventv1.PipelineCancelled:
		p.State, p.Detail = operatorv1.PipelineState_PIPELINE_STATE_CANCELLED, brief(f.GetReason())
	default:
		return
	}
	if p.GetState() != operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
		p.EndedUs = r.Time.UnixMicro()
		w.ended.push(p.GetId())
	}
	w.pipelines.set(id, p)
	for w.ended.len() > w.opts.ClosedPipelines {
		w.pipelines.drop(w.ended.pop())
	}
}

func (w *OpenWork) applyWorker(id string, r *events.Record, fact events.Fact) {
	old, ok := w.workers.get(id)
	n := &workerRow{}
	if ok {
		*n = *old
		n.w = proto.CloneOf(old.w)
	} else {
		key, err := hex.DecodeString(id)
		if err != nil {
			return
		}
		n.w = &operatorv1.Worker{Key: key, Record: &eventv1.Tally{}}
	}
	if !n.evolve(fact) {
		return
	}
	n.w.LastSeenUs = r.Time.UnixMicro()
	if ok {
		w.workers.set(id, n)
		return
	}
	w.workers.begin(strings.Clone(id), uint64(r.Pos), n)
	w.forgetWorkers()
}

// evolve takes in a worker's fact, and tells whether it knows it.
func (n *workerRow) evolve(fact events.Fact) bool {
	w := n.w
	switch f := fact.(type) {
	case *eventv1.WorkerRegistered:
	case *eventv1.WorkerConnected:
		n.connected, w.Group = true, f.GetGroup()
	case *eventv1.WorkerDisconnected:
		n.connected = false
	case *eventv1.ProfileReported:
		w.Claim, n.rejected = f.GetProfile(), false
	case *eventv1.ChallengePassed:
		w.Proven, n.rejected = f.GetProven(), false
	case *eventv1.ChallengeFailed:
		w.Detail = brief(f.GetDetail())
		if f.GetReason() == eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED {
			w.Proven = nil
		}
	case *eventv1.WorkerAdmitted:
		w.Tier, w.Proven, w.Detail, n.rejected = f.GetTier(), f.GetProven(), "", false
	case *eventv1.AdmissionRejected:
		w.Tier, w.Detail, n.rejected = 0, brief(f.GetDetail()), true
	case *eventv1.TierChanged:
		w.Tier, w.Detail = f.GetTo(), brief(f.GetWhy())
		if f.GetTo() == 0 {
			w.Proven = nil
		}
	case *eventv1.ReliabilityChanged:
		add(w.Record, f.GetDelta())
	case *eventv1.WorkerDrained:
		n.drained, w.Detail = true, brief(f.GetReason())
	case *eventv1.WorkerBanned:
		n.banned, w.Tier, w.Detail = true, 0, brief(f.GetReason())
	case *eventv1.WorkerReinstated:
		n.drained, n.banned, n.rejected, w.Detail = false, false, false, ""
	default:
		return false
	}
	return true
}

func add(t, d *eventv1.Tally) {
	t.Agreed += d.GetAgreed()
	t.Contradicted += d.GetContradicted()
	t.Rejected += d.GetRejected()
	t.TimedOut += d.GetTimedOut()
	t.Dropped += d.GetDropped()
	t.Failed += d.GetFailed()
	t.Fuel += d.GetFuel()
	t.RingersPassed += d.GetRingersPassed()
	t.RingersFailed += d.GetRingersFailed()
}

// forgetLook is how many workers are looked at for one to forget.
const forgetLook = 64

// forgetWorkers makes room for a new worker. It looks at a few at a time, the oldest first, going round: when all of
// them must stay, others are looked at the next time.
func (w *OpenWork) forgetWorkers() {
	t := &w.workers
	for looked := 0; len(t.rows) > w.opts.Workers && looked < forgetLook; looked++ {
		if w.hand >= len(t.order) {
			w.hand = 0
		}
		p := t.order[w.hand]
		w.hand++
		if r, ok := t.rows[p.id]; ok && r.at == p.at && !r.v.connected && !r.v.drained && !r.v.banned {
			t.drop(p.id)
		}
	}
}
