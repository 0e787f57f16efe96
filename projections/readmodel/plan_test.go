package readmodel

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statements are all texts of SQL among the package's constants, by name.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	consts := map[string]ast.Expr{}
	entries, err := os.ReadDir(".")
	must(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, e.Name(), nil, 0)
		must(t, err)
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				for _, s := range g.Specs {
					for i, v := range s.(*ast.ValueSpec).Values {
						consts[s.(*ast.ValueSpec).Names[i].Name] = v
					}
				}
			}
		}
	}
	var text func(ast.Expr) (string, bool)
	text = func(x ast.Expr) (string, bool) {
		switch x := x.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(x.Value)
			return s, err == nil && x.Kind == token.STRING
		case *ast.Ident:
			return text(consts[x.Name])
		case *ast.BinaryExpr:
			a, ok1 := text(x.X)
			b, ok2 := text(x.Y)
			return a + b, ok1 && ok2
		}
		return "", false
	}
	all := map[string]string{}
	for name, x := range consts {
		s, ok := text(x)
		if !ok || !regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE) `).MatchString(s) {
			continue
		}
		all[name] = s
		if strings.HasPrefix(name, "walk") && strings.Contains(s, "?3") && strings.HasPrefix(s, "SELECT seq") {
			all["counting "+name] = counting(s)
		}
	}
	return all
}

// TestPlans prepares every statement and looks at how SQLite would run it: no table that grows is read from one end to
// the other, and no list is sorted.
func TestPlans(t *testing.T) {
	m := openFor(t, nil, "", quiet)
	all := statements(t)
	if len(all) < 70 {
		t.Fatalf("only %d statements found", len(all))
	}
	grows := regexp.MustCompile(`^SCAN (jobs|attempts|turns|pipelines|stages|holes|workers|sessions|modules|a|b|j|t|p|s)\b`)
	reads := map[string]bool{"jobEnds": true, "trimModules": true} // the first and the last row; refusals, which are bounded
	sorts := map[string]bool{}
	for name, text := range all {
		var plan []string
		err := m.current.w.each(t.Context(), "EXPLAIN QUERY PLAN "+text, make([]any, parameters(text)), func(r row) error {
			plan = append(plan, r.text(3))
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		for _, step := range plan {
			if strings.HasPrefix(step, "SEARCH b ") && !strings.HasPrefix(step, "SEARCH b USING PRIMARY KEY (job=?)") {
				t.Errorf("%s looks for later hand-overs in the wrong place: %q", name, step)
			}
			if grows.MatchString(step) && !reads[name] {
				t.Errorf("%s reads a whole table: %q\n%s", name, plan, text)
			}
			if strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && !sorts[name] {
				t.Errorf("%s sorts: %q\n%s", name, plan, text)
			}
		}
	}
}

// parameters counts the values that a statement wants.
func parameters(text string) int {
	most := strings.Count(text, "?")
	numbered := 0
	for _, n := range regexp.MustCompile(`\?(\d+)`).FindAllStringSubmatch(text, -1) {
		var k int
		if _, err := fmt.Sscan(n[1], &k); err == nil {
			numbered = max(numbered, k)
		}
	}
	if numbered > 0 {
		return numbered
	}
	return most
}
