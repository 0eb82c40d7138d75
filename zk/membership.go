package zk

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Membership is a configuration of an ensemble: who belongs to it, and whose
// word counts. It is what the znode /zookeeper/config holds.
type Membership struct {
	Servers []ServerSpec
	Version int64 // the zxid of the reconfiguration that made it; 0: it has never been agreed upon
}

// membershipBytesMax bounds the text of a configuration.
const membershipBytesMax = 128 << 10

// String returns the configuration as /zookeeper/config and a dynamic
// configuration file have it. ParseMembership reads it.
func (m Membership) String() string { return FormatMembers(m.Servers, m.Version) }

// ParseMembership reads the lines server.N=, group.N=, weight.N= and version= of
// a dynamic configuration, separated by line feeds or, as in the argument of a
// reconfiguration, by commas. Empty lines and those that begin with # are skipped.
func ParseMembership(text string) (Membership, error) {
	var m Membership
	if len(text) > membershipBytesMax {
		return m, fmt.Errorf("zk: membership of %d bytes, more than %d", len(text), membershipBytesMax)
	}
	groups, weights := make(map[int64]int64), make(map[int64]int64)
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' }) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return m, fmt.Errorf("zk: membership: %.100q is not key=value", line)
		}
		if err := m.parseLine(strings.TrimSpace(key), strings.TrimSpace(value), groups, weights); err != nil {
			return m, fmt.Errorf("zk: membership: %.100q: %w", line, err)
		}
	}
	for i := range m.Servers {
		s := &m.Servers[i]
		if g, ok := groups[s.ID]; ok {
			s.Group, s.Weight = g, 1
			if w, ok := weights[s.ID]; ok {
				s.Weight = w
			}
		}
	}
	return m, m.zab().Validate()
}

func (m *Membership) parseLine(key, value string, groups, weights map[int64]int64) error {
	kind, number, _ := strings.Cut(key, ".")
	if key == "version" {
		v, err := strconv.ParseUint(value, 16, 64) // epochs have all of 32 bits
		m.Version = int64(v)
		return err
	}
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return err
	}
	switch kind {
	case "server":
		spec, err := ParseServerSpec(id, value)
		m.Servers = append(m.Servers, spec)
		return err
	case "group":
		if id < 1 {
			return errGroupNumber // 0 is none
		}
		for member := range strings.SplitSeq(value, ":") {
			sid, err := strconv.ParseInt(strings.TrimSpace(member), 10, 64)
			if err != nil {
				return err
			}
			if _, twice := groups[sid]; twice {
				return fmt.Errorf("server %d is in two groups", sid)
			}
			groups[sid] = id
		}
		return nil
	case "weight":
		w, err := strconv.ParseInt(value, 10, 64)
		weights[id] = w
		return err
	}
	return errors.New("unknown key")
}

var errGroupNumber = errors.New("the number of a group is not positive")

// zab returns the configuration as the protocol knows it.
func (m *Membership) zab() *zab.Membership {
	z := &zab.Membership{Version: zab.Zxid(m.Version), Spec: m.String()}
	for _, s := range m.Servers {
		z.Members = append(z.Members, zab.Member{ID: zab.ServerID(s.ID), Observer: s.Observer, Group: s.Group, Weight: s.Weight})
	}
	return z
}

// checkAddresses refuses a configuration in which two servers share an address.
func (m *Membership) checkAddresses() error {
	taken := make(map[string]int64)
	for _, s := range m.Servers {
		for _, a := range []string{s.Peer, s.Election, s.Client} {
			if other, ok := taken[a]; ok && a != "" && other != s.ID {
				return fmt.Errorf("zk: servers %d and %d share the address %s", other, s.ID, a)
			}
			taken[a] = s.ID
		}
	}
	return nil
}

// entryMembership is the protocol's view of an entry: nil unless it makes a
// configuration.
func entryMembership(z zab.Zxid, data []byte) *zab.Membership {
	if len(data) == 0 || data[0] != entryVersionConfig {
		return nil
	}
	_, body, err := cutEnvelope(data)
	var txn tree.Txn
	if err == nil {
		err = tree.DecodeTxn(body, &txn)
	}
	if err != nil {
		return nil
	}
	m := textMembership(txn.Op.Data)
	if m == nil || m.Version != z {
		return nil
	}
	return m
}

// textMembership returns the configuration that /zookeeper/config holds, nil if
// that is none that was agreed upon.
func textMembership(data []byte) *zab.Membership {
	m, err := ParseMembership(string(bytes.Clone(data)))
	if err != nil || m.Version == 0 {
		return nil
	}
	return m.zab()
}

// treeMembership is that of a tree as its last applied or loaded state has it.
func (s *Server) treeMembership(t *tree.Tree) *zab.Membership {
	if !s.cfg.ReconfigEnabled {
		return nil
	}
	n, _ := t.Lookup(tree.ConfigPath)
	if !n.Exists() {
		return nil
	}
	return textMembership(n.Data())
}

// Membership returns the configuration that is in force at this server: that of
// the newest reconfiguration known to be committed, or the one it was started with.
func (s *Server) Membership() Membership { return *s.active.Load() }

// onMemberships hears which configurations count, and sees to connections with
// all of their members.
func (s *Server) onMemberships(ms *zab.Memberships) {
	for _, z := range []*zab.Membership{ms.Active, ms.Pending} {
		if z == nil {
			continue
		}
		m := s.initial
		if z.Version != 0 {
			var err error
			if m, err = ParseMembership(z.Spec); err != nil {
				s.log.Error("configuration not understood", "err", err)
				continue
			}
		}
		if z == ms.Active {
			s.active.Store(&m)
			s.log.Info("configuration", "version", fmt.Sprintf("%x", m.Version), "servers", len(m.Servers))
		}
		for _, spec := range m.Servers {
			s.connect(spec, true)
		}
	}
	s.publishStatus()
}

// initialMembership is what the history begins with. A server that was not there
// at the beginning has no vote in it: it gets one by a reconfiguration.
func (s *Server) initialMembership(rec *zab.Recovered) Membership {
	m := Membership{}
	for _, spec := range s.cfg.Servers {
		if spec.ID == s.cfg.ID && s.cfg.ReconfigEnabled && !rec.HasEpochs && !rec.Bootstrap {
			spec.Observer = true
		}
		m.Servers = append(m.Servers, spec)
	}
	return m
}

// member returns the spec of a server in the configuration in force.
func (m *Membership) member(id int64) (ServerSpec, bool) {
	for _, s := range m.Servers {
		if s.ID == id {
			return s, true
		}
	}
	return ServerSpec{}, false
}

func (m *Membership) participants() int {
	n := 0
	for _, s := range m.Servers {
		if !s.Observer {
			n++
		}
	}
	return n
}
