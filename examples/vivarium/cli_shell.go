package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// lines is where commands print to. A watch's event may come at any time, so
// each line is written whole.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) println(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, text+"\n") // who closed the pipe does not read it
}

// shell runs zkCli's commands. One goroutine uses it.
type shell struct {
	ctx      context.Context // of the whole run
	out, err *lines
	server   string
	timeout  time.Duration
	readOnly bool

	client  *zk.Client  // nil: not connected
	silent  atomic.Bool // events are not printed
	told    zk.Event    // the newest; the client's callbacks have it
	history []string    // all commands, by their number
	quit    bool
}

// usageError is a command that was not understood: its usage is printed.
type usageError struct{ usage string }

func (e usageError) Error() string { return e.usage }

// complaint is an error in zkCli's words, which are sentences.
type complaint string

func (c complaint) Error() string { return string(c) }

// pathError is what a server said of a path.
type pathError struct {
	path string
	err  error
}

// Error is in zkCli's words.
func (e pathError) Error() string {
	switch {
	case errors.Is(e.err, zk.ErrReconfigInProgress):
		return "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"
	case errors.Is(e.err, zk.ErrNewConfigNoQuorum):
		return "No quorum of new config is connected and up-to-date with the leader of last commmitted config - " +
			"try invoking reconfiguration after new servers are connected and synced"
	}
	for _, known := range []struct {
		err  error
		text string
	}{
		{zk.ErrNoNode, "Node does not exist: "},
		{zk.ErrNodeExists, "Node already exists: "},
		{zk.ErrNotEmpty, "Node not empty: "},
		{zk.ErrEphemeralParent, "Ephemerals cannot have children: "},
		{zk.ErrInvalidACL, "Acl is not valid : "},
		{zk.ErrNoAuth, "Insufficient permission : "},
		{zk.ErrBadVersion, "version No is not valid : "},
		{zk.ErrQuotaExceeded, "Quota has exceeded : "},
		{zk.ErrBadArguments, "Arguments are not valid : "},
		{zk.ErrNotReadOnly, "Not a read-only call: "},
	} {
		if errors.Is(e.err, known.err) {
			return known.text + e.path
		}
	}
	for code, text := range codeText {
		if errors.Is(e.err, code) {
			if e.path != "" {
				text += " for " + e.path
			}
			return "KeeperErrorCode = " + text
		}
	}
	return e.err.Error()
}

// codeText is what zkCli says of other codes.
var codeText = map[zk.Error]string{
	zk.ErrNoWatcher: "No such watcher", zk.ErrReconfigDisabled: "Reconfig is disabled", zk.ErrUnimplemented: "Unimplemented",
	zk.ErrConnectionLoss: "ConnectionLoss", zk.ErrSessionExpired: "Session expired", zk.ErrAuthFailed: "AuthFailed",
}

func (e pathError) Unwrap() error { return e.err }

// at says of which path an error is; nil stays nil.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return pathError{path, err}
}

// line runs one line and keeps it in the history; false if it failed.
func (sh *shell) line(text string) bool {
	words, err := splitWords(text)
	if err != nil {
		sh.err.println(err.Error())
		return false
	}
	if len(words) == 0 {
		return true
	}
	sh.history = append(sh.history, strings.TrimSpace(text))
	return sh.run(words)
}

// run runs one command and prints what went wrong.
func (sh *shell) run(words []string) bool {
	err := sh.command(words)
	if u := (usageError{}); errors.As(err, &u) {
		sh.err.println(u.usage)
		return false
	}
	if err != nil {
		sh.err.println(err.Error())
	}
	return err == nil
}

func (sh *shell) command(words []string) error {
	v, known := verbs[words[0]]
	if !known {
		sh.err.println(help())
		if words[0] == "help" {
			return nil
		}
		return complaint("Command not found: Command not found " + words[0])
	}
	if v.kind != offline && sh.client == nil {
		sh.out.println("Not connected")
		return nil
	}
	opts, rest, ok := parseOptions(words[1:], v.options)
	if !ok || len(rest) < v.least || v.most >= 0 && len(rest) > v.most {
		return usageOf(words[0])
	}
	if v.kind == onPath {
		if err := checkPath(rest[0]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(sh.ctx, sh.timeout)
	defer cancel()
	return v.run(&call{shell: sh, name: words[0], ctx: ctx, opts: opts, args: rest})
}

// splitWords cuts a line at blanks; quotes of either kind keep what is between
// them together.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	quote, inside := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case r == ' ' || r == '\t' || r == '\r':
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

// parseOptions takes options from anywhere among the words. known has their names,
// with a colon behind those with a value. Options of one letter may be written
// together.
func parseOptions(words []string, known string) (opts map[string]string, rest []string, ok bool) {
	opts = make(map[string]string)
	names := strings.Fields(known)
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		name, isOption := strings.CutPrefix(w, "-")
		switch {
		case w == "--":
			return opts, append(rest, words...), true
		case !isOption || name == "":
			rest = append(rest, w)
		case slices.Contains(names, name):
			opts[name] = ""
		case slices.Contains(names, name+":"):
			if len(words) == 0 {
				return nil, nil, false
			}
			opts[name], words = words[0], words[1:]
		case isNumber(w):
			rest = append(rest, w)
		case slices.Contains(names, name[:1]+":"):
			opts[name[:1]] = strings.TrimPrefix(name[1:], "=")
		default:
			for _, letter := range name {
				if !slices.Contains(names, string(letter)) {
					return nil, nil, false
				}
				opts[string(letter)] = ""
			}
		}
	}
	return opts, rest, true
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}
