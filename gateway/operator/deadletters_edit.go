package operator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// editPatience is how long the second step of an edit may take after its client has gone.
const editPatience = 10 * time.Second

// editedJob is a dead letter and the job that shall take its place.
type editedJob struct {
	old    *jobView
	id     string
	spec   *eventv1.JobSpec
	policy *eventv1.JobPolicy
}

// EditDeadLetter submits a job that differs from a dead letter in what was edited, and then discards the dead letter.
// The new job's id follows from the dead letter, its round and the edit: whoever repeats an edit that was cut short, or
// was done, finds the same job. A dead letter that somebody else requeues or discards between the two steps keeps its
// own course, and the new job is cancelled; of a pipeline's chunk the pipeline decides which of the two goes on.
func (a *API) EditDeadLetter(ctx context.Context, req *operatorv1.EditDeadLetterRequest) (*operatorv1.EditDeadLetterResponse, error) {
	c := callerOf(ctx)
	if !c.is(workers) {
		return nil, errRole // nobody came through the gate
	}
	if err := checkReason(req.Reason, !req.DryRun); err != nil {
		return nil, err
	}
	v, err := a.readJob(ctx, c, req.Id)
	if err != nil {
		return nil, err
	}
	if !v.wasLetter() {
		return nil, v.noLetter()
	}
	e, err := a.prepareEdit(ctx, c, v, req.Edit, req.DryRun)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.EditDeadLetterResponse{
		Id: e.id, Spec: e.spec, Policy: e.policy, Changes: e.changes(),
	}
	if !v.isLetter() {
		if v.job.ReplacedBy == e.id {
			return res, nil // a repeat
		}
		return nil, v.noLetter()
	}
	book := pipelineBook{api: a}
	if err := book.refuse(ctx, v, e.id); err != nil {
		return nil, err
	}
	if req.DryRun {
		return res, nil
	}
	return res, a.replace(ctx, e, c.name, req.Reason)
}

// prepareEdit makes the job, and checks it as if it were submitted. What is only tried is not stored.
func (a *API) prepareEdit(ctx context.Context, c *caller, v *jobView, edit *operatorv1.DeadLetterEdit, dry bool) (*editedJob, error) {
	if v.job.Spec.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST {
		return nil, errRinger
	}
	now, err := a.policies.current(ctx, a.deps.Log)
	if err != nil {
		return nil, err
	}
	e := &editedJob{old: v, spec: edited(v.job.Spec, edit), policy: v.job.Policy}
	alone := proto.CloneOf(e.spec)
	alone.Pipeline, alone.Stage, alone.Chunk = "", 0, 0
	if err := c.checkWork(alone, now.policy); err != nil {
		return nil, err
	}
	if !a.modules.admitted(e.spec.Module) {
		return nil, errModule
	}
	if err := a.prepareEditedInput(ctx, e.spec, edit, now.policy.GetMaxInputBytes(), dry); err != nil {
		return nil, err
	}
	if edit.GetOverrides() != nil {
		if e.policy, err = now.resolve(v.job.Spec.Kind, edit.Overrides); err != nil {
			return nil, err
		}
	}
	if proto.Equal(e.spec, edited(v.job.Spec, nil)) && edit.GetOverrides() == nil {
		return nil, refuse("edit", "changes nothing: requeue the dead letter instead")
	}
	e.spec.Replaces, e.spec.ReplacedRound = v.job.Id, v.job.Round
	e.spec.RequestId = "" // it names the old job
	e.id, err = editID(v, e.spec, edit.GetOverrides())
	return e, err
}

// edited is a spec with the fields of the edit that are set.
func edited(old *eventv1.JobSpec, edit *operatorv1.DeadLetterEdit) *eventv1.JobSpec {
	spec := proto.CloneOf(old)
	spec.Replaces, spec.ReplacedRound = "", 0 // of an edit before
	if edit == nil {
		return spec
	}
	if edit.Module != nil {
		spec.Module = edit.Module
	}
	if edit.Input != nil {
		spec.Input = edit.Input
	}
	if edit.FuelLimit != nil {
		spec.FuelLimit = *edit.FuelLimit
	}
	if edit.MinTier != nil {
		spec.MinTier = *edit.MinTier
	}
	if edit.MinMemoryBytes != nil {
		spec.MinMemoryBytes = *edit.MinMemoryBytes
	}
	if edit.Priority != nil {
		spec.Priority = *edit.Priority
	}
	if edit.Labels != nil {
		spec.Labels = edit.Labels.Labels
	}
	if edit.Output != nil {
		spec.Output = edit.Output
	}
	return spec
}

// prepareEditedInput stores the payload, or checks that the input is there.
func (a *API) prepareEditedInput(ctx context.Context, spec *eventv1.JobSpec, edit *operatorv1.DeadLetterEdit, limit uint64, dry bool) error {
	payload := edit.GetPayload()
	if len(payload) > 0 && edit.GetInput() != nil {
		return refuse("payload", "give the payload or the input, not both")
	}
	if len(payload) > 0 && dry {
		if uint64(len(payload)) > limit {
			return refuse("payload", "above the deployment's max_input_bytes")
		}
		sum := sha256.Sum256(payload)
		spec.Input = &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(payload))}
		return a.checkKey(ctx, spec.GetProof())
	}
	if len(payload) > 0 {
		spec.Input = nil
	}
	return a.prepareInput(ctx, spec, payload, limit)
}

