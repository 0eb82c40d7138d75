package tree

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// ACL is an immutable access control list, shared by the znodes that have it.
type ACL struct {
	entries []jute.ACL
	world   int32  // permissions that anyone has
	sum     uint64 // hash of the entries
}

// Entries returns the entries, at least one; the caller must not change them.
func (a *ACL) Entries() []jute.ACL { return a.entries }

// Masked returns the entries as somebody without PermAdmin sees them: digests without their hashes.
func (a *ACL) Masked() []jute.ACL {
	m := slices.Clone(a.entries)
	for i := range m {
		if user, _, found := strings.Cut(m[i].ID.ID, ":"); found && m[i].ID.Scheme == "digest" {
			m[i].ID.ID = user + ":x"
		}
	}
	return m
}

// Scheme is an authentication scheme as far as access control lists know it. Its functions must be pure and the same on
// every server of the ensemble (R5).
type Scheme struct {
	Authenticated bool                                // its ids replace "auth" in a list; ip's do not
	Valid         func(id string) bool                // may the id stand in a list; nil: any but ""
	Matches       func(callerID, entryID string) bool // nil: equality
}

// SchemeSuper is the scheme of ids that pass every check; it cannot stand in a list.
const SchemeSuper = "super"

// DefaultSchemes returns ip, digest and x509, a new map. world and auth are built in.
func DefaultSchemes() map[string]Scheme {
	return map[string]Scheme{
		"ip":     {Valid: validIP, Matches: matchIP},
		"digest": {Authenticated: true, Valid: validDigest},
		"x509":   {Authenticated: true},
	}
}

// validDigest accepts what Java's split(":") cuts into two, trailing empty parts dropped.
func validDigest(id string) bool {
	user, hash, found := strings.Cut(strings.TrimRight(id, ":"), ":")
	return found && hash != "" && !strings.Contains(hash, ":") && (user != "" || hash != "")
}

// parseIP takes an address with dots as Java's provider does, leading zeros included, or an IPv6 one.
func parseIP(s string) (netip.Addr, bool) {
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		return a.WithZone(""), err == nil && !strings.Contains(s, "/") // a zone may be anything else
	}
	var quad [4]byte
	rest := s
	for i := range quad {
		part, tail, found := strings.Cut(rest, ".")
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > 255 || found != (i < 3) {
			return netip.Addr{}, false
		}
		quad[i], rest = byte(n), tail
	}
	return netip.AddrFrom4(quad), true
}

func parsePrefix(s string) (netip.Prefix, bool) {
	addr, length, found := strings.Cut(s, "/")
	a, ok := parseIP(addr)
	if !ok {
		return netip.Prefix{}, false
	}
	n := a.BitLen()
	if found {
		var err error
		if n, err = strconv.Atoi(length); err != nil || n < 0 || n > a.BitLen() {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(a, n), true
}

func validIP(id string) bool {
	_, ok := parsePrefix(id)
	return ok
}

func matchIP(caller, id string) bool {
	p, ok := parsePrefix(id)
	if !ok {
		return false
	}
	a, ok := parseIP(caller)
	return ok && p.Contains(a)
}

// Allowed reports whether a caller with these ids has one of the permissions perm under a. A nil list allows everything. It is
// safe for concurrent use.
func (t *Tree) Allowed(a *ACL, perm int32, ids []jute.ID) bool {
	if a == nil || a.world&perm != 0 {
		return true
	}
	for i := range ids {
		if ids[i].Scheme == SchemeSuper {
			return true
		}
	}
	for i := range a.entries {
		e := &a.entries[i]
		if e.Perms&perm == 0 {
			continue
		}
		s, known := t.schemes[e.ID.Scheme]
		if !known {
			continue
		}
		for j := range ids {
			if ids[j].Scheme != e.ID.Scheme {
				continue
			}
			if s.Matches == nil && ids[j].ID == e.ID.ID || s.Matches != nil && s.Matches(ids[j].ID, e.ID.ID) {
				return true
			}
		}
	}
	return false
}

// aclEntriesMax bounds a stored list, since every access looks through it; ZooKeeper bounds it by the frame only.
const aclEntriesMax = 1024

// fixACL turns the list of a request into one to store: duplicates collapsed, "auth" expanded, entries checked.
func (t *Tree) fixACL(list []jute.ACL, ids []jute.ID) (*ACL, jute.Code) {
	if len(list) > aclEntriesMax {
		return nil, jute.CodeInvalidACL
	}
	out := t.aclBuf[:0]
	for i := range list {
		e := list[i]
		if slices.Contains(list[:i], e) {
			continue
		}
		switch s, known := t.schemes[e.ID.Scheme]; {
		case e.ID.Scheme == "world" && e.ID.ID == "anyone":
			out = append(out, e)
		case e.ID.Scheme == "auth":
			n := len(out)
			for _, id := range ids {
				if t.schemes[id.Scheme].Authenticated {
					out = append(out, jute.ACL{Perms: e.Perms, ID: id})
				}
			}
			if len(out) == n {
				return nil, jute.CodeInvalidACL
			}
		case !known, s.Valid == nil && e.ID.ID == "", s.Valid != nil && !s.Valid(e.ID.ID):
			return nil, jute.CodeInvalidACL
		default:
			out = append(out, e)
		}
	}
	t.aclBuf = out
	if len(out) == 0 || len(out) > aclEntriesMax {
		return nil, jute.CodeInvalidACL
	}
	return t.intern(out), jute.CodeOK
}

// same reports whether two lists have the same entries.
func (a *ACL) same(b *ACL) bool {
	return a == b || a != nil && b != nil && a.sum == b.sum && slices.Equal(a.entries, b.entries)
}

// openACL is world:anyone with all permissions, what almost every znode has.
var openACL = newACL(jute.OpenACL())

func newACL(entries []jute.ACL) *ACL {
	a := &ACL{entries: entries, sum: mixC}
	for _, e := range entries {
		if e.ID.Scheme == "world" && e.ID.ID == "anyone" {
			a.world |= e.Perms
		}
		a.sum = mix(a.sum^uint64(uint32(e.Perms)), hashBytes(e.ID.Scheme)^mixA)
		a.sum = mix(a.sum, hashBytes(e.ID.ID)^mixB)
	}
	return a
}

const (
	internedMax      = 1024 // lists remembered for sharing
	internedBytesMax = 1024 // of one list; longer ones are not shared
)

// intern returns a list with these entries, a shared one if it can, else one of copies.
func (t *Tree) intern(entries []jute.ACL) *ACL {
	if len(entries) == 1 && entries[0] == openACL.entries[0] {
		return openACL
	}
	t.keyBuf = jute.AppendACLs(t.keyBuf[:0], entries)
	if a := t.acls[string(t.keyBuf)]; a != nil {
		return a
	}
	own := slices.Clone(entries)
	for i := range own {
		own[i].ID.Scheme = strings.Clone(own[i].ID.Scheme)
		own[i].ID.ID = strings.Clone(own[i].ID.ID)
	}
	a := newACL(own)
	if len(t.keyBuf) > internedBytesMax {
		return a
	}
	if len(t.acls) >= internedMax {
		clear(t.acls)
	}
	t.acls[string(t.keyBuf)] = a
	return a
}
