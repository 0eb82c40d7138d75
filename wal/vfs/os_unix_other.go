//go:build unix && !linux

package vfs

import "os"

// syncData is os.File.Sync, which on darwin is F_FULLFSYNC.
func syncData(f *os.File) error { return f.Sync() }

// dropCache does nothing: there is no portable way.
func dropCache(*os.File) error { return nil }
