package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// zxid is a token that normal replaces.
func (r *diffRun) zxid(z int64) string {
	if z <= 0 || z >= 1<<62 {
		return strconv.FormatInt(z, 10)
	}
	return fmt.Sprintf("‹%d›", z)
}

var diffZxid = regexp.MustCompile(`‹(~?)(\d+)›`)

// ranks gives every zxid that changed something its place among them. Of others,
// which refusals and sessions have taken, only that place is told.
func (r *diffRun) ranks() func(text string) string {
	each := func(text string, f func(changed bool, zxid int64) string) string {
		return diffZxid.ReplaceAllStringFunc(text, func(token string) string {
			m := diffZxid.FindStringSubmatch(token)
			z, _ := strconv.ParseInt(m[2], 10, 64)
			return f(m[1] == "", z)
		})
	}
	var order []int64
	for _, s := range r.slots {
		for i := range s.stream {
			each(s.stream[i].text, func(changed bool, z int64) string {
				if changed {
					order = append(order, z)
				}
				return ""
			})
		}
	}
	slices.Sort(order)
	order = slices.Compact(order)
	return func(text string) string {
		return each(text, func(_ bool, z int64) string {
			n, there := slices.BinarySearch(order, z)
			if there {
				n++
			}
			return fmt.Sprintf("#%d", n)
		})
	}
}

var diffWrites = map[string]bool{
	"create": true, "create2": true, "createContainer": true, "createTTL": true, "delete": true, "setData": true, "setACL": true, "multi": true, "reconfig": true,
}

// laterEventsLater puts events behind the replies of earlier writes: where writes
// come in a pipe, ours tell of all that were done together before they answer.
func laterEventsLater(stream []diffEntry) {
	for i := 1; i < len(stream); i++ {
		for j := i; j > 0 && stream[j].write > 0 && stream[j-1].event > stream[j].write; j-- {
			stream[j], stream[j-1] = stream[j-1], stream[j]
		}
	}
}

// normal returns what every slot heard with zxids by their rank in the run. The
// order of events of a session that ended is a hash table's there.
func (r *diffRun) normal() map[int][]diffEntry {
	rank := r.ranks()
	out := map[int][]diffEntry{}
	for n, s := range r.slots {
		stream := slices.Clone(s.stream)
		laterEventsLater(stream)
		for i := range stream {
			stream[i].text = strings.ReplaceAll(rank(stream[i].text), r.root, diffRootMark)
		}
		if r.tg.name == "apache" { // a reconfiguration is told twice there
			stream = slices.CompactFunc(stream, func(a, b diffEntry) bool {
				return a.event > 0 && a.event == b.event && a.text == b.text && strings.Contains(a.text, `"`+zk.ConfigPath+`"`)
			})
		}
		for i := 0; i < len(stream); i++ {
			j := i
			for j < len(stream) && r.closes[stream[j].event] && stream[j].event == stream[i].event {
				j++
			}
			if j > i+1 {
				slices.SortFunc(stream[i:j], func(a, b diffEntry) int { return strings.Compare(a.text, b.text) })
				i = j - 1
			}
		}
		out[n] = stream
	}
	return out
}
