package interop

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// unpacker reads the protocol's records, independently of the product's own codec.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) take(n int) []byte {
	if n < 0 || n > len(u.b) {
		u.bad, u.b = true, nil
		return make([]byte, max(0, min(n, 16)))
	}
	b := u.b[:n]
	u.b = u.b[n:]
	return b
}

func (u *unpacker) i32() int32 { return int32(binary.BigEndian.Uint32(u.take(4))) }
func (u *unpacker) i64() int64 { return int64(binary.BigEndian.Uint64(u.take(8))) }

func (u *unpacker) flag() bool { return u.take(1)[0] != 0 }

func (u *unpacker) str() string {
	if n := u.i32(); n != -1 {
		return string(u.take(int(n)))
	}
	return "<null>"
}

// text is a string that is no data: of what is not UTF-8, and of characters that
// Java has two of for one, nothing is left there but U+FFFD.
func (u *unpacker) text() string {
	s := strings.ToValidUTF8(u.str(), "\uFFFD")
	return strings.Map(func(c rune) rune {
		if c > 0xffff {
			return 0xfffd
		}
		return c
	}, s)
}

func (u *unpacker) strs() []string {
	n := u.i32()
	if n < 0 || int(n) > len(u.b) {
		u.bad = u.bad || n != -1
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = u.text()
	}
	return out
}

// acl reads entries. What the scheme auth stands for comes in a hash table's
// order there.
func (u *unpacker) acl() string {
	entries := make([]string, 0, 8)
	for range min(max(u.i32(), 0), 2000) {
		entries = append(entries, fmt.Sprintf(" %d %q:%q", u.i32(), u.str(), u.str()))
	}
	for i, e := range entries {
		for j := i; j > 0 && strings.Contains(e, `"digest"`) && strings.Contains(entries[j-1], `"digest"`) && entries[j-1] > e; j-- {
			entries[j-1], entries[j] = entries[j], entries[j-1]
		}
	}
	return strings.Join(entries, "")
}

// decode is a reply's body as text, and whatever is left of it.
func (r *diffRun) decode(s *diffSlot, st *diffStep, u *unpacker) string {
	if len(u.b) == 0 {
		return ""
	}
	var out string
	switch st.Op {
	case "multi", "multiRead":
		out = r.results(u)
	case "addWatch":
		out = fmt.Sprintf(" %d", u.i32())
	default:
		out = r.record(s, st.Op, u)
	}
	if r.tg.fixed && st.Path == zk.ConfigPath {
		out = diffStat.ReplaceAllString(out, "")
	}
	if u.bad {
		out += " CUT SHORT"
	}
	if len(u.b) > 0 {
		out += fmt.Sprintf(" and %x", u.b)
	}
	return out
}

func (r *diffRun) record(s *diffSlot, op string, u *unpacker) string {
	switch op {
	case "create", "sync":
		return fmt.Sprintf(" %q", u.text())
	case "create2", "createContainer", "createTTL":
		return fmt.Sprintf(" %q", u.text()) + r.stat(u)
	case "exists", "setData", "setACL":
		return r.stat(u)
	case "getData", "reconfig":
		return fmt.Sprintf(" %q", r.configuration(u.str())) + r.stat(u)
	case "getACL":
		return u.acl() + r.stat(u)
	case "getChildren", "getChildren2", "getEphemerals":
		names := u.strs()
		slices.Sort(names) // their order is a hash table's there
		if s != nil {
			s.names = names
		}
		out := fmt.Sprintf(" %q", names)
		if op == "getChildren2" {
			out += r.stat(u)
		}
		return out
	case "getAllChildrenNumber":
		return fmt.Sprintf(" %d", u.i32())
	case "whoAmI":
		ids := make([]string, 0, 8)
		for range min(max(u.i32(), 0), 100) {
			ids = append(ids, u.str()+":"+u.str())
		}
		slices.Sort(ids)
		return fmt.Sprintf(" %q", ids)
	}
	return ""
}

// diffStat is what stat makes.
var diffStat = regexp.MustCompile(` \{c.*\}`)

var diffVersion = regexp.MustCompile(`(?m)^version=([0-9a-f]+)$`)

// configuration puts names for what differs in the text of a configuration; other
// data stays what it is.
func (r *diffRun) configuration(data string) string {
	m := diffVersion.FindStringSubmatch(data)
	if m == nil {
		return data
	}
	r.config, _ = strconv.ParseInt(m[1], 16, 64)
	if r.firstConfig == 0 {
		r.firstConfig = r.config
	}
	return diffVersion.ReplaceAllString(r.tg.names.Replace(data), fmt.Sprintf("version=‹~%d›", r.config))
}

// results are those of a multi.
func (r *diffRun) results(u *unpacker) string {
	var b strings.Builder
	names := map[int32]string{1: "create", 15: "create2", 5: "setData", 4: "getData", 8: "getChildren"}
	for !u.bad {
		typ, done, code := u.i32(), u.flag(), u.i32()
		if done {
			fmt.Fprintf(&b, " end %d %d", typ, code)
			return b.String()
		}
		fmt.Fprintf(&b, " [%d %d", typ, code)
		if typ == -1 {
			fmt.Fprintf(&b, " %d]", u.i32())
			continue
		}
		b.WriteString(r.record(nil, names[typ], u) + "]")
	}
	return b.String()
}

// stat reads a Stat. A transaction has one time, so times must be those of the
// zxids beside them.
func (r *diffRun) stat(u *unpacker) string {
	czxid, mzxid, ctime, mtime := u.i64(), u.i64(), u.i64(), u.i64()
	version, cversion, aversion, owner := u.i32(), u.i32(), u.i32(), u.i64()
	length, children, pzxid := u.i32(), u.i32(), u.i64()
	who := fmt.Sprint(owner)
	if name := r.sessions[owner]; name != "" {
		who = name
	}
	out := fmt.Sprintf(" {c%s m%s p%s version %d %d %d owner %s length %d children %d}",
		r.zxid(czxid), r.zxid(mzxid), r.zxid(pzxid), version, cversion, aversion, who, length, children)
	return out + r.time(czxid, ctime) + r.time(mzxid, mtime)
}

func (r *diffRun) time(zxid, time int64) string {
	if old, ok := r.times[zxid]; ok && old != time && zxid != 0 {
		return fmt.Sprintf(" two times of one zxid: %d %d", old, time)
	}
	r.times[zxid] = time
	return ""
}
