package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var mutantsFlag = flag.String("mutants", "", "mutants to build and simulate: all, or names with commas between; see each test for the default")

// Mutants puts known bugs back and demands that a simulation finds them.
//
// A file testdata/mutants/NAME.mutant says in its first line what the bug is;
// then, any number of times: a line "--- file", the lines to be replaced, a line
// "+++", their replacement. The lines must occur exactly once in the file.
type Mutants struct {
	// Dir is what the files' names are relative to, as seen from the test's package.
	Dir string
	// Seeds is within how many seeds of its TestSim the package must find each
	// mutant: "first-last". Args are further flags of that test.
	Seeds string
	Args  []string
	// Daily says that one mutant runs without the flag -mutants, each day another,
	// unless the tests are to be short. That all of them still apply is checked always.
	Daily bool
}

// Test runs the mutants that the flag -mutants names. One that is not found fails t.
func (m Mutants) Test(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("testdata/mutants/*.mutant")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	chosen := strings.Split(*mutantsFlag, ",")
	today := time.Now().YearDay() % len(files)
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".mutant")
		t.Run(name, func(t *testing.T) {
			title, sources, err := m.apply(file)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			daily := m.Daily && *mutantsFlag == "" && i == today && !testing.Short()
			if !daily && *mutantsFlag != "all" && !slices.Contains(chosen, name) {
				return
			}
			t.Logf("found by %s: %s", m.run(t, sources), title)
		})
	}
}

// apply returns the sources that a mutant changes, changed.
func (m Mutants) apply(file string) (title string, sources map[string]string, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	title, rest, _ := strings.Cut(string(b), "\n")
	sources = make(map[string]string)
	blocks := strings.Split("\n"+rest, "\n--- ")[1:]
	if len(blocks) == 0 {
		return "", nil, fmt.Errorf("it changes nothing")
	}
	for _, block := range blocks {
		name, change, _ := strings.Cut(block, "\n")
		before, after, ok := strings.Cut(change, "+++")
		if !ok {
			return "", nil, fmt.Errorf("no +++ for %s", name)
		}
		before = strings.TrimRight(before, "\n")
		name = filepath.Join(m.Dir, name)
		src, ok := sources[name]
		if !ok {
			b, err := os.ReadFile(name)
			if err != nil {
				return "", nil, err
			}
			src = string(b)
		}
		if n := strings.Count(src, before); n != 1 {
			return "", nil, fmt.Errorf("its lines are %d times in %s, not once:\n%s", n, name, before)
		}
		sources[name] = strings.Replace(src, before, strings.Trim(after, "\n"), 1)
	}
	return title, sources, nil
}

var seedFailed = regexp.MustCompile(`(?m)seed (\d+): (.*)$`)

// run simulates with the changed sources and returns the seed that found the bug, and how.
func (m Mutants) run(t *testing.T, sources map[string]string) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command here")
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for name, src := range sources {
		tmp := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		writeFile(t, tmp, []byte(src))
		abs, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		overlay.Replace[abs] = tmp
	}
	list := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, list, b)
	args := []string{"test", "-overlay", list, "-count=1", "-timeout=5m", "-run", "^TestSim$", "-v", ".", "-seeds", m.Seeds}
	out, err := exec.CommandContext(t.Context(), goTool, append(args, m.Args...)...).CombinedOutput()
	found := seedFailed.FindStringSubmatch(string(out))
	if err == nil {
		t.Fatalf("the mutant lives: no violation in seeds %s", m.Seeds)
	}
	if found == nil {
		t.Fatalf("the mutant does not run:\n%s", out)
	}
	return fmt.Sprintf("seed %s (%s)", found[1], found[2])
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
