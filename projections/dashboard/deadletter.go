package dashboard

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

type deadLetterView struct {
	ID       string
	State    badge
	Dead     bool // it still is one
	Said     saying
	Tone     tone
	Facts    []fact
	Requeue  *form
	Edit     *form
	Discard  *form
	Ballot   ballot
	Timeline timeline
	Attempts table
	Input    *peek
	Closed   string
	History  history
}

// PageTitle names the dead letter.
func (v *deadLetterView) PageTitle() string { return "Dead letter " + shortID(v.ID) }

func (d *Dashboard) deadLetter(ctx context.Context, q *ask) (any, error) {
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return nil, err
	}
	if j.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED && j.Round < 2 && j.State != operatorv1.JobState_JOB_STATE_DISCARDED {
		return nil, errNotFound
	}
	staff := q.Viewer.Staff()
	v := &deadLetterView{
		ID: j.ID, State: jobBadge(j.State), Dead: j.State == operatorv1.JobState_JOB_STATE_DEAD_LETTERED, Facts: jobFacts(j, q),
		Ballot: newBallot(j, staff, true), Timeline: newTimeline(j, q.Now), Attempts: attemptsTable(j, staff),
	}
	v.Said, v.Tone = v.Ballot.Verdict, v.Ballot.Tone
	if v.Dead {
		v.Said = append(v.Said, say(" %s", deadAdvice(j)))
		v.offer(j)
	}
	if by := d.replacedBy(ctx, j); by != "" {
		v.Facts = append(v.Facts, fact{"Replaced by", idCell(by, sayJob(by).Href)})
	}
	if q.Viewer.content() {
		p := d.look(ctx, "input", j.Spec.GetInput(), nil, linkJob(j.ID)+"/input")
		v.Input = &p
	} else {
		v.Closed = "Your role sees no content."
	}
	v.History, err = d.jobHistory(ctx, q, j)
	return v, err
}

// deadAdvice says what usually helps.
func deadAdvice(j *readmodel.Job) string {
	switch j.Reason {
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED:
		return "Workers took it and did not bring it back. When they are well again, requeue it; if it is too large for them, edit its tier or memory."
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM:
		return "The workers did not agree and the referee did not decide. Look at who said what before you requeue it."
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED:
		return "The workers agree that the module fails on this input. Requeuing changes nothing: edit the fuel or the module, or discard it."
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED:
		return "A worker gave a wrong answer to a job whose answer is known. The record of the worker says so; nothing is left to compute."
	}
	return ""
}

// offer prepares the forms.
func (v *deadLetterView) offer(j *readmodel.Job) {
	at, back := linkDeadLetter(j.ID), linkDeadLetters()
	v.Requeue = &form{
		Action: at + "/requeue", Button: "Requeue", Reason: true, Back: back,
		Ask: fmt.Sprintf("Round %d begins with new workers. Earlier results have no voice in it.", j.Round+1),
	}
	spec := j.Spec
	v.Edit = &form{
		Action: at + "/edit", Button: "Edit and requeue", Reason: true, Back: back,
		Ask: "A new job stands in for this one, which is discarded. What you leave as it is stays.",
		Fields: []field{
			{Name: "fuel_limit", Label: "Fuel limit", Value: strconv.FormatUint(spec.GetFuelLimit(), 10), Number: true, Max: 20},
			{Name: "min_tier", Label: "Least tier of the workers", Value: strconv.Itoa(int(spec.GetMinTier())), Hint: "1 to 3", Number: true, Max: 1},
			{Name: "min_memory_bytes", Label: "Least memory of the workers, in bytes", Value: strconv.FormatUint(spec.GetMinMemoryBytes(), 10), Number: true, Max: 20},
			{Name: "priority", Label: "Priority", Value: strconv.Itoa(int(spec.GetPriority())), Hint: "−100 to 100, higher first", Max: 4},
			{Name: "module", Label: "Module", Value: hex.EncodeToString(spec.GetModule()), Hint: "SHA-256 of an admitted module", Max: 64},
		},
	}
	v.Discard = &form{
		Action: at + "/discard", Button: "Discard", Danger: true, Reason: true, Back: back,
		Ask: "It is given up for good. Its record stays in the log.",
	}
}

// replacedBy is the job that was edited out of a discarded one, or "".
func (d *Dashboard) replacedBy(ctx context.Context, j *readmodel.Job) string {
	if j.State != operatorv1.JobState_JOB_STATE_DISCARDED {
		return ""
	}
	last, err := d.readBack(ctx, actors.JobAddress(j.ID).Stream(), 1)
	if err != nil || len(last) == 0 {
		return ""
	}
	f, _ := last[0].Fact.(*eventv1.JobDiscarded)
	return f.GetReplacedBy()
}

