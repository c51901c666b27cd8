"""Citus on one machine: a coordinator and two nodes, where the server of the
tests has the extension. Each is a Cluster; a node's name is the folder of its
socket."""

import unittest

from harness.cluster import OWNER, PORT, SUPERUSER, Cluster, Database
from harness.wait import wait_until

SETTINGS = {
    "shared_preload_libraries": "citus",
    "max_prepared_transactions": "100",
    "max_connections": "200",
    "citus.node_conninfo": "sslmode=prefer",
    "citus.shard_count": "4",
    "citus.recover_2pc_interval": "200ms",
    "citus.enable_unsafe_triggers": "on",  # the one that counts writes
}

# What a test has made: tables, which Citus knows on all servers, and schemas.
LEFT = """
SELECT 'TABLE ' || c.oid::regclass FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
UNION ALL SELECT 'VIEW ' || c.oid::regclass FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid
                    AND d.deptype = 'e')
UNION ALL SELECT 'FUNCTION ' || p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace
UNION ALL SELECT 'SCHEMA ' || quote_ident(nspname) FROM pg_namespace
    WHERE nspowner = %s::regrole AND nspname <> 'public'
    OR nspname = 'luamig'"""


def require(cluster):
    """Skips the test where the server of the tests has no Citus."""
    if not cluster.query("SELECT FROM pg_available_extensions "
                         "WHERE name = 'citus'"):
        raise unittest.SkipTest(
            f"{cluster.bin} has no extension citus; LUAMIG_PG_BIN names the "
            "programs of a server that has it")


class Citus:
    """A database `db` of the coordinator, whose tables may lie on the nodes."""

    def __init__(self):
        self.servers = [Cluster(port=PORT + number, **SETTINGS)
                        for number in range(3)]
        self.coordinator, *self.nodes = self.servers
        for server in self.servers:
            server.settings["citus.local_hostname"] = server.dir
            server.start()
            Database(server, server.make_database("app").name).admin(
                "CREATE EXTENSION citus")
        self.db = self.coordinator.database("app")
        self.db.admin("SELECT citus_set_coordinator_host(%s, %s)",
                      self.coordinator.dir, self.coordinator.port)
        for node in self.nodes:
            self.db.admin("SELECT citus_add_node(%s, %s)", node.dir, node.port)

    def on_nodes(self, sql, *parameters):
        """The rows of a query on both nodes."""
        return [row for node in self.nodes
                for row in node.query(sql, *parameters, dbname="app")]

    def prepared(self):
        """The prepared transactions of all servers."""
        return [gid for server in self.servers for gid, in server.query(
            "SELECT gid FROM pg_prepared_xacts")]

    def wait_settled(self):
        """Until Citus has ended what a crash left prepared."""
        wait_until(lambda: not self.prepared(), "no prepared transaction")

    def node_of(self, table, value):
        """The node that has the shard with this value."""
        port = self.db.scalar(
            "SELECT nodeport FROM pg_dist_placement JOIN pg_dist_node "
            "USING (groupid) WHERE shardid = "
            "get_shard_id_for_distribution_column(%s, %s)",
            table, value, user=SUPERUSER)
        return next(node for node in self.nodes if node.port == port)

    def empty(self):
        self.db.close()  # after a crash, Citus keeps dead connections to nodes
        for command in self.db.column(LEFT, OWNER, user=SUPERUSER):
            self.db.admin(f"DROP {command.replace(' ', ' IF EXISTS ', 1)} "
                          "CASCADE")

    def remove(self):
        self.db.close()
        for server in self.servers:
            server.remove()
