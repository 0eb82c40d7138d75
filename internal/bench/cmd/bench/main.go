// Command bench measures this repository beside its peers and prints one table
// in Markdown. Package bench says how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	rows := flag.String("rows", "", "regular expression: which rows, by name; empty: all")
	subjects := flag.String("subjects", "", "regular expression: which subjects, by name; empty: all")
	list := flag.Bool("list", false, "list the rows and end")
	dur := flag.Duration("dur", time.Second, "length of one repetition")
	reps := flag.Int("reps", 3, "repetitions")
	warm := flag.Duration("warm", 30*time.Second, "unmeasured load on each Apache ZooKeeper before it is measured")
	dir := flag.String("dir", os.TempDir(), "where data is written, in a directory that is removed at the end")
	bytes := flag.Int64("bytes", 128<<20, "bytes written at most by one repetition")
	perCore := flag.Bool("cpu", false, "rates per second of processor time used, not of time: for a machine that others use")
	quiet := flag.Float64("quiet", 0, "repeat what was measured while other processes used more cores than this; 0: never")
	profiles := flag.String("profile", "", "existing directory for CPU profiles of our own subjects")
	timeout := flag.Duration("timeout", 30*time.Minute, "bound of the whole run")
	verbose := flag.Bool("v", false, "a line for each repetition, on standard error")
	flag.Parse()
	which, err := regexp.Compile(*rows)
	if err != nil {
		return err
	}
	who, err := regexp.Compile(*subjects)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	data, err := os.MkdirTemp(*dir, "vivarium-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	env := &bench.Env{Dur: *dur, BytesMax: *bytes, Warm: *warm, Dir: data, PerCore: *perCore}
	defer env.Close()
	opt := bench.Options{Reps: *reps, ProfileDir: *profiles, QuietCores: *quiet, Timeout: time.Minute + 10*(*dur) + 3*(*warm)}
	if *verbose {
		opt.Progress = os.Stderr
	}
	return table(ctx, os.Stdout, which, who, *list, env, opt)
}

func table(ctx context.Context, w io.Writer, which, who *regexp.Regexp, list bool, env *bench.Env, opt bench.Options) error {
	var failed []error
	meter := bench.NewMeter()
	for i, row := range bench.Rows() {
		row.Subjects = slices.DeleteFunc(row.Subjects, func(s bench.Subject) bool { return !who.MatchString(s.Name) })
		if !which.MatchString(row.Name) || len(row.Subjects) == 0 {
			continue
		}
		if list {
			fmt.Fprintf(w, "%s\t%s\n", row.Name, row.Title)
			continue
		}
		if i == 0 || failed == nil {
			failed = []error{}
			fmt.Fprint(w, bench.Head)
		}
		results := bench.Measure(ctx, env, row, opt)
		fmt.Fprint(w, bench.Lines(row, results))
		for _, r := range results {
			if r.Err != nil && !errors.Is(r.Err, bench.ErrMissing) {
				failed = append(failed, r.Err)
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !list {
		if env.PerCore {
			fmt.Fprintf(w, "\nRates are per second of processor time.")
		}
		fmt.Fprintf(w, "\nMedians of %d repetitions of %v on %d cores with %s; other processes used %.1f cores meanwhile.\n",
			opt.Reps, env.Dur, runtime.NumCPU(), runtime.Version(), meter.OtherCores())
	}
	return errors.Join(failed...)
}
