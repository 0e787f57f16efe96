package readmodel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// world is a small orchestrator: it plays the pure rooms and writes down what they record. Dice come from outside.
type world struct {
	roll    func(n int) int // 0 to n-1
	records []events.Record
	at      int64
	head    events.Position
	count   uint64
	alive   map[actors.Address]*living
	keys    [][]byte
	tasks   []actors.Task
	referee []string
	waiting []actors.Seek
	queue   []actors.Effect
	jobs    []string
	pipes   []string
	tenants []string
	refused int

	handed     map[string]bool
	handedUpTo int
}

type living struct {
	entity actors.Entity
	next   uint64
}

func newWorld(roll func(n int) int) *world {
	w := &world{
		roll: roll, at: 1_700_000_000_000_000, alive: map[actors.Address]*living{},
		tenants: []string{"acme", "", "<script>alert(1)</script>", "o'hara\x00; DROP TABLE jobs;--", "日本"},
	}
	for i := range 12 {
		w.keys = append(w.keys, bytes.Repeat([]byte{byte(17 * (i + 1))}, 32))
	}
	return w
}

func (w *world) do(to actors.Address, kind *eventv1.Command) {
	w.tell(to, kind)
	for len(w.queue) > 0 {
		e := w.queue[0]
		w.queue = w.queue[1:]
		switch e := e.(type) {
		case actors.Tell:
			w.tell(e.To, e.Command)
		case actors.Seek:
			w.waiting = append(w.waiting, e)
		case actors.Deliver:
			w.tasks = append(w.tasks, e.Task)
		case actors.Referee:
			w.referee = append(w.referee, e.Job)
		case actors.SubmitChunks:
			w.submitChunks(e)
		case actors.SettleChunk:
			w.queue = append(w.queue, actors.Tell{To: actors.PipelineAddress(e.Pipeline), Command: &eventv1.Command{Kind: &eventv1.Command_SettleJobs{
				SettleJobs: &eventv1.SettleJobs{Stage: e.Stage, Jobs: []*eventv1.SettledJob{e.Job}},
			}}})
		case actors.GatherStage:
			w.queue = append(w.queue, actors.Tell{To: actors.PipelineAddress(e.Pipeline), Command: &eventv1.Command{Kind: &eventv1.Command_StartStage{
				StartStage: &eventv1.StartStage{Stage: e.Stage, Manifest: blob("manifest"), Chunks: uint32(len(e.Outputs))},
			}}})
		case actors.CountWork:
			w.queue = append(w.queue, actors.Tell{To: actors.WorkerAddress(e.Worker), Command: &eventv1.Command{Kind: &eventv1.Command_RecordWork{
				RecordWork: &eventv1.RecordWork{Delta: e.Delta, FastestFuelPerMs: e.FuelPerMs},
			}}})
		}
	}
}

func (w *world) tell(to actors.Address, cmd *eventv1.Command) {
	w.at += 1000 + int64(w.roll(3))*400_000
	cmd.AtUs = w.at
	l := w.alive[to]
	if l == nil {
		kind, ok := rooms.Of(to.Room)
		if !ok {
			panic("no room " + to.Room)
		}
		l = &living{entity: kind.Open(to.ID)}
		w.alive[to] = l
	}
	d, err := l.entity.Decide(actors.Rules, cmd)
	if err != nil {
		w.refused++
		return
	}
	w.queue = append(w.queue, d.Effects...)
	if len(d.Facts) == 0 {
		return
	}
	w.count++
	drafts, err := events.Encode(events.Origin{
		ID: events.NewCommandID(binary.BigEndian.AppendUint64(nil, w.count)), Command: cmd, Node: "n", Rules: actors.Rules,
	}, d.Facts)
	if err != nil {
		panic(err)
	}
	for i, draft := range drafts {
		w.head += events.Position(1 + w.roll(2))
		w.records = append(w.records, events.Record{
			Draft: draft, Stream: to.Stream(), Rev: l.next, Pos: w.head, Time: time.UnixMicro(w.at + 700).UTC(),
		})
		l.next++
		if err := l.entity.Evolve(d.Facts[i]); err != nil {
			panic(err)
		}
	}
	w.queue = append(w.queue, l.entity.React(d.Facts)...)
}

func blob(text string) *eventv1.BlobRef {
	sum := sha256.Sum256([]byte(text))
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(text))}
}

