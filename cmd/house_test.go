package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/shardy-network/orchestrator"

// floors says on which floor a package lives; the longest matching prefix counts.
var floors = map[string]int{
	"proto":                 0,
	"events":                1,
	"gateway/crew":          1,
	"gateway/wire":          1,
	"actors":                2,
	"events/memlog":         3,
	"events/pebblelog":      3,
	"events/blobs":          3,
	"events/kurrent":        3,
	"events/esdbserver":     3,
	"events/eventstest":     3,
	"projections":           3,
	"actors/host":           4,
	"gateway":               5,
	"mesh":                  5,
	"projections/dashboard": 5,
	"cmd":                   6,
	"cmd/shardy":            6,
	"cmd/shardy-bench":      6,
}

// importers names the only folders that may import a foreign thing, tests included.
var importers = map[string][]string{
	"github.com/asynkron/protoactor-go": {"actors/host", "mesh/transport"},
	"github.com/libp2p":                 {"mesh"},
	"github.com/hyperledger-labs":       {"mesh/consensus"},
	"github.com/EventStore":             {"events/kurrent", "events/esdbserver"}, // in the server: its tests
	"google.golang.org/grpc":            {"events/kurrent", "events/esdbserver", "proto"},
	"github.com/gorilla/websocket":      {"gateway/socket"},
	"github.com/cockroachdb/pebble":     {"events/pebblelog"},
	"modernc.org/sqlite":                {"projections/readmodel"},
	"golang.org/x/mod":                  {"projections/transparency", "projections/audit", "actors/ledger", "actors/checkpoint"},
	"github.com/prometheus":             {"projections/metrics"},
	"go.opentelemetry.io":               {"projections/traces"},
	"github.com/chromedp":               {"projections/dashboard", "cmd"},
	"github.com/tetratelabs/wazero":     {"gateway/agent/sandbox"},
	"connectrpc.com":                    {"gateway/operator", "proto", "cmd"},
	"github.com/spf13/cobra":            {"cmd"},
	"gocloud.dev":                       {"events/blobs"},
	"github.com/consensys/gnark-crypto": {"actors/proof"},
	"net":                               {"gateway", "proto", "cmd", "mesh", "projections/dashboard", "projections/metrics", "projections/transparency", "events/kurrent", "events/esdbserver"},
	"time/tzdata":                       {},
	"math/rand":                         {},
}

// banned are calls of protoactor-go that were measured to lose messages or to race.
var banned = []string{
	"RequestFuture", "SetReceiveTimeout", "SendRepeatedly", "Stash", "Bounded", "BoundedDropping",
	"NewExponentialBackoffStrategy", "SubscribeWithPredicate", "WithMetricProviders",
}

var rootEntries = []string{
	"actors", "events", "projections", "gateway", "mesh", "cmd", "proto", "go.mod", "go.sum", "README.md", "LICENSE",
}

type source struct {
	dir, file string // dir relative to the root, slashes
	ast       *ast.File
	lines     int
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel("..", p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		out = append(out, source{path.Dir(rel), rel, f, set.Position(f.End()).Line})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files: the walk is broken", len(out))
	}
	return out
}

func floorOf(dir string) (int, bool) {
	for d := dir; d != "." && d != "/"; d = path.Dir(d) {
		if f, ok := floors[d]; ok {
			return f, true
		}
	}
	return 0, false
}

func top(dir string) string { return strings.SplitN(dir, "/", 2)[0] }

func under(dir string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

// TestFloors holds the plan: a package imports lower floors, or its own folder's rooms on its own floor.
func TestFloors(t *testing.T) {
	for _, s := range sources(t) {
		own, ok := floorOf(s.dir)
		if !ok {
			t.Errorf("%s: no floor for %s", s.file, s.dir)
			continue
		}
		test := strings.HasSuffix(s.file, "_test.go") || strings.HasSuffix(s.dir, "test") || path.Base(s.dir) == "story"
		for _, imp := range s.ast.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rel, ours := strings.CutPrefix(name, module+"/")
			if !ours {
				checkForeign(t, s, name, test)
				continue
			}
			floor, ok := floorOf(rel)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", s.file, rel)
			case floor > own:
				t.Errorf("%s (floor %d) looks up to %s (floor %d)", s.file, own, rel, floor)
			case floor == own && top(rel) != top(s.dir) && !test:
				t.Errorf("%s (floor %d) looks sideways to %s", s.file, own, rel)
			}
		}
	}
}

func checkForeign(t *testing.T, s source, name string, test bool) {
	t.Helper()
	for prefix, roots := range importers {
		if name != prefix && !strings.HasPrefix(name, prefix+"/") || test && (prefix == "net" || prefix == "math/rand") {
			continue
		}
		if prefix == "net" && name != "net" && name != "net/http" || name == "math/rand/v2" {
			continue
		}
		if !under(s.dir, roots) {
			t.Errorf("%s imports %s; only %v may", s.file, name, roots)
		}
	}
}

// clock is what of package time reads or waits for a clock. Durations and seeded generators are values.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"}

// TestPureRooms holds that decisions see no clock, dice, goroutine, channel, lock or file.
func TestPureRooms(t *testing.T) {
	forbidden := []string{"sync", "sync/atomic", "crypto/rand", "os", "context", "net", "net/http", "log/slog", "io/fs"}
	for _, s := range sources(t) {
		if top(s.dir) != "actors" || under(s.dir, []string{"actors/host", "actors/story"}) || strings.HasSuffix(s.file, "_test.go") {
			continue
		}
		for _, imp := range s.ast.Imports {
			if name, _ := strconv.Unquote(imp.Path.Value); slices.Contains(forbidden, name) {
				t.Errorf("%s is a pure room and imports %s", s.file, name)
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s is a pure room and uses goroutines or channels", s.file)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && (pkg.Name == "time" && slices.Contains(clock, n.Sel.Name) ||
					pkg.Name == "rand" && !strings.HasPrefix(n.Sel.Name, "New")) {
					t.Errorf("%s is a pure room and uses %s.%s", s.file, pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestBannedCalls keeps the parts of protoactor-go out that lose or race.
func TestBannedCalls(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir != "actors/host" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(banned, sel.Sel.Name) {
				t.Errorf("%s uses %s", s.file, sel.Sel.Name)
			}
			return true
		})
	}
}

// TestRooms holds that every package says once what it is, has a name of the domain, and that nothing else lies at the top.
func TestRooms(t *testing.T) {
	drawers := []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "impl", "types", "misc"}
	docs := map[string]int{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.ast.Name.Name, "_test") || strings.HasSuffix(s.file, "_test.go") {
			continue
		}
		if slices.Contains(drawers, s.ast.Name.Name) {
			t.Errorf("%s: package %s is a drawer, not a room", s.file, s.ast.Name.Name)
		}
		n := docs[s.dir]
		if s.ast.Doc != nil {
			n++
		}
		docs[s.dir] = n
		generated := strings.HasSuffix(s.file, ".pb.go") || strings.HasSuffix(s.file, ".connect.go")
		if s.lines > 700 && !generated {
			t.Errorf("%s has %d lines: more than one subject", s.file, s.lines)
		}
	}
	for dir, n := range docs {
		if n != 1 && !strings.HasPrefix(dir, "proto/") {
			t.Errorf("%s has %d package docs, want 1", dir, n)
		}
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(rootEntries, e.Name()) {
			t.Errorf("%s does not belong at the top", e.Name())
		}
	}
	for _, folder := range rootEntries[:7] {
		if _, err := os.Stat(filepath.Join("..", folder, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go", folder)
		}
	}
}
