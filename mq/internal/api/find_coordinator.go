package api

import "github.com/twmb/franz-go/pkg/kmsg"

// coordinatorGroup is the coordinator type of groups in FindCoordinator.
const coordinatorGroup = 0

// findCoordinator answers FindCoordinator. The first call of a cluster's life creates the topic that groups live in, so it does
// not run on the reading goroutine.
func (s *Server) findCoordinator(cl *call) {
	req := cl.req.(*kmsg.FindCoordinatorRequest)
	cl.background(func() {
		resp := response[*kmsg.FindCoordinatorResponse](cl)
		resp.NodeID, resp.Port = -1, -1
		if req.CoordinatorType != coordinatorGroup {
			resp.ErrorCode = int16(CoordinatorNotAvailable)
			resp.ErrorMessage = optional("transactions are not supported yet")
			cl.reply(resp)
			return
		}
		id, code := s.backend.Groups.Coordinator(s.ctx, req.CoordinatorKey)
		resp.ErrorCode = int16(code)
		if code == None {
			b := s.backend.Metadata.Image().Brokers[id]
			if b == nil {
				resp.ErrorCode = int16(CoordinatorNotAvailable)
			} else if e, ok := b.Endpoint(cl.c.listener); !ok {
				resp.ErrorCode = int16(ListenerNotFound)
			} else {
				resp.NodeID, resp.Host, resp.Port = id, e.Host, e.Port
			}
		}
		cl.reply(resp)
	})
}
