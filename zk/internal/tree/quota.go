package tree

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// A quota on /a/b is two znodes, as in ZooKeeper (Quotas, StatsTrack):
//
//	/zookeeper/quota/a/b/zookeeper_limits  what clients allow:  count=10,bytes=1000=;byteHardLimit=2000;countHardLimit=20
//	/zookeeper/quota/a/b/zookeeper_stats   what the tree counts: count=7,bytes=512
//
// count is the number of znodes, /a/b itself included, bytes that of their data; -1 or nothing is no limit. The nearest quota above a
// znode counts it, no other; one on the root counts nothing. The counts are made when the second znode is created and kept from
// then on, without events, versions or zxids: a client sees them as data only.
const (
	quotaLimitsName = "/zookeeper_limits"
	quotaStatsName  = "/zookeeper_stats"
)

// quota is the paths of a quota's znodes.
type quota struct{ limits, stats string }

// quotaOn returns the path that a znode below /zookeeper/quota with this last name is about; ok is false for all other znodes.
func quotaOn(path, last string) (on string, ok bool) {
	if len(path) <= len(quotaPath) || path[:len(quotaPath)] != quotaPath {
		return "", false
	}
	return strings.CutSuffix(path[len(quotaPath):], last)
}

// watchQuota hears of a znode that was planted or, with gone, uprooted.
func (t *Tree) watchQuota(path string, gone bool) {
	on, ok := quotaOn(path, quotaLimitsName)
	if !ok || on == "" {
		return
	}
	if t.inMulti && !t.quotasSaved {
		t.quotasSaved, t.quotasBefore = true, maps.Clone(t.quotas)
	}
	if gone {
		delete(t.quotas, on)
		return
	}
	if t.quotas == nil {
		t.quotas = map[string]quota{}
	}
	t.quotas[on] = quota{limits: quotaPath + on + quotaLimitsName, stats: quotaPath + on + quotaStatsName}
}

// endQuotas ends what watchQuota keeps for a multi that may fail.
func (t *Tree) endQuotas(failed bool) {
	if failed && t.quotasSaved {
		t.quotas = t.quotasBefore
	}
	t.quotasSaved, t.quotasBefore = false, nil
}

