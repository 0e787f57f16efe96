package dashboard

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// plant is a small orchestrator: it drives the real rooms into a log in memory as the host does, with workers that have
// keys, some of which lie.
type plant struct {
	t   testing.TB
	log *memlog.Log

	mu      sync.Mutex // guards blobs, which pages read meanwhile
	blobs   map[[32]byte][]byte
	at      int64
	count   uint64
	alive   map[actors.Address]*living
	workers []ed25519.PrivateKey
	turn    int
	tasks   []actors.Task // delivered and not settled
	referee []actors.Referee
	settled map[string]*eventv1.SettleJobs
	queue   []plantEffect
	lies    func(worker int, t actors.Task) bool
	output  func(t actors.Task, spec *eventv1.JobSpec) []byte // what an honest worker returns
}

type living struct {
	entity actors.Entity
	next   uint64
}

type plantEffect struct {
	effect actors.Effect
	id     events.CommandID
}

func newPlant(t testing.TB) *plant {
	w := &plant{
		t: t, log: memlog.New(), at: 1_790_000_000_000_000, alive: map[actors.Address]*living{}, blobs: map[[32]byte][]byte{},
		settled: map[string]*eventv1.SettleJobs{},
		lies:    func(int, actors.Task) bool { return false },
		output:  func(t actors.Task, _ *eventv1.JobSpec) []byte { return []byte("out of " + t.Job) },
	}
	t.Cleanup(func() { w.log.Close() })
	for i := range 8 {
		w.workers = append(w.workers, ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, 32)))
	}
	return w
}

func (w *plant) key(worker int) []byte { return w.workers[worker].Public().(ed25519.PublicKey) }

func (w *plant) put(data []byte) *eventv1.BlobRef {
	sum := sha256.Sum256(data)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blobs[sum] = data
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(data))}
}

// Open makes the plant a place where content is.
func (w *plant) Open(_ context.Context, sum [32]byte) (io.ReadCloser, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, ok := w.blobs[sum]
	if !ok {
		return nil, 0, blobs.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

func (w *plant) spec() *eventv1.JobSpec {
	w.count++
	return &eventv1.JobSpec{
		Module: slices.Repeat([]byte{7}, 32), Input: w.put(binary.BigEndian.AppendUint64([]byte("input "), w.count)), FuelLimit: 1_000_000,
		Kind: eventv1.JobKind_JOB_KIND_STANDARD, MinTier: 1, Tenant: "acme",
	}
}

func plantPolicy() *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: 2, Margin: 2, MaxReplicas: 5, MaxAttempts: 3, AckTimeoutMs: 5000, MinExecutionTimeoutMs: 10_000,
		MaxExecutionTimeoutMs: 3_600_000, ExecutionSlack: 4, RequireAttestation: true,
		Referee: eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM,
	}
}

// submit submits a job alone.
func (w *plant) submit(change func(*eventv1.JobSpec, *eventv1.JobPolicy)) string {
	spec, rules := w.spec(), plantPolicy()
	if change != nil {
		change(spec, rules)
	}
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64([]byte("plant"), w.count))
	w.must(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: rules}}})
	return id
}

// pipeline submits a pipeline of one stage over these inputs.
func (w *plant) pipeline(name string, inputs [][]byte, change func(*eventv1.PipelineSpec)) string {
	manifest := &eventv1.ChunkManifest{}
	for _, in := range inputs {
		manifest.Chunks = append(manifest.Chunks, w.put(in))
	}
	data, err := proto.Marshal(manifest)
	if err != nil {
		w.t.Fatal(err)
	}
	template := w.spec()
	template.Input, template.Tenant = nil, ""
	spec := &eventv1.PipelineSpec{
		Name: name, Tenant: "acme", Manifest: w.put(data), Chunks: uint32(len(inputs)), MaxFailures: 1,
		Stages: []*eventv1.StageSpec{{Name: "only", Template: template, Policy: plantPolicy()}},
	}
	if change != nil {
		change(spec)
	}
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64([]byte("plant pipeline"), w.count))
	w.must(actors.PipelineAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitPipeline{SubmitPipeline: &eventv1.SubmitPipeline{Spec: spec}}})
	return id
}

