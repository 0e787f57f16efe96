// Package mesh is where orchestrators of different operators meet: libp2p host, gossip, discovery, sync streams, and
// below it the ordering of blocks.
//
// Nothing of it is built yet; the folder holds the place that the plan of the house gives it. What must never live
// here: a job's path. Nothing that a job waits for may wait for another operator.
package mesh