// editID is the same for the same edit of the same round.
func editID(v *jobView, spec *eventv1.JobSpec, wish *operatorv1.PolicyOverrides) (string, error) {
	parts := [][]byte{[]byte("edit"), []byte(v.job.Id), binary.BigEndian.AppendUint32(nil, v.job.Round)}
	for _, m := range []proto.Message{spec, wish} {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return "", fmt.Errorf("encode edit: %w", err)
		}
		parts = append(parts, data)
	}
	if wish != nil {
		parts = append(parts, []byte("overrides"))
	}
	return events.DeriveEntityID(parts...), nil
}

// replace submits the new job and discards the old one. The second step is taken even when the client has gone.
func (a *API) replace(ctx context.Context, e *editedJob, by, reason string) error {
	reply, err := a.insist(ctx, actors.JobAddress(e.id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{
		SubmitJob: &eventv1.SubmitJob{Spec: e.spec, Policy: e.policy},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), editPatience)
	defer cancel()
	_, err = a.insist(ctx, actors.JobAddress(e.old.job.Id), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{
		DiscardJob: &eventv1.DiscardJob{By: by, Reason: reason, ReplacedBy: e.id, Round: e.old.job.Round},
	}})
	lost := errors.Is(err, job.ErrNotDeadLettered) || errors.Is(err, job.ErrAnotherRound)
	if was, ok := reply.(job.SubmitReply); !lost || !ok || was.Existing || e.spec.Pipeline != "" {
		return err
	}
	_, cerr := a.insist(ctx, actors.JobAddress(e.id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{
		CancelJob: &eventv1.CancelJob{By: by, Reason: "the dead letter was requeued or discarded meanwhile"},
	}})
	if errors.Is(cerr, job.ErrDecided) || errors.Is(cerr, job.ErrDeadLettered) {
		cerr = nil
	}
	return errors.Join(err, cerr)
}

// changes lists what differs between the two jobs, for people.
func (e *editedJob) changes() []*operatorv1.FieldChange {
	var list []*operatorv1.FieldChange
	before, after := e.old.job.Spec, e.spec
	add := func(field, from, to string) {
		if from != to {
			list = append(list, &operatorv1.FieldChange{Field: field, Before: from, After: to})
		}
	}
	add("module", fmt.Sprintf("%x", before.Module), fmt.Sprintf("%x", after.Module))
	add("input", refText(before.Input), refText(after.Input))
	add("fuel_limit", fmt.Sprint(before.FuelLimit), fmt.Sprint(after.FuelLimit))
	add("min_tier", fmt.Sprint(before.MinTier), fmt.Sprint(after.MinTier))
	add("min_memory_bytes", fmt.Sprint(before.MinMemoryBytes), fmt.Sprint(after.MinMemoryBytes))
	add("priority", fmt.Sprint(before.Priority), fmt.Sprint(after.Priority))
	add("labels", labelText(before.Labels), labelText(after.Labels))
	add("output", outputText(before.Output), outputText(after.Output))
	for _, p := range []struct {
		field    string
		from, to uint32
	}{
		{"redundancy", e.old.job.Policy.GetRedundancy(), e.policy.GetRedundancy()},
		{"margin", e.old.job.Policy.GetMargin(), e.policy.GetMargin()},
		{"max_replicas", e.old.job.Policy.GetMaxReplicas(), e.policy.GetMaxReplicas()},
		{"max_attempts", e.old.job.Policy.GetMaxAttempts(), e.policy.GetMaxAttempts()},
		{"ack_timeout_ms", e.old.job.Policy.GetAckTimeoutMs(), e.policy.GetAckTimeoutMs()},
		{"max_execution_timeout_ms", e.old.job.Policy.GetMaxExecutionTimeoutMs(), e.policy.GetMaxExecutionTimeoutMs()},
	} {
		add(p.field, fmt.Sprint(p.from), fmt.Sprint(p.to))
	}
	return list
}

func refText(ref *eventv1.BlobRef) string {
	return fmt.Sprintf("%x, %d bytes", ref.GetSha256(), ref.GetSize())
}

func labelText(labels []*eventv1.Label) string {
	texts := make([]string, len(labels))
	for i, l := range labels {
		texts[i] = l.GetKey() + "=" + l.GetValue()
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

func outputText(o *eventv1.OutputSpec) string {
	text := plain(o.GetDtype().String(), "ELEMENT_TYPE_")
	if len(o.GetShape()) > 0 {
		text += fmt.Sprint(o.Shape)
	}
	if o.GetAllowNonFinite() {
		text += ", non-finite allowed"
	}
	if o.GetMaxBytes() > 0 {
		text += fmt.Sprintf(", at most %d bytes", o.MaxBytes)
	}
	return text
}
