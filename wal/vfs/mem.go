package vfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mem is a file system in memory that remembers what of it would survive a loss
// of power. It starts with a root directory and nothing in it; relative names
// are taken from there. Safe for concurrent use; make one with NewMem.
type Mem struct {
	// mu is held shared by operations on file contents and exclusively by those
	// on names and by crashes, which thus see one instant. Content is guarded by
	// the inode's own mutex besides.
	mu    sync.RWMutex
	root  *dirNode
	locks map[string]int // how many hold it; -1: one alone
	seq   atomic.Uint64  // of the last change
}

// dirNode is a directory: what is visible now, and what of it is not durable.
type dirNode struct {
	entries map[string]any // *dirNode or *inode
	ops     []dirOp        // since the last SyncDir, in order
}

// dirOp is an entry made (node non-nil) or removed, and what was there before.
type dirOp struct {
	seq        uint64
	name       string
	node, prev any
	unit       int // see units
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{root: newDir(), locks: map[string]int{}}
}

func newDir() *dirNode { return &dirNode{entries: map[string]any{}} }

func (m *Mem) setLocked(d *dirNode, name string, node any) {
	d.ops = append(d.ops, dirOp{seq: m.seq.Add(1), name: name, node: node, prev: d.entries[name]})
	if node == nil {
		delete(d.entries, name)
	} else {
		d.entries[name] = node
	}
}

func split(name string) []string {
	name = filepath.ToSlash(filepath.Clean(name))
	name = strings.TrimPrefix(name, filepath.ToSlash(filepath.VolumeName(name)))
	name = strings.Trim(name, "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// dirLocked finds a directory.
func (m *Mem) dirLocked(parts []string) (*dirNode, error) {
	d := m.root
	for _, p := range parts {
		switch n := d.entries[p].(type) {
		case *dirNode:
			d = n
		case nil:
			return nil, fs.ErrNotExist
		default:
			return nil, fs.ErrInvalid
		}
	}
	return d, nil
}

// parentLocked finds the directory that holds a name, and the name's last part.
func (m *Mem) parentLocked(name string) (*dirNode, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	last := len(parts) - 1
	d, err := m.dirLocked(parts[:last])
	return d, parts[last], err
}

// OpenFile implements FS. Permissions are not kept.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parentLocked(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var ino *inode
	switch n := d.entries[base].(type) {
	case *inode:
		ino = n
		if flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
		}
		if flag&os.O_TRUNC != 0 {
			ino.truncate(0, m.seq.Add(1))
		}
	case nil:
		if flag&os.O_CREATE == 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		ino = &inode{}
		m.setLocked(d, base, ino)
	default:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return &memFile{m: m, ino: ino, name: name, readOnly: flag&(os.O_RDWR|os.O_WRONLY) == 0}, nil
}

// Rename implements FS. A crash may keep either half of it alone: the new name
// without the loss of the old one, or the loss alone.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) error {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	from, oldBase, err := m.parentLocked(oldName)
	if err != nil {
		return fail(err)
	}
	to, newBase, err := m.parentLocked(newName)
	if err != nil {
		return fail(err)
	}
	node := from.entries[oldBase]
	if node == nil {
		return fail(fs.ErrNotExist)
	}
	_, nodeIsDir := node.(*dirNode)
	if target := to.entries[newBase]; target != nil {
		if _, targetIsDir := target.(*dirNode); targetIsDir || nodeIsDir {
			return fail(fs.ErrExist)
		}
	}
	if node == to.entries[newBase] {
		return nil
	}
	m.setLocked(to, newBase, node)
	m.setLocked(from, oldBase, nil)
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parentLocked(name)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	switch n := d.entries[base].(type) {
	case nil:
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	case *dirNode:
		if len(n.entries) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrExist}
		}
	}
	m.setLocked(d, base, nil)
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d, err := m.dirLocked(split(name))
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return slices.Sorted(maps.Keys(d.entries)), nil
}

// MkdirAll implements FS. Permissions are not kept.
func (m *Mem) MkdirAll(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.root
	for _, p := range split(name) {
		switch n := d.entries[p].(type) {
		case *dirNode:
			d = n
		case nil:
			sub := newDir()
			m.setLocked(d, p, sub)
			d = sub
		default:
			return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
		}
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dirLocked(split(name))
	if err != nil {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	d.ops = nil
	return nil
}

type memLock struct {
	m      *Mem
	name   string
	shared bool
	once   sync.Once
}

func (m *Mem) lock(name string, shared bool) (io.Closer, error) {
	flag := os.O_RDWR | os.O_CREATE
	if shared {
		flag = os.O_RDONLY
	}
	f, err := m.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close() // never fails here
	key := strings.Join(split(name), "/")
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n := m.locks[key]; {
	case n < 0 || n > 0 && !shared:
		return nil, &fs.PathError{Op: "lock", Path: name, Err: ErrLocked}
	case shared:
		m.locks[key]++
	default:
		m.locks[key] = -1
	}
	return &memLock{m: m, name: key, shared: shared}, nil
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		if l.m.locks[l.name]--; !l.shared || l.m.locks[l.name] == 0 {
			delete(l.m.locks, l.name)
		}
	})
	return nil
}
