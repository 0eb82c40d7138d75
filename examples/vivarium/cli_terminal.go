package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

// completeTimeout is how long a tab may wait for a server.
const completeTimeout = 2 * time.Second

// interact reads commands from a terminal, with history and completion.
func (sh *shell) interact(in *os.File, stdout io.Writer) error {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(int(in.Fd()), before) }()
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, stdout}, "")
	if width, height, err := term.GetSize(int(in.Fd())); err == nil {
		_ = t.SetSize(width, height) // 80 columns else
	}
	return sh.converse(t)
}

// converse is interact once the terminal is raw. What is printed goes through
// the terminal, which keeps the line that is being edited below it.
func (sh *shell) converse(t *term.Terminal) error {
	sh.out.w, sh.err.w = t, t
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return sh.complete(line, pos)
	}
	sh.greet()
	if err := sh.connect(sh.server); err != nil {
		sh.err.println(err.Error())
	}
	for !sh.quit {
		t.SetPrompt(sh.prompt())
		line, err := t.ReadLine()
		if errors.Is(err, io.EOF) { // also on Ctrl-C and Ctrl-D
			return nil
		}
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return err
		}
		sh.line(line)
	}
	return nil
}

func (sh *shell) prompt() string {
	state := "CLOSED"
	if sh.client != nil {
		state = strings.ToUpper(sh.client.State().String())
	}
	return fmt.Sprintf("[zk: %s(%s) %d] ", sh.server, state, len(sh.history))
}

// complete finishes the word before the cursor: a command, or a path. What it
// could be is listed if that is not decided.
func (sh *shell) complete(line string, pos int) (string, int, bool) {
	start := strings.LastIndexByte(line[:pos], ' ') + 1
	word := line[start:pos]
	var found []string
	switch {
	case strings.TrimSpace(line[:start]) == "":
		for _, name := range slices.Sorted(maps.Keys(verbs)) {
			if strings.HasPrefix(name, word) {
				found = append(found, name+" ")
			}
		}
	case strings.HasPrefix(word, "/"):
		found = sh.completePath(word)
	}
	if len(found) == 0 {
		return line, pos, true
	}
	common := found[0]
	for _, f := range found[1:] {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	if len(found) > 1 && common == word {
		list := strings.Join(found, " ")
		go sh.out.println(list) // the terminal is locked while it asks
	}
	return line[:start] + common + line[pos:], start + len(common), true
}

// completePath returns the znodes whose paths begin with a word.
func (sh *shell) completePath(word string) (found []string) {
	c := sh.client
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(sh.ctx, completeTimeout)
	defer cancel()
	slash := strings.LastIndexByte(word, '/')
	dir := word[:slash]
	if dir == "" {
		dir = "/"
	}
	names, _, err := c.Children(ctx, dir)
	if err != nil {
		return nil
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		if strings.HasPrefix(n, word[slash+1:]) {
			found = append(found, word[:slash+1]+n)
		}
	}
	return found
}
