package bench

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRows runs every subject of every row for an instant: each must do its
// work and say a figure.
func TestRows(t *testing.T) {
	env := &Env{Dur: 20 * time.Millisecond, BytesMax: 1 << 20, Dir: t.TempDir()}
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	names := make(map[string]bool)
	for _, row := range Rows() {
		require.False(t, names[row.Name], "two rows %s", row.Name)
		names[row.Name] = true
		t.Run(row.Name, func(t *testing.T) {
			if testing.Short() {
				row.Subjects = quickOnes(row.Subjects)
			}
			results := Measure(t.Context(), env, row, Options{Reps: 1, Timeout: time.Minute})
			for i, s := range row.Subjects {
				if errors.Is(results[i].Err, ErrMissing) {
					t.Logf("%s left out: %v", s.Name, results[i].Err)
					continue
				}
				require.NoError(t, results[i].Err, s.Name)
				require.Len(t, results[i].Values, 1, s.Name)
				require.Positive(t, results[i].Values[0], s.Name)
			}
		})
	}
}

// quickOnes leaves out the subjects that take seconds to start.
func quickOnes(subjects []Subject) []Subject {
	slow := regexp.MustCompile(`ZooKeeper|raft$|NATS R3`)
	var quick []Subject
	for _, s := range subjects {
		if !slow.MatchString(s.Name) {
			quick = append(quick, s)
		}
	}
	return quick
}

// constant is a subject that reports the given figures.
func constant(name string, role Role, target Target, figures ...float64) Subject {
	next := 0
	return Subject{Name: name, Role: role, Target: target, Start: func(context.Context, *Env) (*Bench, error) {
		return &Bench{Run: func(context.Context) (float64, error) {
			next++
			return figures[next-1], nil
		}}, nil
	}}
}

func missing(name string) Subject {
	return Subject{Name: name, Role: Peer, Start: func(context.Context, *Env) (*Bench, error) { return nil, ErrMissing }}
}

func TestTable(t *testing.T) {
	rates := Row{Name: "r", Title: "rate", Unit: "x/s", Subjects: []Subject{
		constant("us", Ours, Target{Ratio: 5, Figure: "1M"}, 90, 5e6, 1.5e6),
		constant("us too", Ours, Target{Ratio: 0.5, OfCeiling: true}, 1e6, 1e6, 1e6),
		constant("us alone", Ours, Target{Ratio: 2, Versus: []string{"one"}}, 200, 200, 200),
		constant("us again", Ours, Target{Value: 2e6, Ratio: 3}, 3e6, 3e6, 3e6),
		constant("one", Peer, Target{}, 100, 100, 100),
		constant("two", Peer, Target{}, 500e3, 400e3, 600e3),
		constant("machine", Ceiling, Target{}, 4e6, 4e6, 4e6),
		missing("three"),
	}}
	opt := Options{Reps: 3, Timeout: time.Minute}
	got := Lines(rates, Measure(t.Context(), &Env{}, rates, opt))
	require.Equal(t, "| rate | us | 1.5M | one 100 (15000×) · two 500k (3×) · three not installed | 3× | machine 4M (38 %) | ≥ 5× (1M) | **60 %** | x/s |\n"+
		"| rate | us too | 1M | one 100 (10000×) · two 500k (2×) · three not installed | 2× | machine 4M (25 %) | ≥ 0.5× of the ceiling | **50 %** | x/s |\n"+
		"| rate | us alone | 200 | one 100 (2×) · two 500k (0.0004×) · three not installed | 2× | machine 4M (0 %) | ≥ 2× one | 100 % | x/s |\n"+
		"| rate | us again | 3M | one 100 (30000×) · two 500k (6×) · three not installed | 6× | machine 4M (75 %) | 2M, ≥ 3× | 150 % | x/s |\n", got)

	times := Row{Name: "t", Title: "time", Unit: "µs", Lower: true, Subjects: []Subject{
		constant("us", Ours, Target{}, 20, 30, 25), constant("slow", Peer, Target{}, 99, 99, 99), constant("fast", Peer, Target{}, 250, 40, 50),
		constant("machine", Ceiling, Target{}, 20, 20, 20),
	}}
	require.Equal(t, "| time | us | 25 | slow 99 (4×) · fast 50 (2×) | 2× | machine 20 (+25 %) |  |  | µs |\n", Lines(times, Measure(t.Context(), &Env{}, times, opt)))
}

// TestMeasureFails has a subject fail in each phase; the others go on.
func TestMeasureFails(t *testing.T) {
	broken := errors.New("broken")
	row := Row{Name: "r", Title: "rate", Unit: "x/s", Subjects: []Subject{
		{Name: "start", Start: func(context.Context, *Env) (*Bench, error) { return nil, broken }},
		{Name: "run", Start: func(context.Context, *Env) (*Bench, error) {
			return &Bench{Run: func(context.Context) (float64, error) { return 0, broken }}, nil
		}},
		{Name: "close", Start: func(context.Context, *Env) (*Bench, error) {
			return &Bench{Run: func(context.Context) (float64, error) { return 1, nil }, Close: func() error { return broken }}, nil
		}},
		constant("peer", Peer, Target{}, 1, 2),
	}}
	results := Measure(t.Context(), &Env{}, row, Options{Reps: 2, Timeout: time.Minute})
	for i, s := range row.Subjects[:3] {
		require.ErrorIs(t, results[i].Err, broken)
		require.ErrorContains(t, results[i].Err, "r: "+s.Name+": "+s.Name)
	}
	require.Equal(t, Result{Values: []float64{1, 2}}, results[3])
	require.Contains(t, Lines(row, results), "| rate | start | failed | peer 1 |  |  |  |  | x/s |\n")
}
