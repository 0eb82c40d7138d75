package mq

import (
	"errors"
	"fmt"
)

// Errors of this package that no broker sends. Test with errors.Is.
var (
	// ErrClosed is returned by every call on a client, producer, consumer, broker or cluster that was closed.
	ErrClosed = errors.New("mq: closed")
	// ErrUnknownOutcome says that a write was sent and its answer never came: it may have happened or not, now or, while
	// the old request is still on its way, later. It wraps the reason.
	ErrUnknownOutcome = errors.New("outcome unknown: the request was sent and may have taken effect")
	// ErrDeliveryTimeout says that a record was given up after ProducerConfig.DeliveryTimeout. Unless the error also is
	// ErrUnknownOutcome, the record was never sent.
	ErrDeliveryTimeout = errors.New("mq: delivery timeout")
	// ErrNotAssigned says that a call named a partition the consumer does not have (any more).
	ErrNotAssigned = errors.New("mq: partition is not assigned to this consumer")
	// ErrNoOffset says that a partition has no committed offset, or that its offset is out of range, and that
	// ConsumerConfig.AutoOffsetReset is ResetNone.
	ErrNoOffset = errors.New("mq: no valid offset to start from")
	// ErrProtocol says that a peer sent bytes that the Kafka protocol does not allow. The connection is closed.
	ErrProtocol = errors.New("mq: protocol violation")
	// ErrVersion says that client and broker have no version of a request in common.
	ErrVersion = errors.New("mq: no common version of the request")
)

// Error is an error code of the Kafka protocol, as a broker sent it. The constants ErrXxx name them; compare with errors.Is:
//
//	if errors.Is(err, mq.ErrTopicAlreadyExists) { … }
//
// The zero Error means success and is never returned as an error.
type Error int16

// Error returns the protocol's name of the code, for example NOT_LEADER_OR_FOLLOWER.
func (e Error) Error() string {
	if name, ok := errorNames[e]; ok {
		return name
	}
	return fmt.Sprintf("UNKNOWN_ERROR_CODE_%d", int16(e))
}

// Code returns the number on the wire.
func (e Error) Code() int16 { return int16(e) }

// Retriable reports whether the protocol calls the error retriable: the same request may succeed later without a change.
func (e Error) Retriable() bool { return retriableErrors[e] }

// codeError returns nil for code 0 and an Error otherwise.
func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return Error(code)
}

// OpError says what was being done when an error happened, and to what. Err is what happened: an Error from a broker, a
// network error, a context's error, or one of the variables above. errors.Is and errors.As look through it.
type OpError struct {
	Op      string // "create topic", "commit", …
	Subject string // what it was done to: "orders", "orders/3", "group billing"; may be empty
	Detail  string // what the broker said beside its code; may be empty
	Err     error
}

// Error returns one line: operation, subject, reason.
func (e *OpError) Error() string {
	s := "mq: " + e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	s += ": " + e.Err.Error()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// unknownOutcomeError joins ErrUnknownOutcome with the reason.
type unknownOutcomeError struct{ cause error }

func (e *unknownOutcomeError) Error() string {
	return ErrUnknownOutcome.Error() + ": " + e.cause.Error()
}

func (e *unknownOutcomeError) Unwrap() []error { return []error{ErrUnknownOutcome, e.cause} }

// unknownOutcome wraps cause so that it is ErrUnknownOutcome too.
func unknownOutcome(cause error) error {
	if cause == nil || errors.Is(cause, ErrUnknownOutcome) {
		return cause
	}
	return &unknownOutcomeError{cause}
}
