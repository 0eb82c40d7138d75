// Package vfs is the disk as the logs of this module see it: the operating
// system's ([OS]), or one in memory ([Mem]) that can lose power.
//
// [FS] and [File] name the few operations that a durable log needs, with the
// two that make things durable spelled out: [File] Sync for what a file holds,
// [FS] SyncDir for the names in a directory. Nothing else is durable.
//
// A crash is a value here. [Mem.CrashClone] returns what a disk may hold after
// power was lost at this moment, drawn at random; [Mem.Crashes] yields the
// possible states one by one. The fault model: what was not synced survives per
// 512-byte sector as the old bytes, zeros, garbage or the new bytes; names that
// were created, removed or renamed may each be there or not; a truncation may be
// undone; a file's size may be ahead of its data. Bytes next to a write are
// never harmed by it (powersafe overwrite).
//
// [Inject] puts a function in front of every operation, which may fail it.
//
// All of it may be used by several goroutines at once, and inside a
// testing/synctest bubble.
package vfs
