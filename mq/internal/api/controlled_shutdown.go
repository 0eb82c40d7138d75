package api

import "github.com/twmb/franz-go/pkg/kmsg"

// controlledShutdown answers ControlledShutdown, which another broker sends to the controller before it stops.
func (s *Server) controlledShutdown(cl *call) {
	req := cl.req.(*kmsg.ControlledShutdownRequest)
	cl.background(func() {
		resp := response[*kmsg.ControlledShutdownResponse](cl)
		if !s.backend.Admin.Controls() {
			resp.ErrorCode = int16(NotController)
			cl.reply(resp)
			return
		}
		remaining, code := s.backend.Admin.ControlledShutdown(s.ctx, req.BrokerID, req.BrokerEpoch)
		resp.ErrorCode = int16(code)
		for range remaining {
			resp.PartitionsRemaining = append(resp.PartitionsRemaining, kmsg.NewControlledShutdownResponsePartitionsRemaining())
		}
		cl.reply(resp)
	})
}
