package secrecy

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// secrets are the names of fields that say what a replica returned, or what it should return.
var secrets = map[protoreflect.Name]bool{"output": true, "proof": true, "known_checksum": true}

// isSecret leaves out the fields of the same name that say what is wanted.
func isSecret(f protoreflect.FieldDescriptor) bool {
	if !secrets[f.Name()] {
		return false
	}
	return f.Kind() == protoreflect.BytesKind || f.Kind() == protoreflect.MessageKind && f.Message().Name() == "BlobRef"
}

// plant sets every secret field in and below a message and reports how many there are.
func plant(m protoreflect.Message) (n int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsList() || f.IsMap():
		case isSecret(f) && f.Kind() == protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte("secret")))
			n++
		case isSecret(f):
			m.Set(f, m.NewField(f))
			n++
		case f.Kind() == protoreflect.MessageKind && f.ContainingOneof() == nil:
			below := m.NewField(f)
			if k := plant(below.Message()); k > 0 {
				m.Set(f, below)
				n += k
			}
		}
	}
	return n
}

// left lists the secret fields that are still set.
func left(m protoreflect.Message) (names []protoreflect.FullName) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() || f.IsMap():
		case isSecret(f):
			names = append(names, f.FullName())
		case f.Kind() == protoreflect.MessageKind:
			names = append(names, left(v.Message())...)
		}
		return true
	})
	return names
}

// TestFactsThatNameResultsAreCut walks all facts: whatever can name a result or an answer is cut, so that a fact to come
// cannot be forgotten. A verdict is the end of the secret.
func TestFactsThatNameResultsAreCut(t *testing.T) {
	open := map[string]bool{"TaskVerified": true}
	cuts := 0
	for _, typ := range events.Types() {
		f, err := events.NewFact(typ)
		if err != nil {
			t.Fatal(err)
		}
		if open[typ] || plant(f.ProtoReflect()) == 0 {
			continue
		}
		cuts++
		if !Holds(f, nil) {
			t.Errorf("%s is shown before the verdict", typ)
		}
		if Cut(f, nil); len(left(f.ProtoReflect())) > 0 {
			t.Errorf("%s still holds %v", typ, left(f.ProtoReflect()))
		}
	}
	if cuts < 5 {
		t.Errorf("%d facts name results: the walk is broken", cuts)
	}
}

// TestCommandsThatNameResultsAreCut is the same for what was asked: commands travel in the envelopes of facts.
func TestCommandsThatNameResultsAreCut(t *testing.T) {
	kinds := (&eventv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	cuts := 0
	for i := range kinds.Len() {
		c := new(eventv1.Command)
		kind := kinds.Get(i)
		body := c.ProtoReflect().NewField(kind)
		c.ProtoReflect().Set(kind, body)
		if Cut(nil, c); plant(body.Message()) == 0 {
			continue
		}
		cuts++
		if !Holds(nil, c) {
			t.Errorf("command %s is shown before the verdict", kind.Name())
		}
		if Cut(nil, c); len(left(c.ProtoReflect())) > 0 {
			t.Errorf("command %s still holds %v", kind.Name(), left(c.ProtoReflect()))
		}
	}
	if cuts < 4 {
		t.Errorf("%d commands name results: the walk is broken", cuts)
	}
}

// TestACommandWithoutABodyIsCut: bytes from outside can name a kind and leave its message out.
func TestACommandWithoutABodyIsCut(t *testing.T) {
	for _, c := range []*eventv1.Command{
		nil,
		{},
		{Kind: &eventv1.Command_SubmitJob{}},
		{Kind: &eventv1.Command_RecordReplica{}},
		{Kind: &eventv1.Command_RecordReferee{}},
		{Kind: &eventv1.Command_ReturnResult{}},
	} {
		Holds(nil, c)
		Cut(nil, c)
	}
}

// TestTheSpecOfOthersIsLeftAlone: specs are shared with the state of the job.
func TestTheSpecOfOthersIsLeftAlone(t *testing.T) {
	ringer := &eventv1.JobSpec{Tenant: "acme", KnownChecksum: []byte{1}}
	want := proto.CloneOf(ringer)
	if got := WithoutAnswer(ringer); len(got.KnownChecksum) > 0 || got.Tenant != "acme" || !proto.Equal(ringer, want) {
		t.Errorf("cut to %v, and the spec itself is %v", got, ringer)
	}
}

func TestWhoseSecret(t *testing.T) {
	for stream, want := range map[string]string{
		actors.JobAddress("j1").Stream():     "j1",
		actors.SlotAddress("j1", 3).Stream(): "j1",
		"assignment-nonsense":                "",
		"worker-j1":                          "",
		"jobs-j1":                            "",
		"":                                   "",
	} {
		if got := JobOf(stream); got != want {
			t.Errorf("%q belongs to %q, want %q", stream, got, want)
		}
	}
	ends := map[operatorv1.JobState]bool{
		operatorv1.JobState_JOB_STATE_UNSPECIFIED:   false,
		operatorv1.JobState_JOB_STATE_OPEN:          false,
		operatorv1.JobState_JOB_STATE_DEAD_LETTERED: false, // another round may come
		operatorv1.JobState_JOB_STATE_VERIFIED:      true,
		operatorv1.JobState_JOB_STATE_CANCELLED:     true,
		operatorv1.JobState_JOB_STATE_DISCARDED:     true,
	}
	for n := range operatorv1.JobState_name {
		want, known := ends[operatorv1.JobState(n)]
		if got := Ends(operatorv1.JobState(n)); !known || got != want {
			t.Errorf("%v ends the secret: %v; known to this test: %v", operatorv1.JobState(n), got, known)
		}
	}
}
