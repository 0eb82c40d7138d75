package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/vivarium-go/vivarium/zk"
)

// errCommand is a command that failed and has said so.
var errCommand = errors.New("the last command failed")

// cli is zkCli: it reads commands from its arguments, from a terminal, or from
// standard input.
func cli(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return runCLI(ctx, args, os.Stdin, stdout, stderr)
}

func runCLI(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	set := newFlags("cli")
	server := set.String("server", "localhost:2181", "host:port[,host:port…][/chroot]")
	timeout := set.Duration("timeout", 30*time.Second, "session timeout, and how long a command may take")
	readOnly := set.Bool("r", false, "take a server that has lost its quorum, too")
	one, rest := args, []string(nil)
	if i := firstCommand(args); i < len(args) {
		one, rest = args[:i], args[i:]
	}
	if err := parseFlags(set, one, stderr); err != nil {
		return err
	}
	sh := &shell{ctx: ctx, out: &lines{w: stdout}, err: &lines{w: stderr}, server: *server, timeout: *timeout, readOnly: *readOnly}
	defer sh.close()
	if len(rest) > 0 {
		if err := sh.connect(*server); err != nil {
			return err
		}
		if !sh.run(rest) {
			return errCommand
		}
		return nil
	}
	if file, ok := stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return sh.interact(file, stdout)
	}
	sh.greet()
	if err := sh.connect(*server); err != nil {
		return err
	}
	return sh.read(stdin)
}

// firstCommand returns where the flags of cli end and a command begins.
func firstCommand(args []string) int {
	i := 0
	for i < len(args) && len(args[i]) > 1 && args[i][0] == '-' {
		if args[i] == "-server" || args[i] == "--server" || args[i] == "-timeout" || args[i] == "--timeout" {
			i++
		}
		i++
	}
	return min(i, len(args))
}

// read runs the commands of a stream, a line each, until it ends or says quit.
func (sh *shell) read(in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 2<<20)
	ok := true
	for !sh.quit && sh.ctx.Err() == nil && scan.Scan() {
		ok = sh.line(scan.Text())
	}
	if err := scan.Err(); err != nil {
		return err
	}
	if !ok {
		return errCommand
	}
	return nil
}

// greet says what zkCli says before it connects.
func (sh *shell) greet() {
	sh.out.println("Connecting to " + sh.server)
	sh.out.println("Welcome to ZooKeeper!")
}

// connect begins a session, and tells so as a watcher of the session would.
func (sh *shell) connect(server string) error {
	sh.close()
	servers, chroot, err := zk.ParseConnectString(server)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(sh.ctx, sh.timeout)
	defer cancel()
	told := make(chan struct{}, 1)
	c, err := zk.Connect(ctx, zk.ClientConfig{
		Servers: servers, Chroot: chroot, SessionTimeout: sh.timeout, ReadOnly: sh.readOnly,
		OnState: func(s zk.State) {
			sh.onState(s)
			select {
			case told <- struct{}{}:
			default: // long known
			}
		},
	})
	if err != nil {
		return err
	}
	sh.client, sh.server = c, server
	select {
	case <-told: // it comes before what commands print
	case <-ctx.Done():
	}
	return nil
}

// onState prints the states of the session as zkCli's watcher does.
func (sh *shell) onState(s zk.State) {
	text := map[zk.State]string{
		zk.StateConnecting: "Disconnected", zk.StateConnected: "SyncConnected", zk.StateReadOnly: "ConnectedReadOnly",
		zk.StateExpired: "Expired", zk.StateAuthFailed: "AuthFailed", zk.StateClosed: "Closed",
	}[s]
	sh.event(text, "None", "null", -1)
}

func (sh *shell) event(state, typ, path string, zxid int64) {
	if !sh.silent.Load() {
		sh.out.println(fmt.Sprintf("\nWATCHER::\n\nWatchedEvent state:%s type:%s path:%s zxid: %d", state, typ, path, zxid))
	}
}

// What a watch is told when it is removed, by its kind.
const (
	dataWatchRemoved       = "DataWatchRemoved"
	childWatchRemoved      = "ChildWatchRemoved"
	persistentWatchRemoved = "PersistentWatchRemoved"
)

// watcher prints what a watch was told. A change is printed once, by whichever of
// several watches: zkCli has one watcher for all.
func (sh *shell) watcher(removed string) func(zk.Event) {
	return func(e zk.Event) {
		typ := map[zk.EventType]string{
			zk.EventCreated: "NodeCreated", zk.EventDeleted: "NodeDeleted", zk.EventDataChanged: "NodeDataChanged",
			zk.EventChildrenChanged: "NodeChildrenChanged",
		}[e.Type]
		switch {
		case e.Type == zk.EventWatchRemoved:
			sh.event("SyncConnected", removed, e.Path, -1)
		case typ == "", e == sh.told: // the others are told as states of the session
		default:
			sh.told = e
			sh.event("SyncConnected", typ, e.Path, e.Zxid)
		}
	}
}

// close ends the session, if there is one.
func (sh *shell) close() {
	if sh.client == nil {
		return
	}
	c := sh.client
	sh.client = nil
	if err := c.Close(); err != nil {
		sh.err.println(err.Error())
	}
}
