package tidy_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which packages of this module each part may import. The longest
// prefix of a package's path decides.
var layers = map[string][]string{
	"wal/vfs":                {"internal/invariant"},
	"wal":                    {"wal/vfs", "internal/invariant"},
	"internal":               {"internal"},
	"internal/tidy":          {},
	"zk":                     {"zk", "wal", "internal"},
	"mq":                     {"mq", "zk", "zk/zktest", "wal", "internal"},
	"examples":               {"mq", "mq/mqtest", "zk", "zk/recipes", "zk/zktest", "wal", "wal/vfs"},
	"zk/internal/jute":       {"internal/invariant"},
	"zk/internal/tree":       {"zk/internal/jute", "internal/invariant"},
	"zk/internal/session":    {"internal/invariant"},
	"zk/internal/watch":      {"zk/internal/jute", "internal/invariant"},
	"zk/internal/zab":        {"internal/invariant"},
	"zk/internal/apache":     {"zk/internal/jute", "internal/invariant"},
	"zk/internal/txnlog":     {"zk/internal/zab", "wal", "internal/invariant"},
	"mq/internal/batch":      {"internal/invariant"},
	"mq/internal/codec":      {"mq/internal/batch", "internal/invariant"},
	"mq/internal/replica":    {"mq/internal/batch", "mq/internal/layout", "internal/invariant"},
	"mq/internal/group":      {"mq/internal/wire", "internal/invariant"},
	"mq/internal/wire":       {},
	"mq/internal/layout":     {"internal/invariant"},
	"mq/internal/controller": {"mq/internal/layout", "internal/invariant"},
}

// exactly are the entries above that do not cover what lies below them.
var exactly = []string{"zk", "wal", "mq", "mq/mqtest", "zk/zktest", "zk/recipes", "wal/vfs"}

// pure packages are values in, values out: no
// clock, no socket, no file, no goroutine, no lock but atomics.
var pure = []string{
	"zk/internal/jute", "zk/internal/tree", "zk/internal/session", "zk/internal/watch", "zk/internal/zab",
	"mq/internal/batch", "mq/internal/replica", "mq/internal/controller", "mq/internal/group", "mq/internal/layout", "mq/internal/wire",
}

var impure = []string{"net", "os", "time", "sync", "context", "log", "log/slog", "os/exec", "net/http"}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.nested {
			continue
		}
		for _, imp := range s.ast.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			own, inside := strings.CutPrefix(path, module+"/")
			if inside && !mayImport(s.dir, own) {
				t.Errorf("%s: %s may not import %s", s.at(imp), s.dir, own)
			}
			if slices.Contains(pure, s.dir) && slices.Contains(impure, path) {
				t.Errorf("%s: %s is pure and may not import %s", s.at(imp), s.dir, path)
			}
		}
	}
}

func mayImport(dir, target string) bool {
	best, allowed := "", []string(nil)
	for prefix, list := range layers {
		if (dir == prefix || strings.HasPrefix(dir, prefix+"/")) && len(prefix) > len(best) {
			best, allowed = prefix, list
		}
	}
	for _, a := range allowed {
		below := strings.HasPrefix(target, a+"/")
		switch {
		case target == a:
			return true
		case below && !slices.Contains(exactly, a):
			return true
		case below && a == best: // one's own family
			return true
		case below && a == "wal" && target == "wal/vfs":
			return true
		}
	}
	return false
}
