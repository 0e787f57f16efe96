package dashboard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// decoded is a record with what is in it. Fact and Env are nil when the bytes are not what the type says.
type decoded struct {
	events.Record
	Fact events.Fact
	Env  *eventv1.Envelope
}

func decodeRecord(r events.Record) decoded {
	d := decoded{Record: r}
	if f, err := events.Decode(r); err == nil {
		d.Fact = f
	}
	if e, err := events.DecodeEnvelope(r); err == nil {
		d.Env = e
	}
	return d
}

// relative is a record that another follows from, or that follows from it, and how.
type relative struct {
	decoded
	How string
}

const (
	maxEffects  = 96 // commands that follow from one decision: a job that ends tells all its slots
	maxKinSlots = 16 // slots of a job that are looked into
	maxKinJobs  = 8  // jobs of a pipeline that are looked into
)

// relatives finds, among records near it, what a record follows from and what follows from it. Two kinds of evidence
// count. The id of a command that one entity told another is derived from the id of the command that caused it, which
// proves the link. Where the host waits in between (a worker is sought, verdicts are gathered) the facts themselves
// say what belongs together.
func relatives(of decoded, near []decoded) (causes, effects []relative) {
	var mine [maxEffects]events.CommandID
	command := of.ID.Command()
	for n := range mine {
		mine[n] = command.Effect(n)
	}
	for _, x := range near {
		if x.Stream == of.Stream && x.ID.Command() == command {
			continue // the same decision: shown by itself
		}
		other := x.ID.Command()
		first := x.Env.GetIndex() == 0
		switch {
		case first && slices.Contains(mine[:], other):
			effects = append(effects, relative{x, "told by this decision"})
		case first && isEffect(other, command):
			causes = append(causes, relative{x, "told it"})
		default:
			if how := leadsTo(x, of); how != "" {
				causes = append(causes, relative{x, how})
			}
			if how := leadsTo(of, x); how != "" {
				effects = append(effects, relative{x, how})
			}
		}
	}
	return nearest(causes, of.Pos, true), nearest(effects, of.Pos, false)
}

func isEffect(of, command events.CommandID) bool {
	for n := range maxEffects {
		if of.Effect(n) == command {
			return true
		}
	}
	return false
}

// nearest keeps causes that lie before a record, and of each kind of evidence the last one; effects that lie behind it,
// the first ones.
func nearest(all []relative, at events.Position, before bool) []relative {
	slices.SortFunc(all, func(a, b relative) int { return cmp.Compare(a.Pos, b.Pos) })
	all = slices.DeleteFunc(all, func(r relative) bool { return before && r.Pos >= at || !before && r.Pos <= at })
	if !before {
		return all
	}
	var kept []relative
	for _, r := range slices.Backward(all) {
		if !slices.ContainsFunc(kept, func(k relative) bool { return k.How == r.How }) {
			kept = append(kept, r)
		}
	}
	return kept
}

// leadsTo reports how a fact leads to another one without naming its command, or "".
func leadsTo(cause, effect decoded) string {
	if cause.Fact == nil || effect.Fact == nil || cause.Pos >= effect.Pos {
		return ""
	}
	switch {
	case cause.Stream == effect.Stream:
		return leadsWithin(cause.Fact, effect.Fact)
	case opensSlot(cause, effect):
		return "opened the slot, and the dispatcher sought a worker"
	case submitsChunk(cause, effect):
		return "handed out the chunk"
	case settlesChunk(cause, effect):
		return "settled the chunk"
	}
	return ""
}

// leadsWithin follows an attempt through its slot's stream.
func leadsWithin(cause, effect events.Fact) string {
	type attempted interface{ GetAttempt() uint32 }
	c, ok := cause.(attempted)
	e, ok2 := effect.(attempted)
	if !ok || !ok2 {
		return ""
	}
	if _, stripped := cause.(*eventv1.AssignmentStripped); stripped {
		if d, ok := effect.(*eventv1.AssignmentDispatched); ok && d.Attempt == c.GetAttempt()+1 {
			return "freed the slot, and the dispatcher sought a worker"
		}
		return ""
	}
	if c.GetAttempt() != e.GetAttempt() {
		return ""
	}
	switch cause.(type) {
	case *eventv1.AssignmentDispatched:
		return "handed the slot to the worker"
	case *eventv1.TaskAcked:
		return "the worker acknowledged"
	case *eventv1.ResultReturned:
		return "returned the result"
	}
	return ""
}

