package main

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// print writes the table and returns what is not as it should be.
func (r *result) print(w io.Writer, in *input) (differences []string) {
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("lines sent", "%d", r.sent)
	row("lines acknowledged", "%d", r.acked)
	row("distinct (file, line) consumed", "%d", r.tally.distinct)
	row("duplicates delivered", "%d (groups are at least once)", r.tally.duplicates)
	row("bytes", "%d", in.bytes)
	row("records/s", "%.0f (kills and restarts included)", float64(r.acked)/r.sending.Seconds())
	row("broker killed → first write acknowledged", "%v (broker %d; on a partition that it led: %v)", round(r.brokerFirst), r.brokerKilled, round(r.brokerLed))
	row("server killed → first write acknowledged", "%v (server %d)", round(r.serverFirst), r.serverKilled)
	row("restarted broker holds the same", "%s", yes(r.brokersSame))
	row("restarted server holds the same", "%s", yes(r.serversSame))
	fmt.Fprintln(t, "\t")
	fmt.Fprintln(t, "file\tlines\twords through the bus\twords in the file\t")
	through, direct := 0, 0
	for _, f := range in.files {
		got := r.tally.words[f.name]
		through, direct = through+got, direct+f.words
		mark := ""
		if got != f.words {
			mark = "differs"
			differ("%s: %d words came through the bus, the file has %d", f.name, got, f.words)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", short(f.name), len(f.lines), got, f.words, mark)
	}
	fmt.Fprintf(t, "total\t%d\t%d\t%d\t\n", in.lines, through, direct)
	_ = t.Flush() // a closed standard output is nobody's loss

	if r.sent != in.lines || r.acked != r.sent {
		differ("%d lines, %d sent, %d acknowledged", in.lines, r.sent, r.acked)
	}
	if r.tally.distinct != in.lines {
		differ("%d lines, %d distinct ones consumed", in.lines, r.tally.distinct)
	}
	if r.brokersSame != "" {
		differ("brokers: %s", r.brokersSame)
	}
	if r.serversSame != "" {
		differ("servers: %s", r.serversSame)
	}
	return differences
}

func yes(difference string) string {
	if difference == "" {
		return "yes"
	}
	return "NO"
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// short is a file's name as seen from here.
func short(name string) string {
	here, err := filepath.Abs(".")
	if err != nil {
		return name
	}
	rel, err := filepath.Rel(here, name)
	if err != nil || len(rel) > len(name) {
		return name
	}
	return rel
}
