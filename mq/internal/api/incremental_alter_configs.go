package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// incrementalAlterConfigs answers IncrementalAlterConfigs (KIP-339).
func (s *Server) incrementalAlterConfigs(cl *call) {
	req := cl.req.(*kmsg.IncrementalAlterConfigsRequest)
	cl.background(func() {
		resp := response[*kmsg.IncrementalAlterConfigsResponse](cl)
		for i := range req.Resources {
			rr := &req.Resources[i]
			changes, out := s.increments(rr)
			if out.Code == None {
				out = s.alterConfig(rr.ResourceType, rr.ResourceName, changes, false, req.ValidateOnly)
			}
			r := kmsg.NewIncrementalAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName, r.ErrorCode, r.ErrorMessage = rr.ResourceType, rr.ResourceName, int16(out.Code), optional(out.Text)
			resp.Resources = append(resp.Resources, r)
		}
		cl.reply(resp)
	})
}

// increments turns operations into values; APPEND and SUBTRACT change a list.
func (s *Server) increments(rr *kmsg.IncrementalAlterConfigsRequestResource) (map[string]*string, Outcome) {
	changes := map[string]*string{}
	t := s.backend.Metadata.Image().Topics[rr.ResourceName]
	for i := range rr.Configs {
		c := &rr.Configs[i]
		var list []string
		if t != nil && t.Config[c.Name] != "" {
			list = strings.Split(t.Config[c.Name], ",")
		}
		switch c.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			if c.Value == nil {
				return nil, Outcome{Code: InvalidConfig, Text: fmt.Sprintf("configuration %q has no value", c.Name)}
			}
			changes[c.Name] = c.Value
			continue
		case kmsg.IncrementalAlterConfigOpDelete:
			changes[c.Name] = nil
			continue
		case kmsg.IncrementalAlterConfigOpAppend:
			if !slices.Contains(list, text(c.Value)) {
				list = append(list, text(c.Value))
			}
		case kmsg.IncrementalAlterConfigOpSubtract:
			list = slices.DeleteFunc(list, func(v string) bool { return v == text(c.Value) })
		default:
			return nil, Outcome{Code: InvalidRequest, Text: fmt.Sprintf("unknown operation %d", c.Op)}
		}
		joined := strings.Join(list, ",")
		changes[c.Name] = &joined
	}
	return changes, Outcome{}
}
