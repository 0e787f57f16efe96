package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxDecided bounds what a redactor remembers of the jobs it met.
const maxDecided = 4096

// redactor turns records into what the caller may see: admins see the very bytes; for everyone else the results of a
// job that is not decided, and the answer of a ringer that is open, are cut out of fact and envelope, which are then
// encoded anew.
type redactor struct {
	api     *API
	caller  *caller
	decided map[string]bool // jobs known to be decided: it is for good
}

func newRedactor(a *API, c *caller) *redactor {
	return &redactor{api: a, caller: c, decided: map[string]bool{}}
}

func (x *redactor) event(ctx context.Context, r events.Record) (*operatorv1.Event, error) {
	e := &operatorv1.Event{
		Position: uint64(r.Pos), Stream: r.Stream, Revision: r.Rev, Id: r.ID[:], Type: r.Type, TimeUs: r.Time.UnixMicro(),
		Data: r.Data, Meta: r.Meta,
	}
	fact, err := events.Decode(r)
	if errors.Is(err, events.ErrUnknownType) && x.caller.is(byAdmin) {
		return e, nil // written by newer code, or no fact at all: its bytes are what there is
	}
	if errors.Is(err, events.ErrUnknownType) {
		e.Data, e.Meta = nil, nil
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	env, err := events.DecodeEnvelope(r)
	if err != nil {
		return nil, err
	}
	hidden, err := x.mustHide(ctx, r.Stream, fact, env)
	if err != nil {
		return nil, err
	}
	if hidden {
		secrecy.Cut(fact, env.Command)
		if e.Data, err = proto.Marshal(fact); err != nil {
			return nil, err
		}
		if e.Meta, err = proto.Marshal(env); err != nil {
			return nil, err
		}
	}
	if e.DataJson, err = toJSON(fact); err != nil {
		return nil, err
	}
	e.MetaJson, err = toJSON(env)
	return e, err
}

// toJSON is protobuf's JSON without the blanks that protojson strews in on purpose.
func toJSON(m proto.Message) (string, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return "", err
	}
	return out.String(), nil
}

// mustHide reports whether a record holds something that the caller must not see yet.
func (x *redactor) mustHide(ctx context.Context, stream string, fact events.Fact, env *eventv1.Envelope) (bool, error) {
	if x.caller.is(byAdmin) || !secrecy.Holds(fact, env.GetCommand()) {
		return false, nil
	}
	job := secrecy.JobOf(stream)
	if job == "" {
		return true, nil
	}
	if x.decided[job] {
		return false, nil
	}
	u, err := x.api.jobState(ctx, &caller{role: Admin}, job)
	if errors.Is(err, errNotFound) || errors.Is(err, events.ErrBadID) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	if !secrecy.Ends(u.State) {
		return true, nil
	}
	if len(x.decided) >= maxDecided {
		clear(x.decided)
	}
	x.decided[job] = true
	return false, nil
}
