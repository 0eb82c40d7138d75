package wire

import (
	"math"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// layout says what follows what in a message.
type layout struct {
	// flexible is the first version with compact lengths and tagged fields (KIP-482).
	flexible int16
	fields   []field
}

// field is one field of a message or of an array's element.
type field struct {
	name string
	kind kind
	// from and to are the versions that have it, both included.
	from, to int16
	// nullFrom is the first version in which it may be null.
	nullFrom int16
	// tag is its number if it is a tagged field, else -1.
	tag int64
	// size is how many bytes it has, or an array's elements have, if they have no fields.
	size int
	// elem are the fields of a structure, or of an array's elements.
	elem []field
	// cost is how many bytes kmsg allocates for it, at most; for an array: for each element.
	cost int64
}

type kind uint8

const (
	fixed     kind = iota // a number: size bytes
	text                  // a string
	blob                  // bytes
	array                 // of numbers, or of structures
	texts                 // an array of strings
	structure             // fields
)

// never is a version that none is.
const never = math.MaxInt16

var sizes = map[string]int{"bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uuid": 16}

// parse returns the layout that s describes; see the tables.
func parse(flexible int16, s string) *layout {
	p := parser{strings.Join(strings.Fields(s), " ")}
	l := &layout{flexible, p.fields()}
	if p.s != "" {
		panic("wire: layout is cut at " + p.s)
	}
	return l
}

// parser takes a description apart from its front.
type parser struct{ s string }

func (p *parser) eat(prefix string) bool {
	rest, ok := strings.CutPrefix(p.s, prefix)
	p.s = rest
	return ok
}

// word takes the characters up to the first that is none of a name.
func (p *parser) word() string {
	n := strings.IndexFunc(p.s+" ", func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') })
	w := p.s[:n]
	p.s = p.s[n:]
	return w
}

// number takes a number, or returns other if there is none.
func (p *parser) number(other int16) int16 {
	n, err := strconv.ParseInt(p.word(), 10, 16)
	if err != nil {
		return other
	}
	return int16(n)
}

func (p *parser) fields() []field {
	var fields []field
	for {
		f := field{name: p.word(), to: never, nullFrom: never, tag: -1}
		p.eat(" ")
		p.kind(&f)
		if p.eat("?") {
			f.nullFrom = 0
			if p.s != "" && p.s[0] != ' ' {
				f.nullFrom = p.number(0)
				p.eat("+")
			}
		}
		if p.eat(" #") {
			f.tag = int64(p.number(0))
		} else if p.eat(" ") {
			f.from = p.number(0)
			if p.eat("-") {
				f.to = p.number(0)
			}
			p.eat("+")
		}
		fields = append(fields, f.priced())
		if !p.eat(", ") {
			return fields
		}
	}
}

// kind takes a field's type.
func (p *parser) kind(f *field) {
	switch {
	case p.eat("[]string"):
		f.kind, f.elem = texts, []field{{kind: text, to: never, nullFrom: never, tag: -1}}
	case p.eat("[]"):
		f.kind, f.size = array, sizes[p.word()]
	case p.eat("["):
		f.kind, f.elem = array, p.fields()
		p.eat("]")
	case p.eat("{"):
		f.kind, f.elem = structure, p.fields()
		p.eat("}")
	case p.eat("string"):
		f.kind = text
	case p.eat("bytes"):
		f.kind = blob
	default:
		f.kind, f.size = fixed, sizes[p.word()]
	}
}

// priced returns f with its cost, generously: numbers count as if they were all of the largest size.
func (f field) priced() field {
	inner := int64(f.size)
	if f.kind == array || f.kind == structure {
		inner += 8 // the unknown tagged fields
	}
	for _, e := range f.elem {
		inner += e.held()
	}
	f.cost = inner + inner/4 // allocations are rounded up
	return f
}

// held is how many bytes a field takes in the structure that it is a field of, and what it points to.
func (f field) held() int64 {
	switch f.kind {
	case fixed:
		return int64(max(8, f.size))
	case text:
		if f.nullFrom == never {
			return 16
		}
		return 8 + 16 // a pointer
	case structure:
		return f.cost
	default:
		return 24
	}
}

// of returns the layout of m, and which version of it b is in. kmsg's values begin with their version.
func of(m Message, b []byte) (l *layout, version int16) {
	switch m := m.(type) {
	case kmsg.Request:
		return byKey(requests[:], m.Key()), m.GetVersion()
	case kmsg.Response:
		return byKey(responses[:], m.Key()), m.GetVersion()
	case *kmsg.OffsetCommitKey:
		l = offsetCommitKey
	case *kmsg.OffsetCommitValue:
		l = offsetCommitValue
	case *kmsg.GroupMetadataKey:
		l = groupMetadataKey
	case *kmsg.GroupMetadataValue:
		l = groupMetadataValue
	case *kmsg.ConsumerMemberMetadata:
		l = consumerMemberMetadata
	case *kmsg.ConsumerMemberAssignment:
		l = consumerMemberAssignment
	}
	if len(b) >= 2 {
		version = int16(b[0])<<8 | int16(b[1])
	}
	return l, version
}

func byKey(layouts []*layout, key int16) *layout {
	if key < 0 || int(key) >= len(layouts) {
		return nil
	}
	return layouts[key]
}
