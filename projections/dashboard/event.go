package dashboard

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The bounds of looking for causes and effects.
const (
	nearBefore = 32  // records of the own stream before one, and behind it
	nearBehind = 64  //
	nearKin    = 256 // newest records of each stream that is related
	maxKin     = 24  // streams
	maxRefs    = 64  // shown
)

type eventView struct {
	Title    string
	Stream   string
	What     string
	Where    word
	Said     saying
	Tone     tone
	Facts    []fact
	Fact     []leaf
	Command  []leaf
	Asked    string
	Siblings []eventRef
	Causes   []eventRef
	Effects  []eventRef
	Before   string
	Behind   string
	JSON     string
	Hidden   bool
	Unread   string // why the bytes could not be read
	Dump     string
}

// PageTitle names the event.
func (v *eventView) PageTitle() string { return v.Title }

// Glyph shows the tone without colour.
func (v *eventView) Glyph() string { return glyphs[v.Tone] }

// eventRef leads to another event.
type eventRef struct {
	Type  string
	Href  string
	Where string
	Said  string
	How   string
	Tone  tone
	Here  bool
}

// Glyph shows the tone without colour.
func (r eventRef) Glyph() string { return glyphs[r.Tone] }

func (d *Dashboard) eventOfStream(ctx context.Context, q *ask) (any, error) {
	rev, err := strconv.ParseUint(q.Path["rev"], 10, 64)
	if err != nil || events.CheckStream(q.Path["stream"]) != nil {
		return nil, errNotFound
	}
	for r, err := range d.deps.Log.Read(ctx, q.Path["stream"], events.Span{From: rev, Limit: 1}) {
		if err != nil {
			return nil, err
		}
		if r.Rev != rev {
			break
		}
		return d.eventView(ctx, q, decodeRecord(r))
	}
	return nil, errNotFound
}

func (d *Dashboard) eventView(ctx context.Context, q *ask, at decoded) (*eventView, error) {
	v := &eventView{Title: clip(plain(at.Type), 60), Stream: at.Stream, Tone: toneQuiet, Said: saying{say("bytes that this version cannot read")}}
	v.What, v.Where = streamWords(at.Stream)
	near, decision, err := d.nearOf(ctx, at)
	if err != nil {
		return nil, err
	}
	v.relate(at, decision, near)
	cut := d.redactor(ctx, q.Viewer)
	for i := range near {
		cut.cut(&near[i])
	}
	v.describe(at, near)
	v.Hidden = cut.cut(&at)
	if at.Fact == nil || at.Env == nil {
		v.Unread = "The bytes are not what their type says, or were written by a newer version."
		if at.Data != nil {
			v.Dump = dump(at.Data[:min(len(at.Data), maxDump)])
		}
	}
	if at.Fact != nil {
		v.Said, v.Tone, v.Fact = tell(at.Fact), factTone(at.Fact), tree(at.Fact)
		v.JSON = showEscapes(prettyJSON(recordJSON(&at)))
	}
	v.Facts = recordFacts(&at)
	for i := range near { // the command travels on the decision's first record
		if c := near[i].Env.GetCommand(); c != nil && near[i].Stream == at.Stream && near[i].ID.Command() == at.ID.Command() {
			v.Command, v.Asked = tree(c), asker(c)
		}
	}
	return v, nil
}

// nearOf reads the records among which causes and effects are looked for, and finds those that were decided together.
func (d *Dashboard) nearOf(ctx context.Context, at decoded) (near, decision []decoded, err error) {
	from := at.Rev - min(at.Rev, nearBefore)
	if near, err = d.readSpan(ctx, at.Stream, events.Span{From: from, Limit: nearBefore + nearBehind}); err != nil {
		return nil, nil, err
	}
	pipeline, err := d.pipelineOf(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	var streams []string
	for i := range near {
		if near[i].ID.Command() != at.ID.Command() {
			continue
		}
		decision = append(decision, near[i])
		for _, stream := range kin(near[i], pipeline) {
			if !slices.Contains(streams, stream) && len(streams) < maxKin {
				streams = append(streams, stream)
			}
		}
	}
	for _, stream := range streams {
		more, err := d.readSpan(ctx, stream, events.Span{Back: true, Limit: nearKin})
		if err != nil {
			return nil, nil, err
		}
		near = append(near, more...)
	}
	return near, decision, nil
}

// readSpan reads a part of a stream; one that is not there is empty.
func (d *Dashboard) readSpan(ctx context.Context, stream string, span events.Span) ([]decoded, error) {
	var all []decoded
	for r, err := range d.deps.Log.Read(ctx, stream, span) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, decodeRecord(r))
	}
	return all, nil
}

