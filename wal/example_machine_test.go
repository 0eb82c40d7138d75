package wal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// machine is a replicated state machine on one node: a sum. Entries come from a
// leader with their indexes, and may be taken back as long as they are not
// applied; a snapshot stands for all entries up to its index.
type machine struct {
	disk    vfs.FS
	log     *wal.Log
	applied uint64
	sum     uint64
}

const snapshotFile = "machine.snapshot"

func openMachine(disk vfs.FS) (*machine, error) {
	m := &machine{disk: disk}
	b, err := vfs.ReadFile(disk, snapshotFile, 16)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		m.applied, m.sum = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	m.log, err = wal.Open("machine", wal.Config{FS: disk, SegmentBytes: 1 << 10})
	if err != nil {
		return nil, err
	}
	if m.log.Next() <= m.applied {
		// The process died between a snapshot from elsewhere and the Reset.
		err = m.log.Reset(m.applied + 1)
	}
	return m, err
}

// accept takes entries from the leader of the day: those that it disagrees with
// go first.
func (m *machine) accept(index uint64, values ...uint64) error {
	if index < m.log.Next() {
		if err := m.log.TruncateAfter(index - 1); err != nil {
			return err
		}
	}
	var recs []wal.Record
	for i, v := range values {
		recs = append(recs, wal.Record{Key: index + uint64(i), Payload: binary.BigEndian.AppendUint64(nil, v)})
	}
	if err := m.log.Append(recs...); err != nil {
		return err
	}
	return m.log.Sync() // before the leader is told
}

// commit applies what a quorum has.
func (m *machine) commit(index uint64) error {
	for rec, err := range m.log.All(m.applied + 1) {
		if err != nil || rec.Key > index {
			return err
		}
		m.sum += binary.BigEndian.Uint64(rec.Payload)
		m.applied = rec.Key
	}
	return nil
}

// snapshot saves the state and frees the log behind it.
func (m *machine) snapshot() error {
	b := binary.BigEndian.AppendUint64(nil, m.applied)
	if err := vfs.WriteFile(m.disk, snapshotFile, binary.BigEndian.AppendUint64(b, m.sum)); err != nil {
		return err
	}
	return m.log.TruncateBefore(m.applied)
}

// install takes a snapshot from a leader that is too far ahead.
func (m *machine) install(index, sum uint64) error {
	b := binary.BigEndian.AppendUint64(nil, index)
	if err := vfs.WriteFile(m.disk, snapshotFile, binary.BigEndian.AppendUint64(b, sum)); err != nil {
		return err
	}
	m.applied, m.sum = index, sum
	return m.log.Reset(index + 1)
}

// A state machine with snapshots, as replication protocols need it.
func Example_stateMachine() {
	disk := vfs.NewMem()
	m, err := openMachine(disk)
	if err != nil {
		log.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	must(m.accept(1, 10, 20, 30))
	must(m.accept(3, 31, 40)) // a new leader: entry 3 is another
	must(m.commit(3))
	must(m.snapshot())
	fmt.Println("applied", m.applied, "sum", m.sum, "next", m.log.Next())

	m, err = openMachine(disk.Clone()) // the process was killed
	must(err)
	must(m.commit(4))
	fmt.Println("applied", m.applied, "sum", m.sum)
	must(m.install(1000, 5_000_000))
	must(m.accept(1001, 1))
	must(m.commit(1001))
	fmt.Println("applied", m.applied, "sum", m.sum)
	must(m.log.Close())
	// Output:
	// applied 3 sum 61 next 5
	// applied 4 sum 101
	// applied 1001 sum 5000001
}
