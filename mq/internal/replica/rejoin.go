package replica

import (
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Rejoining is how a broker comes (back) into the cluster (R9), in three steps, each on top of what ZooKeeper holds:
//
//  1. FenceOps bumps the incarnation: from here on nobody lets the former life into an ISR.
//  2. Leave, for every partition with a replica here whose data is not to be trusted (the directory's id is not among
//     those of the former incarnation, or the start is unclean and the topic relaxes flush): a conditional write each.
//  3. RegisterOps registers, bumps the incarnation again and writes the directories of now. Its new version is the incarnation.
//
// A crash in between starts over, since only step 3 replaces the directories. An unclean start must stay one until step 3 is done.

// FenceOps returns the multi of step 1. version is the data version of the incarnation znode, -1 if it does not exist.
func FenceOps(broker int32, former layout.Incarnation, version int32) []layout.Op {
	path, data := layout.IncarnationPath(broker), layout.EncodeIncarnation(former)
	if version < 0 {
		return []layout.Op{layout.Create(path, data)}
	}
	return []layout.Op{layout.Set(path, data, version)}
}

// RegisterOps returns the multi of step 3: version is the data version that step 1 left (0 after a create). It sets reg.Incarnation to the
// broker's incarnation in this life, version+1.
func RegisterOps(broker int32, reg *layout.Broker, now layout.Incarnation, version int32) []layout.Op {
	reg.Incarnation = int64(version) + 1
	return []layout.Op{
		layout.Set(layout.IncarnationPath(broker), layout.EncodeIncarnation(now), version),
		layout.CreateEphemeral(layout.BrokerPath(broker), layout.EncodeBroker(*reg)),
	}
}

// Leave returns the state without a broker whose data is not to be trusted: out of the ISR if others are in it, else
// still in it but suspect, so that nobody elects it. It no longer leads. False: the state need not change.
func Leave(s layout.PartitionState, broker int32) (layout.PartitionState, bool) {
	in := slices.Contains(s.ISR, broker)
	if !in && s.Leader != broker {
		return s, false
	}
	n := s.Clone()
	if n.Leader == broker {
		n.Leader, n.LeaderIncarnation = layout.NoLeader, layout.NoIncarnation
		n.LeaderEpoch++
	}
	switch {
	case len(n.ISR) > 1:
		n.ISR = slices.DeleteFunc(n.ISR, func(b int32) bool { return b == broker })
		n.Suspect = slices.DeleteFunc(n.Suspect, func(b int32) bool { return b == broker })
	case in && !slices.Contains(n.Suspect, broker):
		n.Suspect = append(n.Suspect, broker)
	}
	return n, !n.Equal(s)
}

// StateOps returns the multi that writes a partition's state at a version, if the topic of this name is still the one with
// this id. joins are the members that the write lets into the ISR: they must be registered, in this incarnation.
func StateOps(topic string, id layout.ID, partition int32, s layout.PartitionState, version int32, joins []Join) []layout.Op {
	ops := make([]layout.Op, 0, 2+2*len(joins))
	ops = append(ops, layout.Check(layout.TopicMarkPath(topic, id), layout.AnyVersion))
	for _, j := range joins {
		ops = append(ops, layout.Check(layout.IncarnationPath(j.Broker), int32(j.Incarnation)),
			layout.Check(layout.BrokerPath(j.Broker), layout.AnyVersion))
	}
	return append(ops, layout.Set(layout.StatePath(topic, partition), layout.EncodeState(s), version))
}
