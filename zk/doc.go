// Package zk is a replicated coordination service that lives in a Go program:
// znodes in a tree, with versions, watches, sessions and ephemerals, kept by an
// ensemble of servers that elect a leader. Servers and client speak the protocol
// of Apache ZooKeeper, so that any ZooKeeper client works on these servers, and
// this client works on Apache ZooKeeper.
//
// # An ensemble in this process
//
// [StartEnsemble] starts one, in memory unless told otherwise, over a network
// inside the process. [Ensemble.Connect] opens a client; [Connect] opens one of
// an ensemble anywhere. Package zktest does both in a line, for tests.
//
// # Servers of one's own
//
// [StartServer] starts one server from a [Config]: its id, the ensemble, where
// clients are heard, a data directory. Networks and disks are what the Config
// says: TCP or memory, a directory or none; a [Network] may be the host program's
// own, and another one for peers and for each place where clients are heard.
// [Server.Ready] waits for a leader; [Server.Health] says at any time whether
// clients are served, and if not, why.
//
// Clients are who the network says (ip), their certificate ([Endpoint].TLS, scheme
// x509), a password (digest) or a scheme of one's own ([AuthScheme]). There is no
// super user unless Config.SuperDigest or Config.X509SuperUser names one.
//
// [LoadConfig] reads a zoo.cfg as Apache ZooKeeper has it; [FileConfig.ServerConfig]
// makes the Config of it.
//
// # Looking after a server
//
// [Server.Stats] are its counters. Four-letter words are answered where clients
// are heard, as far as Config.FourLetterWords says. [Server.AdminHandler] and
// [Server.MetricsHandler] serve the AdminServer's commands and metrics for
// Prometheus, where the host mounts them.
//
// # What is promised
//
//   - A write that was acknowledged is in the synced log of a majority, and is
//     never lost while a majority's disks survive.
//   - Writes are linearizable. The requests of one session take effect in their
//     order, and the zxids that it sees never decrease, on whatever server.
//   - A read shows the state at the zxid that its reply carries. A read after
//     [Client.Sync] shows at least what was committed when the sync was asked for.
//   - An ephemeral ends with its session, everywhere, once.
//   - A watch fires before its session reads what it announces.
//   - A write whose answer was lost with a connection has an unknown outcome, and
//     its error says so: [ErrConnectionLoss].
//
// # Errors
//
// Those of the protocol are constants of type [Error], to be tested with
// errors.Is; a call's error is an [*OpError] that names operation and path.
//
// # Coming from go-zookeeper or Curator
//
// Every call takes a context, and none returns a channel. GetW, ExistsW and
// ChildrenW are [Client.Get], [Client.Exists] and [Client.Children] with the option
// [Watch]; AddWatch is [Client.AddWatch]. Exists of what is not there is ErrNoNode,
// not false. The session's events are ClientConfig.OnState and [Client.WatchState]:
// [StateConnecting] is Curator's SUSPENDED, [StateExpired] its LOST. A client is
// one session and ends with it ([Client.Done]); recipes.RunSessions starts over.
// Curator's inBackground is [Client.Go], its transactions are [Client.Multi], its
// recipes are in package recipes, on the same znodes where it has them. There is
// no retry policy: what was not sent is sent, what may have been executed says so.
//
// DESIGN.md in this directory is for those who change this package.
package zk
