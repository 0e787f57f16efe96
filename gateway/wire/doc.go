// Package wire is the worker protocol without a socket: encoding and decoding with bounds, the rule that a meta message
// is followed by exactly one payload, the order of messages, and the texts that are signed.
//
// It promises that no sequence of bytes makes it panic or keep more than one message, and that every refusal is an
// *Error with a code of the protocol. It does not know who speaks: keys, tokens and limits of a session are the
// business of the door and of the agent.
package wire
