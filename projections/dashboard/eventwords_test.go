package dashboard

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestEveryFactHasWords: no fact is shown as bare JSON, not even an empty one, which a damaged log may hold.
func TestEveryFactHasWords(t *testing.T) {
	for _, name := range events.Types() {
		f, err := events.NewFact(name)
		if err != nil {
			t.Fatal(err)
		}
		text := tell(f).String()
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "{") {
			t.Errorf("%s is told as %q", name, text)
		}
	}
}

func TestWords(t *testing.T) {
	key := make([]byte, 32)
	key[0] = 0xab
	for _, c := range []struct {
		fact proto.Message
		want string
	}{
		{
			&eventv1.ReplicaReturned{Slot: 2, Worker: key, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 1234567, RunMs: 1500, Output: &eventv1.BlobRef{Size: 2048}},
			"slot 2: worker ab000000 returned ok, 1 234 567 fuel, 2 KiB, in 1.5 s",
		},
		{
			&eventv1.ReplicaReturned{Slot: 2, Worker: key, Status: eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL},
			"slot 2: worker ab000000 returned out of fuel, 0 fuel",
		},
		{
			&eventv1.TaskVerified{Checksum: []byte{1, 2, 3, 4, 5}, Agreeing: []uint32{0, 2, 3}, Contradicted: []uint32{1}, Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM},
			"verified by quorum: 3 agree, 1 contradicted; checksum 01020304",
		},
		{
			&eventv1.ConsensusMismatch{Wave: 1, Votes: []*eventv1.Vote{{Checksum: []byte{1}, Slots: []uint32{0}}, {Checksum: []byte{2}, Slots: []uint32{1}}}},
			"wave 1 does not agree: slot 0 says 01, slot 1 says 02",
		},
		{
			&eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, Detail: "five results, no two alike"},
			"dead-lettered: no quorum: five results, no two alike",
		},
		{&eventv1.AssignmentStripped{Attempt: 2, Reason: 99}, "attempt 2 was taken away: unknown (99) (does not count)"},
		{&eventv1.WaveOpened{Wave: 2, FirstSlot: 2, Slots: 2, Why: "results differ"}, "wave 2 opens slots 2 to 3: results differ"},
	} {
		if got := tell(c.fact).String(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", events.TypeOf(c.fact), got, c.want)
		}
	}
}

// TestWordsLeadSomewhere: a worker's key in a sentence is a link; an id that is none leads nowhere.
func TestWordsLeadSomewhere(t *testing.T) {
	key := make([]byte, 32)
	s := tell(&eventv1.AssignmentDispatched{Worker: key})
	if want := "/workers/" + strings.Repeat("00", 32); s[1].Href != want {
		t.Errorf("%v does not lead to %s", s, want)
	}
	if w := sayJob("../../etc"); w.Href != "" {
		t.Errorf("%v leads somewhere", w)
	}
	for stream, want := range map[string]string{
		"job-01k9x2v00000000000000000zz":          "/jobs/01k9x2v00000000000000000zz",
		"assignment-01k9x2v00000000000000000zz-3": "/jobs/01k9x2v00000000000000000zz",
		"pipeline-01k9x2v00000000000000000zz":     "/pipelines/01k9x2v00000000000000000zz",
		"worker-" + strings.Repeat("00", 32):      "/workers/" + strings.Repeat("00", 32),
		"worker-zz":                               "", "shard-7": "", "nonsense": "", "": "", "job-": "", "assignment-x": "",
	} {
		if _, where := streamWords(stream); where.Href != want {
			t.Errorf("%q leads to %q, want %q", stream, where.Href, want)
		}
	}
}
