package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// The tables. A layout is the first flexible version (KIP-482) and the fields in their order, with kmsg's names:
//
//	Name type            every version has it
//	Name type 3+         from version 3 on
//	Name type 3-7        from 3 to 7
//	Name type?           may be null
//	Name type?6+ 3+      from version 3 on, and may be null from 6 on
//	Name type #2         tagged field 2, in flexible versions
//	Name []int32         array of numbers or strings
//	Name [A type, ...]   array of structures
//	Name {A type, ...}   structure
//
// They reach to the newest versions that kmsg knows, so that its types are accounted for in whole.

// requests are the layouts of the requests that brokers serve, by key.
var requests = [...]*layout{
	kmsg.Produce: parse(9, `
		TransactionID string? 3+, Acks int16, TimeoutMillis int32, Topics [Topic string 0-12, TopicID uuid 13+,
		Partitions [Partition int32, Records bytes?]]`),
	kmsg.Fetch: parse(12, `
		ClusterID string? #0, ReplicaID int32 0-14, ReplicaState {ID int32, Epoch int64} #1, MaxWaitMillis int32,
		MinBytes int32, MaxBytes int32 3+, IsolationLevel int8 4+, SessionID int32 7+, SessionEpoch int32 7+,
		Topics [Topic string 0-12, TopicID uuid 13+, Partitions [Partition int32, CurrentLeaderEpoch int32 9+,
		FetchOffset int64, LastFetchedEpoch int32 12+, LogStartOffset int64 5+, PartitionMaxBytes int32,
		ReplicaDirectoryID uuid #0, HighWatermark int64 #1]], ForgottenTopics [Topic string 7-12, TopicID uuid 13+,
		Partitions []int32] 7+, Rack string 11+`),
	kmsg.ListOffsets: parse(6, `
		ReplicaID int32, IsolationLevel int8 2+, Topics [Topic string, Partitions [Partition int32, CurrentLeaderEpoch int32 4+,
		Timestamp int64, MaxNumOffsets int32 0-0]], TimeoutMillis int32 10+`),
	kmsg.Metadata: parse(9, `
		Topics [TopicID uuid 10+, Topic string?10+]?1+, AllowAutoTopicCreation bool 4+,
		IncludeClusterAuthorizedOperations bool 8-10, IncludeTopicAuthorizedOperations bool 8+`),
	kmsg.ControlledShutdown: parse(3, `BrokerID int32, BrokerEpoch int64 2+`),
	kmsg.OffsetCommit: parse(8, `
		Group string, Generation int32 1+, MemberID string 1+, InstanceID string? 7+, RetentionTimeMillis int64 2-4,
		Topics [Topic string 0-9, TopicID uuid 10+, Partitions [Partition int32, Offset int64, Timestamp int64 1-1,
		LeaderEpoch int32 6+, Metadata string?]]`),
	kmsg.OffsetFetch: parse(6, `
		Group string 0-7, Topics [Topic string, Partitions []int32]?2+ 0-7, Groups [Group string, MemberID string? 9+,
		MemberEpoch int32 9+, Topics [Topic string 8-9, TopicID uuid 10+, Partitions []int32]?] 8+, RequireStable bool 7+`),
	kmsg.FindCoordinator: parse(3, `CoordinatorKey string 0-3, CoordinatorType int8 1+, CoordinatorKeys []string 4+`),
	kmsg.JoinGroup: parse(6, `
		Group string, SessionTimeoutMillis int32, RebalanceTimeoutMillis int32 1+, MemberID string, InstanceID string? 5+,
		ProtocolType string, Protocols [Name string, Metadata bytes], Reason string? 8+`),
	kmsg.Heartbeat: parse(4, `Group string, Generation int32, MemberID string, InstanceID string? 3+`),
	kmsg.LeaveGroup: parse(4, `
		Group string, MemberID string 0-2, Members [MemberID string, InstanceID string?, Reason string? 5+] 3+`),
	kmsg.SyncGroup: parse(4, `
		Group string, Generation int32, MemberID string, InstanceID string? 3+, ProtocolType string? 5+, Protocol string? 5+,
		GroupAssignment [MemberID string, MemberAssignment bytes]`),
	kmsg.DescribeGroups: parse(5, `Groups []string, IncludeAuthorizedOperations bool 3+`),
	kmsg.ListGroups:     parse(3, `StatesFilter []string 4+, TypesFilter []string 5+`),
	kmsg.ApiVersions: parse(3, `
		ClientSoftwareName string 3+, ClientSoftwareVersion string 3+, ClusterID string? 5+, NodeID int32 5+`),
	kmsg.CreateTopics: parse(5, `
		Topics [Topic string, NumPartitions int32, ReplicationFactor int16, ReplicaAssignment [Partition int32,
		Replicas []int32], Configs [Name string, Value string?]], TimeoutMillis int32, ValidateOnly bool 1+`),
	kmsg.DeleteTopics:  parse(4, `TopicNames []string 0-5, Topics [Topic string?, TopicID uuid] 6+, TimeoutMillis int32`),
	kmsg.DeleteRecords: parse(2, `Topics [Topic string, Partitions [Partition int32, Offset int64]], TimeoutMillis int32`),
	kmsg.InitProducerID: parse(2, `
		TransactionalID string?, TransactionTimeoutMillis int32, ProducerID int64 3+, ProducerEpoch int16 3+`),
	kmsg.OffsetForLeaderEpoch: parse(4, `
		ReplicaID int32 3+, Topics [Topic string, Partitions [Partition int32, CurrentLeaderEpoch int32 2+, LeaderEpoch int32]]`),
	kmsg.DescribeConfigs: parse(4, `
		Resources [ResourceType int8, ResourceName string, ConfigNames []string?], IncludeSynonyms bool 1+,
		IncludeDocumentation bool 3+`),
	kmsg.AlterConfigs: parse(2, `
		Resources [ResourceType int8, ResourceName string, Configs [Name string, Value string?]], ValidateOnly bool`),
	kmsg.CreatePartitions: parse(2, `
		Topics [Topic string, Count int32, Assignment [Replicas []int32]?], TimeoutMillis int32, ValidateOnly bool`),
	kmsg.DeleteGroups: parse(2, `Groups []string`),
	kmsg.IncrementalAlterConfigs: parse(1, `
		Resources [ResourceType int8, ResourceName string, Configs [Name string, Op int8, Value string?]], ValidateOnly bool`),
	kmsg.OffsetDelete: parse(never, `Group string, Topics [Topic string, Partitions [Partition int32]]`),
	kmsg.DescribeCluster: parse(0, `
		IncludeClusterAuthorizedOperations bool, EndpointType int8 1+, IncludeFencedBrokers bool 2+`),
}

