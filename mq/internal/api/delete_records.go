package api

import "github.com/twmb/franz-go/pkg/kmsg"

// deleteRecords answers DeleteRecords: the log start of partitions led here moves up. It writes to disk, so not on the reading
// goroutine.
func (s *Server) deleteRecords(cl *call) {
	cl.background(func() {
		req := cl.req.(*kmsg.DeleteRecordsRequest)
		resp := response[*kmsg.DeleteRecordsResponse](cl)
		for i := range req.Topics {
			rt := &req.Topics[i]
			out := kmsg.NewDeleteRecordsResponseTopic()
			out.Topic = rt.Topic
			for j := range rt.Partitions {
				po := kmsg.NewDeleteRecordsResponseTopicPartition()
				po.Partition, po.LowWatermark = rt.Partitions[j].Partition, -1
				p, code := s.backend.Logs.Find(rt.Topic, rt.Partitions[j].Partition)
				if p != nil {
					po.LowWatermark, code = p.DeleteRecords(rt.Partitions[j].Offset)
				}
				po.ErrorCode = int16(code)
				out.Partitions = append(out.Partitions, po)
			}
			resp.Topics = append(resp.Topics, out)
		}
		cl.reply(resp)
	})
}
