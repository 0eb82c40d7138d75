// Package recipes builds what programs want of a coordination service from
// znodes: locks, elections, barriers, queues, counters, membership, discovery,
// caches. It uses only the public client, so it runs on these servers and on
// Apache ZooKeeper 3.6 and later alike.
//
// # One shape
//
// Every recipe is made by NewX(client, path) and needs a path of its own, which
// it makes when it is missing. Exported fields may be set before the first use.
// All methods are safe for concurrent use. Every call takes a context; when that
// ends, the call ends, and whatever it had put into the tree is taken out, in the
// background if need be, for as long as the client lives.
//
// # What the textbook does with a coordination service
//
// Each has an Example:
//
//   - naming: "Naming"; names and numbers are what the client alone gives
//   - configuration: [ConfigWatch], or [Cache] for a tree of it
//   - group membership, servers going up and down: [Membership], "UpAndDown"
//   - discovery and soft load balancing: [Registry], [Service.Pick]
//   - locks, leaders, phases: [Mutex], [RWMutex], [Semaphore], [Election],
//     [Barrier], [DoubleBarrier]
//   - work to share out: [Queue], [PriorityQueue], [DelayQueue], [Counter]
//   - one's own mark, kept up: [PersistentEphemeral]
//   - starting over when a session has expired: [RunSessions]
//
// # What is held can be lost
//
// A lock is not a mutex: its holder can lose it without doing anything, because
// it was cut off, suspended or slow for longer than the session timeout. So
// whatever is held is a [Grant], which tells:
//
//   - [Grant.Done] is closed when it has ended, and [Grant.Err] says how: lost
//     with the session, or deleted by somebody, or released.
//   - [Grant.Doubt] is closed while the client has no connection. The grant may
//     or may not be lost then; stop, and call [Grant.Confirm] or wait.
//   - [Grant.Context] is a context that ends in both cases.
//
// None of this can stop a holder that is suspended between looking and acting.
// What does is the fencing token, [Grant.Token], a number that is greater for
// every later holder: a resource that remembers the greatest token it has seen,
// and refuses lower ones, cannot be harmed by a holder of the past. Where the
// resource is in ZooKeeper itself, [Grant.Check] in a Multi does the same.
//
// # Sessions
//
// A client is one session, and a recipe belongs to its client. When the session
// expires the client and all recipes on it have ended; [RunSessions] starts over
// with a new one.
//
// # Callbacks
//
// Methods that wait must not be called from a callback of the client (a watch,
// OnState, Go): the event that they wait for would come on the same goroutine.
//
// DESIGN.md in this directory is for those who change this package.
package recipes