func moduleOf(n int) []byte { return bytes.Repeat([]byte{byte(n + 1)}, 32) }

func rules(redundancy uint32) *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: redundancy, Margin: min(redundancy, 2), MaxReplicas: 5, MaxAttempts: 3, AckTimeoutMs: 5000, MinExecutionTimeoutMs: 10_000,
		MaxExecutionTimeoutMs: 3_600_000, ExecutionSlack: 4, Referee: eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM,
	}
}

func (w *world) spec() *eventv1.JobSpec {
	w.count++
	return &eventv1.JobSpec{
		Module: moduleOf(w.roll(3)), Input: blob(fmt.Sprint("input ", w.count)), FuelLimit: 1_000_000,
		Kind: eventv1.JobKind_JOB_KIND_STANDARD, MinTier: 1, Tenant: w.tenants[w.roll(len(w.tenants))],
		Labels: []*eventv1.Label{{Key: "<b>", Value: "'\""}},
	}
}

func (w *world) submit() string {
	spec, redundancy := w.spec(), uint32(2)
	switch w.roll(8) {
	case 0:
		spec.Kind, redundancy = eventv1.JobKind_JOB_KIND_STRESS, 1
	case 1:
		spec.Kind, redundancy = eventv1.JobKind_JOB_KIND_LITE_TEST, 1
		spec.KnownChecksum = bytes.Repeat([]byte{9}, 32)
	}
	w.count++
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64(nil, w.count))
	w.jobs = append(w.jobs, id)
	w.submitJob(id, spec, redundancy)
	return id
}

func (w *world) submitJob(id string, spec *eventv1.JobSpec, redundancy uint32) {
	w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: rules(redundancy)}}})
}

func (w *world) submitPipeline() {
	w.count++
	id := events.DeriveEntityID([]byte("pipeline"), binary.BigEndian.AppendUint64(nil, w.count))
	w.pipes = append(w.pipes, id)
	stages := []*eventv1.StageSpec{
		{Name: "cut <i>", Template: w.spec(), Policy: rules(2)},
		{Name: "join", Template: w.spec(), Policy: rules(1), Feed: eventv1.StageFeed_STAGE_FEED_EACH},
	}
	tenant := w.tenants[w.roll(len(w.tenants))]
	for _, s := range stages {
		s.Template.Input, s.Template.Tenant = nil, tenant
	}
	w.do(actors.PipelineAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitPipeline{SubmitPipeline: &eventv1.SubmitPipeline{Spec: &eventv1.PipelineSpec{
		Name: "night & day", Tenant: tenant, Stages: stages[:1+w.roll(2)], Manifest: blob("inputs"), Chunks: uint32(1 + w.roll(4)), MaxFailures: uint32(w.roll(4)),
	}}}})
}

func (w *world) submitChunks(e actors.SubmitChunks) {
	for n := e.From; n < e.To; n++ {
		id := events.DeriveEntityID([]byte("chunk"), []byte(e.Pipeline), binary.BigEndian.AppendUint32(nil, e.Stage), binary.BigEndian.AppendUint32(nil, n))
		spec := w.spec()
		spec.Module, spec.Tenant = e.Spec.Stages[e.Stage].Template.Module, e.Spec.Tenant
		spec.Pipeline, spec.Stage, spec.Chunk = e.Pipeline, e.Stage, n
		w.jobs = append(w.jobs, id)
		w.queue = append(w.queue, actors.Tell{To: actors.JobAddress(id), Command: &eventv1.Command{
			Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: e.Spec.Stages[e.Stage].Policy}},
		}})
	}
}

// dispatch gives the slots that wait to workers.
func (w *world) dispatch() {
	for len(w.waiting) > 0 {
		s := w.waiting[0]
		w.waiting = w.waiting[1:]
		for _, slot := range s.Slots {
			i := w.roll(len(w.keys))
			w.do(actors.SlotAddress(s.Job, slot), &eventv1.Command{Kind: &eventv1.Command_DispatchSlot{DispatchSlot: &eventv1.DispatchSlot{
				Worker: w.keys[i], Group: []string{"", "g1", "g2\"", string('a' + rune(i))}[w.roll(4)], AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000,
				MaxAttempts: 3, Seed: make([]byte, 16), Head: uint64(w.head),
			}}})
		}
	}
}

func (w *world) take(i int) actors.Task {
	t := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	return t
}

func (w *world) slot(t actors.Task, cmd *eventv1.Command) {
	w.do(actors.SlotAddress(t.Job, t.Slot), cmd)
}

