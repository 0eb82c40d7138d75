package tidy_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	fileLinesMax = 600
	testLinesMax = 900
	funcLinesMax = 70
)

// public packages are those that users import; each teaches by Examples.
var public = []string{"wal", "zk", "mq"}

func TestTopLevel(t *testing.T) {
	want := []string{"LICENSE", "README.md", "examples", "go.mod", "go.sum", "internal", "mq", "wal", "zk"}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			have = append(have, e.Name())
		}
	}
	require.Equal(t, want, have)
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		limit := fileLinesMax
		if s.test {
			limit = testLinesMax
		}
		if s.lines > limit {
			t.Errorf("%s has %d lines, more than %d", s.path, s.lines, limit)
		}
		if s.test {
			continue
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > funcLinesMax {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(f), f.Name.Name, n, funcLinesMax)
			}
		}
	}
}

func TestDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.ast.Doc != nil
		for _, d := range s.ast.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s: exported %s has no comment", s.at(n), n.Name)
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// undocumented returns the exported names of a declaration that nothing is said
// about. A comment on a group of values covers them; methods of unexported types do not count.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && receiverExported(d) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && spec.Doc == nil && spec.Name.IsExported() {
					names = append(names, spec.Name)
				}
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					if d.Doc == nil && spec.Doc == nil && spec.Comment == nil && n.IsExported() {
						names = append(names, n)
					}
				}
			}
		}
	}
	return names
}

// receiverExported is true of functions and of methods that users can see; those
// that every reader knows need no words.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	if slices.Contains([]string{"Error", "String", "Unwrap", "Is"}, d.Name.Name) {
		return false
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func TestExamples(t *testing.T) {
	have := make(map[string]bool)
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && strings.HasPrefix(f.Name.Name, "Example") {
				have[s.dir] = have[s.dir] || strings.Contains(s.text, "// Output:")
			}
		}
	}
	for _, p := range public {
		require.True(t, have[p], "%s has no Example with output", p)
	}
}

// Tests wait for what happens, not for time to pass; and whatever is random
// comes from a seed that somebody can print.
func TestNoSleepNoGlobalRandomness(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			switch {
			case !ok:
			case s.test && pkg.Name == "time" && sel.Sel.Name == "Sleep" && !inBubble(s):
				t.Errorf("%s: a test sleeps", s.at(sel))
			case pkg.Name == "rand" && slices.Contains(pure, s.dir) && !s.test && globalRand[sel.Sel.Name]:
				t.Errorf("%s: global randomness in a pure package", s.at(sel))
			}
			return true
		})
	}
}

// inBubble: in a synctest bubble a sleep is a step of virtual time.
func inBubble(s *source) bool { return strings.Contains(s.text, `"testing/synctest"`) }

var globalRand = map[string]bool{
	"Int": true, "IntN": true, "Int64": true, "Int64N": true, "Uint32": true, "Uint64": true, "Uint64N": true,
	"Float64": true, "Perm": true, "Shuffle": true, "N": true,
}

// A pure package starts no goroutine.
func TestPureStartsNothing(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.dir) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a goroutine in a pure package", s.at(g))
			}
			return true
		})
	}
}

// kmsg believes what it reads: mq/internal/wire checks it first.
func TestOnlyWireDecodes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.dir == "mq/internal/wire" || !strings.HasPrefix(s.dir+"/", "mq/") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && strings.HasSuffix(sel.Sel.Name, "ReadFrom") {
				t.Errorf("%s: decodes without mq/internal/wire", s.at(sel))
			}
			return true
		})
	}
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestNothingUnfinished(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "internal/tidy" {
			continue
		}
		for _, c := range s.ast.Comments {
			if unfinished.MatchString(c.Text()) {
				t.Errorf("%s: %s", s.at(c), strings.TrimSpace(c.Text()))
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)

// Links between documents lead somewhere.
func TestLinks(t *testing.T) {
	walk(t, func(path string, d fs.DirEntry) {
		if d.IsDir() || !strings.HasSuffix(path, ".md") {
			return
		}
		data, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(root, filepath.Dir(path), m[1]))
			require.NoError(t, err, "%s: link to %s", path, m[1])
		}
	})
}
