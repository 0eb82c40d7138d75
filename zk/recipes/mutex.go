package recipes

import (
	"context"
	"fmt"

	"github.com/vivarium-go/vivarium/zk"
)

// Mutex is a lock that one holder has at a time, among all clients of the
// ensemble that use its path. Who waits is served in the order of arrival, and
// each release wakes one. It is not re-entrant: Lock called twice waits for the
// first grant's release, also on the same Mutex.
//
// Its znodes are named as those of Curator's InterProcessMutex and of
// go-zookeeper's Lock, so all three exclude one another on one path.
type Mutex struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL
	// Data is kept in the znode of the holder or waiter, to show who it is.
	Data []byte

	line *line
}

// NewMutex makes a Mutex at path.
func NewMutex(c *zk.Client, path string) *Mutex { return &Mutex{line: newLine(c, path)} }

const (
	kindLock  = "lock-"
	kindRead  = "__READ__"
	kindWrite = "__WRIT__"
)

// Lock waits until it has the lock. If it fails, with ctx's error or because the
// session has ended, it does not have it, and does not stand in line any more.
func (m *Mutex) Lock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(false))
	return g, failed("lock", m.line.path, err)
}

// TryLock is Lock if that is possible without waiting for others, else ErrTaken.
func (m *Mutex) TryLock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(true))
	return g, failed("lock", m.line.path, err)
}

func (m *Mutex) contest(try bool) contest {
	return contest{kind: kindLock, kinds: []string{kindLock}, try: try, data: m.Data, acl: m.ACL}
}

// failed says what failed.
func failed(what, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("recipes: %s %s: %w", what, path, err)
}

// RWMutex is a lock that many readers or one writer hold. Both are served in the
// order of arrival: a reader waits for the last writer before it, a writer for
// everybody before it, so neither starves.
//
// Its znodes are named as those of Curator's InterProcessReadWriteLock.
type RWMutex struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL
	// Data is kept in the znode of the holder or waiter, to show who it is.
	Data []byte

	line *line
}

// NewRWMutex makes a RWMutex at path.
func NewRWMutex(c *zk.Client, path string) *RWMutex { return &RWMutex{line: newLine(c, path)} }

// Lock waits until it has the lock for writing; see Mutex.Lock.
func (m *RWMutex) Lock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(kindWrite, false))
	return g, failed("lock", m.line.path, err)
}

// TryLock is Lock if that is possible without waiting for others, else ErrTaken.
func (m *RWMutex) TryLock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(kindWrite, true))
	return g, failed("lock", m.line.path, err)
}

// RLock waits until it has the lock for reading; see Mutex.Lock.
func (m *RWMutex) RLock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(kindRead, false))
	return g, failed("lock for reading", m.line.path, err)
}

// TryRLock is RLock if that is possible without waiting for others, else
// ErrTaken.
func (m *RWMutex) TryRLock(ctx context.Context) (*Grant, error) {
	g, err := m.line.acquire(ctx, m.contest(kindRead, true))
	return g, failed("lock for reading", m.line.path, err)
}

// Downgrade turns a grant for writing into one for reading, with no writer in
// between: readers that stand behind it, up to the next writer, come in. The
// grant's data is replaced by a mark. There is no upgrade: two readers that each
// wait for the other to leave would wait for ever.
func (m *RWMutex) Downgrade(ctx context.Context, g *Grant) error {
	return failed("downgrade", m.line.path, g.SetData(ctx, []byte(downgraded)))
}

// downgraded is the data of a writer that only reads. It keeps its place: an
// entry at the end of the line would stand behind writers that wait already.
const downgraded = "\x00downgraded to reading"

func (m *RWMutex) contest(kind string, try bool) contest {
	q := contest{kind: kind, kinds: []string{kindRead, kindWrite}, try: try, data: m.Data, acl: m.ACL}
	if kind == kindRead {
		q.blocks = func(before entry) bool { return before.kind == kindWrite }
		q.passes = func(data []byte) bool { return string(data) == downgraded }
	}
	return q
}
