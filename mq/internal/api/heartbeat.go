package api

import "github.com/twmb/franz-go/pkg/kmsg"

// heartbeat answers Heartbeat.
func (s *Server) heartbeat(cl *call) {
	req := cl.req.(*kmsg.HeartbeatRequest)
	resp := response[*kmsg.HeartbeatResponse](cl)
	resp.ErrorCode = int16(s.backend.Members.Heartbeat(req.Group, req.MemberID, text(req.InstanceID), req.Generation))
	cl.reply(resp)
}
