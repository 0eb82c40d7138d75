package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

const (
	quotaRoot   = "/zookeeper/quota"
	quotaLimits = "/zookeeper_limits"
	quotaStats  = "/zookeeper_stats"
)

// track is what a quota's znodes hold: names and numbers. -1 is no limit.
type track map[string]int64

const (
	countOf     = "count"
	bytesOf     = "bytes"
	countHardOf = "countHardLimit"
	bytesHardOf = "byteHardLimit"
)

// quotaOptions are the options of setquota and delquota.
var quotaOptions = []struct{ option, name string }{{"n", countOf}, {"b", bytesOf}, {"N", countHardOf}, {"B", bytesHardOf}}

func parseTrack(data []byte) (track, error) {
	t := make(track)
	for pair := range strings.FieldsFuncSeq(string(data), func(r rune) bool { return r == ',' || r == ';' }) {
		name, rest, _ := strings.Cut(pair, "=")
		number, _, _ := strings.Cut(rest, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("quota %.100q: %w", data, err)
		}
		t[name] = n
	}
	return t, nil
}

func (t track) of(name string) int64 {
	if n, ok := t[name]; ok {
		return n
	}
	return -1
}

// String is the data of a quota's znode. Old releases want the second "=".
func (t track) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s=%d,%s=%d", countOf, t.of(countOf), bytesOf, t.of(bytesOf))
	separator := "=;"
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if name != countOf && name != bytesOf {
			fmt.Fprintf(&b, "%s%s=%d", separator, name, t[name])
			separator = ";"
		}
	}
	return b.String()
}

// setQuota limits a znode and what is below it, or changes its limits.
func setQuota(c *call) error {
	limits := track{countOf: -1, bytesOf: -1, countHardOf: -1, bytesHardOf: -1}
	if len(c.opts) != 1 {
		return usageOf("setquota")
	}
	target := c.args[0]
	if strings.HasPrefix(target, quotaRoot) {
		return complaint("cannot set a quota under the path: " + quotaRoot)
	}
	for _, o := range quotaOptions {
		text, ok := c.opts[o.option]
		if !ok {
			continue
		}
		bits := 64
		if o.name == countOf || o.name == countHardOf {
			bits = 32
		}
		n, err := strconv.ParseInt(text, 10, bits)
		switch {
		case err != nil:
			return complaint("NumberFormatException happens when parsing the option value")
		case bits == 32 && n <= 0:
			return complaint("the num quota must be greater than zero")
		case n < 0:
			return complaint("the bytes quota must be greater than or equal to zero")
		}
		limits[o.name] = n
	}
	if err := c.mayHaveQuota(target); err != nil {
		return err
	}
	return c.writeQuota(target, limits)
}

// mayHaveQuota refuses a path that does not exist, or has a quota above or below.
func (c *call) mayHaveQuota(target string) error {
	if err := checkPath(target); err != nil {
		return err
	}
	if _, err := c.client.Exists(c.ctx, target); errors.Is(err, zk.ErrNoNode) {
		return complaint(target + " does not exist.")
	} else if err != nil {
		return at(target, err)
	}
	if err := checkPath(quotaRoot + target); err != nil { // of the root
		return err
	}
	err := c.walk(quotaRoot+target, func(p string) error {
		if below, ok := strings.CutSuffix(p, quotaLimits); ok && below != quotaRoot+target {
			return complaint(target + " has a child " + strings.TrimPrefix(below, quotaRoot) + " which has a quota")
		}
		return nil
	})
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	for i, r := range target {
		if r != '/' || i == 0 {
			continue
		}
		_, err := c.client.Exists(c.ctx, quotaRoot+target[:i]+quotaLimits)
		if err == nil {
			return complaint(target + " has a parent " + target[:i] + " which has a quota")
		}
		if !errors.Is(err, zk.ErrNoNode) {
			return at(quotaRoot+target[:i]+quotaLimits, err)
		}
	}
	return nil
}

