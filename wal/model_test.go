package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// -full runs the long forms of the proofs.
var full = flag.Bool("full", false, "wal: run the long forms of the crash, error and bit-flip proofs")

// outcome is what a log may hold after a crash: recs[i:j] for some i up to
// headMax and some j from durable on; with no record left, Next must be next.
type outcome struct {
	recs    []Record
	durable int
	headMax int
	next    uint64
}

func (o *outcome) allows(got []Record, next uint64) bool {
	for i := 0; i <= o.headMax && i <= len(o.recs); i++ {
		j := i + len(got)
		if j < o.durable || j > len(o.recs) || !slices.EqualFunc(got, o.recs[i:j], sameRecord) {
			continue
		}
		if len(got) > 0 || next == o.next {
			return true
		}
	}
	return false
}

func sameRecord(a, b Record) bool { return a.Key == b.Key && bytes.Equal(a.Payload, b.Payload) }

// model is a log and what its disk may hold at any moment of a workload. Each
// operation first widens what is legal, then acts, then narrows it again.
type model struct {
	fs     vfs.FS
	cfg    Config
	l      *Log
	legal  []outcome
	life   int
	cached bool // the disk's cache may show what the disk does not have
	done   int  // operations that returned nil
	resets int  // how many were done
	cuts   int  // likewise, of truncations at the end that took something
	// afterFailure is called when an operation of the log failed.
	afterFailure func(err error)
}

func newModel(fs vfs.FS) *model {
	idle := NewFlusher(1)
	idle.Close() // so that nothing happens in the background
	return &model{
		fs:    fs,
		cfg:   Config{FS: fs, SegmentBytes: segmentBytesMin, PreallocateBytes: segmentBytesMin, Flusher: idle},
		legal: []outcome{{}},
	}
}

func (m *model) now() outcome { return m.legal[0] }

func (m *model) open() error {
	l, err := Open("d/log", m.cfg)
	if err == nil {
		m.l = l
		m.done++
	}
	return err
}

func (m *model) settle(err error, o outcome) error {
	if err != nil {
		return err
	}
	m.done++
	m.legal = []outcome{o}
	return nil
}

func (m *model) append(n int, keys ...uint64) error {
	m.life++
	rs := recs(m.life, n, keys...)
	o := m.now()
	o.recs = append(slices.Clone(o.recs), rs...)
	m.legal = append(m.legal[:0:0], o)
	return m.settle(m.l.Append(rs...), o)
}

func (m *model) sync() error {
	o := m.now()
	o.durable = len(o.recs)
	return m.settle(m.l.Sync(), o)
}

// commit is append and sync in one.
func (m *model) commit(n int) error {
	m.life++
	key := m.l.Next()
	rs := recs(m.life, n, key)
	o := m.now()
	o.recs = append(slices.Clone(o.recs), rs...)
	m.legal = append(m.legal[:0:0], o)
	got, err := m.l.Commit(rs[0].Payload)
	if err == nil && got != key {
		return fmt.Errorf("Commit says key %d, not %d", got, key)
	}
	o.durable = len(o.recs)
	return m.settle(err, o)
}

func (m *model) truncateAfter(key uint64) error {
	o := m.now()
	n := slices.IndexFunc(o.recs, func(r Record) bool { return r.Key > key })
	if n < 0 && len(o.recs) > 0 {
		return m.settle(m.l.TruncateAfter(key), o)
	}
	n = max(n, 0)
	after := outcome{recs: slices.Clone(o.recs[:n]), durable: n, next: min(m.l.Next(), key+1)}
	m.legal = append(m.legal, after)
	m.cuts++
	return m.settle(m.l.TruncateAfter(key), after)
}

func (m *model) truncateBefore(key uint64) error {
	o := m.now()
	during := o
	for during.headMax < len(o.recs)-1 && o.recs[during.headMax].Key < key {
		during.headMax++
	}
	m.legal = append(m.legal, during)
	err := m.l.TruncateBefore(key)
	if err == nil && len(o.recs) > 0 {
		first, _ := m.l.First()
		n := slices.IndexFunc(o.recs, func(r Record) bool { return r.Key == first })
		if n < 0 || n > during.headMax {
			return fmt.Errorf("TruncateBefore(%d) left %d as the first key", key, first)
		}
		o.recs, o.durable = o.recs[n:], max(0, o.durable-n)
	}
	return m.settle(err, o)
}

func (m *model) reset(next uint64) error {
	after := outcome{next: next}
	m.legal = append(m.legal, after)
	m.resets++
	return m.settle(m.l.Reset(next), after)
}

// replace takes out of all segments that can be replaced the records that keep
// does not want; meanwhile runs before the commit.
func (m *model) replace(keep func(key uint64) bool, meanwhile ...func() error) error {
	p, err := m.l.NewReplacement(0, KeyMax)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	segs := p.Segments()
	from, to := segs[0].First, segs[len(segs)-1].Last
	for rec, err := range m.l.All(from) {
		if err != nil {
			p.Abort()
			return err
		}
		if rec.Key > to {
			break
		}
		if keep(rec.Key) {
			if err := p.Append(rec); err != nil {
				return err
			}
		}
	}
	for _, do := range meanwhile {
		if err := do(); err != nil {
			p.Abort()
			return err
		}
	}
	o := m.now()
	after := outcome{next: o.next}
	for _, r := range o.recs {
		if r.Key < from || r.Key > to || keep(r.Key) {
			after.recs = append(after.recs, r)
		}
	}
	after.durable = len(after.recs)
	m.legal = append(m.legal, after)
	return m.settle(p.Commit(), after)
}

