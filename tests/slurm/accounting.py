"""A cluster with accounting: `sacct` works, and no job runs without an account."""

import contextlib
import secrets
import subprocess
from pathlib import Path

from cluster import PROGRAMS, Cluster, ClusterError, free_ports, user_name, wait_until
from cluster import why_none as why_no_cluster

ACCOUNT = "12-34"  # looks like a subtraction, which must not be evaluated
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/run/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
AccountingStorageEnforce=limits
"""
DATABASE_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=accounts
"""
GRANT = """\
create database accounts;
create user 'slurm'@'127.0.0.1' identified by '{password}';
create user 'slurm'@'localhost' identified by '{password}';
grant all on accounts.* to 'slurm'@'127.0.0.1';
grant all on accounts.* to 'slurm'@'localhost';
"""


def why_none() -> str:
    """Return why no such cluster can be started on this machine; empty if one can."""
    programs = (*PROGRAMS, "slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db")
    return why_no_cluster(programs, "slurm-wlm munge slurmdbd mariadb-server")


class AccountedCluster(Cluster):
    """A cluster with the account `ACCOUNT`, whose member is the user who starts it."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.port, self.database_port = free_ports(2)
        super().__init__(folder, **settings)
        self.daemons += ["slurmdbd", "mariadbd"]

    def accounting(self) -> str:
        """Return the lines of slurm.conf for accounting by slurmdbd."""
        return ACCOUNTING.format(folder=self.folder, port=self.port)

    def start_services(self) -> None:
        """Start munge, the database and slurmdbd, and register cluster, account and user."""
        super().start_services()
        password = secrets.token_hex(16)
        self._start_database(password)
        file = self.folder / "etc/slurmdbd.conf"
        file.touch(0o600)
        ports = {"port": self.port, "database_port": self.database_port}
        file.write_text(
            DATABASE_DAEMON.format(folder=self.folder, user=user_name(), password=password, **ports)
        )
        self.call("slurmdbd")
        wait_until(lambda: self._answers("sacctmgr", "--noheader", "list", "cluster"))
        for words in ("cluster tests", f"account {ACCOUNT}", f"user {user_name()} account={ACCOUNT}"):
            self.call("sacctmgr", "--immediate", "add", *words.split())

    def _start_database(self, password: str) -> None:
        """Start MariaDB with an empty database of accounts, without the machine's own configuration."""
        data, socket = self.folder / "database", self.folder / "run/mariadb.sock"
        user = f"--user={user_name()}"
        self.call("mariadb-install-db", "--no-defaults", user, f"--datadir={data}", "--skip-test-db")
        with open(self.folder / "log/mariadbd.log", "w") as log:
            subprocess.Popen(
                ["mariadbd", "--no-defaults", user, f"--datadir={data}", f"--socket={socket}",
                 f"--pid-file={self.folder}/run/mariadbd.pid", "--bind-address=127.0.0.1",
                 f"--port={self.database_port}", "--innodb-log-file-size=32M", "--innodb-lock-wait-timeout=900"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        client = ["mariadb", "--no-defaults", f"--socket={socket}", "--execute"]
        wait_until(lambda: self._answers(*client, "select 1"))
        self.call(*client, GRANT.format(password=password))

    def _answers(self, *command: str) -> bool:
        with contextlib.suppress(ClusterError, subprocess.TimeoutExpired):
            self.call(*command)
            return True
        return False