// pipelineOf is the pipeline of the job whose stream it is.
func (d *Dashboard) pipelineOf(ctx context.Context, at decoded) (string, error) {
	if _, ok := idOfStream(at.Stream, actors.JobRoom); !ok {
		return "", nil
	}
	first, err := d.readSpan(ctx, at.Stream, events.Span{Limit: 1})
	if err != nil || len(first) == 0 {
		return "", err
	}
	s, ok := first[0].Fact.(*eventv1.JobSubmitted)
	if !ok {
		return "", nil
	}
	return s.GetSpec().GetPipeline(), nil
}

// relate finds the places of the decision's relatives. Their words come later, when what must be hidden is cut.
func (v *eventView) relate(at decoded, decision, near []decoded) {
	for _, x := range decision {
		causes, effects := relatives(x, near)
		v.Causes, v.Effects = addRefs(v.Causes, causes), addRefs(v.Effects, effects)
		r := refOf(&x, "")
		r.Here = x.Rev == at.Rev
		v.Siblings = append(v.Siblings, r)
	}
	if at.Rev > 0 {
		v.Before = linkRecord(at.Stream, at.Rev-1)
	}
	for i := range near {
		if near[i].Stream == at.Stream && near[i].Rev == at.Rev+1 {
			v.Behind = linkRecord(at.Stream, at.Rev+1)
		}
	}
}

// addRefs adds what is not there yet.
func addRefs(refs []eventRef, more []relative) []eventRef {
	for i := range more {
		r := refOf(&more[i].decoded, more[i].How)
		if len(refs) < maxRefs && !slices.ContainsFunc(refs, func(o eventRef) bool { return o.Href == r.Href }) {
			refs = append(refs, r)
		}
	}
	return refs
}

func refOf(d *decoded, how string) eventRef {
	return eventRef{Type: clip(plain(d.Type), 60), Href: linkRecord(d.Stream, d.Rev), Where: shortStream(d.Stream) + "/" + thousands(d.Rev), How: how, Tone: toneQuiet}
}

// describe puts the relatives into words.
func (v *eventView) describe(at decoded, near []decoded) {
	said := map[string]*decoded{}
	for i := range near {
		said[linkRecord(near[i].Stream, near[i].Rev)] = &near[i]
	}
	for _, refs := range [][]eventRef{v.Siblings, v.Causes, v.Effects} {
		for i := range refs {
			if x := said[refs[i].Href]; x != nil && x.Fact != nil {
				refs[i].Said, refs[i].Tone = plain(tell(x.Fact).String()), factTone(x.Fact)
			}
		}
	}
}

// recordFacts are where the record lies and what its envelope says.
func recordFacts(d *decoded) []fact {
	facts := []fact{
		{"Stream", cell{Text: shortStream(d.Stream), Title: plain(d.Stream), Href: linkStream(d.Stream), Mono: true}},
		{"Revision", count(d.Rev)},
		{"Position", count(uint64(d.Pos))},
		{"Appended", when(d.Time)},
	}
	if at := decidedAt(d); !at.IsZero() {
		facts = append(facts, fact{"Decided", when(at)})
	}
	if e := d.Env; e != nil {
		facts = append(facts, fact{"Decision", text(fmt.Sprintf("record %d of %d", e.Index+1, max(1, e.Count)))})
		facts = append(facts, fact{"Node", text(e.Node)}, fact{"Rules", text(fmt.Sprintf("version %d", e.Rules))})
		if e.Epoch > 0 {
			facts = append(facts, fact{"Epoch", count(e.Epoch)})
		}
		if e.Correlation != "" {
			facts = append(facts, fact{"Belongs to", text(e.Correlation)})
		}
		facts = append(facts, fact{"Digest", cell{Text: hex.EncodeToString(e.Digest), Mono: true}})
	}
	return append(facts, fact{"Event id", cell{Text: d.ID.String(), Mono: true}},
		fact{"Command id", cell{Text: d.ID.Command().String(), Mono: true}}, fact{"Size", bytesCell(uint64(len(d.Data) + len(d.Meta)))})
}
