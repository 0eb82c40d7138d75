package zk

import (
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// features are the switches that this server sets as a leader in every entry
// that it proposes (R5): what an entry does depends on nobody's configuration.
func (c *Config) features() tree.Features {
	var f tree.Features
	if c.ExtendedTypes {
		f |= tree.FeatureExtendedTypes
	}
	if c.SkipACL {
		f |= tree.FeatureSkipACL
	}
	if c.EnforceQuota {
		f |= tree.FeatureEnforceQuota
	}
	return f
}

// leaderFeatures are those that only the leader sets, and takes away where they
// came with a request.
const leaderFeatures = tree.FeatureExtendedTypes | tree.FeatureSkipACL | tree.FeatureEnforceQuota

// reaper is what a leader knows of the containers and TTL znodes whose time is
// over (ZooKeeper's ContainerManager).
type reaper struct {
	looked time.Duration // since started
	due    []string      // found then, and not proposed yet
}

// reap proposes the end of containers that have lost their last child and of TTL
// znodes that nobody has set for as long. It looks once every
// ContainerCheckInterval, and proposes no more than ContainersPerMinute allows. Each
// is looked at again when its entry is applied: it may have been used since.
func (s *Server) reap(now time.Duration) {
	if s.lead == nil {
		s.reaper = reaper{looked: now} // a new leader waits for a whole interval
		return
	}
	r := &s.reaper
	neverUsed := s.cfg.ContainerNeverUsedMax.Milliseconds()
	if len(r.due) == 0 && now-r.looked >= s.cfg.ContainerCheckInterval {
		r.looked = now
		r.due = s.tree.Load().Reapable(nil, s.leaderTime(), neverUsed)
	}
	if s.cfg.ContainerCheckInterval < 0 {
		return
	}
	share := float64(s.cfg.ContainersPerMinute) * float64(s.cfg.TickTime/2) / float64(time.Minute)
	for n := max(1, int(share)); n > 0 && len(r.due) > 0; n-- {
		op := jute.Op{Type: jute.OpDeleteContainer, Path: r.due[0], TTL: neverUsed}
		r.due = r.due[1:]
		s.proposeInternal(&tree.Txn{Kind: tree.KindOp, Features: tree.FeatureInternal, Op: op})
	}
}

// leaderTime is the time that the next entry bears, in ms since 1970: the clock of
// this leader, but never before an earlier entry's.
func (s *Server) leaderTime() int64 {
	s.lead.lastTime = max(s.lead.lastTime, time.Now().UnixMilli())
	return s.lead.lastTime
}

// warnOfQuota tells an operator which quota has more than it should, once a
// minute at most.
func (s *Server) warnOfQuota() {
	now := time.Since(s.started)
	if s.res.OverQuota == "" || s.lead == nil || s.quotaWarned != 0 && now-s.quotaWarned < time.Minute {
		return
	}
	s.quotaWarned = now
	s.log.Warn("quota exceeded", "path", s.res.OverQuota)
}