// responses are the layouts of their responses. Bytes may be null everywhere: there are brokers (Azure Event Hubs) that send null for
// nothing.
var responses = [...]*layout{
	kmsg.Produce: parse(9, `
		Topics [Topic string 0-12, TopicID uuid 13+, Partitions [Partition int32, ErrorCode int16, BaseOffset int64,
		LogAppendTime int64 2+, LogStartOffset int64 5+, ErrorRecords [RelativeOffset int32, ErrorMessage string?] 8+,
		ErrorMessage string? 8+, CurrentLeader {LeaderID int32, LeaderEpoch int32} #0]], ThrottleMillis int32 1+,
		Brokers [NodeID int32, Host string, Port int32, Rack string?] #0`),
	kmsg.Fetch: parse(12, `
		ThrottleMillis int32 1+, ErrorCode int16 7+, SessionID int32 7+, Topics [Topic string 0-12, TopicID uuid 13+,
		Partitions [Partition int32, ErrorCode int16, HighWatermark int64, LastStableOffset int64 4+, LogStartOffset int64 5+,
		DivergingEpoch {Epoch int32, EndOffset int64} #0, CurrentLeader {LeaderID int32, LeaderEpoch int32} #1,
		SnapshotID {EndOffset int64, Epoch int32} #2, AbortedTransactions [ProducerID int64, FirstOffset int64]? 4+,
		PreferredReadReplica int32 11+, RecordBatches bytes?]], Brokers [NodeID int32, Host string, Port int32, Rack string?] #0`),
	kmsg.ListOffsets: parse(6, `
		ThrottleMillis int32 2+, Topics [Topic string, Partitions [Partition int32, ErrorCode int16,
		OldStyleOffsets []int64 0-0, Timestamp int64 1+, Offset int64 1+, LeaderEpoch int32 4+]]`),
	kmsg.Metadata: parse(9, `
		ThrottleMillis int32 3+, Brokers [NodeID int32, Host string, Port int32, Rack string? 1+], ClusterID string? 2+,
		ControllerID int32 1+, Topics [ErrorCode int16, Topic string?12+, TopicID uuid 10+, IsInternal bool 1+,
		Partitions [ErrorCode int16, Partition int32, Leader int32, LeaderEpoch int32 7+, Replicas []int32, ISR []int32,
		OfflineReplicas []int32 5+], AuthorizedOperations int32 8+], AuthorizedOperations int32 8-10, ErrorCode int16 13+`),
	kmsg.ControlledShutdown: parse(3, `ErrorCode int16, PartitionsRemaining [Topic string, Partition int32]`),
	kmsg.OffsetCommit: parse(8, `
		ThrottleMillis int32 3+, Topics [Topic string 0-9, TopicID uuid 10+, Partitions [Partition int32, ErrorCode int16]]`),
	kmsg.OffsetFetch: parse(6, `
		ThrottleMillis int32 3+, Topics [Topic string, Partitions [Partition int32, Offset int64, LeaderEpoch int32 5+,
		Metadata string?, ErrorCode int16]] 0-7, ErrorCode int16 2-7, Groups [Group string, Topics [Topic string 8-9,
		TopicID uuid 10+, Partitions [Partition int32, Offset int64, LeaderEpoch int32, Metadata string?, ErrorCode int16]],
		ErrorCode int16] 8+`),
	kmsg.FindCoordinator: parse(3, `
		ThrottleMillis int32 1+, ErrorCode int16 0-3, ErrorMessage string? 1-3, NodeID int32 0-3, Host string 0-3,
		Port int32 0-3, Coordinators [Key string, NodeID int32, Host string, Port int32, ErrorCode int16,
		ErrorMessage string?] 4+`),
	kmsg.JoinGroup: parse(6, `
		ThrottleMillis int32 2+, ErrorCode int16, Generation int32, ProtocolType string? 7+, Protocol string?7+,
		LeaderID string, SkipAssignment bool 9+, MemberID string, Members [MemberID string, InstanceID string? 5+,
		ProtocolMetadata bytes?]`),
	kmsg.Heartbeat: parse(4, `ThrottleMillis int32 1+, ErrorCode int16`),
	kmsg.LeaveGroup: parse(4, `
		ThrottleMillis int32 1+, ErrorCode int16, Members [MemberID string, InstanceID string?, ErrorCode int16] 3+`),
	kmsg.SyncGroup: parse(4, `
		ThrottleMillis int32 1+, ErrorCode int16, ProtocolType string? 5+, Protocol string? 5+, MemberAssignment bytes?`),
	kmsg.DescribeGroups: parse(5, `
		ThrottleMillis int32 1+, Groups [ErrorCode int16, ErrorMessage string? 6+, Group string, State string,
		ProtocolType string, Protocol string, Members [MemberID string, InstanceID string? 4+, ClientID string,
		ClientHost string, ProtocolMetadata bytes?, MemberAssignment bytes?], AuthorizedOperations int32 3+]`),
	kmsg.ListGroups: parse(3, `
		ThrottleMillis int32 1+, ErrorCode int16, Groups [Group string, ProtocolType string, GroupState string 4+,
		GroupType string 5+]`),
	kmsg.ApiVersions: parse(3, `
		ErrorCode int16, ApiKeys [ApiKey int16, MinVersion int16, MaxVersion int16], ThrottleMillis int32 1+,
		SupportedFeatures [Name string, MinVersion int16, MaxVersion int16] #0, FinalizedFeaturesEpoch int64 #1,
		FinalizedFeatures [Name string, MaxVersionLevel int16, MinVersionLevel int16] #2, ZkMigrationReady bool #3`),
	kmsg.CreateTopics: parse(5, `
		ThrottleMillis int32 2+, Topics [Topic string, TopicID uuid 7+, ErrorCode int16, ErrorMessage string? 1+,
		ConfigErrorCode int16 #0, NumPartitions int32 5+, ReplicationFactor int16 5+, Configs [Name string, Value string?,
		ReadOnly bool, Source int8, IsSensitive bool]? 5+]`),
	kmsg.DeleteTopics: parse(4, `
		ThrottleMillis int32 1+, Topics [Topic string?6+, TopicID uuid 6+, ErrorCode int16, ErrorMessage string? 5+]`),
	kmsg.DeleteRecords: parse(2, `
		ThrottleMillis int32, Topics [Topic string, Partitions [Partition int32, LowWatermark int64, ErrorCode int16]]`),
	kmsg.InitProducerID: parse(2, `ThrottleMillis int32, ErrorCode int16, ProducerID int64, ProducerEpoch int16`),
	kmsg.OffsetForLeaderEpoch: parse(4, `
		ThrottleMillis int32 2+, Topics [Topic string, Partitions [ErrorCode int16, Partition int32, LeaderEpoch int32 1+,
		EndOffset int64]]`),
	kmsg.DescribeConfigs: parse(4, `
		ThrottleMillis int32, Resources [ErrorCode int16, ErrorMessage string?, ResourceType int8, ResourceName string,
		Configs [Name string, Value string?, ReadOnly bool, IsDefault bool 0-0, Source int8 1+, IsSensitive bool,
		ConfigSynonyms [Name string, Value string?, Source int8] 1+, ConfigType int8 3+, Documentation string? 3+]]`),
	kmsg.AlterConfigs: parse(2, `
		ThrottleMillis int32, Resources [ErrorCode int16, ErrorMessage string?, ResourceType int8, ResourceName string]`),
	kmsg.CreatePartitions: parse(2, `ThrottleMillis int32, Topics [Topic string, ErrorCode int16, ErrorMessage string?]`),
	kmsg.DeleteGroups:     parse(2, `ThrottleMillis int32, Groups [Group string, ErrorCode int16, ErrorMessage string? 3+]`),
	kmsg.IncrementalAlterConfigs: parse(1, `
		ThrottleMillis int32, Resources [ErrorCode int16, ErrorMessage string?, ResourceType int8, ResourceName string]`),
	kmsg.OffsetDelete: parse(never, `
		ErrorCode int16, ThrottleMillis int32, Topics [Topic string, Partitions [Partition int32, ErrorCode int16]]`),
	kmsg.DescribeCluster: parse(0, `
		ThrottleMillis int32, ErrorCode int16, ErrorMessage string?, EndpointType int8 1+, ClusterID string, ControllerID int32,
		Brokers [NodeID int32, Host string, Port int32, Rack string?, IsFenced bool 2+], ClusterAuthorizedOperations int32`),
}

// Values of the group protocol and of __consumer_offsets.
var (
	offsetCommitKey   = parse(never, `Version int16, Group string, Topic string, Partition int32`)
	offsetCommitValue = parse(4, `
		Version int16, Offset int64, LeaderEpoch int32 3+, Metadata string, CommitTimestamp int64, ExpireTimestamp int64 1-1,
		TopicID uuid #0`)
	groupMetadataKey   = parse(never, `Version int16, Group string`)
	groupMetadataValue = parse(4, `
		Version int16, ProtocolType string, Generation int32, Protocol string?, Leader string?, CurrentStateTimestamp int64 2+,
		Members [MemberID string, InstanceID string? 3+, ClientID string, ClientHost string, RebalanceTimeoutMillis int32 1+,
		SessionTimeoutMillis int32, Subscription bytes, Assignment bytes]`)
	consumerMemberMetadata = parse(never, `
		Version int16, Topics []string, UserData bytes?, OwnedPartitions [Topic string, Partitions []int32] 1+,
		Generation int32 2+, Rack string? 3+`)
	consumerMemberAssignment = parse(never, `Version int16, Topics [Topic string, Partitions []int32], UserData bytes?`)
)
