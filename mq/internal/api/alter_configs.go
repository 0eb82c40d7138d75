package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterConfigs answers AlterConfigs: a topic's configuration is replaced.
func (s *Server) alterConfigs(cl *call) {
	req := cl.req.(*kmsg.AlterConfigsRequest)
	cl.background(func() {
		resp := response[*kmsg.AlterConfigsResponse](cl)
		for i := range req.Resources {
			rr := &req.Resources[i]
			changes := map[string]*string{}
			for j := range rr.Configs {
				changes[rr.Configs[j].Name] = rr.Configs[j].Value
			}
			out := s.alterConfig(rr.ResourceType, rr.ResourceName, changes, true, req.ValidateOnly)
			r := kmsg.NewAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = rr.ResourceType, rr.ResourceName, int16(out.Code), optional(out.Text)
			resp.Resources = append(resp.Resources, r)
		}
		cl.reply(resp)
	})
}

// alterConfig changes the configuration of one resource.
func (s *Server) alterConfig(kind kmsg.ConfigResourceType, name string, changes map[string]*string, replace, validateOnly bool) Outcome {
	if kind != kmsg.ConfigResourceTypeTopic {
		return Outcome{Code: InvalidRequest, Text: "only the configurations of topics can be changed"}
	}
	return s.backend.Admin.AlterConfig(s.ctx, name, changes, replace, validateOnly)
}
