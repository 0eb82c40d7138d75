package wal_test

import (
	"bytes"
	"fmt"
	"log"
	"sync"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// store is a key-value store whose truth is its journal: a record for each
// change, replayed when it is opened.
type store struct {
	journal *wal.Log
	mu      sync.Mutex
	values  map[string]string
	at      map[string]uint64 // in which record a key was last set
}

func openStore(fs vfs.FS) (*store, error) {
	journal, err := wal.Open("store", wal.Config{FS: fs, SegmentBytes: 1 << 10})
	if err != nil {
		return nil, err
	}
	s := &store{journal: journal, values: map[string]string{}, at: map[string]uint64{}}
	for rec, err := range journal.All(0) {
		if err != nil {
			return nil, err
		}
		s.apply(rec.Key, rec.Payload)
	}
	return s, nil
}

func (s *store) apply(key uint64, change []byte) {
	k, v, _ := bytes.Cut(change, []byte("="))
	s.mu.Lock()
	defer s.mu.Unlock()
	if key >= s.at[string(k)] { // appliers may overtake one another
		s.values[string(k)], s.at[string(k)] = string(v), key
	}
}

// set may be called by many goroutines: Commit gathers their records into one
// write and one sync.
func (s *store) set(k, v string) error {
	change := []byte(k + "=" + v)
	key, err := s.journal.Commit(change)
	if err == nil {
		s.apply(key, change)
	}
	return err
}

// compact leaves in the sealed segments only what is still the latest.
func (s *store) compact() error {
	p, err := s.journal.NewReplacement(0, wal.KeyMax)
	if err != nil {
		return err
	}
	defer p.Abort() // nothing, after Commit
	segments := p.Segments()
	for rec, err := range s.journal.All(segments[0].First) {
		if err != nil {
			return err
		}
		if rec.Key > segments[len(segments)-1].Last {
			break
		}
		k, _, _ := bytes.Cut(rec.Payload, []byte("="))
		s.mu.Lock()
		latest := s.at[string(k)] == rec.Key
		s.mu.Unlock()
		if !latest {
			continue
		}
		if err := p.Append(rec); err != nil {
			return err
		}
	}
	return p.Commit()
}

// A key-value store's journal: every change is durable before it is seen, and
// compaction replaces old segments while the store goes on.
func Example_keyValueStore() {
	disk := vfs.NewMem() // nil for the real disk
	s, err := openStore(disk)
	if err != nil {
		log.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				if err := s.set(fmt.Sprintf("writer %d", w), fmt.Sprint("round ", i)); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	writers.Wait()
	before := s.journal.Size()
	if err := s.compact(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("smaller:", s.journal.Size() < before/4)

	disk = disk.Clone() // the process is killed
	if s, err = openStore(disk); err != nil {
		log.Fatal(err)
	}
	defer s.journal.Close()
	fmt.Println(s.values["writer 0"], "of", len(s.values), "keys")
	// Output:
	// smaller: true
	// round 49 of 4 keys
}
