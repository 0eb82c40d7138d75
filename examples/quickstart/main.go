// Command quickstart sends every line of some files through a replicated log
// that lives in this process, kills parts of it on the way, and checks that
// nothing was lost.
//
//	go run ./examples/quickstart [-data DIR] [FILE…]
//
// It starts three ZooKeeper servers and three Kafka brokers in memory (or below
// DIR). An idempotent producer sends each line, keyed by its file, to a topic of
// six partitions with three replicas each; two members of a consumer group count
// words. After a third of the lines is acknowledged the broker that leads most
// partitions is killed, after half of them the ensemble's leader; both come back
// before two thirds are. At the end the counts that came through the bus are
// compared with counts made from the files, and what the restarted servers hold
// with what the others hold. Any difference makes it exit 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience bounds the whole run: what takes longer hangs.
const patience = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	data := flags.String("data", "", "directory for the data; empty: memory")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "usage: quickstart [-data DIR] [FILE…]")
			return 0
		}
		fmt.Fprintln(stderr, "quickstart:", err)
		return 2
	}
	in, err := readInput(flags.Args())
	if err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := newProgress(stderr)
	res, err := drive(ctx, in, *data, p)
	p.end()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(stderr, "quickstart: stopped")
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "quickstart:", err)
		return 1
	}
	differences := res.print(stdout, in)
	for _, d := range differences {
		fmt.Fprintln(stderr, "quickstart: difference:", d)
	}
	if len(differences) > 0 {
		return 1
	}
	return 0
}
