package zk

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// PeerAddress is one of several addresses of a server that has more than one
// network card: host:quorum-port:election-port in zoo.cfg.
type PeerAddress struct {
	Peer     string // host:port at which it hears its peers
	Election string // host:port that Apache's servers use for elections
}

// addressesMax bounds what a line of members may ask for.
const addressesMax = 16

// ParseServerSpec reads what stands behind "server.N=" in zoo.cfg and in the
// dynamic configuration:
//
//	host:peer:election[|host:peer:election…][:participant|observer][;[address:]client]
//
// An IPv6 address stands in brackets. A client port without an address means
// all interfaces, 0.0.0.0. Our servers use the peer port alone; the election
// port is kept, because tools expect it.
func ParseServerSpec(id int64, value string) (ServerSpec, error) {
	spec := ServerSpec{ID: id}
	if id < 1 || id > serverIDMax {
		return spec, fmt.Errorf("server id %d is not between 1 and %d", id, serverIDMax)
	}
	peers, client, hasClient := strings.Cut(strings.TrimSpace(value), ";")
	if hasClient {
		address, err := parseClientAddress(client)
		if err != nil {
			return spec, err
		}
		spec.Client = address
	}
	list := strings.Split(peers, "|")
	if len(list) > addressesMax {
		return spec, fmt.Errorf("%d addresses, more than %d", len(list), addressesMax)
	}
	for i, one := range list {
		fields, err := splitColons(one)
		if err != nil {
			return spec, err
		}
		if last := len(fields) - 1; i == len(list)-1 && last == 3 {
			switch role := strings.ToLower(fields[last]); role {
			case "observer":
				spec.Observer = true
			case "participant":
			default:
				return spec, fmt.Errorf("role %q is neither participant nor observer", fields[last])
			}
			fields = fields[:last]
		}
		if len(fields) != 3 {
			return spec, fmt.Errorf("address %q is not host:port:port", one)
		}
		a, err := peerAddress(fields[0], fields[1], fields[2])
		if err != nil {
			return spec, err
		}
		if i == 0 {
			spec.Peer, spec.Election = a.Peer, a.Election
		} else {
			spec.More = append(spec.More, a)
		}
	}
	return spec, nil
}

// splitColons cuts host:port:port, with a host that may be IPv6 in brackets.
func splitColons(s string) ([]string, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "[") {
		return strings.Split(s, ":"), nil
	}
	host, rest, ok := strings.Cut(s[1:], "]")
	if !ok {
		return nil, fmt.Errorf("address %q has no closing bracket", s)
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("address %q is not an IPv6 address", host)
	}
	if rest != "" && rest[0] != ':' {
		return nil, fmt.Errorf("address %q has something behind its bracket", s)
	}
	return append([]string{host}, strings.Split(strings.TrimPrefix(rest, ":"), ":")...), nil
}

// hostForbidden is what would end a host in the text of a configuration.
const hostForbidden = " \t\r\n,;|[]"

func peerAddress(host, peer, election string) (PeerAddress, error) {
	if host == "" || strings.ContainsAny(host, hostForbidden) {
		return PeerAddress{}, fmt.Errorf("host %q", host)
	}
	if err := errors.Join(checkPort(peer), checkPort(election)); err != nil {
		return PeerAddress{}, err
	}
	return PeerAddress{Peer: net.JoinHostPort(host, peer), Election: net.JoinHostPort(host, election)}, nil
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

func parseClientAddress(s string) (string, error) {
	s = strings.TrimSpace(s)
	host, port := "0.0.0.0", s
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("client address %q: %w", s, err)
		}
	}
	if strings.ContainsAny(host, hostForbidden) {
		return "", fmt.Errorf("client address %q", s)
	}
	if err := checkPort(port); err != nil {
		return "", fmt.Errorf("client address %q: %w", s, err)
	}
	return net.JoinHostPort(host, port), nil
}

// String returns the server as the dynamic configuration has it, without the
// "server.N=" before it. ParseServerSpec reads it.
func (s ServerSpec) String() string {
	var b strings.Builder
	for i, a := range append([]PeerAddress{{s.Peer, s.Election}}, s.More...) {
		if i > 0 {
			b.WriteByte('|')
		}
		election := a.Election
		if election == "" {
			election = a.Peer
		}
		_, port, _ := net.SplitHostPort(election)
		b.WriteString(a.Peer + ":" + port)
	}
	if s.Observer {
		b.WriteString(":observer")
	} else {
		b.WriteString(":participant")
	}
	if s.Client != "" {
		b.WriteString(";" + s.Client)
	}
	return b.String()
}

// FormatMembers returns an ensemble's members and the version of its
// configuration as /zookeeper/config and a dynamic configuration file have
// them, servers in the order of their ids, without a last line feed.
func FormatMembers(servers []ServerSpec, version int64) string {
	var b strings.Builder
	servers = slices.SortedFunc(slices.Values(servers), func(a, c ServerSpec) int { return int(a.ID - c.ID) })
	for _, s := range servers {
		fmt.Fprintf(&b, "server.%d=%s\n", s.ID, s)
	}
	b.WriteString(formatGroups(servers))
	fmt.Fprintf(&b, "version=%x", uint64(version))
	return b.String()
}

// formatGroups returns the lines of hierarchical quorums, none if there are none.
func formatGroups(servers []ServerSpec) string {
	groups := make(map[int64][]string)
	var ids []int64
	var weights strings.Builder
	for _, s := range servers {
		if s.Group == 0 {
			continue
		}
		if groups[s.Group] == nil {
			ids = append(ids, s.Group)
		}
		groups[s.Group] = append(groups[s.Group], strconv.FormatInt(s.ID, 10))
		if s.Weight != 1 {
			fmt.Fprintf(&weights, "weight.%d=%d\n", s.ID, s.Weight)
		}
	}
	slices.Sort(ids)
	var b strings.Builder
	for _, g := range ids {
		fmt.Fprintf(&b, "group.%d=%s\n", g, strings.Join(groups[g], ":"))
	}
	return b.String() + weights.String()
}
