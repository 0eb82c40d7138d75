package wal

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var mutantsFlag = flag.String("mutants", "", "wal: mutants to build and test: all, or one name; default: one a day (none with -short)")

// mutantTests must find each mutant.
const mutantTests = "^(TestScenarios|TestDamagedIndexes|TestRandomCrashes|TestErrorWalk|TestBitFlips|TestCrashEverywhere)$"

// TestMutants puts bugs in and demands that the proofs find them.
//
//	go test ./wal -run TestMutants -v -mutants all
//
// A file under testdata/mutants says in its first line what the bug is; then, any number of times: a line "--- file", the
// lines to be replaced, a line "+++", their replacement. The lines must occur exactly once.
func TestMutants(t *testing.T) {
	files, err := filepath.Glob("testdata/mutants/*.mutant")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	today := time.Now().YearDay() % len(files)
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".mutant")
		t.Run(name, func(t *testing.T) {
			title, sources := applyMutant(t, file)
			if *mutantsFlag == "all" || *mutantsFlag == name || *mutantsFlag == "" && i == today && !testing.Short() {
				t.Logf("found by %s: %s", runMutant(t, sources), title)
			} // else that it still applies is all that is checked
		})
	}
}

// applyMutant returns the sources that the mutant changes, changed.
func applyMutant(t *testing.T, file string) (title string, sources map[string]string) {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	title, rest, _ := strings.Cut(string(b), "\n")
	sources = map[string]string{}
	blocks := strings.Split("\n"+rest, "\n--- ")
	require.Greater(t, len(blocks), 1, "%s changes nothing", file)
	for _, block := range blocks[1:] {
		name, change, _ := strings.Cut(block, "\n")
		before, after, ok := strings.Cut(change, "+++")
		require.True(t, ok, "%s: no +++ for %s", file, name)
		before = strings.TrimRight(before, "\n")
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

var testFailed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// runMutant runs the proofs on the changed sources and returns which one failed.
func runMutant(t *testing.T, sources map[string]string) string {
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, src := range sources {
		from, err := filepath.Abs(name)
		require.NoError(t, err)
		to := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		require.NoError(t, os.WriteFile(to, []byte(src), 0o600))
		overlay.Replace[from] = to
	}
	b, err := json.Marshal(overlay)
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	out, err := exec.Command("go", "test", "-overlay", file, "-vet=off", "-failfast", "-short", "-timeout", "5m", "-run", mutantTests, ".").CombinedOutput()
	require.Error(t, err, "no test found it")
	found := testFailed.FindSubmatch(out)
	require.NotNil(t, found, "%s", out)
	return string(found[1])
}
