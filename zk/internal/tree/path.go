package tree

import "strings"

// The hidden entries. Their paths begin with a byte that no znode's path begins with, and no request reaches them.
const (
	sessionsRoot   = "\x00" // children: sessions, by 8 bytes of id, whose own sets are their ephemerals
	propertiesRoot = "\x01" // children: properties, by name
	reapRoot       = "\x02" // no children of its own: its set is the containers and TTL znodes
)

// The znodes that are always there.
const (
	rootPath   = "/"
	zkPath     = "/zookeeper"
	quotaPath  = "/zookeeper/quota"
	configPath = "/zookeeper/config"
)

// ConfigPath is the znode of the ensemble's configuration.
const ConfigPath = configPath

func specialPath(p string) bool {
	return p == rootPath || p == zkPath || p == quotaPath || p == configPath
}

// ValidPath reports whether a znode may have this path (PathUtils.validatePath). Java counts in UTF-16, so characters beyond U+FFFF and
// whatever is not UTF-8 are invalid.
func ValidPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	if len(p) == 1 {
		return true
	}
	start := 1 // of the current name
	for i, c := range p {
		switch {
		case i == 0:
		case c == '/':
			if !validName(p[start:i]) {
				return false
			}
			start = i + 1
		case c < 0x20, c >= 0x7f && c <= 0x9f, c >= 0xd800 && c <= 0xf8ff, c >= 0xfff0:
			return false
		}
	}
	return validName(p[start:])
}

func validName(s string) bool { return s != "" && s != "." && s != ".." }

// parentPath cuts the last name off a path, which has a slash; the parent of "/a" is "/".
func parentPath(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i == 0 {
		return rootPath
	}
	return p[:i]
}

// name returns the last name of a path.
func name(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// sessionPath writes the hidden path of a session into b.
func sessionPath(b *[9]byte, id int64) []byte {
	b[0] = sessionsRoot[0]
	for i := range 8 {
		b[1+i] = byte(uint64(id) >> (56 - 8*i))
	}
	return b[:]
}

func sessionID(path string) int64 {
	var id uint64
	for i := 1; i < len(path); i++ {
		id = id<<8 | uint64(path[i])
	}
	return int64(id)
}