// must gives a command that may not be refused, and plays on until nothing is left to do.
func (w *plant) must(to actors.Address, cmd *eventv1.Command) {
	w.t.Helper()
	if err := w.do(to, cmd); err != nil {
		w.t.Fatalf("%s: %v", to.Stream(), err)
	}
}

func (w *plant) do(to actors.Address, cmd *eventv1.Command) error {
	err := w.tell(to, cmd, w.fresh())
	for len(w.queue) > 0 {
		e := w.queue[0]
		w.queue = w.queue[1:]
		switch x := e.effect.(type) {
		case actors.Tell:
			_ = w.tell(x.To, x.Command, e.id) // an answer to a repeat may be a refusal
		case actors.Seek:
			for _, slot := range x.Slots {
				w.dispatch(x, slot)
			}
		case actors.Deliver:
			w.tasks = append(w.tasks, x.Task)
		case actors.Referee:
			w.referee = append(w.referee, x)
		case actors.SubmitChunks:
			w.submitChunks(x)
		case actors.SettleChunk:
			s := w.settled[x.Pipeline]
			if s == nil {
				s = &eventv1.SettleJobs{Stage: x.Stage}
				w.settled[x.Pipeline] = s
			}
			s.Jobs = append(s.Jobs, x.Job)
		}
	}
	return err
}

// fresh is the id of a command that nobody told.
func (w *plant) fresh() events.CommandID {
	w.count++
	return events.NewCommandID(binary.BigEndian.AppendUint64([]byte("fresh"), w.count))
}

func (w *plant) tell(to actors.Address, cmd *eventv1.Command, id events.CommandID) error {
	w.at += 1000
	cmd.AtUs = w.at
	l := w.alive[to]
	if l == nil {
		kind, ok := rooms.Of(to.Room)
		if !ok {
			w.t.Fatalf("no room %q", to.Room)
		}
		l = &living{entity: kind.Open(to.ID)}
		w.alive[to] = l
	}
	d, err := l.entity.Decide(actors.Rules, cmd)
	if err != nil {
		return err
	}
	w.follow(id, d.Effects)
	if len(d.Facts) == 0 {
		return nil
	}
	drafts, err := events.Encode(events.Origin{ID: id, Command: cmd, Node: "plant", Rules: actors.Rules}, d.Facts)
	if err != nil {
		w.t.Fatal(err)
	}
	want := events.Absent
	if l.next > 0 {
		want = events.At(l.next - 1)
	}
	if _, err := w.log.Append(context.Background(), to.Stream(), want, drafts...); err != nil {
		w.t.Fatal(err)
	}
	l.next += uint64(len(drafts))
	for _, f := range d.Facts {
		if err := l.entity.Evolve(f); err != nil {
			w.t.Fatal(err)
		}
	}
	w.follow(id, l.entity.React(d.Facts))
	return nil
}

func (w *plant) follow(id events.CommandID, effects []actors.Effect) {
	for i, e := range effects {
		w.queue = append(w.queue, plantEffect{e, id.Effect(i)})
	}
}

// dispatch picks a worker that has not had the job, in turn.
func (w *plant) dispatch(s actors.Seek, slot uint32) {
	head, err := w.log.Head(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	seed := dispatch.Seed(uint64(head), s.Job, slot, 0)
	pick := w.turn % len(w.workers)
	for range w.workers {
		used := slices.ContainsFunc(s.Used, func(h actors.Holder) bool { return bytes.Equal(h.Worker, w.key(pick)) })
		if !used {
			break
		}
		pick = (pick + 1) % len(w.workers)
	}
	w.turn++
	w.queue = append(w.queue, plantEffect{id: events.NewCommandID([]byte("dispatch"), []byte(s.Job), seed[:]), effect: actors.Tell{
		To: actors.SlotAddress(s.Job, slot),
		Command: &eventv1.Command{Kind: &eventv1.Command_DispatchSlot{DispatchSlot: &eventv1.DispatchSlot{
			Worker: w.key(pick), Group: fmt.Sprintf("group %d", pick), AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 3,
			Candidates: [][]byte{w.key(pick)[:8]}, Seed: seed[:], Head: uint64(head),
		}}},
	}})
}

func (w *plant) submitChunks(x actors.SubmitChunks) {
	w.mu.Lock()
	data := w.blobs[[32]byte(x.Manifest.Sha256)]
	w.mu.Unlock()
	manifest := &eventv1.ChunkManifest{}
	if err := proto.Unmarshal(data, manifest); err != nil {
		w.t.Fatal(err)
	}
	stage := x.Spec.Stages[x.Stage]
	for i := x.From; i < x.To; i++ {
		spec := proto.CloneOf(stage.Template)
		spec.Input, spec.Pipeline, spec.Stage, spec.Chunk, spec.Tenant = manifest.Chunks[i], x.Pipeline, x.Stage, i, x.Spec.Tenant
		w.queue = append(w.queue, plantEffect{id: w.fresh(), effect: actors.Tell{
			To:      actors.JobAddress(chunkJob(x.Pipeline, x.Stage, i)),
			Command: &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: stage.Policy}}},
		}})
	}
}

