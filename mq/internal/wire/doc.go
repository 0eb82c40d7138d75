// Package wire decodes what arrives from outside in the Kafka protocol: requests, responses, the consumer protocol and the records
// of __consumer_offsets.
//
// The decoding itself is done by kmsg, which trusts counts: it loops as often as a count of tagged fields says, up to four billion
// times, and allocates arrays of as many elements as there are bytes left, each up to 200 bytes large. So [Decode] walks the bytes
// first, by a table of layouts and without allocating, and lets kmsg see only what is all there and decodes to a bounded number of
// bytes. The rest of mq calls Decode, never a ReadFrom of kmsg.
//
// What Apache Kafka refuses is refused: a null where none may be, a string of more than 32767 bytes, an array or a tagged field that
// is longer than what is left. What it lets pass is let pass: bytes behind the last field of a message, unknown tagged fields.
package wire
