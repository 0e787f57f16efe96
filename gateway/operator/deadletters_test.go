package operator_test

import (
	"testing"

	"connectrpc.com/connect"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func requeueIDs(ids ...string) *operatorv1.RequeueDeadLettersRequest_Ids {
	return &operatorv1.RequeueDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: ids}}
}

func discardIDs(ids ...string) *operatorv1.DiscardDeadLettersRequest_Ids {
	return &operatorv1.DiscardDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: ids}}
}

func requeue(t *testing.T, c clients, reason string, ids ...string) []*operatorv1.DeadLetterOutcome {
	t.Helper()
	res, err := c.RequeueDeadLetters(t.Context(), &operatorv1.RequeueDeadLettersRequest{Which: requeueIDs(ids...), Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcomes
}

func discard(t *testing.T, c clients, reason string, ids ...string) []*operatorv1.DeadLetterOutcome {
	t.Helper()
	res, err := c.DiscardDeadLetters(t.Context(), &operatorv1.DiscardDeadLettersRequest{Which: discardIDs(ids...), Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcomes
}

// wantOutcome holds each of the outcomes to a code and a typed reason.
func wantOutcome(t *testing.T, got []*operatorv1.DeadLetterOutcome, code connect.Code, reason string) {
	t.Helper()
	for _, o := range got {
		if connect.Code(o.Code) != code || o.Reason != reason || (code != 0) != (o.Detail != "") {
			t.Errorf("outcome %v, want %v %s", o, code, reason)
		}
	}
}
