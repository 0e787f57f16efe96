// Package host runs the pure rooms as supervised actors over the event log.
//
// It promises that a command is answered, and its effects begin, only after its facts are durable; that one entity
// decides one command at a time on the state its stream gives; that a failed or passivated entity is rebuilt from the
// log without losing a deadline; that a log which goes away is waited for: what was under way goes on when it is back,
// who waits for an answer hears ErrUnavailable at once, and no deadline that fell into the outage is held against anybody;
// and that every mailbox and buffer has a limit, beyond which the sender hears ErrBusy.
// It does not promise that an effect is carried out once: effects are repeated after a restart, receivers answer
// repeats. It does not fence a second process: the embedded log is locked by its folder.
//
// protoactor-go is imported here only. Its persistence, cluster, futures, receive timeouts, stash, bounded mailboxes
// and exponential strategy are not used: each was measured to lose messages or to race.
//
// Roads: Tell -> shard (router, parent, timers) -> entity (Decide, append, Evolve, answer, effects) -> Tell, dispatcher,
// courier. Entities never wait for each other; an entity waits for the log only.
package host