// quotaAbove returns the nearest quota on a znode or above it.
func (t *Tree) quotaAbove(path string) (quota, bool) {
	for len(path) > 1 {
		if q, ok := t.quotas[path]; ok {
			return q, true
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
	return quota{}, false
}

// checkQuota reports whether a create or, with count 0, a set may go beyond the hard limits.
func (t *Tree) checkQuota(txn *Txn, path string, bytes, count int64) jute.Code {
	if len(t.quotas) == 0 || txn.Features&FeatureEnforceQuota == 0 || txn.Features&FeatureInternal != 0 {
		return jute.CodeOK
	}
	q, ok := t.quotaAbove(path)
	if !ok {
		return jute.CodeOK
	}
	limits, stats := t.quotaTrack(q.limits), t.quotaTrack(q.stats)
	if exceeds(count, stats.of(trackCount), limits.of(trackCountHard)) || exceeds(bytes, stats.of(trackBytes), limits.of(trackBytesHard)) {
		return jute.CodeQuotaExceeded
	}
	return jute.CodeOK
}

// exceeds reports whether something that changes is above a limit then.
func exceeds(diff, have, limit int64) bool { return diff != 0 && limit > -1 && have+diff > limit }

// account brings the counts above a znode up to date, and notes in res which quota has more than it should.
func (t *Tree) account(path string, bytes, count int64, res *Result) {
	if len(t.quotas) == 0 || bytes == 0 && count == 0 {
		return
	}
	q, ok := t.quotaAbove(path)
	if !ok {
		return
	}
	stats := t.quotaTrack(q.stats)
	limits := t.quotaTrack(q.limits)
	if exceeds(count, stats.of(trackCount), limits.soft(trackCount, trackCountHard)) ||
		exceeds(bytes, stats.of(trackBytes), limits.soft(trackBytes, trackBytesHard)) {
		res.OverQuota = q.limits[len(quotaPath) : len(q.limits)-len(quotaLimitsName)]
	}
	stats = stats.set(trackCount, stats.of(trackCount)+count).set(trackBytes, stats.of(trackBytes)+bytes)
	t.setQuietly(q.stats, stats)
}

// startQuota counts anew if the znode that was created is to hold counts.
func (t *Tree) startQuota(path string) {
	on, ok := quotaOn(path, quotaStatsName)
	if !ok {
		return
	}
	var count, bytes int64
	root, _ := t.lookup(on)
	for stack := []*entry{root}; len(stack) > 0; {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v := e.live(); v != nil {
			count++
			bytes += int64(len(v.data))
			v.kids.each(func(c *entry) bool { stack = append(stack, c); return true })
		}
	}
	t.setQuietly(path, quotaTrack(nil).set(trackCount, count).set(trackBytes, bytes))
}

// setQuietly replaces the data of a znode that exists, and nothing else about it.
func (t *Tree) setQuietly(path string, track quotaTrack) {
	e, v := t.lookup(path)
	if v == nil {
		return
	}
	v = t.writable(e)
	t.stats.DataBytes -= int64(len(v.data))
	v.data = track.append(nil)
	t.stats.DataBytes += int64(len(v.data))
	v.dataSum = hashData(v.data)
	t.resum(e, v)
}

// quotaTrack is the data of a quota's znode: names and numbers.
type quotaTrack []quotaNumber

type quotaNumber struct {
	name  string
	value int64
}

const (
	trackCount     = "count"
	trackBytes     = "bytes"
	trackCountHard = "countHardLimit"
	trackBytesHard = "byteHardLimit"
)

// quotaTrack reads a quota's znode. One that is not there, or is not written as it should be, says nothing.
func (t *Tree) quotaTrack(path string) quotaTrack {
	_, v := t.lookup(path)
	if v == nil {
		return nil
	}
	track, _ := parseQuotaTrack(string(v.data))
	return track
}

// parseQuotaTrack takes name=value pairs between commas and semicolons. A second "=" after a value is what older versions want there.
func parseQuotaTrack(s string) (track quotaTrack, ok bool) {
	for pair := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == ',' || c == ';' }) {
		name, rest, _ := strings.Cut(pair, "=")
		number, _, _ := strings.Cut(rest, "=")
		value, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, false
		}
		track = track.set(name, value)
	}
	return track, true
}

// of returns a number, -1 if it is not there.
func (k quotaTrack) of(name string) int64 {
	for i := range k {
		if k[i].name == name {
			return k[i].value
		}
	}
	return -1
}

// soft returns the limit that is worth a warning: the hard one if there is one.
func (k quotaTrack) soft(name, hard string) int64 {
	if limit := k.of(hard); limit > -1 {
		return limit
	}
	return k.of(name)
}

// set returns the track with a number changed or added.
func (k quotaTrack) set(name string, value int64) quotaTrack {
	for i := range k {
		if k[i].name == name {
			k[i].value = value
			return k
		}
	}
	return append(k, quotaNumber{name, value})
}

// append writes the track as StatsTrack.toString does: count and bytes first, then the others by name.
func (k quotaTrack) append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, trackCount+"="...), k.of(trackCount), 10)
	dst = strconv.AppendInt(append(dst, ","+trackBytes+"="...), k.of(trackBytes), 10)
	others := slices.DeleteFunc(slices.Clone(k), func(n quotaNumber) bool { return n.name == trackCount || n.name == trackBytes })
	slices.SortFunc(others, func(a, b quotaNumber) int { return strings.Compare(a.name, b.name) })
	separator := "=;"
	for _, n := range others {
		dst = append(append(append(dst, separator...), n.name...), '=')
		dst = strconv.AppendInt(dst, n.value, 10)
		separator = ";"
	}
	return dst
}
