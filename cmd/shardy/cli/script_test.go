package cli

import (
	"encoding/hex"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"shardy": func() { os.Exit(Main()) }})
}

// TestScripts runs each script of testdata/script against a server of its own. Set UPDATE_SCRIPTS to rewrite what
// cmp compares with.
func TestScripts(t *testing.T) {
	behaviours := map[string]operatortest.Answer{"echo": operatortest.Echo, "trap": operatortest.Trap, "hold": operatortest.Hold}
	var world *operatortest.World
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", RequireExplicitExec: true,
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			t, ok := env.T().(testing.TB)
			if !ok {
				t = world.T()
			}
			token := func(name string, role operator.Role, tenants ...string) operator.Token {
				return operator.Token{Name: name, SHA256: operator.HashToken(name), Role: role, Tenants: tenants}
			}
			w := operatortest.Start(t, operator.Config{Tokens: []operator.Token{
				token("root", operator.Admin), token("eye", operator.Viewer), token("alice", operator.Client, "alice"),
			}})
			env.Values["world"] = w
			env.Setenv("SHARDY_ADDRESS", w.URL)
			env.Setenv("SHARDY_TOKEN", "root")
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
			env.Setenv("KEY", hex.EncodeToString(operatortest.Key(0)))
			w.Register(t, operatortest.Key(0))
			return os.WriteFile(env.WorkDir+"/echo.wasm", operatortest.EchoModule, 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"workers": func(ts *testscript.TestScript, _ bool, args []string) {
				answer, ok := behaviours[args[0]]
				if !ok {
					ts.Fatalf("no behaviour %q", args[0])
				}
				w := ts.Value("world").(*operatortest.World)
				w.Release(answer)
			},
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				if got := exitOf(err); got != args[0] {
					ts.Fatalf("exit code %s, want %s", got, args[0])
				}
			},
			"setfirst": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], firstWord(ts.ReadFile(args[1])))
			},
		},
	})
}
