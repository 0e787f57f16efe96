// Package rogue is a test instrument: a validator that breaks the protocol in every way that its key and its connections
// allow, switched on one by one.
//
// It promises that what it does is really sent, over a real host, and counted; between its vices it is a validator like
// any other, so that they meet the others in the middle of their work. It is no part of the product and nothing but tests
// may import it. Limits: it cannot sign with keys of others, and it does not try to wear down the machine it runs on: its
// floods leave the processor to others now and then.
package rogue
