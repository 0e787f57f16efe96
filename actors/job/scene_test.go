package job_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestScenes plays a job and its slots together: testdata/scenes holds the transcripts, -rewrite writes them anew.
func TestScenes(t *testing.T) {
	datadriven.Walk(t, "testdata/scenes", func(t *testing.T, path string) {
		p := &play{scene: story.NewScene(t, &job.Room, &assignment.Room), spec: spec(), policy: rules()}
		datadriven.RunTest(t, path, p.run)
	})
}

// play understands the words of the transcripts.
type play struct {
	scene  *story.Scene
	spec   *eventv1.JobSpec
	policy *eventv1.JobPolicy
}

func (p *play) run(t *testing.T, d *datadriven.TestData) string {
	to, cmd := p.command(t, d)
	var err error
	switch {
	case cmd != nil:
		_, err = p.scene.Do(to, cmd)
	case d.Cmd == "pass":
		p.scene.Pass(int64(arg(t, d, "ms", 0)) * 1000)
	case d.Cmd == "crash":
		p.scene.Crash()
		_, err = p.scene.Do(actors.JobAddress(id), &eventv1.ReopenJob{})
	case d.Cmd == "tally":
		v := p.scene.State(actors.JobAddress(id)).(job.State).Tally()
		return v.Describe()
	default:
		d.Fatalf(t, "no such word")
	}
	text := strings.ReplaceAll(p.scene.Transcript(), id, "J")
	if err != nil {
		text += "refused: " + err.Error() + "\n"
	}
	if text == "" {
		return "nothing\n"
	}
	return text
}

func (p *play) command(t *testing.T, d *datadriven.TestData) (actors.Address, proto.Message) {
	to := actors.JobAddress(id)
	switch d.Cmd {
	case "submit":
		p.policy.Redundancy = arg(t, d, "redundancy", 2)
		p.policy.Margin = arg(t, d, "margin", 2)
		p.policy.MaxReplicas = arg(t, d, "cap", 7)
		p.policy.MaxAttempts = arg(t, d, "attempts", 5)
		if d.HasArg("never-referee") {
			p.policy.Referee = eventv1.RefereeMode_REFEREE_MODE_NEVER
		}
		if d.HasArg("pipeline") {
			p.spec.Pipeline, p.spec.Stage, p.spec.Chunk = events.DeriveEntityID([]byte("p")), 1, 4
		}
		return to, &eventv1.SubmitJob{Spec: p.spec, Policy: p.policy}
	case "cancel":
		return to, &eventv1.CancelJob{By: "operator", Reason: "not needed"}
	case "requeue":
		return to, &eventv1.RequeueJob{By: "operator", Reason: "try again"}
	case "discard":
		return to, &eventv1.DiscardJob{By: "operator", Reason: "hopeless"}
	case "referee":
		c := &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome(arg(t, d, "outcome", 1))}
		if says := word(t, d, "says"); says != "" {
			c.Status, c.Output, c.Fuel = 1, blob(says), 500
		}
		return to, c
	}
	return p.slotCommand(t, d)
}

func (p *play) slotCommand(t *testing.T, d *datadriven.TestData) (actors.Address, proto.Message) {
	slot := arg(t, d, "slot", 0)
	to := actors.SlotAddress(id, slot)
	switch d.Cmd {
	case "dispatch":
		who := word(t, d, "to")
		return to, &eventv1.DispatchSlot{
			Worker: named(who), Group: "of " + who, AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000,
			MaxAttempts: p.policy.MaxAttempts, Seed: bytes.Repeat([]byte{byte(slot)}, 16), Head: 9,
			Candidates: [][]byte{named(who)[:8]},
		}
	case "ack":
		return to, &eventv1.AckTask{Token: p.token(t, d, to)}
	case "result":
		c := &eventv1.ReturnResult{
			Token: p.token(t, d, to), Status: 1, Output: blob(word(t, d, "says")), Fuel: 500,
			Reject: eventv1.RejectReason(arg(t, d, "reject", 0)),
		}
		if d.HasArg("trap") {
			c.Status, c.Output = eventv1.ResultStatus_RESULT_STATUS_TRAP, nil
		}
		return to, c
	case "abandon":
		return to, &eventv1.AbandonSlot{Reason: nobody}
	case "strip":
		reason := eventv1.StripReason_value["STRIP_REASON_"+strings.ToUpper(word(t, d, "why"))]
		return to, &eventv1.StripSlot{Token: p.token(t, d, to), Reason: eventv1.StripReason(reason)}
	}
	return to, nil
}

