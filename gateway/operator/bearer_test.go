package operator_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// TestBearersActInTheirName: what the API refuses over the wire it refuses to a room of its own process, too.
func TestBearersActInTheirName(t *testing.T) {
	api := operatortest.Start(t, guarded()).API
	if b := api.Open(); b != nil {
		t.Fatalf("with tokens, %v gets in without one", b)
	}
	if _, err := api.Identify("wrong"); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatalf("unknown token: %v", err)
	}
	alice, err := api.Identify("alice")
	if err != nil || alice.Role != operator.Client || !slices.Equal(alice.Tenants, []string{"alice"}) {
		t.Fatalf("alice is %+v, %v", alice, err)
	}
	if _, err := api.Act(t.Context(), alice, op.WorkerServiceListWorkersProcedure); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Fatalf("a client lists workers: %v", err)
	}
	if _, err := api.Act(t.Context(), nil, op.JobServiceListJobsProcedure); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatalf("nobody lists jobs: %v", err)
	}
	if _, err := api.Act(t.Context(), alice, op.LedgerServiceGetLedgerProcedure); err != nil {
		t.Fatalf("what is open to everybody is closed to a client: %v", err)
	}
	ctx, err := api.Act(t.Context(), alice, op.JobServiceListJobsProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.ListJobs(ctx, &operatorv1.ListJobsRequest{Tenant: "bob"}); err == nil {
		t.Fatal("alice sees bob's jobs")
	}
	if _, err := api.ListJobs(ctx, &operatorv1.ListJobsRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestProtectedHandlers(t *testing.T) {
	inside := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	get := func(h http.Handler, host, token string) int {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	closed := operatortest.Start(t, guarded()).API.Protect(inside)
	for token, want := range map[string]int{"": 401, "wrong": 401, "alice": 403, "eye": 418, "ops": 418, "root": 418} {
		if got := get(closed, "example.org", token); got != want {
			t.Errorf("token %q: %d, want %d", token, got, want)
		}
	}
	open := operatortest.Start(t, operator.Config{}).API
	for host, want := range map[string]int{"127.0.0.1:1": 418, "evil.example": 403} {
		if got := get(open.Protect(inside), host, ""); got != want {
			t.Errorf("open, host %s: %d, want %d", host, got, want)
		}
		if got := get(open.Local(inside), host, ""); got != want {
			t.Errorf("local, host %s: %d, want %d", host, got, want)
		}
	}
	if b := open.Open(); b == nil || b.Role != operator.Admin {
		t.Errorf("without tokens everyone here is %+v, want an admin", b)
	}
}
