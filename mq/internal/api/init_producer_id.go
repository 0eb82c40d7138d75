package api

import "github.com/twmb/franz-go/pkg/kmsg"

// initProducerID answers InitProducerID. Whoever has no transactional id gets a new producer id, as in Kafka, even if it names the
// one it had.
func (s *Server) initProducerID(cl *call) {
	req := cl.req.(*kmsg.InitProducerIDRequest)
	resp := response[*kmsg.InitProducerIDResponse](cl)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID != nil {
		resp.ErrorCode = int16(CoordinatorNotAvailable)
		cl.reply(resp)
		return
	}
	cl.background(func() {
		id, err := s.backend.Admin.ProducerID(s.ctx)
		if err != nil {
			resp.ErrorCode = int16(CoordinatorNotAvailable)
		} else {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		}
		cl.reply(resp)
	})
}
