package zk

import (
	"fmt"
	"net"
	"strings"
)

// ValidatePath reports what is wrong with path as the name of a znode, in
// ZooKeeper's rules (org.apache.zookeeper.common.PathUtils): it begins with a
// slash and does not end with one, except "/"; no component is empty, "." or
// ".."; and there are no characters of U+0000-001F, U+007F-009F, U+D800-F8FF and
// U+FFF0-FFFF. The error is an ErrBadArguments.
func ValidatePath(path string) error {
	if reason := pathFault(path); reason != "" {
		return fmt.Errorf("%w: path %q %s", ErrBadArguments, path, reason)
	}
	return nil
}

// pathFault is why path is invalid, or empty.
func pathFault(path string) string {
	switch {
	case path == "":
		return "is empty"
	case path[0] != '/':
		return "does not begin with a slash"
	case path == "/":
		return ""
	case path[len(path)-1] == '/':
		return "ends with a slash"
	}
	for start := 1; start <= len(path); {
		end := strings.IndexByte(path[start:], '/')
		if end < 0 {
			end = len(path)
		} else {
			end += start
		}
		switch path[start:end] {
		case "":
			return "has an empty component"
		case ".", "..":
			return "has a relative component"
		}
		start = end + 1
	}
	for _, r := range path {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 {
			return fmt.Sprintf("has the character %U", r)
		}
	}
	return ""
}

// ParentPath is the path of path's parent, "/" for "/" and its children.
func ParentPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// BaseName is the last component of path, empty for "/".
func BaseName(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}

// JoinPath is the path of a child.
func JoinPath(parent, name string) string {
	if parent == "/" || parent == "" {
		return "/" + name
	}
	return parent + "/" + name
}

// DefaultPort is the port of a server named without one.
const DefaultPort = "2181"

// ParseConnectString splits ZooKeeper's connect string,
// "host1:2181,host2:2181/chroot", into the Servers and the Chroot of a
// ClientConfig. A server without a port gets DefaultPort.
func ParseConnectString(s string) (servers []string, chroot string, err error) {
	hosts := s
	if i := strings.IndexByte(s, '/'); i >= 0 {
		hosts, chroot = s[:i], s[i:]
		if chroot == "/" {
			chroot = ""
		} else if err := ValidatePath(chroot); err != nil {
			return nil, "", fmt.Errorf("zk: connect string %q: %w", s, err)
		}
	}
	for h := range strings.SplitSeq(hosts, ",") {
		if h = strings.TrimSpace(h); h == "" {
			continue
		}
		servers = append(servers, withPort(h))
	}
	if len(servers) == 0 {
		return nil, "", fmt.Errorf("zk: connect string %q: %w: no server named", s, ErrBadArguments)
	}
	return servers, chroot, nil
}

// withPort adds DefaultPort where there is none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), DefaultPort)
}

// serverPath is the path at the server of a client's path.
func serverPath(chroot, path string) string {
	switch {
	case chroot == "":
		return path
	case path == "/":
		return chroot
	}
	return chroot + path
}

// clientPath is the client's path of a path at the server; paths outside the
// chroot, which a server has no cause to send, come back as they are.
func clientPath(chroot, path string) string {
	switch {
	case chroot == "" || !strings.HasPrefix(path, chroot):
		return path
	case len(path) == len(chroot):
		return "/"
	case path[len(chroot)] != '/':
		return path
	}
	return path[len(chroot):]
}
