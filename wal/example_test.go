package wal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// A journal: append, sync, and find everything again after a loss of power.
func Example() {
	disk := vfs.NewMem() // leave Config.FS out for the real disk
	l, err := wal.Open("journal", wal.Config{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	err = l.Append(
		wal.Record{Key: 1, Payload: []byte("open account 7")},
		wal.Record{Key: 2, Payload: []byte("deposit 100")},
	)
	if err == nil {
		err = l.Sync()
	}
	if err != nil {
		log.Fatal(err)
	}

	disk = disk.CrashClone(rand.New(rand.NewPCG(1, 1))) // the power goes
	l, err = wal.Open("journal", wal.Config{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	r := l.NewReader(0)
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", rec.Key, rec.Payload)
	}
	// Output:
	// 1 open account 7
	// 2 deposit 100
}

// A state machine: entries that a new leader disagrees with are cut off the
// end; what a snapshot covers is freed at the front.
func ExampleLog_TruncateAfter() {
	l, err := wal.Open("raft", wal.Config{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for i := range uint64(5) {
		if err := l.Append(wal.Record{Key: 10 + i, Payload: []byte("entry")}); err != nil {
			log.Fatal(err)
		}
	}
	if err := l.TruncateAfter(12); err != nil {
		log.Fatal(err)
	}
	last, _ := l.Last()
	fmt.Println("last", last, "next", l.Next())

	// A snapshot from elsewhere replaces the whole log.
	if err := l.Reset(1000); err != nil {
		log.Fatal(err)
	}
	_, ok := l.Last()
	fmt.Println("any", ok, "next", l.Next())
	// Output:
	// last 12 next 13
	// any false next 1000
}

// A queue: a consumer waits at the end of the log for what comes.
func ExampleReader_Wait() {
	l, err := wal.Open("queue", wal.Config{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := l.NewReader(0)
		defer r.Close()
		for {
			rec, err := r.Next()
			if err == io.EOF {
				err = r.Wait(context.Background())
				if err == nil {
					continue
				}
			}
			if errors.Is(err, wal.ErrClosed) || string(rec.Payload) == "stop" {
				return
			}
			fmt.Printf("job %d: %s\n", rec.Key, rec.Payload)
		}
	}()
	for i, job := range []string{"wash", "dry", "stop"} {
		if err := l.Append(wal.Record{Key: uint64(i), Payload: []byte(job)}); err != nil {
			log.Fatal(err)
		}
	}
	<-done
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// job 0: wash
	// job 1: dry
}

// SyncAsync answers once what was appended before it is durable, while the
// caller goes on. Many logs share one Flusher.
func ExampleLog_SyncAsync() {
	flusher := wal.NewFlusher(2)
	defer flusher.Close()
	l, err := wal.Open("entries", wal.Config{FS: vfs.NewMem(), Flusher: flusher})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if err := l.Append(wal.Record{Key: 1, Payload: []byte("proposal")}); err != nil {
		log.Fatal(err)
	}
	acks := make(chan uint64, 1)
	l.SyncAsync(func(synced uint64, err error) {
		if err == nil {
			acks <- synced
		}
	})
	fmt.Println("durable up to", <-acks)
	// Output:
	// durable up to 1
}