func troubleIsAbsence(err error) bool {
	return errors.Is(err, readmodel.ErrNotFound) || errors.Is(err, ErrNotFound) || errors.Is(err, events.ErrNotFound)
}

func (d *Dashboard) requeueDeadLetter(ctx context.Context, q *ask) (done, to string, err error) {
	return d.settleOne(ctx, q, doRequeue)
}

func (d *Dashboard) discardDeadLetter(ctx context.Context, q *ask) (done, to string, err error) {
	return d.settleOne(ctx, q, doDiscard)
}

func (d *Dashboard) settleOne(ctx context.Context, q *ask, do string) (done, to string, err error) {
	reason, err := q.reason()
	if err != nil {
		return "", linkDeadLetter(q.Path["id"]), err
	}
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return "", "", err
	}
	outcomes, err := d.settle(ctx, q, do, []string{j.ID}, reason, false)
	if err != nil {
		return "", "", err
	}
	for _, o := range outcomes {
		if o.Refusal != nil {
			return "", linkDeadLetter(j.ID), o.Refusal
		}
	}
	if do == doRequeue {
		return "Job " + shortID(j.ID) + " is requeued.", linkJob(j.ID), nil
	}
	return "Job " + shortID(j.ID) + " is discarded.", linkDeadLetters(), nil
}

func (d *Dashboard) editDeadLetter(ctx context.Context, q *ask) (done, to string, err error) {
	if d.deps.Actions == nil {
		return "", "", errReadOnly
	}
	here := linkDeadLetter(q.Path["id"])
	reason, err := q.reason()
	if err != nil {
		return "", here, err
	}
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return "", "", err
	}
	edit, err := editOf(q.Form, j.Spec)
	if err != nil {
		return "", here, err
	}
	made, err := d.deps.Actions.EditJob(ctx, q.Viewer.Name, j.ID, edit, reason, false)
	if err != nil {
		return "", here, err
	}
	var changes []string
	for _, c := range made.Changes {
		changes = append(changes, fmt.Sprintf("%s %s → %s", words(c.Field), clip(c.Before, 24), clip(c.After, 24)))
	}
	return fmt.Sprintf("Job %s stands in for %s%s.", shortID(made.ID), shortID(j.ID), after(": ", strings.Join(changes, ", "))), linkJob(made.ID), nil
}

// editOf reads the form: what is as it was is left out.
func editOf(form url.Values, spec *eventv1.JobSpec) (JobEdit, error) {
	var e JobEdit
	fuel, err := editNumber(form, "fuel_limit", 64)
	if err != nil {
		return e, err
	}
	memory, err := editNumber(form, "min_memory_bytes", 64)
	if err != nil {
		return e, err
	}
	tier, err := editNumber(form, "min_tier", 8)
	if err != nil {
		return e, err
	}
	if fuel != nil && *fuel != spec.GetFuelLimit() {
		e.FuelLimit = fuel
	}
	if memory != nil && *memory != spec.GetMinMemoryBytes() {
		e.MinMemoryBytes = memory
	}
	if tier != nil && uint32(*tier) != spec.GetMinTier() {
		n := uint32(*tier)
		e.MinTier = &n
	}
	if text := strings.TrimSpace(form.Get("priority")); text != "" {
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "−", "-"), 10, 32)
		if err != nil {
			return e, &Refusal{Code: "PRIORITY", Text: "The priority is a number from −100 to 100."}
		}
		if p := int32(n); p != spec.GetPriority() {
			e.Priority = &p
		}
	}
	if text := strings.TrimSpace(form.Get("module")); text != "" && text != hex.EncodeToString(spec.GetModule()) {
		if e.Module, err = hex.DecodeString(text); err != nil || len(e.Module) != 32 {
			return e, &Refusal{Code: "MODULE", Text: "A module is named by 64 hex digits."}
		}
	}
	if e.Module == nil && e.FuelLimit == nil && e.MinTier == nil && e.MinMemoryBytes == nil && e.Priority == nil {
		return e, &Refusal{Code: "NO_CHANGE", Text: "Nothing was changed: to try again as it was, requeue it."}
	}
	return e, nil
}

// editNumber reads a number of so many bits; nil: the field is empty.
func editNumber(form url.Values, name string, bits int) (*uint64, error) {
	text := strings.TrimSpace(form.Get(name))
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return nil, &Refusal{Code: strings.ToUpper(name), Text: titleCase(words(name)) + " is a whole number."}
	}
	return &n, nil
}
