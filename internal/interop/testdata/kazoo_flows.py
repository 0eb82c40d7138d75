"""What kazoo must find: flows and recipes against the servers of argv[1]."""
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.recipe.partitioner import PartitionState
from kazoo.security import make_digest_acl

HOSTS = sys.argv[1]
PATIENCE = 20


def client(**kw):
    zk = KazooClient(hosts=HOSTS, timeout=6.0, **kw)
    zk.start(timeout=PATIENCE)
    return zk


def raises(kind, f, *args, **kw):
    try:
        f(*args, **kw)
    except kind:
        return
    raise AssertionError("no %s" % kind.__name__)


def wait(event):
    assert event.wait(PATIENCE), "no event"


def znodes(zk, root):
    path = zk.create(root + "/a", b"one")
    assert path == root + "/a"
    raises(NodeExistsError, zk.create, root + "/a", b"")
    data, stat = zk.get(root + "/a")
    assert data == b"one" and stat.version == 0 and stat.data_length == 3
    stat = zk.set(root + "/a", b"two", version=0)
    assert stat.version == 1
    raises(BadVersionError, zk.set, root + "/a", b"", version=0)
    zk.create(root + "/a/b", b"")
    raises(NotEmptyError, zk.delete, root + "/a")
    names, stat = zk.get_children(root + "/a", include_data=True)
    assert names == ["b"] and stat.numChildren == 1
    zk.delete(root + "/a", recursive=True)
    raises(NoNodeError, zk.get, root + "/a")
    path, stat = zk.create(root + "/c2", b"x", include_data=True)
    assert path == root + "/c2" and stat.data_length == 1
    first = zk.create(root + "/s-", b"", sequence=True, ephemeral=True)
    second = zk.create(root + "/s-", b"", sequence=True)
    assert int(second[-10:]) == int(first[-10:]) + 1
    assert zk.exists(first).ephemeralOwner == zk.client_id[0]
    zk.sync(root)
    assert zk.ensure_path(root + "/x/y/z")


def transactions(zk, root):
    t = zk.transaction()
    t.create(root + "/t", b"1")
    t.set_data(root + "/t", b"2")
    t.check(root + "/t", 1)
    results = t.commit()
    assert results[0] == root + "/t" and results[1].version == 1
    t = zk.transaction()
    t.delete(root + "/t")
    t.check(root + "/t", 9)
    results = t.commit()
    assert isinstance(results[0], RolledBackError), results
    assert isinstance(results[1], NoNodeError), results
    assert zk.exists(root + "/t")


def acls(zk, root):
    zk.add_auth("digest", "ann:secret")
    zk.create(root + "/acl", b"x", acl=[make_digest_acl("ann", "secret", all=True)])
    other = client()
    try:
        other.sync(root)
        raises(NoAuthError, other.get, root + "/acl")
        other.add_auth("digest", "ann:secret")
        assert other.get(root + "/acl")[0] == b"x"
        acl, stat = other.get_acls(root + "/acl")
        assert acl[0].id.scheme == "digest" and stat.aversion == 0
    finally:
        other.stop()
        other.close()


def watches(zk, root):
    fired = threading.Event()
    zk.exists(root + "/w", watch=lambda ev: fired.set())
    zk.create(root + "/w", b"0")
    wait(fired)
    seen, done = [], threading.Event()

    @zk.DataWatch(root + "/w")
    def changed(data, stat):
        seen.append(data)
        if data == b"3":
            done.set()

    for i in range(1, 4):
        zk.set(root + "/w", b"%d" % i)
    wait(done)
    children, some = [], threading.Event()

    @zk.ChildrenWatch(root + "/w")
    def grown(names):
        children.append(names)
        if len(names) == 3:
            some.set()

    for i in range(3):
        zk.create(root + "/w/%d" % i)
    wait(some)


