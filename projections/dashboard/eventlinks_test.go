package dashboard

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// near reads what the page reads: the record's own stream and its kin.
func near(w *plant, of decoded, pipeline string) []decoded {
	all := w.records(of.Stream)
	for _, s := range kin(of, pipeline) {
		all = append(all, w.records(s)...)
	}
	return all
}

func find(t *testing.T, all []decoded, typ string, n int) decoded {
	t.Helper()
	for _, d := range all {
		if d.Type == typ {
			if n == 0 {
				return d
			}
			n--
		}
	}
	t.Fatalf("no %s", typ)
	return decoded{}
}

// names are the types of relatives, with how they are related.
func names(all []relative) []string {
	var s []string
	for _, r := range all {
		s = append(s, r.Type+": "+r.How)
	}
	return s
}

// TestFollowAVerdictBack: from the verdict over the result, the acknowledgement and the hand-over to the submission.
func TestFollowAVerdictBack(t *testing.T) {
	w := newPlant(t)
	id := w.submit(nil)
	w.work()
	at := find(t, w.records(actors.JobAddress(id).Stream()), "TaskVerified", 0)
	var road []string
	for range 10 {
		causes, _ := relatives(at, near(w, at, ""))
		if len(causes) == 0 {
			break
		}
		at = causes[0].decoded
		road = append(road, at.Type)
	}
	want := []string{"ResultReturned", "TaskAcked", "AssignmentDispatched", "JobSubmitted"}
	if !slices.Equal(road, want) {
		t.Errorf("the road back: %v, want %v", road, want)
	}
}

// TestEffectsOfADecision: what a lost attempt, a disagreement and a submission led to.
func TestEffectsOfADecision(t *testing.T) {
	w := newPlant(t)
	w.lies = func(worker int, _ actors.Task) bool { return worker == 1 }
	id := w.submit(nil)
	w.expire(w.take(0))
	w.work()
	stream := actors.JobAddress(id).Stream()
	submitted := find(t, w.records(stream), "JobSubmitted", 0)
	_, effects := relatives(submitted, near(w, submitted, ""))
	if got := names(effects); len(got) != 2 || effects[0].Type != "AssignmentDispatched" || effects[1].Type != "AssignmentDispatched" {
		t.Errorf("the submission led to %v", got)
	}
	stripped := find(t, w.records("assignment-"+id), "AssignmentStripped", 0)
	_, effects = relatives(stripped, near(w, stripped, ""))
	if got := names(effects); len(got) != 1 || got[0] != "AssignmentDispatched: freed the slot, and the dispatcher sought a worker" {
		t.Errorf("the loss led to %v", got)
	}
	wave := find(t, w.records(stream), "WaveOpened", 0)
	causes, effects := relatives(wave, near(w, wave, ""))
	if len(effects) == 0 || effects[0].Type != "AssignmentDispatched" {
		t.Errorf("the second wave led to %v", names(effects))
	}
	if len(causes) != 0 { // the slot that told the job is not the wave's own
		for _, c := range causes {
			if c.Pos >= wave.Pos {
				t.Errorf("a cause behind its effect: %v", c.Type)
			}
		}
	}
	returned := find(t, w.records("assignment-"+id), "ResultReturned", 0)
	_, effects = relatives(returned, near(w, returned, ""))
	if got := names(effects); !slices.Contains(got, "ReplicaReturned: told by this decision") {
		t.Errorf("the result led to %v", got)
	}
}

// TestPipelineAndItsJobs: hand-out and settlement are found although no command's id tells of them.
func TestPipelineAndItsJobs(t *testing.T) {
	w := newPlant(t)
	id := w.pipeline("numbers", [][]byte{{1}, {2}, {3}}, nil)
	w.work()
	stream := actors.PipelineAddress(id).Stream()
	started := find(t, w.records(stream), "StageStarted", 0)
	_, effects := relatives(started, near(w, started, ""))
	if len(effects) != 3 || effects[0].Type != "JobSubmitted" {
		t.Errorf("the stage led to %v", names(effects))
	}
	settled := find(t, w.records(stream), "JobsSettled", 0)
	causes, _ := relatives(settled, near(w, settled, ""))
	if got := names(causes); len(got) != 1 || got[0] != "TaskVerified: settled the chunk" {
		t.Errorf("the settlement follows from %v", got)
	}
	verified := find(t, w.records(actors.JobAddress(chunkJob(id, 0, 1)).Stream()), "TaskVerified", 0)
	_, effects = relatives(verified, near(w, verified, id))
	if got := names(effects); len(got) != 1 || got[0] != "JobsSettled: settled the chunk" {
		t.Errorf("the verdict led to %v", got)
	}
}

// TestLinksOfDamagedRecords: bytes that are no fact have no relatives by meaning, and nothing breaks.
func TestLinksOfDamagedRecords(t *testing.T) {
	w := newPlant(t)
	w.submit(nil)
	w.work()
	all := w.records("")
	broken := decodeRecord(events.Record{
		Draft:  events.Draft{ID: events.ID{1}, Type: "TaskVerified", Data: protowire.AppendTag(nil, 1, 7), Meta: []byte{0xff}},
		Stream: "assignment--", Pos: 1 << 40,
	})
	if causes, effects := relatives(broken, all); len(causes)+len(effects) > 0 {
		t.Errorf("a broken record has relatives: %v %v", names(causes), names(effects))
	}
	if streams := kin(broken, ""); len(streams) > 1 {
		t.Errorf("kin of a broken record: %v", streams)
	}
	for _, d := range all {
		relatives(d, append(slices.Clone(all), broken))
	}
}

// FuzzKin: names and facts from anywhere give few streams.
func FuzzKin(f *testing.F) {
	f.Add("job-x", "TaskVerified", []byte{0x1a, 2, 1, 2})
	f.Add("pipeline-x", "JobsSettled", []byte{8, 1})
	f.Add("assignment-x-4294967295", "JobSubmitted", []byte{24, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, stream, typ string, data []byte) {
		d := decodeRecord(events.Record{Draft: events.Draft{Type: typ, Data: data}, Stream: stream})
		if n := len(kin(d, "p")); n > maxKinSlots+1 {
			t.Fatalf("%d streams", n)
		}
		tell(orEmpty(d.Fact))
		relatives(d, []decoded{d})
	})
}

func orEmpty(f events.Fact) events.Fact {
	if f == nil {
		return &eventv1.ShardTaken{}
	}
	return f
}
