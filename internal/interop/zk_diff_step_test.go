package interop

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A diffStep is one step of a sequence that is sent to two servers. Steps stand
// for themselves: a sequence stays one when steps are dropped from it.
//
// Paths, data and so on are Go string literals without their quotes, so that a
// sequence can be read, kept in testdata and say what is no text.
type diffStep struct {
	Slot int    `json:"s"`
	Op   string `json:"op"` // an operation, or one of connect (ttl: timeout), attach, attachBad, cut, await (an event), raw
	diffArgs

	Ops   []diffOp    `json:"ops,omitempty"`   // multi, multiRead
	Lists [5][]quoted `json:"lists,omitzero"`  // setWatches: data, exist, child, persistent, recursive
	Rel   string      `json:"rel,omitempty"`   // setWatches: relative zxid: "" 0, "seen", "first", "future"; reconfig: version: "" any, and so on
	Conf  *diffConf   `json:"conf,omitempty"`  // reconfig
	Pipe  bool        `json:"pipe,omitempty"`  // the reply is waited for later
	Chop  int         `json:"chop,omitempty"`  // bytes missing at the end of the body
	Code  int32       `json:"code,omitempty"`  // raw: the operation's number
	Extra quoted      `json:"extra,omitempty"` // raw: the body; else: more bytes at its end
}

// diffArgs are what operations take, each what it needs.
type diffArgs struct {
	Path    quoted    `json:"path,omitempty"`
	Data    *quoted   `json:"data,omitempty"` // nil: null
	ACL     []diffACL `json:"acl,omitempty"`
	NoACL   bool      `json:"noacl,omitempty"` // null instead of an empty vector
	Flags   int32     `json:"flags,omitempty"` // create: flags; addWatch: mode; removeWatches, checkWatches: type
	Version int32     `json:"v,omitempty"`
	TTL     int64     `json:"ttl,omitempty"`
	Watch   bool      `json:"w,omitempty"`
	Scheme  quoted    `json:"scheme,omitempty"`
}

// diffConf is what a reconfiguration asks for; nil: null.
type diffConf struct {
	Joining *string `json:"joining,omitempty"`
	Leaving *string `json:"leaving,omitempty"`
	Members *string `json:"members,omitempty"`
}

type diffOp struct {
	Op string `json:"op"`
	diffArgs
}

type diffACL struct {
	Perms  int32  `json:"p"`
	Scheme quoted `json:"scheme"`
	ID     quoted `json:"id"`
}

// quoted is a string of any bytes.
type quoted string

func (q quoted) MarshalText() ([]byte, error) {
	s := strconv.QuoteToASCII(string(q))
	return []byte(strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)), nil
}

func (q *quoted) UnmarshalText(b []byte) error {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(string(b), `"`, `\"`) + `"`)
	*q = quoted(s)
	return err
}

// String is a line of a script.
func (s diffStep) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func diffScript(steps []diffStep) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

// parseDiffScript reads a script: a step a line, # begins a comment line.
func parseDiffScript(text string) ([]diffStep, error) {
	var steps []diffStep
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var s diffStep
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

var diffOps = map[string]int32{
	"create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5, "getACL": 6, "setACL": 7, "getChildren": 8, "sync": 9,
	"ping": 11, "getChildren2": 12, "check": 13, "multi": 14, "create2": 15, "reconfig": 16, "checkWatches": 17, "removeWatches": 18,
	"createContainer": 19, "deleteContainer": 20, "createTTL": 21, "multiRead": 22, "auth": 100, "setWatches": 101, "sasl": 102,
	"getEphemerals": 103, "getAllChildrenNumber": 104, "setWatches2": 105, "addWatch": 106, "whoAmI": 107, "close": -11,
}

// diffRootMark stands in paths for the znode of the run; it is as long as its name.
const diffRootMark = "/d-------"

func (s *diffStep) code() int32 {
	if s.Op == "raw" {
		return s.Code
	}
	return diffOps[s.Op]
}

func (s *diffStep) xid(n int32) int32 {
	switch s.Op {
	case "ping":
		return -2
	case "auth":
		return -4
	case "setWatches", "setWatches2":
		return -8
	}
	return n
}

func (p packer) data(d *quoted) packer {
	if d == nil {
		return p.i32(-1)
	}
	return p.str(string(*d))
}

func (p packer) acls(a *diffArgs) packer {
	if a.NoACL {
		return p.i32(-1)
	}
	p = p.i32(int32(len(a.ACL)))
	for _, e := range a.ACL {
		p = p.i32(e.Perms).str(string(e.Scheme)).str(string(e.ID))
	}
	return p
}

// args appends the body of an operation that a multi may carry, too.
func (p packer) args(op string, a *diffArgs) packer {
	path := string(a.Path)
	switch op {
	case "create", "create2", "createContainer":
		return p.str(path).data(a.Data).acls(a).i32(a.Flags)
	case "createTTL":
		return p.str(path).data(a.Data).acls(a).i32(a.Flags).i64(a.TTL)
	case "delete", "check":
		return p.str(path).i32(a.Version)
	case "setData":
		return p.str(path).data(a.Data).i32(a.Version)
	case "setACL":
		return p.str(path).acls(a).i32(a.Version)
	case "exists", "getData", "getChildren", "getChildren2":
		return p.str(path).flag(a.Watch)
	case "checkWatches", "removeWatches", "addWatch":
		return p.str(path).i32(a.Flags)
	case "auth":
		return p.i32(0).str(string(a.Scheme)).data(a.Data)
	case "sasl":
		return p.data(a.Data)
	case "close", "ping", "whoAmI":
		return p
	}
	return p.str(path)
}

// reconfig appends a reconfiguration, with a target's own addresses in it.
func (p packer) reconfig(c *diffConf, version int64, addresses *strings.Replacer) packer {
	for _, text := range []*string{c.Joining, c.Leaving, c.Members} {
		if text == nil {
			p = p.i32(-1)
			continue
		}
		p = p.str(addresses.Replace(*text))
	}
	return p.i64(version)
}

// body is the request's body with the run's root in it.
func (s *diffStep) body(root string, rel int64, addresses *strings.Replacer) []byte {
	var p packer
	switch s.Op {
	case "raw":
	case "reconfig":
		p = p.reconfig(s.Conf, rel, addresses)
	case "multi", "multiRead":
		for i := range s.Ops {
			p = p.multi(diffOps[s.Ops[i].Op]).args(s.Ops[i].Op, &s.Ops[i].diffArgs)
		}
		p = p.end()
	case "setWatches", "setWatches2":
		p = p.i64(rel)
		lists := 3
		if s.Op == "setWatches2" {
			lists = 5
		}
		for _, l := range s.Lists[:lists] {
			p = p.i32(int32(len(l)))
			for _, path := range l {
				p = p.str(string(path))
			}
		}
	default:
		p = p.args(s.Op, &s.diffArgs)
	}
	p = append(p, s.Extra...)
	p = p[:max(0, len(p)-s.Chop)]
	return []byte(strings.ReplaceAll(string(p), diffRootMark, root))
}