// token is the slot's current token, or that of an attempt that the line names.
func (p *play) token(t *testing.T, d *datadriven.TestData, slot actors.Address) uint64 {
	s := p.scene.State(slot).(assignment.State)
	if d.HasArg("attempt") {
		return assignment.Token(bytes.Repeat([]byte{byte(s.Slot)}, 16), arg(t, d, "attempt", 1))
	}
	return s.Token
}

// named is a worker's key, which begins with its name.
func named(name string) []byte { return append([]byte(name), make([]byte, 32-len(name))...) }

func arg(t *testing.T, d *datadriven.TestData, name string, otherwise uint32) uint32 {
	if !d.HasArg(name) {
		return otherwise
	}
	var n uint64
	d.ScanArgs(t, name, &n)
	return uint32(n)
}

func word(t *testing.T, d *datadriven.TestData, name string) string {
	if !d.HasArg(name) {
		return ""
	}
	var s string
	d.ScanArgs(t, name, &s)
	return s
}

func TestSketchesAreStable(t *testing.T) {
	fact := &eventv1.TaskVerified{Checksum: key(1), Agreeing: []uint32{0, 1}, Basis: 1, Output: blob("x")}
	want := "TaskVerified checksum=01010101 output={sha256=2d711642 size=1} agreeing=[0 1] basis=quorum"
	if got := story.Sketch(fact); got != want {
		t.Errorf("got %s", got)
	}
	effect := actors.Release{Job: "j", Holder: actors.Holder{Slot: 2, Worker: key(3), Group: "g"}}
	if got := story.SketchEffect(effect); got != fmt.Sprintf("Release job=%q holder={slot=2 worker=03030303 group=%q}", "j", "g") {
		t.Errorf("got %s", got)
	}
}

// BenchmarkReplay folds the ten records of a verified job and its two slots, decoding included.
func BenchmarkReplay(b *testing.B) {
	scene := story.NewScene(b, &job.Room, &assignment.Room)
	to := []actors.Address{actors.JobAddress(id), actors.SlotAddress(id, 0), actors.SlotAddress(id, 1)}
	do := func(at actors.Address, cmd proto.Message) {
		if _, err := scene.Do(at, cmd); err != nil {
			b.Fatal(err)
		}
	}
	do(to[0], &eventv1.SubmitJob{Spec: spec(), Policy: rules()})
	for n := range byte(2) {
		seed := bytes.Repeat([]byte{n}, 16)
		do(to[1+n], &eventv1.DispatchSlot{
			Worker: key(n), AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 5, Seed: seed,
		})
		do(to[1+n], &eventv1.AckTask{Token: assignment.Token(seed, 1)})
		do(to[1+n], &eventv1.ReturnResult{
			Token: assignment.Token(seed, 1), Status: 1, Output: blob("x"), Fuel: 5, Attestation: make([]byte, 64),
		})
	}
	kinds := []actors.Kind{&job.Room, &assignment.Room, &assignment.Room}
	streams := make([][]events.Record, len(to))
	for i, of := range to {
		for _, fact := range scene.History(of) {
			data, err := proto.Marshal(fact)
			if err != nil {
				b.Fatal(err)
			}
			streams[i] = append(streams[i], events.Record{Draft: events.Draft{Type: events.TypeOf(fact), Data: data}})
		}
	}
	records := 0
	b.ReportAllocs()
	for b.Loop() {
		for i, stream := range streams {
			e := kinds[i].Open(to[i].ID)
			for _, r := range stream {
				fact, err := events.Decode(r)
				if err != nil {
					b.Fatal(err)
				}
				if err := e.Evolve(fact); err != nil {
					b.Fatal(err)
				}
				records++
			}
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "events/s")
}
