package jute

import "strconv"

// OpCode is the type of a request (ZooDefs.OpCode).
type OpCode int32

// The operations of the protocol. OpMulti and OpMultiRead carry others; OpDeleteContainer, OpCreateSession, OpCloseSession and
// OpError appear in logs and multi results; a client sends OpCloseSession, too.
const (
	OpNotification         OpCode = 0
	OpCreate               OpCode = 1
	OpDelete               OpCode = 2
	OpExists               OpCode = 3
	OpGetData              OpCode = 4
	OpSetData              OpCode = 5
	OpGetACL               OpCode = 6
	OpSetACL               OpCode = 7
	OpGetChildren          OpCode = 8
	OpSync                 OpCode = 9
	OpPing                 OpCode = 11
	OpGetChildren2         OpCode = 12
	OpCheck                OpCode = 13
	OpMulti                OpCode = 14
	OpCreate2              OpCode = 15
	OpReconfig             OpCode = 16
	OpCheckWatches         OpCode = 17
	OpRemoveWatches        OpCode = 18
	OpCreateContainer      OpCode = 19
	OpDeleteContainer      OpCode = 20
	OpCreateTTL            OpCode = 21
	OpMultiRead            OpCode = 22
	OpAuth                 OpCode = 100
	OpSetWatches           OpCode = 101
	OpSASL                 OpCode = 102
	OpGetEphemerals        OpCode = 103
	OpGetAllChildrenNumber OpCode = 104
	OpSetWatches2          OpCode = 105
	OpAddWatch             OpCode = 106
	OpWhoAmI               OpCode = 107
	OpCreateSession        OpCode = -10
	OpCloseSession         OpCode = -11
	OpError                OpCode = -1
)

var opNames = map[OpCode]string{
	OpNotification: "notification", OpCreate: "create", OpDelete: "delete", OpExists: "exists", OpGetData: "getData",
	OpSetData: "setData", OpGetACL: "getACL", OpSetACL: "setACL", OpGetChildren: "getChildren", OpSync: "sync", OpPing: "ping",
	OpGetChildren2: "getChildren2", OpCheck: "check", OpMulti: "multi", OpCreate2: "create2", OpReconfig: "reconfig",
	OpCheckWatches: "checkWatches", OpRemoveWatches: "removeWatches", OpCreateContainer: "createContainer",
	OpDeleteContainer: "deleteContainer", OpCreateTTL: "createTTL", OpMultiRead: "multiRead", OpAuth: "auth",
	OpSetWatches: "setWatches", OpSASL: "sasl", OpGetEphemerals: "getEphemerals", OpGetAllChildrenNumber: "getAllChildrenNumber",
	OpSetWatches2: "setWatches2", OpAddWatch: "addWatch", OpWhoAmI: "whoAmI", OpCreateSession: "createSession",
	OpCloseSession: "closeSession", OpError: "error",
}

// String returns ZooKeeper's name of the operation, or its number.
func (o OpCode) String() string {
	if s, ok := opNames[o]; ok {
		return s
	}
	return "op" + strconv.Itoa(int(o))
}

// Code is an error code of a reply (KeeperException.Code); 0 is success. It is an error, except for CodeOK, which callers
// turn into nil.
type Code int32

// The error codes that a server or client may report.
const (
	CodeOK                      Code = 0
	CodeSystemError             Code = -1
	CodeRuntimeInconsistency    Code = -2
	CodeDataInconsistency       Code = -3
	CodeConnectionLoss          Code = -4
	CodeMarshallingError        Code = -5
	CodeUnimplemented           Code = -6
	CodeOperationTimeout        Code = -7
	CodeBadArguments            Code = -8
	CodeUnknownSession          Code = -12
	CodeNewConfigNoQuorum       Code = -13
	CodeReconfigInProgress      Code = -14
	CodeAPIError                Code = -100
	CodeNoNode                  Code = -101
	CodeNoAuth                  Code = -102
	CodeBadVersion              Code = -103
	CodeNoChildrenForEphemerals Code = -108
	CodeNodeExists              Code = -110
	CodeNotEmpty                Code = -111
	CodeSessionExpired          Code = -112
	CodeInvalidCallback         Code = -113
	CodeInvalidACL              Code = -114
	CodeAuthFailed              Code = -115
	CodeSessionMoved            Code = -118
	CodeNotReadOnly             Code = -119
	CodeEphemeralOnLocalSession Code = -120
	CodeNoWatcher               Code = -121
	CodeRequestTimeout          Code = -122
	CodeReconfigDisabled        Code = -123
	CodeSessionClosedSASL       Code = -124
	CodeQuotaExceeded           Code = -125
	CodeThrottledOp             Code = -127
)

