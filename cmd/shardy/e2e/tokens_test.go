package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/gateway/operator"
)

// TestTokensAndRoles has an orchestrator with tokens: nobody gets in without one, and nobody beyond his role.
func TestTokensAndRoles(t *testing.T) {
	long(t)
	s := folder(t, quickPolicy())
	tokens, err := json.Marshal([]operator.Token{
		{Name: "root", SHA256: operator.HashToken("root-secret"), Role: operator.Admin},
		{Name: "ops", SHA256: operator.HashToken("ops-secret"), Role: operator.Operator},
		{Name: "ann", SHA256: operator.HashToken("ann-secret"), Role: operator.Client, Tenants: []string{"ann"}},
		{Name: "bob", SHA256: operator.HashToken("bob-secret"), Role: operator.Client, Tenants: []string{"bob"}},
		{Name: "eye", SHA256: operator.HashToken("eye-secret"), Role: operator.Viewer},
	})
	s.must(err)
	s.flags = append(s.flags, "--tokens", s.file("tokens.json", tokens))
	s.start()
	s.work("worker-a", s.addr) // workers have keys, not tokens
	s.work("worker-b", s.addr)

	module, chunk := s.file("primes.wasm", examples.Module("primes")), s.file("chunk", (&task{low: 1, high: 999}).chunk())
	as := func(secret string, args ...string) result {
		t.Helper()
		return s.shardyEnv([]string{"SHARDY_TOKEN=" + secret}, append(args, "--json")...)
	}
	var admitted struct{ Name string }
	if r := as("ann-secret", "module", "admit", module, "--canary", chunk); r.code == 0 {
		r.json(t, &admitted)
	} else {
		t.Fatalf("a client may not admit a module: exit %d %s", r.code, r.errOut)
	}
	submit := []string{"job", "submit", admitted.Name, "--input", chunk, "--min-tier", "1"}
	r := as("ann-secret", append(submit, "--wait", "--timeout", patience(60e9).String())...)
	if r.code != 0 {
		t.Fatalf("ann's job: exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	var job struct{ ID string }
	r.json(t, &job)

	for _, c := range []struct {
		who, secret string
		code        int
		args        []string
	}{
		{"nobody", "", 4, []string{"status"}},
		{"nobody", "", 4, submit},
		{"nobody", "", 4, []string{"event", "read"}},
		{"a stranger", "guess", 4, []string{"status"}},
		{"a stranger", "guess", 4, []string{"job", "describe", job.ID}},
		{"ann", "ann-secret", 0, []string{"job", "describe", job.ID}},
		{"ann", "ann-secret", 0, []string{"job", "result", job.ID, "--output", s.logs + "/ann"}},
		{"ann", "ann-secret", 4, append(submit, "--tenant", "bob")},
		{"ann", "ann-secret", 4, []string{"policy", "set", s.logs + "/policy.json", "--reason", "x", "--yes"}},
		{"bob", "bob-secret", 3, []string{"job", "describe", job.ID}}, // not even that it exists
		{"bob", "bob-secret", 3, []string{"job", "result", job.ID, "--output", s.logs + "/bob"}},
		{"bob", "bob-secret", 3, []string{"job", "cancel", job.ID, "--reason", "x", "--yes"}},
		{"the viewer", "eye-secret", 0, []string{"job", "describe", job.ID}},
		{"the viewer", "eye-secret", 4, []string{"job", "result", job.ID, "--output", s.logs + "/eye"}},
		{"the viewer", "eye-secret", 4, submit},
		{"the viewer", "eye-secret", 4, []string{"dlq", "requeue", job.ID, "--reason", "x"}},
		{"the operator", "ops-secret", 0, []string{"worker", "list"}},
		{"the operator", "ops-secret", 4, []string{"policy", "set", s.logs + "/policy.json", "--reason", "x", "--yes"}},
		{"the admin", "root-secret", 0, []string{"event", "read", "job-" + job.ID}},
		{"the admin", "root-secret", 0, []string{"status"}},
	} {
		r := as(c.secret, c.args...)
		if r.code != c.code {
			t.Errorf("%s: shardy %s: exit %d, want %d\n%s%s", c.who, strings.Join(c.args, " "), r.code, c.code, r.out, r.errOut)
		}
		if strings.Contains(r.out+r.errOut, "-secret") {
			t.Errorf("%s: a token was printed: %s%s", c.who, r.out, r.errOut)
		}
	}
	if r := as("bob-secret", "job", "list"); r.code != 0 || strings.Contains(r.out, job.ID) {
		t.Errorf("bob's list: exit %d %s", r.code, r.out)
	}
	res, err := http.Get(s.url() + "/healthz") // for those who watch over it
	s.must(err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("health without a token: %s", res.Status)
	}
	s.stop()
	s.sound()
}

// TestAnOpenAddressNeedsTokens keeps an orchestrator without tokens off the network.
func TestAnOpenAddressNeedsTokens(t *testing.T) {
	long(t)
	s := folder(t, quickPolicy())
	for _, bad := range [][]string{
		{"--listen", "0.0.0.0:0"},
		{"--tokens", s.file("none.json", []byte("[]"))},
		{"--tokens", s.file("plain.json", []byte(`[{"Name":"x","Token":"secret"}]`))},
		{"--tokens", s.file("role.json", []byte(`[{"Name":"x","SHA256":"`+operator.HashToken("x")+`","Role":"king"}]`))},
		{"--policy", s.file("policy-3.json", []byte(`{"standard":{}}`))},
		{"--node", "a b"},
		{"--log-format", "xml"},
		{"--listen", "127.0.0.1:99999"},
	} {
		r := command(t, nil, append([]string{"serve", "--data-dir", s.dir}, bad...)...)
		if r.code == 0 || r.errOut == "" || r.out != "" {
			t.Errorf("serve %s: exit %d\n%s%s", strings.Join(bad, " "), r.code, r.out, r.errOut)
		}
	}
}