// floor asks for a key in the middle, which reads the index, or builds and
// writes it.
func (m *model) floor() error {
	recs := m.now().recs
	if len(recs) == 0 {
		return nil
	}
	want := recs[len(recs)/2].Key
	k, ok, err := m.l.Floor(want)
	if err == nil && (!ok || k != want) {
		return fmt.Errorf("Floor(%d) is %d, %v", want, k, ok)
	}
	return err
}

func (m *model) close() error {
	o := m.now()
	o.durable = len(o.recs)
	return m.settle(m.l.Close(), o)
}

// workload is small, and has everything: batches, a roll, truncation at both
// ends, recycling, reset, clean close and reopening.
func (m *model) workload() error {
	steps := []func() error{
		m.open,
		func() error { return m.append(20, 1, 2) },
		m.sync,
		func() error { return m.append(60, 3, 4) },
		func() error { return m.append(10, 5) },
		m.sync,
		func() error { return m.append(100, 6, 7) }, // rolls
		func() error { return m.append(100, 9) },
		m.sync,
		func() error { return m.append(90, 12, 13) },
		func() error { return m.truncateAfter(9) },
		func() error { return m.append(90, 10) }, // again, other bytes, same size
		func() error { return m.append(90, 12) }, // may survive where 10 is lost
		m.sync,
		func() error { return m.append(90, 13, 14, 15) },
		func() error { return m.truncateBefore(9) },      // drops the first segment
		func() error { return m.append(90, 16, 17, 18) }, // recycles it
		m.sync,
		func() error { return m.append(20, 19) },
		m.close,
		m.open,
		func() error { return m.append(20, 20, 21) },
		m.sync,
		func() error { return m.append(60, 22) },
		func() error { return m.reset(50) },
		func() error { return m.append(60, 50, 51) },
		m.sync,
		func() error { return m.truncateAfter(49) },
		func() error { return m.append(60, 55) },
		m.close,
		m.open,
		func() error { return m.append(120, 60, 61, 62, 63, 64, 65) }, // three segments
		m.sync,
		func() error { return m.append(120, 66) },
		func() error { // the run that ends below; an append comes between
			return m.replace(func(k uint64) bool { return k%2 == 0 }, func() error { return m.append(30, 67) })
		},
		func() error { return m.append(30, 68) },
		m.floor,
		m.sync,
		func() error { return m.commit(120) }, // 69
		func() error { return m.append(120, 70, 71) },
		m.sync,
		func() error { return m.replace(func(uint64) bool { return false }) }, // nothing of it stays
		func() error { return m.append(120, 72, 73) },                         // recycles one of them
		m.sync,
		m.close,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			if m.afterFailure != nil {
				m.afterFailure(err)
			}
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

var errAbandoned = errors.New("abandoned by the test")

// abandon lets go of a log without writing anything.
func abandon(l *Log) {
	l.mu.Lock()
	l.poisonLocked(errAbandoned)
	l.mu.Unlock()
	l.Close()
}

// recovered opens a log and reads it.
func recovered(cfg Config, fs vfs.FS) (*Log, []Record, error) {
	cfg.FS = fs
	l, err := Open("d/log", cfg)
	if err != nil {
		return nil, nil, err
	}
	rs, err := readAll(l)
	if err != nil {
		abandon(l)
		return nil, nil, err
	}
	if last, ok := l.Synced(); ok != (len(rs) > 0) || ok && last != rs[len(rs)-1].Key {
		return nil, nil, fmt.Errorf("Synced is %d, %v after %d records", last, ok, len(rs))
	}
	return l, rs, nil
}

// check opens what a crash left, compares it with what is legal, goes on
// writing, crashes again in several ways, and compares once more.
func (m *model) check(disk *vfs.Mem, draw func(*vfs.Mem) *vfs.Mem) error {
	report, err := Check(disk, "d/log")
	if errors.Is(err, fs.ErrNotExist) {
		report, err = &Report{}, nil
	}
	if err != nil {
		return err
	}
	l, got, err := recovered(m.cfg, disk)
	if err != nil {
		return err
	}
	if !m.cached && (report.Err() != nil || report.Records() != len(got)) {
		return fmt.Errorf("%d records were recovered, but Check says: %s", len(got), report)
	}
	next := l.Next()
	if !slices.ContainsFunc(m.legal, func(o outcome) bool { return o.allows(got, next) }) {
		return fmt.Errorf("recovered keys %v, next %d, of which the last may be garbage; legal: %v", keysOf(got), next, describe(m.legal))
	}
	defer func() { abandon(l) }()
	lost := func(fs *vfs.Mem, want outcome, what string) error {
		l, again, err := recovered(m.cfg, fs)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		defer abandon(l)
		if !want.allows(again, l.Next()) {
			return fmt.Errorf("%s: recovered %v, then %v next %d", what, keysOf(got), keysOf(again), l.Next())
		}
		return nil
	}
	want := outcome{recs: got, durable: len(got), next: next}
	if err := lost(draw(disk), want, "crash after recovery"); err != nil {
		return err
	}
	// A record of a length that the workload has too, so that what is left of
	// the records behind would fit.
	want.recs = slices.Clone(got)
	write := func(key uint64) error {
		rs := recs(98, 90, key)
		want.recs = append(want.recs, rs...)
		return l.Append(rs...)
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"append", func() error { return write(next) }},
		{"sync", l.Sync},
		{"second append", func() error { return write(next + 4) }},
		{"close", l.Close},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return err
		}
		if step.what == "sync" || step.what == "close" {
			want.durable = len(want.recs)
		}
		if err := lost(draw(disk), want, "crash after "+step.what); err != nil {
			return err
		}
	}
	return nil
}

func describe(os []outcome) string {
	var b bytes.Buffer
	for _, o := range os {
		fmt.Fprintf(&b, "{%v durable %d head %d next %d}", keysOf(o.recs), o.durable, o.headMax, o.next)
	}
	return b.String()
}
