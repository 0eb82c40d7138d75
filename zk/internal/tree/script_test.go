package tree

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// TestScripts runs the stories of testdata. Each line below "do" is a transaction or a read:
//
//	as SESSION [ID…] [FEATURE…]         who the following are from
//	at MS                               the leader's clock from here on
//	open SESSION [ms] | attach SESSION MS OWNER | close SESSION
//	create|create2|container|ttl PATH [data=] [flags=] [acl=PERMS:SCHEME:ID,…] [ttl=]
//	delete|check PATH [v=] | set PATH [data=] [v=] | setacl PATH acl= [v=] | reap PATH
//	multi: the lines that follow, indented | property NAME [VALUE] | error CODE
//	stat|get|ls|acl|masked|count PATH | ephemerals SESSION [PREFIX] | sessions | reapable [neverUsed] | wrap PATH CREATES
//
// Transactions answer with their zxid, code, path and events; data=null is null data. "reload" replaces the tree by its
// snapshot's.
func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		s := &story{t: t, tr: New(Config{}), txn: Txn{Features: FeatureExtendedTypes}}
		script.Run(t, file, func(t *testing.T, c *script.Cmd) string {
			require.Equal(t, "do", c.Name)
			var out strings.Builder
			lines := strings.Split(c.Input, "\n")
			for i := 0; i < len(lines); i++ {
				line := lines[i]
				if line == "multi" {
					for s.txn.Ops = nil; i+1 < len(lines) && strings.HasPrefix(lines[i+1], " "); i++ {
						s.txn.Ops = append(s.txn.Ops, s.op(strings.Fields(lines[i+1])))
					}
				}
				if answer := s.line(strings.Fields(line)); answer != "" {
					fmt.Fprintf(&out, "%s: %s\n", line, answer)
				}
			}
			return out.String()
		})
	})
}

type story struct {
	t    *testing.T
	tr   *Tree
	txn  Txn
	zxid int64
}

var featureNames = map[string]Features{
	"notypes": 0, "skipacl": FeatureSkipACL, "local": FeatureLocalSession, "internal": FeatureInternal,
	"enforce": FeatureEnforceQuota,
}

