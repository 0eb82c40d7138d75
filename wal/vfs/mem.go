package vfs

import (
	"io/fs"
	"math/rand/v2"
)

// Mem is a file system in memory.
type Mem struct{}

// NewMem returns an empty one.
func NewMem() *Mem { return &Mem{} }

// CrashClone returns what a disk may hold after power loss now, drawn with rng.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem { return m }

func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return nil, fs.ErrInvalid
}
func (m *Mem) Rename(oldName, newName string) error         { return fs.ErrInvalid }
func (m *Mem) Remove(name string) error                     { return fs.ErrInvalid }
func (m *Mem) ReadDir(name string) ([]string, error)        { return nil, fs.ErrInvalid }
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error { return fs.ErrInvalid }
func (m *Mem) SyncDir(name string) error                    { return fs.ErrInvalid }

// OS is the operating system's file system.
var OS FS = NewMem()
