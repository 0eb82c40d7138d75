package api

import "github.com/twmb/franz-go/pkg/kmsg"

// offsetForLeaderEpoch answers OffsetForLeaderEpoch (KIP-101, KIP-279, KIP-320).
func (s *Server) offsetForLeaderEpoch(cl *call) {
	req := cl.req.(*kmsg.OffsetForLeaderEpochRequest)
	resp := response[*kmsg.OffsetForLeaderEpochResponse](cl)
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = rt.Topic
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			po := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			po.Partition = rp.Partition
			current := rp.CurrentLeaderEpoch
			if cl.version < 2 {
				current = -1
			}
			p, code := s.backend.Logs.Find(rt.Topic, rp.Partition)
			if p != nil {
				code, po.LeaderEpoch, po.EndOffset = p.EpochEnd(current, rp.LeaderEpoch)
			}
			po.ErrorCode = int16(code)
			out.Partitions = append(out.Partitions, po)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}