// opensSlot reports whether a job's fact opened the slot of a first attempt.
func opensSlot(cause, effect decoded) bool {
	d, ok := effect.Fact.(*eventv1.AssignmentDispatched)
	if !ok || d.Attempt > 1 {
		return false
	}
	job, slot, ok := slotOfStream(effect.Stream)
	if !ok || cause.Stream != actors.JobAddress(job).Stream() {
		return false
	}
	first, n := openedSlots(cause.Fact)
	return slot >= first && slot-first < n
}

// openedSlots are the slots that a fact opens.
func openedSlots(f events.Fact) (first, n uint32) {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		return f.FirstSlot, f.Slots
	case *eventv1.WaveOpened:
		return f.FirstSlot, f.Slots
	case *eventv1.JobRequeued:
		return f.FirstSlot, f.Slots
	}
	return 0, 0
}

// submitsChunk reports whether a pipeline's fact handed out the chunk that became a job.
func submitsChunk(cause, effect decoded) bool {
	s, ok := effect.Fact.(*eventv1.JobSubmitted)
	if !ok || s.GetSpec().GetPipeline() == "" || cause.Stream != actors.PipelineAddress(s.Spec.Pipeline).Stream() {
		return false
	}
	switch f := cause.Fact.(type) {
	case *eventv1.PipelineSubmitted:
		return s.Spec.Stage == 0
	case *eventv1.StageStarted:
		return s.Spec.Stage == f.Stage
	}
	return false
}

// settlesChunk reports whether a pipeline took note of how a job ended.
func settlesChunk(cause, effect decoded) bool {
	settled, ok := effect.Fact.(*eventv1.JobsSettled)
	if !ok || !endsJob(cause.Fact) {
		return false
	}
	pipeline, ok := idOfStream(effect.Stream, actors.PipelineRoom)
	if !ok {
		return false
	}
	for _, j := range settled.Jobs {
		if cause.Stream == actors.JobAddress(chunkJob(pipeline, settled.Stage, j.GetChunk())).Stream() {
			return true
		}
	}
	return false
}

func endsJob(f events.Fact) bool {
	switch f.(type) {
	case *eventv1.TaskVerified, *eventv1.JobDeadLettered:
		return true
	}
	return false
}

// chunkJob is the id of a pipeline's job, as the host derives it.
func chunkJob(pipeline string, stage, chunk uint32) string {
	s, c := binary.BigEndian.AppendUint32(nil, stage), binary.BigEndian.AppendUint32(nil, chunk)
	return events.DeriveEntityID([]byte("chunk"), []byte(pipeline), s, c)
}

func idOfStream(stream, room string) (string, bool) {
	if len(stream) <= len(room)+1 || stream[:len(room)] != room || stream[len(room)] != '-' {
		return "", false
	}
	return stream[len(room)+1:], true
}

func slotOfStream(stream string) (job string, slot uint32, ok bool) {
	id, ok := idOfStream(stream, actors.AssignmentRoom)
	if !ok {
		return "", 0, false
	}
	job, slot, err := actors.ParseSlotID(id)
	return job, slot, err == nil
}

// kin lists the other streams in which causes and effects of a fact may lie. Of names a job's pipeline, if it has one.
func kin(of decoded, pipeline string) []string {
	var streams []string
	if job, ok := idOfStream(of.Stream, actors.JobRoom); ok {
		for _, slot := range slotsOf(of.Fact) {
			streams = append(streams, actors.SlotAddress(job, slot).Stream())
		}
		if pipeline != "" {
			streams = append(streams, actors.PipelineAddress(pipeline).Stream())
		}
	}
	if job, _, ok := slotOfStream(of.Stream); ok {
		streams = append(streams, actors.JobAddress(job).Stream())
	}
	if id, ok := idOfStream(of.Stream, actors.PipelineRoom); ok {
		for _, job := range jobsOf(id, of.Fact) {
			streams = append(streams, actors.JobAddress(job).Stream())
		}
	}
	return streams
}