// settle tells the pipelines which of their jobs have ended.
func (w *plant) settle() {
	for id, s := range w.settled {
		delete(w.settled, id)
		w.must(actors.PipelineAddress(id), &eventv1.Command{Kind: &eventv1.Command_SettleJobs{SettleJobs: s}})
	}
}

func (w *plant) workerOf(t actors.Task) int {
	return slices.IndexFunc(w.workers, func(k ed25519.PrivateKey) bool { return bytes.Equal(k.Public().(ed25519.PublicKey), t.Worker) })
}

func (w *plant) ack(t actors.Task) {
	w.must(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: t.Token}}})
}

func (w *plant) specOf(jobID string) *eventv1.JobSpec {
	return w.alive[actors.JobAddress(jobID)].entity.State().(job.State).Spec
}

// answer returns a result for a task, signed by its worker over what it returns.
func (w *plant) answer(t actors.Task, output []byte, change func(*eventv1.ReturnResult)) {
	spec, out := w.specOf(t.Job), w.put(output)
	s := proof.Statement{
		Job: t.Job, Slot: t.Slot, Token: t.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
		Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 500_000, Output: [32]byte(out.Sha256),
	}
	c := &eventv1.ReturnResult{
		Token: t.Token, Status: s.Status, Output: out, Fuel: s.Fuel, Attestation: s.Sign(w.workers[w.workerOf(t)]),
	}
	if change != nil {
		change(c)
	}
	w.must(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: c}})
}

// take removes a task from those that are out.
func (w *plant) take(i int) actors.Task {
	t := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	return t
}

// work does everything that is out, as honestly as the workers are.
func (w *plant) work() {
	for len(w.tasks) > 0 {
		w.step()
	}
	w.settle()
}

// step does the oldest task that is out.
func (w *plant) step() {
	t := w.take(0)
	w.at += 3000
	w.ack(t)
	w.at += 20_000 + int64(w.count%7)*3000
	out := w.output(t, w.specOf(t.Job))
	if w.lies(w.workerOf(t), t) {
		out = append([]byte("a lie, "), out...)
	}
	w.answer(t, out, nil)
}

// expire lets the acknowledgement of a task come too late.
func (w *plant) expire(t actors.Task) {
	w.at += 6_000_000
	w.must(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ExpireAck{ExpireAck: &eventv1.ExpireAck{Attempt: t.Attempt}}})
}

// deadLetter submits a job that nobody acknowledges.
func (w *plant) deadLetter(change func(*eventv1.JobSpec, *eventv1.JobPolicy)) string {
	id := w.submit(change)
	for i := 0; i < len(w.tasks); {
		if w.tasks[i].Job != id {
			i++
			continue
		}
		w.expire(w.take(i))
		i = 0
	}
	return id
}

func (w *plant) refereed() {
	for len(w.referee) > 0 {
		r := w.referee[0]
		w.referee = w.referee[1:]
		w.must(actors.JobAddress(r.Job), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: eventv1.ResultStatus_RESULT_STATUS_OK,
			Output: w.put([]byte("out of " + r.Job)), Fuel: 500_000,
		}}})
	}
}

// records copies the streams whose names begin with a prefix.
func (w *plant) records(prefix string) []decoded {
	var all []decoded
	for r, err := range w.log.ReadAll(context.Background(), 0, events.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasPrefix(r.Stream, prefix) {
			all = append(all, decodeRecord(r))
		}
	}
	return all
}
