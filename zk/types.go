package zk

import (
	"crypto/sha1" //nolint:gosec // the digest scheme of ZooKeeper is SHA-1
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// AnyVersion, as the version of Set, Delete, SetACL and the operations of Multi,
// means whatever version there is.
const AnyVersion int32 = -1

// Stat is what ZooKeeper keeps about a znode beside its data. Its field names
// are ZooKeeper's ("ZooKeeper Stat Structure" in its programmer's guide).
type Stat struct {
	Czxid          int64 // zxid of the create
	Mzxid          int64 // zxid of the last set
	Ctime          int64 // milliseconds since 1970, of the create; see CreatedAt
	Mtime          int64 // milliseconds since 1970, of the last set; see ModifiedAt
	Version        int32 // sets since the create
	Cversion       int32 // creates and deletes of children
	Aversion       int32 // changes of the ACL
	EphemeralOwner int64 // session id of an ephemeral's owner, else 0
	DataLength     int32 // bytes
	NumChildren    int32
	Pzxid          int64 // zxid of the last create or delete of a child
}

// CreatedAt is Ctime as a time: the clock of the ensemble's leader.
func (s Stat) CreatedAt() time.Time { return time.UnixMilli(s.Ctime) }

// ModifiedAt is Mtime as a time: the clock of the ensemble's leader.
func (s Stat) ModifiedAt() time.Time { return time.UnixMilli(s.Mtime) }

// Perm is a set of permissions of an ACL.
type Perm int32

// The permissions. PermDelete and PermCreate on a znode are about its children.
const (
	PermRead   Perm = 1 << iota // data, children, ACL
	PermWrite                   // data
	PermCreate                  // of children
	PermDelete                  // of children
	PermAdmin                   // change the ACL
	PermAll    Perm = PermRead | PermWrite | PermCreate | PermDelete | PermAdmin
)

// String is the permissions in zkCli's letters, "cdrwa".
func (p Perm) String() string {
	var b strings.Builder
	for _, x := range []struct {
		bit    Perm
		letter byte
	}{{PermCreate, 'c'}, {PermDelete, 'd'}, {PermRead, 'r'}, {PermWrite, 'w'}, {PermAdmin, 'a'}} {
		if p&x.bit != 0 {
			b.WriteByte(x.letter)
		}
	}
	return b.String()
}

// ID is an identity: who somebody is under an authentication scheme, such as
// {"digest", "ann:UA3k…="}, {"ip", "10.0.0.0/8"} or {"world", "anyone"}.
type ID struct {
	Scheme string
	ID     string
}

// ACL grants permissions on one znode, not on its children, to an identity.
type ACL struct {
	Perms Perm
	ID    ID
}

// String is the entry in zkCli's form, "world:anyone:cdrwa".
func (a ACL) String() string {
	return fmt.Sprintf("%s:%s:%s", a.ID.Scheme, a.ID.ID, a.Perms)
}

// WorldACL grants perms to everybody. A create without an ACL is a create with
// WorldACL(PermAll).
func WorldACL(perms Perm) ACL { return ACL{perms, ID{"world", "anyone"}} }

// AuthACL grants perms to every identity that this client has added by
// AddAuth; the server writes them out.
func AuthACL(perms Perm) ACL { return ACL{perms, ID{"auth", ""}} }

// DigestACL grants perms to who adds DigestAuth(user, password).
func DigestACL(perms Perm, user, password string) ACL {
	sum := sha1.Sum([]byte(user + ":" + password)) //nolint:gosec // as above
	return ACL{perms, ID{"digest", user + ":" + base64.StdEncoding.EncodeToString(sum[:])}}
}

// Auth is a credential that a client shows to its servers.
type Auth struct {
	Scheme string
	Data   []byte // read at each connect; not to be changed
}

// DigestAuth is the credential of the digest scheme.
func DigestAuth(user, password string) Auth {
	return Auth{"digest", []byte(user + ":" + password)}
}

// CreateMode is the kind of znode that a create makes.
type CreateMode int64

// The kinds of znodes. Sequential ones get the parent's ten-digit counter
// appended to their name; ephemeral ones live as long as the session that made
// them and have no children; an emptied container is deleted by the server.
const (
	Persistent           CreateMode = 0
	Ephemeral            CreateMode = 1
	PersistentSequential CreateMode = 2
	EphemeralSequential  CreateMode = 3
	Container            CreateMode = 4
)

// The wire's flags of znodes with a time to live.
const (
	flagTTL           = 5
	flagTTLSequential = 6
	ttlShift          = 8
)

// PersistentTTL is a znode that the server deletes when it has not been set for
// ttl and has no children. The server wants 1 ms to about 34 years and, if it
// is Apache ZooKeeper, zookeeper.extendedTypesEnabled.
func PersistentTTL(ttl time.Duration) CreateMode {
	return flagTTL | CreateMode(ttl.Milliseconds())<<ttlShift
}

// PersistentSequentialTTL is PersistentTTL with a sequential name.
func PersistentSequentialTTL(ttl time.Duration) CreateMode {
	return flagTTLSequential | CreateMode(ttl.Milliseconds())<<ttlShift
}

// Sequential says whether the parent's counter is appended to the name.
func (m CreateMode) Sequential() bool {
	f := m.flags()
	return f == int32(PersistentSequential) || f == int32(EphemeralSequential) || f == flagTTLSequential
}

// Ephemeral says whether the znode ends with its session.
func (m CreateMode) Ephemeral() bool {
	return m == Ephemeral || m == EphemeralSequential
}

func (m CreateMode) flags() int32 { return int32(m & (1<<ttlShift - 1)) }
func (m CreateMode) ttl() int64   { return int64(m >> ttlShift) }
func (m CreateMode) hasTTL() bool { return m.flags() == flagTTL || m.flags() == flagTTLSequential }
