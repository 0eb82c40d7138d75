package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	} {
		if errors.Is(e.err, known.err) {
			return known.text + e.path
		}
	}
	return e.err.Error()
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
	if !v.offline && sh.client == nil {
		sh.out.println("Not connected")
		return nil
	}
	opts, rest, ok := parseOptions(words[1:], v.options)
	if !ok || len(rest) < v.least || v.most >= 0 && len(rest) > v.most {
		return usageError{words[0] + " " + v.usage}
	}
	ctx, cancel := context.WithTimeout(sh.ctx, sh.timeout)
	defer cancel()
	return v.run(&call{shell: sh, ctx: ctx, opts: opts, args: rest})
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

// parseOptions takes options from anywhere among the words. known has a letter
// for each option, and a colon behind those with a value.
func parseOptions(words []string, known string) (opts map[byte]string, rest []string, ok bool) {
	opts = make(map[byte]string)
	for i := 0; i < len(words); i++ {
		w := words[i]
		if len(w) < 2 || w[0] != '-' {
			rest = append(rest, w)
			continue
		}
		if w == "--" {
			return opts, append(rest, words[i+1:]...), true
		}
		for j := 1; j < len(w); j++ {
			at := strings.IndexByte(known, w[j])
			switch {
			case w[j] == ':' || at < 0:
				if j == 1 && isNumber(w) {
					rest = append(rest, w) // a negative number
					j = len(w)
					break
				}
				return nil, nil, false
			case at+1 < len(known) && known[at+1] == ':':
				value := w[j+1:]
				if value == "" {
					if i++; i == len(words) {
						return nil, nil, false
					}
					value = words[i]
				}
				opts[w[j]] = value
				j = len(w)
			default:
				opts[w[j]] = ""
			}
		}
	}
	return opts, rest, true
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}
