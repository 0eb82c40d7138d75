package zk

import (
	"errors"
	"fmt"
)

// Error is an error code of the ZooKeeper protocol. Test for one with
// errors.Is(err, zk.ErrNoNode).
type Error int32

// The codes of the protocol (org.apache.zookeeper.KeeperException.Code).
const (
	ErrSystem               Error = -1
	ErrRuntimeInconsistency Error = -2 // an operation of a multi that was not executed because another one failed
	ErrDataInconsistency    Error = -3
	// ErrConnectionLoss means that a request was sent and its answer lost with
	// the connection; a read was sent ten times. Of a write it says that the outcome is unknown: it may have
	// been executed, once, or not at all.
	ErrConnectionLoss      Error = -4
	ErrMarshalling         Error = -5 // the server could not decode the request
	ErrUnimplemented       Error = -6
	ErrOperationTimeout    Error = -7
	ErrBadArguments        Error = -8
	ErrUnknownSession      Error = -12
	ErrNewConfigNoQuorum   Error = -13
	ErrReconfigInProgress  Error = -14
	ErrAPI                 Error = -100
	ErrNoNode              Error = -101
	ErrNoAuth              Error = -102 // the ACL does not allow it
	ErrBadVersion          Error = -103
	ErrEphemeralParent     Error = -108 // ephemerals have no children (NOCHILDRENFOREPHEMERALS)
	ErrNodeExists          Error = -110
	ErrNotEmpty            Error = -111 // it has children
	ErrSessionExpired      Error = -112 // the ensemble has ended the session; ephemerals and watches are gone
	ErrInvalidCallback     Error = -113
	ErrInvalidACL          Error = -114
	ErrAuthFailed          Error = -115 // the server refused a credential
	ErrSessionMoved        Error = -118
	ErrNotReadOnly         Error = -119 // a write on a read-only server
	ErrEphemeralOnLocal    Error = -120 // EPHEMERALONLOCALSESSION
	ErrNoWatcher           Error = -121
	ErrRequestTimeout      Error = -122
	ErrReconfigDisabled    Error = -123
	ErrSessionRequiresSASL Error = -124
	ErrQuotaExceeded       Error = -125
	ErrThrottled           Error = -127
)

// ErrClosed is returned by every call on a client, a server or an ensemble that
// has been closed.
var ErrClosed = errors.New("closed")

// ErrTooLarge is returned for a request above ClientConfig.RequestBytesMax,
// which is not sent, and for a reply above ReplyBytesMax, which is skipped. The
// connection stays.
var ErrTooLarge = errors.New("too large")

var errorText = map[Error]string{
	ErrSystem:               "system error",
	ErrRuntimeInconsistency: "not executed: another operation of the multi failed",
	ErrDataInconsistency:    "data inconsistency",
	ErrConnectionLoss:       "connection lost",
	ErrMarshalling:          "the server could not decode the request",
	ErrUnimplemented:        "unimplemented",
	ErrOperationTimeout:     "operation timeout",
	ErrBadArguments:         "bad arguments",
	ErrUnknownSession:       "unknown session",
	ErrNewConfigNoQuorum:    "no quorum of the new configuration is in sync",
	ErrReconfigInProgress:   "a reconfiguration is in progress",
	ErrAPI:                  "api error",
	ErrNoNode:               "no such znode",
	ErrNoAuth:               "not authorized",
	ErrBadVersion:           "version conflict",
	ErrEphemeralParent:      "an ephemeral znode has no children",
	ErrNodeExists:           "znode exists",
	ErrNotEmpty:             "znode has children",
	ErrSessionExpired:       "session expired",
	ErrInvalidCallback:      "invalid callback",
	ErrInvalidACL:           "invalid ACL",
	ErrAuthFailed:           "authentication failed",
	ErrSessionMoved:         "session moved to another server",
	ErrNotReadOnly:          "the server is read-only",
	ErrEphemeralOnLocal:     "an ephemeral znode needs a global session",
	ErrNoWatcher:            "no such watch",
	ErrRequestTimeout:       "request timeout",
	ErrReconfigDisabled:     "reconfiguration is disabled",
	ErrSessionRequiresSASL:  "the session must authenticate by SASL",
	ErrQuotaExceeded:        "quota exceeded",
	ErrThrottled:            "request throttled",
}

// Error describes the code.
func (e Error) Error() string {
	if s, ok := errorText[e]; ok {
		return s
	}
	return fmt.Sprintf("error code %d", int32(e))
}

// OpError says which operation failed, where and why.
type OpError struct {
	Op   string // "create", "get", …; "multi create" for an operation of a multi
	Path string // as the caller wrote it; may be empty
	Err  error  // an Error, a context's error, ErrClosed, ErrTooLarge, …

	// Unknown says that the outcome is unknown: the request was sent, and its
	// answer was lost or not waited for. It may have been executed, once, or not
	// at all. errors.Is(err, ErrConnectionLoss) is true then, whatever Err is.
	Unknown bool
}

// Error is "zk: op path: reason".
func (e *OpError) Error() string {
	s := "zk: " + e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	s += ": " + e.Err.Error()
	if e.Unknown {
		s += ": outcome unknown, it may or may not have been executed"
	}
	return s
}

// Unwrap is Err.
func (e *OpError) Unwrap() error { return e.Err }

// Is reports an unknown outcome as ErrConnectionLoss.
func (e *OpError) Is(target error) bool {
	return e.Unknown && target == error(ErrConnectionLoss)
}