var codeNames = map[Code]string{
	CodeOK: "Ok", CodeSystemError: "SystemError", CodeRuntimeInconsistency: "RuntimeInconsistency",
	CodeDataInconsistency: "DataInconsistency", CodeConnectionLoss: "ConnectionLoss", CodeMarshallingError: "MarshallingError",
	CodeUnimplemented: "Unimplemented", CodeOperationTimeout: "OperationTimeout", CodeBadArguments: "BadArguments",
	CodeUnknownSession: "UnknownSession", CodeNewConfigNoQuorum: "NewConfigNoQuorum", CodeReconfigInProgress: "ReconfigInProgress",
	CodeAPIError: "APIError", CodeNoNode: "NoNode", CodeNoAuth: "NoAuth", CodeBadVersion: "BadVersion",
	CodeNoChildrenForEphemerals: "NoChildrenForEphemerals", CodeNodeExists: "NodeExists", CodeNotEmpty: "NotEmpty",
	CodeSessionExpired: "SessionExpired", CodeInvalidCallback: "InvalidCallback", CodeInvalidACL: "InvalidACL",
	CodeAuthFailed: "AuthFailed", CodeSessionMoved: "SessionMoved", CodeNotReadOnly: "NotReadOnly",
	CodeEphemeralOnLocalSession: "EphemeralOnLocalSession", CodeNoWatcher: "NoWatcher", CodeRequestTimeout: "RequestTimeout",
	CodeReconfigDisabled: "ReconfigDisabled", CodeSessionClosedSASL: "SessionClosedRequireSaslAuth",
	CodeQuotaExceeded: "QuotaExceeded", CodeThrottledOp: "ThrottledOp",
}

// String returns ZooKeeper's name of the code, or its number.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return "Code" + strconv.Itoa(int(c))
}

// Error makes a Code usable as an error.
func (c Code) Error() string { return "zookeeper: " + c.String() }

// Xids that do not number a request.
const (
	XidNotification int32 = -1
	XidPing         int32 = -2
	XidAuth         int32 = -4
	XidSetWatches   int32 = -8
)

// EventType is the kind of a watch event.
type EventType int32

// The event types. Those from EventDataWatchRemoved on never cross the wire: a client makes them.
const (
	EventNone                   EventType = -1
	EventCreated                EventType = 1
	EventDeleted                EventType = 2
	EventDataChanged            EventType = 3
	EventChildrenChanged        EventType = 4
	EventDataWatchRemoved       EventType = 5
	EventChildWatchRemoved      EventType = 6
	EventPersistentWatchRemoved EventType = 7
)

// StateSyncConnected is the only state that a server puts into a WatcherEvent.
const StateSyncConnected int32 = 3

// Watcher types of checkWatches and removeWatches.
const (
	WatcherChildren            int32 = 1
	WatcherData                int32 = 2
	WatcherAny                 int32 = 3
	WatcherPersistent          int32 = 4 // since 3.9
	WatcherPersistentRecursive int32 = 5 // since 3.9
)

// Modes of addWatch.
const (
	AddWatchPersistent          int32 = 0
	AddWatchPersistentRecursive int32 = 1
)

// Flags of the create operations (CreateMode).
const (
	FlagPersistent              int32 = 0
	FlagEphemeral               int32 = 1
	FlagPersistentSequential    int32 = 2
	FlagEphemeralSequential     int32 = 3
	FlagContainer               int32 = 4
	FlagTTL                     int32 = 5
	FlagPersistentSequentialTTL int32 = 6
)

// Permission bits of an ACL.
const (
	PermRead   int32 = 1
	PermWrite  int32 = 2
	PermCreate int32 = 4
	PermDelete int32 = 8
	PermAdmin  int32 = 16
	PermAll    int32 = 31
)
