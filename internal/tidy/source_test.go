package tidy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/vivarium-go/vivarium"
	root   = "../.."
)

// source is one parsed file of the repository, nested modules included.
type source struct {
	path   string // relative to the root, with slashes
	dir    string
	test   bool
	nested bool // in a module of its own
	lines  int
	text   string
	ast    *ast.File
	fset   *token.FileSet
}

func (s *source) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return s.path + ":" + itoa(p.Line)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// sources parses every Go file that is not hidden, testdata or generated.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	nested := nestedModules(t)
	walk(t, func(path string, d fs.DirEntry) {
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return
		}
		data, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, data, parser.ParseComments)
		require.NoError(t, err)
		s := &source{
			path: path, dir: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"),
			lines: strings.Count(string(data), "\n"), text: string(data), ast: file, fset: fset,
		}
		for _, n := range nested {
			s.nested = s.nested || s.dir == n || strings.HasPrefix(s.dir, n+"/")
		}
		all = append(all, s)
	})
	require.NotEmpty(t, all)
	return all
}

// nestedModules are the folders below the root with a go.mod of their own.
func nestedModules(t *testing.T) []string {
	t.Helper()
	var dirs []string
	walk(t, func(path string, d fs.DirEntry) {
		if d.Name() == "go.mod" && path != "go.mod" {
			dirs = append(dirs, filepath.ToSlash(filepath.Dir(path)))
		}
	})
	return dirs
}

// walk visits what the repository shows: nothing hidden but .github, no testdata.
func walk(t *testing.T, visit func(path string, d fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := d.Name()
		hidden := strings.HasPrefix(name, ".") && rel != "." && name != ".github"
		if d.IsDir() && (hidden || name == "testdata") {
			return filepath.SkipDir
		}
		visit(filepath.ToSlash(rel), d)
		return nil
	})
	require.NoError(t, err)
}