def sessions(zk, root):
    other = client()
    zk.sync(root)
    path = other.create(root + "/e", b"", ephemeral=True)
    zk.sync(root)
    gone = threading.Event()
    assert zk.exists(path, watch=lambda ev: gone.set())
    other.stop()
    other.close()
    wait(gone)
    first = client()
    path = first.create(root + "/moved", b"", ephemeral=True)
    session = first.client_id
    first._stopped.set()  # it would reconnect, and take the session back
    again = client(client_id=session)  # takes the session over
    assert again.exists(path).ephemeralOwner == session[0]
    first._connection.stop()
    first.close()
    again.stop()
    again.close()


def many(n, work):
    """Runs work in n sessions at once."""
    errors = []

    def one(i):
        zk = client()
        try:
            work(zk, i)
        except BaseException as e:  # noqa: B902
            errors.append(repr(e))
        finally:
            zk.stop()
            zk.close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(3 * PATIENCE)
        assert not t.is_alive(), "stuck"
    assert not errors, errors


def locks(zk, root):
    held, most = [0], [0]

    def work(c, i):
        for _ in range(5):
            with c.Lock(root + "/lock", str(i)):
                held[0] += 1
                most[0] = max(most[0], held[0])
                held[0] -= 1

    many(4, work)
    assert most[0] == 1
    inside, most_inside, guard = [0], [0], threading.Lock()

    def leases(c, i):
        for _ in range(3):
            with c.Semaphore(root + "/sem", max_leases=2):
                with guard:
                    inside[0] += 1
                    most_inside[0] = max(most_inside[0], inside[0])
                with guard:
                    inside[0] -= 1

    many(4, leases)
    assert 1 <= most_inside[0] <= 2
    with zk.ReadLock(root + "/rw"):
        other = client()
        assert other.ReadLock(root + "/rw").acquire(timeout=PATIENCE)
        assert not other.WriteLock(root + "/rw").acquire(blocking=False)
        other.stop()
        other.close()


def counters(zk, root):
    def work(c, i):
        counter = c.Counter(root + "/counter")
        for _ in range(10):
            counter += 1

    many(3, work)
    zk.sync(root)
    assert zk.Counter(root + "/counter").value == 30


def queues(zk, root):
    q = zk.Queue(root + "/q")
    q.put(b"low", priority=200)
    q.put(b"high", priority=50)
    assert (q.get(), q.get(), q.get()) == (b"high", b"low", None)
    lq = zk.LockingQueue(root + "/lq")
    lq.put_all([b"1", b"2"])
    assert lq.get(PATIENCE) == b"1" and lq.consume()
    assert lq.get(PATIENCE) == b"2" and lq.consume()


def gatherings(zk, root):
    order = []

    def meet(c, i):
        b = c.DoubleBarrier(root + "/db", 3)
        b.enter()
        order.append("in")
        b.leave()

    many(3, meet)
    assert len(order) == 3
    barrier = zk.Barrier(root + "/barrier")
    barrier.create()
    opened = threading.Event()
    other = client()
    t = threading.Thread(target=lambda: other.Barrier(root + "/barrier").wait(PATIENCE) and opened.set())
    t.start()
    barrier.remove()
    t.join(PATIENCE)
    wait(opened)
    other.stop()
    other.close()
    leaders = []

    def elect(c, i):
        c.Election(root + "/election", str(i)).run(lambda: leaders.append(i))

    many(3, elect)
    assert sorted(leaders) == [0, 1, 2]
    party = zk.Party(root + "/party", "zk")
    party.join()
    assert list(party) == ["zk"] and len(party) == 1
    party.leave()


def partitions(zk, root):
    p = zk.SetPartitioner(root + "/parts", set=("a", "b", "c"), time_boundary=1)
    for _ in range(100):
        if p.state == PartitionState.ALLOCATING:
            p.wait_for_acquire(PATIENCE)
        elif p.acquired:
            break
    assert set(p) == {"a", "b", "c"}
    p.finish()


def main():
    zk = client()
    zk.ensure_path("/kazoo")
    for flow in (znodes, transactions, acls, watches, sessions, locks, counters, queues, gatherings, partitions):
        root = zk.create("/kazoo/" + flow.__name__)
        flow(zk, root)
        print("ok", flow.__name__, flush=True)
    assert zk.server_version() >= (3, 4)
    assert zk.command(b"ruok") == "imok"
    zk.stop()
    zk.close()
    print("done")


main()
