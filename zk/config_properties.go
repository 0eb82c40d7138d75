package zk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// property is one entry of a properties file.
type property struct {
	line       int // of its first character, from 1
	key, value string
}

// parseProperties reads Java's properties syntax, as zoo.cfg is written in:
// comments of # or !, a key that ends at the first =, : or blank that is not
// escaped, lines that go on behind a backslash, and the escapes \t \n \r \f and
// \uXXXX. Later entries of a key follow earlier ones; who reads them decides.
func parseProperties(text string) ([]property, error) {
	var all []property
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i := 0; i < len(lines); i++ {
		start := i
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		var logical strings.Builder
		for continues(line) && i+1 < len(lines) {
			logical.WriteString(line[:len(line)-1])
			i++
			line = strings.TrimLeft(lines[i], " \t\f")
		}
		logical.WriteString(line)
		key, value := cutProperty(logical.String())
		p := property{line: start + 1}
		var errKey, errValue error
		p.key, errKey = unescape(key)
		p.value, errValue = unescape(value)
		if err := errors.Join(errKey, errValue); err != nil {
			return nil, &ConfigError{Line: p.line, Key: p.key, Err: err}
		}
		all = append(all, p)
	}
	return all, nil
}

// continues says whether a line ends in an odd number of backslashes.
func continues(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// cutProperty parts a logical line at the first separator that is not escaped.
func cutProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return line[:end], rest
}

// unescape resolves the escapes of a key or a value.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			break // a last backslash with nothing behind it is dropped
		}
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if len(s) < i+5 {
				return "", fmt.Errorf("escape %q is cut short", s[i-1:])
			}
			r, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf("escape %q is not four hexadecimal digits", s[i-1:i+5])
			}
			b.WriteRune(rune(r))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// ConfigError is one thing that is wrong in a configuration file.
type ConfigError struct {
	File string
	Line int    // from 1; 0: the file as a whole, something that is missing
	Key  string // as the file has it; empty: none
	Err  error
}

func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString("zk: ")
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }
