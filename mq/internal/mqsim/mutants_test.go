package mqsim

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var mutantsFlag = flag.String("mutants", "", "mutants to build and run: all, or names with commas between; default: only check that they apply")

// mutantSeeds is within how many seeds the simulator must find each mutant.
const mutantSeeds = "1-2000"

// TestMutants puts known bugs back and demands that the simulator finds them.
//
//	go test ./mq/internal/mqsim -run TestMutants -v -mutants all
//
// A file under testdata/mutants says in its first line what the bug is; then, any number of times: a line "--- file", the
// lines to be replaced, a line "+++", their replacement. The lines must occur exactly once.
func TestMutants(t *testing.T) {
	files, err := filepath.Glob("testdata/mutants/*.mutant")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".mutant")
		t.Run(name, func(t *testing.T) {
			title, sources := applyMutant(t, file)
			if *mutantsFlag != "all" && !slices.Contains(strings.Split(*mutantsFlag, ","), name) {
				return // that it still applies is checked all the same
			}
			seed := runMutant(t, sources)
			t.Logf("found by seed %s: %s", seed, title)
		})
	}
}

// applyMutant returns the sources that the mutant changes, changed.
func applyMutant(t *testing.T, file string) (title string, sources map[string]string) {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	title, rest, _ := strings.Cut(string(b), "\n")
	sources = make(map[string]string)
	blocks := strings.Split("\n"+rest, "\n--- ")
	require.Greater(t, len(blocks), 1, "%s changes nothing", file)
	for _, block := range blocks[1:] {
		name, change, _ := strings.Cut(block, "\n")
		before, after, ok := strings.Cut(change, "+++")
		require.True(t, ok, "%s: no +++ for %s", file, name)
		before = strings.TrimRight(before, "\n")
		name = filepath.Join("..", name)
		src, ok := sources[name]
		if !ok {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			src = string(b)
		}
		require.Equal(t, 1, strings.Count(src, before), "%s: its lines are not exactly once in %s:\n%s", file, name, before)
		sources[name] = strings.Replace(src, before, strings.Trim(after, "\n"), 1)
	}
	return title, sources
}

var seedFailed = regexp.MustCompile(`(?m)seed (\d+): (.*)$`)

// runMutant simulates with the changed sources and returns the seed that found the bug, and how.
func runMutant(t *testing.T, sources map[string]string) string {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command here")
	}
	dir, wd := t.TempDir(), must(os.Getwd())(t)
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		tmp := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		require.NoError(t, os.WriteFile(tmp, []byte(sources[name]), 0o600))
		overlay.Replace[filepath.Join(wd, name)] = tmp
	}
	list := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(list, must(json.Marshal(overlay))(t), 0o600))
	cmd := exec.CommandContext(t.Context(), goTool, "test", "-overlay", list, "-count=1", "-timeout=5m", "-run", "^TestSim$", "-v",
		".", "-seeds", mutantSeeds)
	out, err := cmd.CombinedOutput()
	m := seedFailed.FindStringSubmatch(string(out))
	require.Error(t, err, "the mutant lives: no violation in seeds %s", mutantSeeds)
	require.NotNil(t, m, "the mutant does not run:\n%s", out)
	return fmt.Sprintf("%s (%s)", m[1], m[2])
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		require.NoError(t, err)
		return v
	}
}
