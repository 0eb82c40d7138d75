package zab

import (
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
)

// historyWanted reads the log on disk for a learner, in its own time.
func (c *simCluster) historyWanted(nd *simNode, w HistoryWanted) {
	c.e.Mark("history.wanted")
	incarnation := nd.incarnation
	c.e.After(sim.Exp(c.rDisk, 5*time.Millisecond), func() {
		if nd.incarnation != incarnation || nd.peer == nil {
			return
		}
		from, es := nd.disk.behind(&w)
		if sim.Chance(c.rDisk, 0.05) {
			es = nil
		}
		if es != nil {
			c.e.Mark("history.read")
		}
		nd.peer.HistoryRead(w.To, w.Session, from, es)
		c.drain(nd)
	})
}

// behind finds what Peer.HistoryRead wants; nil if the log does not reach so far.
func (d *simDisk) behind(w *HistoryWanted) (Zxid, []Entry) {
	all := slices.Concat(d.older, d.log)
	for _, t := range slices.Backward(w.Tails) {
		i, found := slices.BinarySearchFunc(all, t, func(e Entry, z Zxid) int { return int(cmpZxid(e.Zxid, z)) })
		if found {
			i++
		}
		if i > 0 && all[i-1].Zxid.Epoch() == t.Epoch() {
			return all[i-1].Zxid, all[i:]
		}
	}
	i, found := slices.BinarySearchFunc(all, w.Base, func(e Entry, z Zxid) int { return int(cmpZxid(e.Zxid, z)) })
	switch {
	case found:
		return w.Base, all[i+1:]
	case len(all) > 0 && i == 0 && (all[0].Zxid == w.Base+1 || w.Base == 0 && all[0].Zxid == MakeZxid(1, 1)):
		return w.Base, all
	}
	return 0, nil
}
