package api

import "github.com/twmb/franz-go/pkg/kmsg"

// The keys of the APIs that are served.
const (
	keyProduce                 int16 = 0
	keyFetch                   int16 = 1
	keyListOffsets             int16 = 2
	keyMetadata                int16 = 3
	keyOffsetCommit            int16 = 8
	keyOffsetFetch             int16 = 9
	keyFindCoordinator         int16 = 10
	keyJoinGroup               int16 = 11
	keyHeartbeat               int16 = 12
	keyLeaveGroup              int16 = 13
	keySyncGroup               int16 = 14
	keyDescribeGroups          int16 = 15
	keyListGroups              int16 = 16
	keyApiVersions             int16 = 18
	keyCreateTopics            int16 = 19
	keyDeleteTopics            int16 = 20
	keyDeleteRecords           int16 = 21
	keyInitProducerID          int16 = 22
	keyOffsetForLeaderEpoch    int16 = 23
	keyDescribeConfigs         int16 = 32
	keyAlterConfigs            int16 = 33
	keyCreatePartitions        int16 = 37
	keyDeleteGroups            int16 = 42
	keyIncrementalAlterConfigs int16 = 44
	keyOffsetDelete            int16 = 47
	keyDescribeCluster         int16 = 60
	keyControlledShutdown      int16 = 7
)

// api is one Kafka API: the versions served, and its handler.
type api struct {
	// min and max are advertised. Versions up to internal are served too, for other brokers; 0 means max.
	min, max, internal int16
	// hidden APIs are not advertised: brokers speak them among themselves.
	hidden bool
	// requestBytesMax bounds its frames; 0: apiRequestBytesMax.
	requestBytesMax int
	handle          func(*Server, *call)
}

// apiRequestBytesMax bounds frames of every API but Produce, whatever Config.RequestBytesMax allows: none of them carries
// records. It is as much as an assignment of 50,000 partitions takes.
const apiRequestBytesMax = 4 << 20

// apis is the table of what is served. Where versions end, so does what Kafka 2.8 speaks.
var apis = map[int16]*api{
	keyProduce:                 {min: 3, max: 9, requestBytesMax: -1, handle: (*Server).produce},
	keyFetch:                   {min: 4, max: 12, internal: 15, handle: (*Server).fetch},
	keyListOffsets:             {min: 1, max: 6, handle: (*Server).listOffsets},
	keyMetadata:                {min: 0, max: 11, handle: (*Server).metadata},
	keyOffsetCommit:            {min: 2, max: 8, handle: (*Server).offsetCommit},
	keyOffsetFetch:             {min: 1, max: 7, handle: (*Server).offsetFetch},
	keyFindCoordinator:         {min: 0, max: 3, handle: (*Server).findCoordinator},
	keyJoinGroup:               {min: 0, max: 7, handle: (*Server).joinGroup},
	keyHeartbeat:               {min: 0, max: 4, handle: (*Server).heartbeat},
	keyLeaveGroup:              {min: 0, max: 4, handle: (*Server).leaveGroup},
	keySyncGroup:               {min: 0, max: 5, handle: (*Server).syncGroup},
	keyDescribeGroups:          {min: 0, max: 5, handle: (*Server).describeGroups},
	keyListGroups:              {min: 0, max: 4, handle: (*Server).listGroups},
	keyApiVersions:             {min: 0, max: 3, handle: nil}, // answered by dispatch
	keyCreateTopics:            {min: 0, max: 7, handle: (*Server).createTopics},
	keyDeleteTopics:            {min: 0, max: 6, handle: (*Server).deleteTopics},
	keyDeleteRecords:           {min: 0, max: 2, handle: (*Server).deleteRecords},
	keyInitProducerID:          {min: 0, max: 4, handle: (*Server).initProducerID},
	keyOffsetForLeaderEpoch:    {min: 0, max: 4, handle: (*Server).offsetForLeaderEpoch},
	keyDescribeConfigs:         {min: 0, max: 4, handle: (*Server).describeConfigs},
	keyAlterConfigs:            {min: 0, max: 2, handle: (*Server).alterConfigs},
	keyCreatePartitions:        {min: 0, max: 3, handle: (*Server).createPartitions},
	keyDeleteGroups:            {min: 0, max: 2, handle: (*Server).deleteGroups},
	keyIncrementalAlterConfigs: {min: 0, max: 1, handle: (*Server).incrementalAlterConfigs},
	keyOffsetDelete:            {min: 0, max: 0, handle: (*Server).offsetDelete},
	keyDescribeCluster:         {min: 0, max: 0, handle: (*Server).describeCluster},
	keyControlledShutdown:      {min: 3, max: 3, hidden: true, handle: (*Server).controlledShutdown},
}

// serves says whether version is one of the API's.
func (a *api) serves(version int16) bool {
	return version >= a.min && version <= max(a.max, a.internal)
}

// apiVersionsKeys lists what ApiVersions advertises, by key.
func apiVersionsKeys() []kmsg.ApiVersionsResponseApiKey {
	var keys []kmsg.ApiVersionsResponseApiKey
	for key := int16(0); key <= keyDescribeCluster; key++ {
		a := apis[key]
		if a == nil || a.hidden {
			continue
		}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = key, a.min, a.max
		keys = append(keys, k)
	}
	return keys
}
