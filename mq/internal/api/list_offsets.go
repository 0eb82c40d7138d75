package api

import "github.com/twmb/franz-go/pkg/kmsg"

// listOffsets answers ListOffsets.
func (s *Server) listOffsets(cl *call) {
	req := cl.req.(*kmsg.ListOffsetsRequest)
	resp := response[*kmsg.ListOffsetsResponse](cl)
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = rt.Topic
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			po := kmsg.NewListOffsetsResponseTopicPartition()
			po.Partition, po.Offset, po.Timestamp, po.LeaderEpoch = rp.Partition, -1, -1, -1
			current := rp.CurrentLeaderEpoch
			if cl.version < 4 {
				current = -1
			}
			if p, code := s.backend.Logs.Find(rt.Topic, rp.Partition); p == nil {
				po.ErrorCode = int16(code)
			} else {
				r := p.ListOffset(current, rp.Timestamp, req.ReplicaID >= 0)
				po.ErrorCode, po.Offset, po.Timestamp, po.LeaderEpoch = int16(r.Code), r.Offset, r.Timestamp, r.LeaderEpoch
			}
			out.Partitions = append(out.Partitions, po)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}
