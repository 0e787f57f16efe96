package operator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// guarded is a configuration with one token a role; the secret is the name.
func guarded() operator.Config {
	token := func(name string, role operator.Role, tenants ...string) operator.Token {
		return operator.Token{Name: name, SHA256: operator.HashToken(name), Role: role, Tenants: tenants}
	}
	return operator.Config{Tokens: []operator.Token{
		token("root", operator.Admin), token("ops", operator.Operator), token("eye", operator.Viewer),
		token("alice", operator.Client, "alice"), token("bob", operator.Client, "bob"),
	}}
}

// allowed is the matrix as people read it: r admin, o operator, a client, e viewer, * everybody without a token.
var allowed = map[string]string{
	"SubmitJobs": "roa", "GetJob": "roae", "ListJobs": "roae", "WatchJobs": "roae", "CancelJob": "roa",
	"ExplainJob": "roae", "DownloadResult": "roa",
	"SubmitPipeline": "roa", "GetPipeline": "roae", "ListPipelines": "roae", "WatchPipeline": "roae",
	"CancelPipeline": "roa", "DownloadOutput": "roa",
	"PutBlob": "roa", "AdmitModule": "roa", "ListModules": "roae",
	"ListWorkers": "roe", "GetWorker": "roe", "DrainWorker": "ro", "BanWorker": "ro", "ReinstateWorker": "ro",
	"ListDeadLetters": "roae", "DescribeDeadLetter": "roae", "RequeueDeadLetters": "roa", "DiscardDeadLetters": "roa",
	"EditDeadLetter": "roa", "DownloadPayload": "roa",
	"ReadEvents": "roae", "ExplainVerdict": "roae", "GetBundle": "roa", "GetStatus": "roae", "GetPolicy": "roae", "ChangePolicy": "r",
	"GetMesh":   "roe",
	"GetLedger": "roae*", "GetGenesis": "roae*", "GetProof": "roae*", "ListAccounts": "roae*", "GetBlock": "roae*", "GetBlocks": "roae*", "ListBlocks": "roae*",
	"GetTransaction": "roae*", "ListTransactions": "roae*", "SubmitTransaction": "roae*", "ListValidatorChanges": "roae*",
}

// call sends an empty request as JSON and returns the Connect code, or "ok". A stream's error is in its last message.
func call(t *testing.T, url, token string, stream bool) string {
	t.Helper()
	body, kind := []byte("{}"), "application/json"
	if stream {
		body, kind = append([]byte{0, 0, 0, 0, 2}, body...), "application/connect+json"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	res, err := operatortest.Client(token).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Code  string
		Error struct{ Code string }
	}
	if stream && res.StatusCode == http.StatusOK {
		var head [5]byte
		if _, err := io.ReadFull(res.Body, head[:]); err != nil {
			t.Fatal(err)
		}
		if head[0]&2 == 0 {
			return "ok" // a first message: the call was let in
		}
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 && json.Unmarshal(data, &answer) != nil {
		return fmt.Sprintf("http %d: %s", res.StatusCode, data)
	}
	return strings.TrimSpace(strings.Join([]string{answer.Code, answer.Error.Code}, ""))
}

// TestEveryProcedureAsksForItsRole walks the schema, so that no procedure can be forgotten.
func TestEveryProcedureAsksForItsRole(t *testing.T) {
	w := operatortest.Start(t, guarded())
	bearers := map[string]string{"r": "root", "o": "ops", "a": "alice", "e": "eye"}
	seen := 0
	for _, file := range []protoreflect.FileDescriptor{
		operatorv1.File_shardy_operator_v1_operator_proto, operatorv1.File_shardy_operator_v1_ledger_proto,
		operatorv1.File_shardy_operator_v1_mesh_proto,
	} {
		all := file.Services()
		for i := range all.Len() {
			for j := range all.Get(i).Methods().Len() {
				seen++
				matrix(t, w, all.Get(i).Methods().Get(j), bearers)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("the schema has %d procedures, the matrix %d", seen, len(allowed))
	}
}

func matrix(t *testing.T, w *operatortest.World, m protoreflect.MethodDescriptor, bearers map[string]string) {
	t.Helper()
	who, ok := allowed[string(m.Name())]
	if !ok {
		t.Errorf("%s is not in the matrix", m.Name())
		return
	}
	url := fmt.Sprintf("%s/%s/%s", w.URL, m.Parent().FullName(), m.Name())
	stream := m.IsStreamingServer()
	for _, token := range []string{"", "wrong", "Root", "rootroot"} {
		if got := call(t, url, token, stream); (got == "unauthenticated") == strings.Contains(who, "*") || got == "permission_denied" {
			t.Errorf("%s with token %q: %s", m.Name(), token, got)
		}
	}
	for role, token := range bearers {
		got := call(t, url, token, stream)
		denied := got == "permission_denied"
		if m.Name() == "ReadEvents" && role == "a" {
			denied = false // let in, but not to the whole log
		}
		if denied == strings.Contains(who, role) || got == "unauthenticated" || got == "internal" {
			t.Errorf("%s as %s: %q", m.Name(), token, got)
		}
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	good := guarded().Tokens[0]
	edit := func(change func(*operator.Token)) operator.Config {
		bad := good
		change(&bad)
		return operator.Config{Listen: "0.0.0.0:80", Tokens: []operator.Token{bad}}
	}
	for name, cfg := range map[string]operator.Config{
		"open to the world": {Listen: "0.0.0.0:8080"},
		"open to all v6":    {Listen: "[::]:8080"},
		"open on a name":    {Listen: "example.org:80"},
		"no address":        {},
		"no name":           edit(func(t *operator.Token) { t.Name = "" }),
		"secret, not hash":  edit(func(t *operator.Token) { t.SHA256 = "hunter2" }),
		"unknown role":      edit(func(t *operator.Token) { t.Role = "god" }),
		"admin's tenants":   edit(func(t *operator.Token) { t.Tenants = []string{"a"} }),
		"client of nobody":  edit(func(t *operator.Token) { t.Role = operator.Client }),
		"twice":             {Tokens: []operator.Token{good, good}},
		"tiny requests":     {Listen: "localhost:1", MaxRequestBytes: 1},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "[::1]:80", "localhost:9", "127.3.2.1:1"} {
		if err := (operator.Config{Listen: listen}).Validate(); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

// TestOpenServerIgnoresForeignPages: without tokens, neither another origin nor a name bound to this machine gets in.
func TestOpenServerIgnoresForeignPages(t *testing.T) {
	w := operatortest.Start(t, operator.Config{})
	for name, edit := range map[string]func(*http.Request){
		"rebound name":   func(r *http.Request) { r.Host = "evil.example:80" },
		"foreign origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"cross site":     func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			w.URL+"/shardy.operator.v1.SystemService/GetStatus", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		edit(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	if got := call(t, w.URL+"/shardy.operator.v1.SystemService/GetStatus", "", false); got != "" {
		t.Errorf("a local call: %s", got)
	}
}
