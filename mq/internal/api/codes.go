package api

// Code is an error code of the Kafka protocol.
type Code int16

// The codes this package answers with, by their names in the protocol.
const (
	UnknownServerError          Code = -1
	None                        Code = 0
	OffsetOutOfRange            Code = 1
	CorruptMessage              Code = 2
	UnknownTopicOrPartition     Code = 3
	LeaderNotAvailable          Code = 5
	NotLeaderOrFollower         Code = 6
	RequestTimedOut             Code = 7
	MessageTooLarge             Code = 10
	OffsetMetadataTooLarge      Code = 12
	CoordinatorLoadInProgress   Code = 14
	CoordinatorNotAvailable     Code = 15
	NotCoordinator              Code = 16
	InvalidTopic                Code = 17
	NotEnoughReplicas           Code = 19
	InvalidRequiredAcks         Code = 21
	InvalidGroupID              Code = 24
	UnknownMemberID             Code = 25
	InvalidCommitOffsetSize     Code = 28
	InvalidTimestamp            Code = 32
	UnsupportedVersion          Code = 35
	TopicAlreadyExists          Code = 36
	InvalidPartitions           Code = 37
	InvalidReplicationFactor    Code = 38
	InvalidConfig               Code = 40
	NotController               Code = 41
	InvalidRequest              Code = 42
	UnsupportedForMessageFormat Code = 43
	PolicyViolation             Code = 44
	OutOfOrderSequence          Code = 45
	InvalidProducerEpoch        Code = 47
	KafkaStorageError           Code = 56
	UnknownProducerID           Code = 59
	GroupIDNotFound             Code = 69
	FetchSessionIDNotFound      Code = 70
	ListenerNotFound            Code = 72
	UnsupportedCompressionType  Code = 76
	InvalidRecord               Code = 87
	UnknownTopicID              Code = 100
	InconsistentTopicID         Code = 103
)