func (s *story) num(v string) int64 {
	n, err := strconv.ParseInt(v, 0, 64)
	require.NoError(s.t, err)
	return n
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

func parseACL(v string) []jute.ACL {
	var acl []jute.ACL
	for e := range strings.SplitSeq(v, ",") {
		if e == "" {
			continue
		}
		p := strings.SplitN(e, ":", 3)
		perms := int32(0)
		for _, c := range p[0] {
			perms |= map[rune]int32{'r': 1, 'w': 2, 'c': 4, 'd': 8, 'a': 16}[c]
		}
		acl = append(acl, jute.ACL{Perms: perms, ID: jute.ID{Scheme: p[1], ID: p[2]}})
	}
	return acl
}

var opTypes = map[string]jute.OpCode{
	"create": jute.OpCreate, "create2": jute.OpCreate2, "container": jute.OpCreateContainer, "ttl": jute.OpCreateTTL,
	"delete": jute.OpDelete, "check": jute.OpCheck, "set": jute.OpSetData, "setacl": jute.OpSetACL, "reap": jute.OpDeleteContainer,
}

func (s *story) op(f []string) jute.Op {
	o := jute.Op{Type: opTypes[f[0]], Path: unquote(f[1]), Version: -1, Data: []byte{}, ACL: jute.OpenACL()}
	require.NotZero(s.t, o.Type, f[0])
	switch o.Type {
	case jute.OpCreateContainer:
		o.Flags = jute.FlagContainer
	case jute.OpCreateTTL:
		o.Flags = jute.FlagTTL
	}
	for _, a := range f[2:] {
		name, v, _ := strings.Cut(a, "=")
		switch name {
		case "data":
			if o.Data = []byte(v); v == "null" {
				o.Data = nil
			}
		case "flags":
			o.Flags = int32(s.num(v))
		case "acl":
			o.ACL = parseACL(v)
		case "ttl":
			o.TTL = s.num(v)
		case "v":
			o.Version = int32(s.num(v))
		default:
			require.Fail(s.t, "argument "+a)
		}
	}
	return o
}

func (s *story) line(f []string) string {
	if answer, ok := s.read(f); ok {
		return answer
	}
	txn := s.txn
	switch f[0] {
	case "as":
		s.txn.Session, s.txn.Auth, s.txn.Features = s.num(f[1]), nil, FeatureExtendedTypes
		for _, a := range f[2:] {
			if scheme, id, isID := strings.Cut(a, ":"); isID {
				s.txn.Auth = append(s.txn.Auth, jute.ID{Scheme: scheme, ID: id})
			} else {
				require.Contains(s.t, featureNames, a)
				if s.txn.Features |= featureNames[a]; a == "notypes" {
					s.txn.Features = 0
				}
			}
		}
		return ""
	case "at":
		s.txn.Time = s.num(f[1])
		return ""
	case "reload":
		s.tr = load(s.t, encode(s.tr.Snapshot(), 1))
		return ""
	case "wrap": // so many creates take too long
		e, v := s.tr.lookup(f[1])
		v.creates = int32(s.num(f[2]))
		s.tr.resum(e, v)
		return ""
	case "open":
		txn.Kind, txn.Session, txn.Timeout = KindCreateSession, s.num(f[1]), 1000
		if len(f) > 2 {
			txn.Timeout = int32(s.num(f[2]))
		}
	case "attach":
		txn.Kind, txn.Session, txn.Timeout, txn.Owner = KindAttachSession, s.num(f[1]), int32(s.num(f[2])), uint8(s.num(f[3]))
	case "close":
		txn.Kind, txn.Session = KindCloseSession, s.num(f[1])
	case "property":
		txn.Kind, txn.Name = KindSetProperty, f[1]
		if len(f) > 2 {
			txn.Value = []byte(f[2])
		}
	case "error":
		txn.Kind, txn.Code = KindError, jute.Code(s.num(f[1]))
	case "multi":
		txn.Kind = KindMulti
	default:
		txn.Kind, txn.Op = KindOp, s.op(f)
	}
	return s.apply(&txn)
}

func (s *story) apply(txn *Txn) string {
	var res Result
	var decoded Txn
	require.NoError(s.t, DecodeTxn(AppendTxn(nil, txn), &decoded))
	s.zxid++
	s.tr.Apply(s.zxid, &decoded, &res)
	s.tr.Publish(s.zxid)
	var out strings.Builder
	fmt.Fprintf(&out, "%d %s", s.zxid, res.Err.String())
	if res.Path != "" {
		out.WriteString(" " + strconv.Quote(res.Path))
	}
	for _, o := range res.Ops {
		fmt.Fprintf(&out, " [%v", o.Type)
		if o.Type == jute.OpError {
			out.WriteString(" " + o.Err.String())
		}
		if o.Path != "" {
			out.WriteString(" " + o.Path)
		}
		out.WriteString("]")
	}
	if res.OverQuota != "" {
		out.WriteString(" over(" + res.OverQuota + ")")
	}
	for _, e := range res.Events {
		require.Equal(s.t, s.zxid, e.Zxid)
		fmt.Fprintf(&out, " %s(%s)", map[jute.EventType]string{1: "created", 2: "deleted", 3: "changed", 4: "children"}[e.Type], e.Path)
	}
	return out.String()
}

// read answers the lines that read.
func (s *story) read(f []string) (string, bool) {
	switch f[0] {
	case "sessions":
		return fmt.Sprintf("%+v", s.tr.Sessions(nil)), true
	case "ephemerals":
		prefix := ""
		if len(f) > 2 {
			prefix = f[2]
		}
		paths, _ := s.tr.Ephemerals(s.num(f[1]), prefix)
		return fmt.Sprint(paths), true
	case "reapable":
		never := int64(0)
		if len(f) > 1 {
			never = s.num(f[1])
		}
		return fmt.Sprint(s.tr.Reapable(nil, s.txn.Time, never)), true
	case "stat", "get", "ls", "acl", "masked", "count":
	default:
		return "", false
	}
	path := unquote(f[1])
	n, _ := s.tr.Lookup(path)
	if !n.Exists() {
		return "NoNode", true
	}
	switch f[0] {
	case "stat":
		st := n.Stat()
		require.Equal(s.t, n.Mzxid(), st.Mzxid)
		require.Equal(s.t, n.Pzxid(), st.Pzxid)
		require.EqualValues(s.t, n.NumChildren(), st.NumChildren)
		return strings.Trim(fmt.Sprintf("%+v", st), "{}"), true
	case "get":
		return map[bool]string{true: "null", false: strconv.Quote(string(n.Data()))}[n.Data() == nil], true
	case "ls":
		names := n.AppendChildren(nil)
		r := jute.NewReader(n.AppendChildrenRecord(nil))
		require.Equal(s.t, names, r.Strings())
		return fmt.Sprint(names), true
	case "count":
		c, _, _ := s.tr.CountDescendants(path)
		return fmt.Sprint(c), true
	}
	list := n.ACL().Entries()
	if f[0] == "masked" {
		list = n.ACL().Masked()
	}
	var out []string
	for _, a := range list {
		out = append(out, fmt.Sprintf("%d:%s:%s", a.Perms, a.ID.Scheme, a.ID.ID))
	}
	return strings.Join(out, ","), true
}

// TestSnapshotKeepsTheStory: every story ends in a tree that its snapshot brings back, bytes and all.
func TestSnapshotKeepsTheStory(t *testing.T) {
	s := &story{t: t, tr: New(Config{}), txn: Txn{Features: FeatureExtendedTypes, Time: 5}}
	for _, l := range []string{
		"open 1", "as 1 digest:u:h", "create /a data=null acl=rwcda:auth:", "create /a/e flags=1", "ttl /t ttl=9", "container /c", "property p v",
		"create /b acl=r:world:anyone,w:ip:10.0.0.0/8", "delete /c", "error -118", "set /a data=x",
	} {
		s.line(strings.Fields(l))
	}
	b := encode(s.tr.Snapshot(), 1)
	again := load(t, b)
	require.True(t, bytes.Equal(b, encode(again.Snapshot(), 1<<20)), "one chunk holds it either way")
}