// slotsOf are the slots that a job's fact speaks of.
func slotsOf(f events.Fact) []uint32 {
	var slots []uint32
	switch f := f.(type) {
	case *eventv1.ReplicaReturned:
		slots = []uint32{f.Slot}
	case *eventv1.ReplicaFailed:
		slots = []uint32{f.Slot}
	case *eventv1.TaskVerified:
		slots = append(slices.Clone(f.Agreeing), f.Contradicted...)
	case *eventv1.JobDeadLettered:
		slots = append(slices.Clone(f.Agreeing), f.Contradicted...)
	default:
		first, n := openedSlots(f)
		for i := range min(n, maxKinSlots) {
			slots = append(slots, first+i)
		}
	}
	return slots[:min(len(slots), maxKinSlots)]
}

// jobsOf are some of the jobs that a pipeline's fact speaks of.
func jobsOf(pipeline string, f events.Fact) []string {
	var jobs []string
	add := func(stage, chunk uint32) { jobs = append(jobs, chunkJob(pipeline, stage, chunk)) }
	switch f := f.(type) {
	case *eventv1.PipelineSubmitted:
		for i := range min(f.GetSpec().GetChunks(), maxKinJobs) {
			add(0, i)
		}
	case *eventv1.StageStarted:
		for i := range min(f.Chunks, maxKinJobs) {
			add(f.Stage, i)
		}
	case *eventv1.JobsSettled:
		for _, j := range f.Jobs[:min(len(f.Jobs), maxKinJobs)] {
			add(f.Stage, j.GetChunk())
		}
	}
	return jobs
}

// asker says who gave a command: what no record tells.
func asker(c *eventv1.Command) string {
	switch k := c.GetKind().(type) {
	case *eventv1.Command_SubmitJob:
		if k.SubmitJob.GetSpec().GetPipeline() != "" {
			return "a pipeline's chunk was submitted"
		}
		return "a client submitted it"
	case *eventv1.Command_RecordReplica, *eventv1.Command_RecordFailure:
		return "a slot told its job"
	case *eventv1.Command_RecordReferee:
		return "the referee answered"
	case *eventv1.Command_CancelJob:
		return by(k.CancelJob.GetBy(), "cancelled it")
	case *eventv1.Command_RequeueJob:
		return by(k.RequeueJob.GetBy(), "requeued it")
	case *eventv1.Command_DiscardJob:
		return by(k.DiscardJob.GetBy(), "discarded it")
	case *eventv1.Command_DispatchSlot:
		return "the dispatcher chose a worker"
	case *eventv1.Command_AckTask:
		return "the worker acknowledged"
	case *eventv1.Command_ReturnResult:
		return "the worker returned a result"
	case *eventv1.Command_ExpireAck, *eventv1.Command_ExpireExecution:
		return "a deadline passed"
	case *eventv1.Command_StripSlot:
		return "the worker door took the task away"
	case *eventv1.Command_CancelSlot:
		return "the job needs the slot no longer"
	case *eventv1.Command_AbandonSlot:
		return "the dispatcher found nobody who may have it"
	case *eventv1.Command_ConnectWorker, *eventv1.Command_ReportProfile, *eventv1.Command_DisconnectWorker:
		return "the worker door reported it"
	case *eventv1.Command_RecordChallenge, *eventv1.Command_AdmitWorker:
		return "the worker was tested"
	case *eventv1.Command_RecordWork:
		return "what became of results was counted"
	case *eventv1.Command_DrainWorker:
		return by(k.DrainWorker.GetBy(), "drained the worker")
	case *eventv1.Command_BanWorker:
		return by(k.BanWorker.GetBy(), "banned the worker")
	case *eventv1.Command_ReinstateWorker:
		return by(k.ReinstateWorker.GetBy(), "reinstated the worker")
	case *eventv1.Command_SubmitPipeline:
		return "a client submitted it"
	case *eventv1.Command_SettleJobs:
		return "jobs of the pipeline ended"
	case *eventv1.Command_StartStage:
		return "the stage before was gathered"
	case *eventv1.Command_FailPipeline:
		return "the pipeline could not go on"
	case *eventv1.Command_CancelPipeline:
		return by(k.CancelPipeline.GetBy(), "cancelled it")
	case *eventv1.Command_AdmitModule, *eventv1.Command_RefuseModule:
		return "module admission found it"
	case *eventv1.Command_ChangePolicy:
		return by(k.ChangePolicy.GetBy(), "changed it")
	case *eventv1.Command_TakeShard:
		return "a process took the shard"
	case nil:
		return ""
	}
	return "the orchestrator asked for it"
}

func by(who, did string) string {
	if who == "" {
		who = "somebody"
	}
	return fmt.Sprintf("%s %s", who, did)
}
