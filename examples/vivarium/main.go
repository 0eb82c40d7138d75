// Command vivarium runs a ZooKeeper ensemble and a Kafka cluster in one process,
// or one ZooKeeper server of a zoo.cfg, and looks after them.
//
//	vivarium up [-servers 3] [-brokers 3] [-zk-port 2181] [-kafka-port 9092] [-data DIR] [-zk-config FILE]
//	vivarium zk -config zoo.cfg [-new | -import DIR | -restore FILE]
//	vivarium cli [-server HOST:PORT,…[/CHROOT]] [COMMAND]
//	vivarium status [-server HOST:PORT]
//	vivarium wal check|dump DIR
//
// Real clients work against it as they are. Exit codes: 0 after a clean stop,
// 1 after an error, 2 after a wrong flag.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// commands are the verbs, each with its own flags.
var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	"cli":    cli,
	"status": status,
	"up":     up,
	"wal":    walTool,
	"zk":     server,
}

const usage = "usage: vivarium up|zk|cli|status|wal [flags]; -h lists a command's flags"

// syncingThreads is how many threads wait for the disk most of the time. The
// runtime takes a while to notice that such a thread does not need its place.
const syncingThreads = 2

// errUsage is a mistake on the command line, which exits 2.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + syncingThreads)
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprintln(stderr, usage)
		return 2
	}
	err := commands[args[0]](ctx, args[1:], stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errCommand):
		return 1 // it has said why
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, "vivarium:", err)
		return 2
	}
	fmt.Fprintln(stderr, "vivarium:", err)
	return 1
}