func (w *world) ack(t actors.Task) {
	w.slot(t, &eventv1.Command{Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: t.Token}}})
}

func (w *world) answer(t actors.Task, output string, change func(*eventv1.ReturnResult)) {
	c := &eventv1.ReturnResult{
		Token: t.Token, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Output: blob(output), Fuel: 500, Attestation: bytes.Repeat([]byte{1}, 64),
	}
	if change != nil {
		change(c)
	}
	w.slot(t, &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: c}})
}

// work lets honest workers do everything there is.
func (w *world) work() {
	for len(w.waiting)+len(w.tasks) > 0 {
		w.dispatch()
		for len(w.tasks) > 0 {
			t := w.take(0)
			w.ack(t)
			w.answer(t, "out of "+t.Job, nil)
		}
	}
}

// step does one thing at random.
func (w *world) step() {
	switch n := w.roll(24); {
	case n < 5:
		w.submit()
	case n < 6:
		w.submitPipeline()
	case n < 11:
		w.dispatch()
	case n < 18 && len(w.tasks) > 0:
		w.stepTask(w.take(w.roll(len(w.tasks))))
	case n < 19:
		w.stepWorker()
	case n < 20:
		w.stepModule()
	case n < 22:
		w.stepReferee()
	case n < 23 && len(w.jobs) > 0:
		w.stepJob(w.jobs[w.roll(len(w.jobs))])
	case len(w.pipes) > 0 && w.roll(6) == 0:
		w.do(actors.PipelineAddress(w.pipes[w.roll(len(w.pipes))]), &eventv1.Command{Kind: &eventv1.Command_CancelPipeline{
			CancelPipeline: &eventv1.CancelPipeline{By: "ann", Reason: "<u>enough</u>"},
		}})
	}
}

func (w *world) stepTask(t actors.Task) {
	if w.roll(3) > 0 {
		w.ack(t)
	}
	switch w.roll(10) {
	case 0:
		w.tasks = append(w.tasks, t)
	case 1:
		w.answer(t, "a lie by "+string(t.Worker[:1]), nil)
	case 2:
		w.answer(t, "", func(c *eventv1.ReturnResult) { c.Status, c.Output = eventv1.ResultStatus_RESULT_STATUS_TRAP, nil })
	case 3:
		w.answer(t, "x", func(c *eventv1.ReturnResult) {
			c.Reject, c.Detail = eventv1.RejectReason_REJECT_REASON_SIGNATURE, "bad <signature>"
		})
	case 4:
		w.at += 6_000_000
		w.slot(t, &eventv1.Command{Kind: &eventv1.Command_ExpireAck{ExpireAck: &eventv1.ExpireAck{Attempt: t.Attempt}}})
		w.slot(t, &eventv1.Command{Kind: &eventv1.Command_ExpireExecution{ExpireExecution: &eventv1.ExpireExecution{Attempt: t.Attempt}}})
	case 5:
		why := eventv1.StripReason(1 + w.roll(10))
		w.slot(t, &eventv1.Command{Kind: &eventv1.Command_StripSlot{StripSlot: &eventv1.StripSlot{Token: t.Token, Reason: why, Detail: "gone & lost"}}})
	default:
		w.answer(t, "out of "+t.Job, nil)
	}
}

func (w *world) stepJob(id string) {
	to := actors.JobAddress(id)
	switch w.roll(3) {
	case 0:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "bob", Reason: "again"}}})
	case 1:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{By: "bob", Reason: "never"}}})
	default:
		if w.roll(3) == 0 {
			w.do(to, &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "bob", Reason: "stop"}}})
		}
	}
}

func (w *world) stepReferee() {
	for len(w.referee) > 0 {
		id := w.referee[0]
		w.referee = w.referee[1:]
		r := &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET}
		if w.roll(2) == 0 {
			r = &eventv1.RecordReferee{
				Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Output: blob("out of " + id), Fuel: 500,
			}
		}
		w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: r}})
	}
}

