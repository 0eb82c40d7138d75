package api

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeConfigs answers DescribeConfigs for topics and for this broker.
func (s *Server) describeConfigs(cl *call) {
	req := cl.req.(*kmsg.DescribeConfigsRequest)
	resp := response[*kmsg.DescribeConfigsResponse](cl)
	for i := range req.Resources {
		rr := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = rr.ResourceType, rr.ResourceName
		var own map[string]string
		var values []ConfigValue
		code, why := None, ""
		switch rr.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			img := s.backend.Metadata.Image()
			if t := img.Topics[rr.ResourceName]; t == nil {
				code = UnknownTopicOrPartition
			} else {
				replicas := 0
				if len(t.Partitions) > 0 {
					replicas = len(t.Partitions[0].Replicas)
				}
				own, values = t.Config, s.backend.Metadata.TopicDefaults(replicas)
			}
		case kmsg.ConfigResourceTypeBroker:
			if rr.ResourceName != "" && rr.ResourceName != strconv.Itoa(int(s.backend.Metadata.Self())) {
				code, why = InvalidRequest, "a broker describes only itself"
			} else {
				values = s.backend.Metadata.BrokerConfigs()
			}
		default:
			code, why = InvalidRequest, "only topics and brokers have configurations here"
		}
		out.ErrorCode, out.ErrorMessage = int16(code), optional(why)
		out.Configs = describedConfigs(req, rr, values, own)
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}

// describedConfigs lists the values asked for: own ones, else the defaults.
func describedConfigs(req *kmsg.DescribeConfigsRequest, rr *kmsg.DescribeConfigsRequestResource, values []ConfigValue, own map[string]string) []kmsg.DescribeConfigsResponseResourceConfig {
	out := []kmsg.DescribeConfigsResponseResourceConfig{}
	for _, v := range values {
		if rr.ConfigNames != nil && !slices.Contains(rr.ConfigNames, v.Name) {
			continue
		}
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Value, c.ReadOnly, c.ConfigType = v.Name, &v.Value, v.ReadOnly, v.Type
		c.Source, c.IsDefault = kmsg.ConfigSourceDefaultConfig, true
		if rr.ResourceType == kmsg.ConfigResourceTypeBroker {
			c.Source, c.IsDefault = kmsg.ConfigSourceStaticBrokerConfig, false
		}
		if req.IncludeDocumentation {
			c.Documentation = optional(v.Doc)
		}
		syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		syn.Name, syn.Value, syn.Source = v.Name, &v.Value, c.Source
		if o, ok := own[v.Name]; ok {
			c.Value, c.Source, c.IsDefault = &o, kmsg.ConfigSourceDynamicTopicConfig, false
			if req.IncludeSynonyms {
				mine := syn
				mine.Value, mine.Source = &o, c.Source
				c.ConfigSynonyms = append(c.ConfigSynonyms, mine)
			}
		}
		if req.IncludeSynonyms {
			c.ConfigSynonyms = append(c.ConfigSynonyms, syn)
		}
		out = append(out, c)
	}
	return out
}
