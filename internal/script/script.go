// Package script runs data-driven tests: a story in a text file, in which
// commands are followed by the output that is expected of them.
//
//	# First line: why this story is told.
//	start servers=3
//	----
//	1: looking
//
//	propose 1
//	some input, any number of lines
//	----
//	ok zxid=1.1
//
// A command is a word and its arguments: positional ones, or name=value. Lines
// between it and "----" are its input; lines from there to the next blank line
// are the expected output. Output that holds blank lines is framed by "----"
// twice in a row at both ends. Lines that begin with # between commands are
// comments. With the test flag -rewrite the expectations are written anew.
package script

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of script tests")

// separator stands between a command with its input and the expected output.
const separator = "----"

// Arg is one argument of a command. Name is empty for a positional one, and
// Value is empty for a bare flag written as "name=".
type Arg struct {
	Name  string
	Value string
}

// Cmd is one command of a script. It is valid until its function returns.
type Cmd struct {
	Pos   string // file:line, for messages
	Name  string
	Args  []Arg
	Input string // the lines below the command, without the last newline

	t *testing.T
}

// Has says whether the command has a bare argument word, or one called name.
func (c *Cmd) Has(name string) bool {
	return slices.ContainsFunc(c.Args, func(a Arg) bool {
		return a.Name == name || a.Name == "" && a.Value == name
	})
}

// Lookup returns the value of the argument name=value.
func (c *Cmd) Lookup(name string) (value string, ok bool) {
	for _, a := range c.Args {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// String returns the value of the argument name=value; its absence fails the test.
func (c *Cmd) String(name string) string {
	v, ok := c.Lookup(name)
	if !ok {
		c.t.Fatalf("%s: %s: no argument %s=", c.Pos, c.Name, name)
	}
	return v
}

// Int returns the integer of the argument name=value, in any base that Go
// writes; its absence, or another text, fails the test.
func (c *Cmd) Int(name string) int { return int(c.Int64(name)) }

// Int64 is Int for 64 bits.
func (c *Cmd) Int64(name string) int64 {
	v, err := strconv.ParseInt(c.String(name), 0, 64)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.Pos, c.Name, err)
	}
	return v
}

// IntOr is Int with a default for an absent argument.
func (c *Cmd) IntOr(name string, or int) int {
	if _, ok := c.Lookup(name); !ok {
		return or
	}
	return c.Int(name)
}

// Positional returns the arguments that have no name, in order.
func (c *Cmd) Positional() []string {
	var vs []string
	for _, a := range c.Args {
		if a.Name == "" {
			vs = append(vs, a.Value)
		}
	}
	return vs
}

// Fatalf fails the test at the command's place in its file.
func (c *Cmd) Fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s: %s: %s", c.Pos, c.Name, fmt.Sprintf(format, args...))
}

// Walk runs fn as a subtest for every .txt file of dir, in order of name. A
// directory without one fails the test.
func Walk(t *testing.T, dir string, fn func(t *testing.T, file string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no scripts in %s", dir)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(name, func(t *testing.T) { fn(t, f) })
	}
}

// Run feeds each command of a file to fn and compares what it returns, less
// surrounding newlines, with what the file expects.
func Run(t *testing.T, file string, fn func(t *testing.T, c *Cmd) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var out strings.Builder
	p := &parser{t: t, file: file, lines: strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), out: &out}
	ran := 0
	for {
		c, want, ok := p.next()
		if !ok {
			break
		}
		ran++
		got := strings.Trim(fn(t, c), "\n")
		if !*rewrite && got != want {
			t.Fatalf("%s: %s\nexpected:\n%s\ngot:\n%s", c.Pos, c.Name, want, got)
		}
		p.emit(got)
	}
	require.Positive(t, ran, "%s: no command", file)
	if *rewrite && out.String() != string(data) {
		require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o644))
	}
}

// parser walks the lines of a file once and copies to out what is not
// expectation, so that a rewrite keeps comments and input as they were.
type parser struct {
	t     *testing.T
	file  string
	lines []string
	at    int
	out   *strings.Builder
}

func (p *parser) next() (c *Cmd, want string, ok bool) {
	for p.at < len(p.lines) {
		if l := strings.TrimSpace(p.lines[p.at]); l != "" && !strings.HasPrefix(l, "#") {
			break
		}
		p.copyLine()
	}
	if p.at == len(p.lines) {
		return nil, "", false
	}
	c = &Cmd{Pos: fmt.Sprintf("%s:%d", p.file, p.at+1), t: p.t}
	for i, word := range strings.Fields(p.lines[p.at]) {
		name, value, named := strings.Cut(word, "=")
		switch {
		case i == 0:
			c.Name = word
		case named:
			c.Args = append(c.Args, Arg{Name: name, Value: value})
		default:
			c.Args = append(c.Args, Arg{Value: word})
		}
	}
	p.copyLine()
	start := p.at
	for p.at < len(p.lines) && p.lines[p.at] != separator {
		p.copyLine()
	}
	if p.at == len(p.lines) {
		p.t.Fatalf("%s: no %s after the command", c.Pos, separator)
	}
	c.Input = strings.Join(p.lines[start:p.at], "\n")
	p.at++
	return c, p.expected(), true
}

// expected reads the output behind a separator: to the next blank line, or, if
// a second separator follows at once, to the next two in a row.
func (p *parser) expected() string {
	framed := p.at < len(p.lines) && p.lines[p.at] == separator
	if framed {
		p.at++
	}
	start := p.at
	for p.at < len(p.lines) {
		if !framed && p.lines[p.at] == "" {
			break
		}
		if framed && p.lines[p.at] == separator && p.at+1 < len(p.lines) && p.lines[p.at+1] == separator {
			want := strings.Join(p.lines[start:p.at], "\n")
			p.at += 2
			return want
		}
		p.at++
	}
	return strings.Join(p.lines[start:p.at], "\n")
}

func (p *parser) copyLine() {
	p.out.WriteString(p.lines[p.at])
	p.out.WriteByte('\n')
	p.at++
}

func (p *parser) emit(got string) {
	p.out.WriteString(separator + "\n")
	framed := strings.Contains(got, "\n\n")
	if framed {
		p.out.WriteString(separator + "\n")
	}
	if got != "" {
		p.out.WriteString(got + "\n")
	}
	if framed {
		p.out.WriteString(separator + "\n" + separator + "\n")
	}
}