func (w *world) stepWorker() {
	key := w.keys[w.roll(len(w.keys))]
	w.count++
	session := binary.BigEndian.AppendUint64(make([]byte, 8), w.count)
	to := actors.WorkerAddress(key)
	switch w.roll(7) {
	case 0, 1, 2:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_ConnectWorker{ConnectWorker: &eventv1.ConnectWorker{Key: key, Session: session, Group: "<g>", Node: "n"}}})
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_ReportProfile{ReportProfile: &eventv1.ReportProfile{Profile: &eventv1.Profile{
			Mflops: 5000, MaxAllocationBytes: 1 << 30, ChunkBytes: 4096, Arch: "amd64\"", Os: "linux", Agent: "<img src=x>",
		}}}})
	case 3:
		if l := w.alive[to]; l != nil {
			w.do(to, &eventv1.Command{Kind: &eventv1.Command_DisconnectWorker{DisconnectWorker: &eventv1.DisconnectWorker{Session: w.session(to), Why: "cable"}}})
		}
	case 4:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_DrainWorker{DrainWorker: &eventv1.DrainWorker{By: "eve", Reason: "slow"}}})
	case 5:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_BanWorker{BanWorker: &eventv1.BanWorker{By: "eve", Reason: "lies"}}})
	default:
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_ReinstateWorker{ReinstateWorker: &eventv1.ReinstateWorker{By: "eve", Reason: "good"}}})
	}
}

// session is the one that a worker stands in, out of the facts.
func (w *world) session(of actors.Address) []byte {
	for i := len(w.records) - 1; i >= 0; i-- {
		if r := &w.records[i]; r.Stream == of.Stream() && r.Type == "WorkerConnected" {
			f, err := events.Decode(*r)
			if err != nil {
				panic(err)
			}
			return f.(*eventv1.WorkerConnected).GetSession()
		}
	}
	return nil
}

func (w *world) stepModule() {
	original := moduleOf(100 + w.roll(4))
	to := actors.Address{Room: actors.ModuleRoom, ID: fmt.Sprintf("%x", original)}
	if w.roll(2) == 0 {
		w.do(to, &eventv1.Command{Kind: &eventv1.Command_AdmitModule{AdmitModule: &eventv1.AdmitModule{
			Original: original, Name: moduleOf(w.roll(3)), Rewriter: uint32(1 + w.roll(3)), Class: eventv1.ModuleClass_MODULE_CLASS_INTEGER, Size: 100, MemoryBytes: 1 << 16,
		}}})
		return
	}
	w.do(to, &eventv1.Command{Kind: &eventv1.Command_RefuseModule{RefuseModule: &eventv1.RefuseModule{
		Original: original, Code: "imports", Detail: "<imports>", Rewriter: uint32(1 + w.roll(3)),
	}}})
}

// Read makes the world a log whose streams can be read.
func (w *world) Read(_ context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return recordsOf(w.records).Read(context.Background(), stream, span)
}

type recordsOf []events.Record

func (l recordsOf) Read(_ context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		n := 0
		for _, r := range l {
			if r.Stream != stream || r.Rev < span.From {
				continue
			}
			if n++; !yield(r, nil) || n == span.Limit {
				return
			}
		}
		if n == 0 {
			yield(events.Record{}, events.ErrNotFound)
		}
	}
}

// Head is the end of the log.
func (l recordsOf) Head(context.Context) (events.Position, error) {
	if len(l) == 0 {
		return 0, nil
	}
	return l[len(l)-1].Pos, nil
}

// types counts the records by type, for those who want to know that a world is rich.
func (w *world) types() map[string]int {
	n := map[string]int{}
	for _, r := range w.records {
		n[strings.TrimSpace(r.Type)]++
	}
	return n
}

// everHad tells whether a slot was ever handed to a worker.
func (w *world) everHad(slot actors.Address, key []byte) bool {
	if w.handed == nil || w.handedUpTo != len(w.records) {
		w.handed, w.handedUpTo = map[string]bool{}, len(w.records)
		for _, r := range w.records {
			if r.Type == "AssignmentDispatched" {
				f, err := events.Decode(r)
				if err != nil {
					panic(err)
				}
				w.handed[r.Stream+string(f.(*eventv1.AssignmentDispatched).GetWorker())] = true
			}
		}
	}
	return w.handed[slot.Stream()+string(key)]
}

// write records a fact that no room has decided.
func (w *world) write(stream string, f events.Fact) {
	w.head++
	w.count++
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID(binary.BigEndian.AppendUint64(nil, w.count))}, []events.Fact{f})
	if err != nil {
		panic(err)
	}
	w.records = append(w.records, events.Record{Draft: drafts[0], Stream: stream, Pos: w.head, Time: time.UnixMicro(w.at).UTC()})
}
