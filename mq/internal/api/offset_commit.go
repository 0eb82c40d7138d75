package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// offsetCommit answers OffsetCommit when the offsets are replicated. Partitions that do not exist are refused one by one.
func (s *Server) offsetCommit(cl *call) {
	req := cl.req.(*kmsg.OffsetCommitRequest)
	c := Commit{Group: req.Group, Member: req.MemberID, Instance: text(req.InstanceID), Generation: req.Generation}
	img := s.backend.Metadata.Image()
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			if img.Partition(req.Topics[i].Topic, p.Partition) == nil {
				continue
			}
			o := group.Offset{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: text(p.Metadata)}
			if cl.version < 6 {
				o.LeaderEpoch = -1
			}
			c.Offsets = append(c.Offsets, OffsetCommit{group.TopicPartition{Topic: req.Topics[i].Topic, Partition: p.Partition}, o})
		}
	}
	cl.inline = false
	s.backend.Offsets.Commit(c, func(code Code) {
		resp := response[*kmsg.OffsetCommitResponse](cl)
		for i := range req.Topics {
			t := kmsg.NewOffsetCommitResponseTopic()
			t.Topic = req.Topics[i].Topic
			for j := range req.Topics[i].Partitions {
				p := kmsg.NewOffsetCommitResponseTopicPartition()
				p.Partition, p.ErrorCode = req.Topics[i].Partitions[j].Partition, int16(code)
				if code == None && img.Partition(t.Topic, p.Partition) == nil {
					p.ErrorCode = int16(UnknownTopicOrPartition)
				}
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		cl.reply(resp)
	})
}
