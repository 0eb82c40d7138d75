package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// createPartitions answers CreatePartitions.
func (s *Server) createPartitions(cl *call) {
	req := cl.req.(*kmsg.CreatePartitionsRequest)
	cl.background(func() {
		ctx, cancel := context.WithTimeout(s.ctx, adminTimeout(req.TimeoutMillis))
		defer cancel()
		resp := response[*kmsg.CreatePartitionsResponse](cl)
		one := func(topic string, out Outcome) {
			r := kmsg.NewCreatePartitionsResponseTopic()
			r.Topic, r.ErrorCode, r.ErrorMessage = topic, int16(out.Code), optional(out.Text)
			resp.Topics = append(resp.Topics, r)
		}
		fail := func(code Code) {
			for i := range req.Topics {
				one(req.Topics[i].Topic, Outcome{Code: code})
			}
			cl.reply(resp)
		}
		if s.forward(ctx, cl, fail) {
			return
		}
		for i := range req.Topics {
			t := &req.Topics[i]
			var assignment [][]int32
			for j := range t.Assignment {
				assignment = append(assignment, t.Assignment[j].Replicas)
			}
			one(t.Topic, s.backend.Admin.CreatePartitions(ctx, t.Topic, int(t.Count), assignment, req.ValidateOnly))
		}
		cl.reply(resp)
	})
}
