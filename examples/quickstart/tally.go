package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/vivarium-go/vivarium/mq"
)

// tally counts what comes out of the bus. Deliveries are at least once, so a
// line that was seen before is a duplicate and counts no words.
type tally struct {
	mu         sync.Mutex
	want       int
	distinct   int
	duplicates int
	seen       map[string][]bool // by file, by line
	words      map[string]int
	all        chan struct{} // closed when every line was seen
}

func newTally(in *input) *tally {
	t := &tally{want: in.lines, seen: make(map[string][]bool), words: make(map[string]int), all: make(chan struct{})}
	for _, f := range in.files {
		t.seen[f.name] = make([]bool, len(f.lines))
	}
	return t
}

func (t *tally) add(r *mq.Record) error {
	number, ok := r.Header(lineHeader)
	line, err := strconv.Atoi(string(number))
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := t.seen[string(r.Key)]
	if !ok || err != nil || line < 0 || line >= len(seen) {
		return fmt.Errorf("a record that nobody sent: partition %d offset %d key %q line %q", r.Partition, r.Offset, r.Key, number)
	}
	if seen[line] {
		t.duplicates++
		return nil
	}
	seen[line] = true
	t.words[string(r.Key)] += len(bytes.Fields(r.Value))
	t.distinct++
	if t.distinct == t.want {
		close(t.all)
	}
	return nil
}

// commitEvery is how many records a member reads between two commits.
const commitEvery = 2000

// consume is one member of the group. It ends when every line was seen.
func (d *driver) consume(ctx context.Context) error {
	consumer, err := d.client.NewConsumer(mq.ConsumerConfig{Group: group, Topics: []string{topic}})
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(ctx, stop)
	go func() { // ends with reading
		select {
		case <-d.res.tally.all:
			stop()
		case <-reading.Done():
		}
	}()
	n := 0
	for r, err := range consumer.Records(reading) {
		if err != nil {
			d.p.event("a member of the group: %v", err)
			continue
		}
		if err := d.res.tally.add(r); err != nil {
			return err
		}
		if n++; n%commitEvery == 0 {
			if err := consumer.Commit(reading); err != nil && reading.Err() == nil {
				d.p.event("a member of the group: %v", err)
			}
		}
		d.p.update("consumed %d of %d lines", d.res.tally.distinctNow(), d.in.lines)
	}
	return consumer.Close()
}

func (t *tally) distinctNow() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.distinct
}
