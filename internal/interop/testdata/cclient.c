/* What ZooKeeper's C client must find: flows against the servers of argv[1]. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, events;
static char last_path[256];
static int last_type;

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
	pthread_mutex_lock(&lock);
	if (type == ZOO_SESSION_EVENT) {
		connected = state == ZOO_CONNECTED_STATE;
	} else {
		events++;
		last_type = type;
		snprintf(last_path, sizeof last_path, "%s", path);
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

#define CHECK(want, got)                                                                 \
	do {                                                                                 \
		int g_ = (got), w_ = (want);                                                     \
		if (g_ != w_) {                                                                  \
			printf("line %d: %s is %d, not %d\n", __LINE__, #got, g_, w_);               \
			exit(1);                                                                     \
		}                                                                                \
	} while (0)

static void await(int *what, int at_least) {
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&lock);
	while (*what < at_least)
		CHECK(0, pthread_cond_timedwait(&changed, &lock, &until));
	pthread_mutex_unlock(&lock);
}

static zhandle_t *dial(const char *hosts) {
	connected = 0;
	zhandle_t *zh = zookeeper_init(hosts, watcher, 6000, NULL, NULL, 0);
	CHECK(1, zh != NULL);
	await(&connected, 1);
	return zh;
}

static int authed;

static void on_auth(int rc, const void *data) {
	pthread_mutex_lock(&lock);
	authed = rc == ZOK ? 1 : -1;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int synced;

static void on_sync(int rc, const char *path, const void *data) {
	pthread_mutex_lock(&lock);
	synced++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int counted, failed;

static void on_set(int rc, const struct Stat *stat, const void *data) {
	pthread_mutex_lock(&lock);
	if (rc != ZOK || stat->version != counted + 1)
		failed++;
	counted++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv) {
	char buf[256];
	int len;
	struct Stat stat;
	struct String_vector names;

	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	zhandle_t *zh = dial(argv[1]);
	CHECK(ZOK, zoo_create(zh, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	CHECK(0, strcmp(buf, "/c"));
	CHECK(ZNODEEXISTS, zoo_create(zh, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	CHECK(ZNONODE, zoo_create(zh, "/none/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	len = sizeof buf;
	CHECK(ZOK, zoo_get(zh, "/c", 0, buf, &len, &stat));
	CHECK(3, len);
	CHECK(0, stat.version);
	CHECK(ZOK, zoo_set2(zh, "/c", "two!", 4, 0, &stat));
	CHECK(1, stat.version);
	CHECK(4, stat.dataLength);
	CHECK(ZBADVERSION, zoo_set(zh, "/c", "x", 1, 0));
	CHECK(ZOK, zoo_create2(zh, "/c/a", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf, &stat));
	len = sizeof buf;
	CHECK(ZOK, zoo_get(zh, "/c/a", 0, buf, &len, NULL));
	CHECK(-1, len); /* null is not empty */
	CHECK(ZNOTEMPTY, zoo_delete(zh, "/c", -1));
	CHECK(ZOK, zoo_get_children2(zh, "/c", 0, &names, &stat));
	CHECK(1, names.count);
	CHECK(1, stat.numChildren);
	deallocate_String_vector(&names);
	CHECK(ZOK, zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, buf, sizeof buf));
	CHECK(0, strcmp(buf, "/c/s-0000000001"));
	CHECK(ZOK, zoo_exists(zh, buf, 0, &stat));
	CHECK(1, stat.ephemeralOwner == zoo_client_id(zh)->client_id);
	CHECK(ZOK, zoo_create(zh, "/c/container", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, buf, sizeof buf));

	/* watches: events before the replies that show their cause */
	CHECK(ZNONODE, zoo_wexists(zh, "/c/w", watcher, NULL, &stat));
	CHECK(ZOK, zoo_create(zh, "/c/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	await(&events, 1);
	CHECK(ZOO_CREATED_EVENT, last_type);
	CHECK(0, strcmp(last_path, "/c/w"));
	CHECK(ZOK, zoo_wget_children(zh, "/c/w", watcher, NULL, &names));
	deallocate_String_vector(&names);
	CHECK(ZOK, zoo_create(zh, "/c/w/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	await(&events, 2);
	CHECK(ZOO_CHILD_EVENT, last_type);
	len = sizeof buf;
	CHECK(ZOK, zoo_wget(zh, "/c/w/x", watcher, NULL, buf, &len, &stat));
	CHECK(ZOK, zoo_remove_watches(zh, "/c/w/x", ZWATCHTYPE_DATA, watcher, NULL, 0));
	CHECK(ZNOWATCHER, zoo_remove_watches(zh, "/c/w/x", ZWATCHTYPE_DATA, watcher, NULL, 0));

	/* multi: all or nothing */
	zoo_op_t ops[3];
	zoo_op_result_t results[3];
	zoo_create_op_init(&ops[0], "/c/m", "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf);
	zoo_set_op_init(&ops[1], "/c/m", "2", 1, 0, &stat);
	zoo_check_op_init(&ops[2], "/c/m", 1);
	CHECK(ZOK, zoo_multi(zh, 3, ops, results));
	CHECK(1, stat.version);
	zoo_delete_op_init(&ops[0], "/c/m", -1);
	zoo_check_op_init(&ops[1], "/c/w", 9);
	CHECK(ZBADVERSION, zoo_multi(zh, 2, ops, results));
	CHECK(ZBADVERSION, results[1].err);
	CHECK(ZOK, zoo_exists(zh, "/c/m", 0, &stat));

	/* a pipeline */
	CHECK(ZOK, zoo_create(zh, "/c/p", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf));
	for (int i = 0; i < 500; i++)
		CHECK(ZOK, zoo_aset(zh, "/c/p", "x", 1, i, on_set, NULL));
	await(&counted, 500);
	CHECK(0, failed);

	/* access control */
	CHECK(ZOK, zoo_add_auth(zh, "digest", "ann:secret", 10, on_auth, NULL));
	await(&authed, 1);
	CHECK(ZOK, zoo_create(zh, "/c/mine", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, buf, sizeof buf));
	struct ACL_vector acl;
	CHECK(ZOK, zoo_get_acl(zh, "/c/mine", &acl, &stat));
	CHECK(1, acl.count);
	CHECK(0, strcmp(acl.data[0].id.scheme, "digest"));
	deallocate_ACL_vector(&acl);
	zhandle_t *other = dial(argv[1]);
	CHECK(ZOK, zoo_async(other, "/c", on_sync, NULL));
	await(&synced, 1);
	len = sizeof buf;
	CHECK(ZNOAUTH, zoo_get(other, "/c/mine", 0, buf, &len, &stat));

	/* ephemerals go with their session */
	CHECK(ZOK, zoo_exists(other, "/c/s-0000000001", 0, &stat));
	CHECK(ZOK, zookeeper_close(zh));
	CHECK(ZOK, zoo_async(other, "/c", on_sync, NULL));
	await(&synced, 2);
	CHECK(ZNONODE, zoo_exists(other, "/c/s-0000000001", 0, &stat));
	CHECK(ZOK, zookeeper_close(other));
	printf("done\n");
	return 0;
}
