package wal_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strconv"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// A queue's log: a producer appends jobs, a consumer tails them and notes in a
// file how far it has come, retention frees whole segments behind it.
func Example_queue() {
	disk := vfs.NewMem() // vfs.OS for the real disk
	queue, err := wal.Open("queue", wal.Config{FS: disk, SegmentBytes: 1 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()

	done := make(chan error)
	go func() { done <- consume(disk, queue, 100) }()
	for job := range uint64(100) {
		if err := queue.Append(wal.Record{Key: job, Payload: fmt.Appendf(nil, "job %d of the day", job)}); err != nil {
			log.Fatal(err)
		}
		if job%10 == 9 { // ten jobs a sync
			if err := queue.Sync(); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}

	note, err := vfs.ReadFile(disk, "queue.done", 100)
	if err != nil {
		log.Fatal(err)
	}
	next, err := strconv.ParseUint(string(note), 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("next job:", next)
	before := len(queue.Segments())
	if err := queue.TruncateBefore(next); err != nil {
		log.Fatal(err)
	}
	// What retention by size or age needs to know stands with each segment.
	oldest := queue.Segments()[0]
	fmt.Println("segments:", before, "then", len(queue.Segments()))
	fmt.Println("the oldest is sealed:", oldest.Sealed, "and has a last append:", oldest.LastAppend > 0)
	// Output:
	// next job: 100
	// segments: 5 then 1
	// the oldest is sealed: false and has a last append: true
}

// consume does so many jobs. One that was done but not yet noted is done again
// after a crash.
func consume(disk vfs.FS, queue *wal.Log, jobs int) error {
	r := queue.NewReader(0)
	defer r.Close()
	for n := 0; n < jobs; {
		rec, err := r.Next()
		if err == io.EOF { // until there is more
			if err := r.Wait(context.Background()); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if n++; n%25 == 0 {
			if err := vfs.WriteFile(disk, "queue.done", strconv.AppendUint(nil, rec.Key+1, 10)); err != nil {
				return err
			}
		}
	}
	return nil
}
