//go:build !darwin

package vfs

import "os"

// reserve does nothing: what the logs write ahead is reserved by being written.
func reserve(*os.File, int64) error { return nil }
