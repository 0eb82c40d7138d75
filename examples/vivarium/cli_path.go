package main

import (
	"fmt"
	"strings"
)

// checkPath is nil if a path is one, else it says in zkCli's words what is wrong
// with it.
func checkPath(path string) error {
	switch {
	case path == "":
		return complaint("Path length must be > 0")
	case path[0] != '/':
		return complaint("Path must start with / character")
	case path == "/":
		return nil
	case strings.HasSuffix(path, "/"):
		return complaint("Path must not end with / character")
	}
	chars := []rune(path)
	slashOrEnd := func(i int) bool { return i >= len(chars) || chars[i] == '/' }
	for i := 1; i < len(chars); i++ {
		reason := ""
		switch c := chars[i]; {
		case c == 0:
			reason = "null character not allowed"
		case c == '/' && chars[i-1] == '/':
			reason = "empty node name specified"
		case c == '.' && (chars[i-1] == '/' && slashOrEnd(i+1) || i > 1 && chars[i-1] == '.' && chars[i-2] == '/' && slashOrEnd(i+1)):
			reason = "relative paths not allowed"
		case c < 0x20, c >= 0x7f && c <= 0x9f, c >= 0xd800 && c <= 0xf8ff, c >= 0xfff0 && c <= 0xffff:
			reason = "invalid character"
		}
		if reason != "" {
			return complaint(fmt.Sprintf("Invalid path string \"%s\" caused by %s @%d", path, reason, i))
		}
	}
	return nil
}

// hexDump is data as get -x prints it, sixteen bytes a line.
func hexDump(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("         +-------------------------------------------------+\n" +
		"         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n" +
		"+--------+-------------------------------------------------+----------------+")
	for at := 0; at < len(data); at += 16 {
		line := data[at:min(at+16, len(data))]
		text := make([]byte, len(line))
		for i, c := range line {
			if text[i] = c; c <= 0x1f || c >= 0x7f {
				text[i] = '.'
			}
		}
		fmt.Fprintf(&b, "\n|%08x|%-49s|%-16s|", at, fmt.Sprintf(" % x", line), text)
	}
	b.WriteString("\n+--------+-------------------------------------------------+----------------+")
	return b.String()
}
