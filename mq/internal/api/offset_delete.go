package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// offsetDelete answers OffsetDelete: committed offsets of a group are forgotten.
func (s *Server) offsetDelete(cl *call) {
	cl.background(func() {
		req := cl.req.(*kmsg.OffsetDeleteRequest)
		resp := response[*kmsg.OffsetDeleteResponse](cl)
		var asked []group.TopicPartition
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				asked = append(asked, group.TopicPartition{Topic: req.Topics[i].Topic, Partition: req.Topics[i].Partitions[j].Partition})
			}
		}
		codes, code := s.backend.Offsets.Delete(s.ctx, req.Group, asked)
		resp.ErrorCode = int16(code)
		next := 0
		for i := range req.Topics {
			t := kmsg.NewOffsetDeleteResponseTopic()
			t.Topic = req.Topics[i].Topic
			for j := range req.Topics[i].Partitions {
				p := kmsg.NewOffsetDeleteResponseTopicPartition()
				p.Partition = req.Topics[i].Partitions[j].Partition
				if code == None {
					p.ErrorCode = int16(codes[next])
				}
				next++
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		cl.reply(resp)
	})
}
