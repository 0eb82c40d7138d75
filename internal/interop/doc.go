// Package interop holds tests only: third-party clients against our servers, our
// clients against other people's servers, and the same flows against both.
//
// It is a module of its own, so that nobody who imports zk or mq downloads what
// it compares them with. A flow whose counterpart is not installed is skipped,
// and says what is missing:
//
//	Apache ZooKeeper 3.8   Debian package zookeeper (server and zkCli)
//	Apache ZooKeeper 3.9   maven and a JVM: what decides in TestDiff
//	Apache Kafka 2.7.1     maven and a JVM
//	kazoo                  python3 with venv, pip
//	the C client           Debian package libzookeeper-mt-dev, gcc
//
// Everything runs on loopback, in temporary directories, and ends with the test.
package interop
