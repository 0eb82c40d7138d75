package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// offsetFetch answers OffsetFetch. Null topics, from version 2 on, mean every offset of the group.
func (s *Server) offsetFetch(cl *call) {
	req := cl.req.(*kmsg.OffsetFetchRequest)
	resp := response[*kmsg.OffsetFetchResponse](cl)
	var asked []group.TopicPartition
	if req.Topics != nil {
		asked = []group.TopicPartition{}
	}
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			asked = append(asked, group.TopicPartition{Topic: req.Topics[i].Topic, Partition: p})
		}
	}
	offsets, code := s.backend.Offsets.Fetch(req.Group, asked)
	resp.ErrorCode = int16(code)
	if code != None {
		offsets = make([]OffsetFetched, len(asked))
		for i := range offsets {
			offsets[i].TopicPartition = asked[i]
		}
	}
	for i := range offsets {
		o := &offsets[i]
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != o.Topic {
			t := kmsg.NewOffsetFetchResponseTopic()
			t.Topic = o.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewOffsetFetchResponseTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, -1, -1, new(string)
		if o.Known {
			p.Offset, p.LeaderEpoch, p.Metadata = o.Offset.Offset, o.LeaderEpoch, &o.Metadata
		}
		p.ErrorCode = int16(code)
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	cl.reply(resp)
}