// writeQuota creates or changes the znodes of a quota.
func (c *call) writeQuota(target string, limits track) error {
	limitsPath, statsPath := quotaRoot+target+quotaLimits, quotaRoot+target+quotaStats
	if err := c.client.EnsurePath(c.ctx, quotaRoot+target); err != nil {
		return at(quotaRoot+target, err)
	}
	was, err := c.track(limitsPath)
	if errors.Is(err, zk.ErrNoNode) {
		if _, err := c.client.Create(c.ctx, limitsPath, []byte(limits.String()), zk.Persistent); err != nil {
			return at(limitsPath, err)
		}
		if _, err := c.client.Create(c.ctx, statsPath, []byte("count=0,bytes=0"), zk.Persistent); err != nil {
			return at(statsPath, err)
		}
		return c.warnOfQuota(limits, statsPath)
	}
	if err != nil {
		return err
	}
	for name, n := range limits {
		if n > -1 {
			was[name] = n
		}
	}
	if err := c.warnOfQuota(was, statsPath); err != nil {
		return err
	}
	_, err = c.client.Set(c.ctx, limitsPath, []byte(was.String()), zk.AnyVersion)
	return at(limitsPath, err)
}

// warnOfQuota says which limits are exceeded already.
func (c *call) warnOfQuota(limits track, statsPath string) error {
	stats, err := c.track(statsPath)
	if err != nil {
		return err
	}
	for _, w := range []struct{ name, hard string }{{countOf, countHardOf}, {bytesOf, bytesHardOf}} {
		have := stats.of(w.name)
		if n := limits.of(w.name); n > -1 && n < have {
			c.out.println(fmt.Sprintf("[Warning]: the %s quota you create is less than the existing %s:%d", w.name, w.name, have))
		} else if n := limits.of(w.hard); n > -1 && n < have {
			c.out.println(fmt.Sprintf("[Warning]: the %s quota you create is less than the existing %s:%d", w.name, w.name, have))
		}
	}
	return nil
}

func (c *call) track(path string) (track, error) {
	data, _, err := c.client.Get(c.ctx, path)
	if err != nil {
		return nil, at(path, err)
	}
	return parseTrack(data)
}

func listQuota(c *call) error {
	target := c.args[0]
	c.err.println("absolute path is " + quotaRoot + target + quotaLimits)
	if err := checkPath(quotaRoot + target + quotaLimits); err != nil {
		return err
	}
	limits, err := c.track(quotaRoot + target + quotaLimits)
	if errors.Is(err, zk.ErrNoNode) {
		return complaint("quota for " + target + " does not exist.")
	}
	if err != nil {
		return err
	}
	stats, err := c.track(quotaRoot + target + quotaStats)
	if err != nil {
		return err
	}
	c.out.println("Output quota for " + target + " " + limits.String())
	c.out.println("Output stat for " + target + " " + stats.String())
	return nil
}

// delQuota removes one limit, or the quota and what then is empty above it.
func delQuota(c *call) error {
	target := c.args[0]
	limitsPath := quotaRoot + target + quotaLimits
	if err := checkPath(limitsPath); err != nil {
		return err
	}
	limits, err := c.track(limitsPath)
	if errors.Is(err, zk.ErrNoNode) {
		c.out.println("Quota does not exist for " + target)
		return nil
	}
	if err != nil {
		return err
	}
	if len(c.opts) > 0 {
		for _, o := range quotaOptions {
			if c.has(o.option) {
				limits[o.name] = -1
			}
		}
		_, err := c.client.Set(c.ctx, limitsPath, []byte(limits.String()), zk.AnyVersion)
		return at(limitsPath, err)
	}
	dir := quotaRoot + target
	for _, p := range []string{limitsPath, dir + quotaStats} {
		if err := c.client.Delete(c.ctx, p, zk.AnyVersion); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return at(p, err)
		}
	}
	for dir != quotaRoot {
		err := c.client.Delete(c.ctx, dir, zk.AnyVersion)
		if errors.Is(err, zk.ErrNotEmpty) {
			return nil
		}
		if err != nil {
			return at(dir, err)
		}
		dir = zk.ParentPath(dir)
	}
	return nil
}
