"""The leases of this process, with users of the test's own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import seccomp
from tests.filesystems import DISK_KINDS
from tests.live import PATIENCE, eventually
from tests.writers import OPEN, OVERWRITE, TRUNCATE, Writer
from zc_response.errors import FileChangedError
from zc_response.guards import close_all, keeper, leases as module
from zc_response.guards.leases import Lease, State, leases
from zc_response.guards.snapshots import Stretch
from zc_response.kernel import leases as kernel
from zc_response.sources import FileSource

CONTENT = bytes(range(256)) * 256


class User:
    """A user of a lease who lets go when the test says so."""

    def __init__(
        self,
        needs: list[Stretch] | None = None,
        budget: float = PATIENCE,
        most_bytes: int = 1 << 20,
    ) -> None:
        self.stretches = needs or []
        self.budget = budget
        self.most_bytes = most_bytes
        self.lets_go = False
        self.is_cut = True
        self.asked = 0
        self.reasons: list[str] = []

    def needs(self) -> list[Stretch]:
        return self.stretches

    def let_go(self, _lease: Lease) -> bool:
        self.asked += 1
        return self.lets_go

    def cut_off(self, reason: str) -> bool:
        self.reasons.append(reason)
        return self.is_cut


@contextlib.contextmanager
def opened(path: Path) -> Iterator[FileSource]:
    path.write_bytes(CONTENT)
    with FileSource.open(path) as source:
        source.is_kept = True
        yield source
    path.unlink(missing_ok=True)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    with opened(tmp_path / "file") as source:
        yield source


@pytest.fixture(autouse=True)
def _nobody_uses_any_more() -> Iterator[None]:
    """A test that fails must not leave users behind: the next would find them."""
    yield
    for lease in list(leases._leases.values()):
        for user in tuple(lease.users):
            leases.leave(lease, user)
    close_all()


@pytest.fixture
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is kept though nobody uses it."""
    monkeypatch.setattr(module, "LINGER_SECONDS", 1000.0)


def joined(source: FileSource, user: User) -> Lease:
    lease = leases.join(source, user)
    assert isinstance(lease, Lease), lease
    return lease


def reason_for(source: FileSource) -> str:
    reason = leases.lend(source)
    assert isinstance(reason, str), "there is a lease"
    return reason


def keepers() -> list[str]:
    return [each.name for each in threading.enumerate() if "leases" in each.name]


# Having a lease -----------------------------------------------------------------


def test_one_on_a_file_that_is_not_kept_open_ends_with_its_last_user(
    source: FileSource,
) -> None:
    source.is_kept = False
    users = [User(), User()]
    lease = joined(source, users[0])
    assert joined(source, users[1]) is lease
    leases.leave(lease, users[0])
    assert kernel.is_held(source.fileno())
    leases.leave(lease, users[1])
    assert not kernel.is_held(source.fileno())
    assert len(leases) == 0


@pytest.mark.parametrize("kind", DISK_KINDS)
def test_a_writer_waits_until_the_user_of_a_lease_lets_go(
    disk: Callable[[str], Path], kind: str
) -> None:
    user = User()
    with opened(disk(kind) / "leased") as source:
        lease = joined(source, user)
        with Writer(source.path, OPEN) as writer:
            writer.go()
            eventually(lambda: lease.state is State.BREAKING, "the break")
            assert not writer.is_through(0.05)

            user.lets_go = True
            writer.seconds()
        assert lease.state is State.OVER


def test_there_is_one_lease_for_many_users(source: FileSource) -> None:
    users = [User() for _ in range(5)]
    found = {joined(source, user) for user in users}
    assert len(found) == len(leases) == 1
    assert found.pop().users == set(users)


def test_a_writer_waits_for_the_last_of_many_users(source: FileSource) -> None:
    users = [User(), User()]
    lease, _ = (joined(source, user) for user in users)
    with Writer(source.path, OPEN) as writer:
        writer.go()
        users[0].lets_go = True
        eventually(lambda: users[0] not in lease.users, "the first to let go")
        assert not writer.is_through(0.05)

        leases.leave(lease, users[1])
        writer.seconds()


def test_a_file_that_nobody_uses_is_given_back_at_once(
    source: FileSource, never_idle: None, caplog: pytest.LogCaptureFixture
) -> None:
    lease = leases.lend(source)
    assert isinstance(lease, Lease)
    with Writer(source.path, OPEN) as writer:
        assert writer.go().is_through(PATIENCE)
    assert lease.state is State.OVER
    assert len(leases) == 0
    assert not caplog.records


def test_a_lease_lingers_for_the_next_user_and_is_then_given_back(
    source: FileSource,
) -> None:
    user = User()
    lease = joined(source, user)
    leases.leave(lease, user)
    assert joined(source, user) is lease
    leases.leave(lease, user)

    eventually(lambda: lease.state is State.OVER, "the end of the lease")
    assert not kernel.is_held(source.fileno())


def test_who_wants_one_while_somebody_waits_to_write_is_told_so(
    source: FileSource,
) -> None:
    user = User()
    lease = joined(source, user)
    with Writer(source.path, OPEN) as writer:
        writer.go()
        eventually(lambda: lease.state is State.BREAKING, "the break")
        assert reason_for(source) == "somebody waits to write to the file"
        user.lets_go = True
        writer.seconds()


def test_a_file_that_has_changed_since_it_was_opened_gets_none(
    source: FileSource,
) -> None:
    with open(source.path, "ab") as file:
        file.write(b"more")
    with pytest.raises(FileChangedError):
        leases.lend(source)
    assert not kernel.is_held(source.fileno())
    with Writer(source.path, OPEN) as writer:
        writer.go().seconds()


# Letting go ---------------------------------------------------------------------


def test_the_snapshot_has_the_old_bytes_of_what_is_still_to_be_sent(
    source: FileSource,
) -> None:
    user = User([(1000, 5000)])
    lease = joined(source, user)
    with Writer(source.path, OVERWRITE) as writer:
        writer.go()
        eventually(lambda: lease.is_decided, "the snapshot")
        snapshot = lease.snapshot
        assert snapshot is not None
        with snapshot.source.retain() as copy:
            user.lets_go = True
            writer.seconds()
            assert copy.read(1000, 4000) == CONTENT[1000:5000]


def test_who_truncates_gets_through(source: FileSource) -> None:
    user = User([(0, 10)])
    user.lets_go = True
    joined(source, user)
    with Writer(source.path, TRUNCATE) as writer:
        writer.go().seconds()
    assert not os.fstat(source.fileno()).st_size


def test_who_cannot_let_go_is_cut_off_when_the_budget_ends(source: FileSource) -> None:
    stubborn, soft = User(budget=1000.0), User(budget=0.1)
    lease = joined(source, stubborn)
    joined(source, soft)
    with Writer(source.path, OPEN) as writer:
        assert writer.go().seconds() < kernel.break_time() / 2
    assert stubborn.reasons
    assert soft.reasons
    assert not lease.users


def test_who_cannot_be_cut_off_either_has_no_more_than_a_moment(
    source: FileSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Its loop may hang; the writer does not."""
    user = User(budget=0.1)
    user.is_cut = False
    lease = joined(source, user)
    with Writer(source.path, OPEN) as writer:
        assert writer.go().seconds() < kernel.break_time() / 2
    assert user.reasons
    assert lease.state is State.OVER
    leases.leave(lease, user)
    assert not caplog.records


def test_no_budget_is_longer_than_half_of_the_kernels_own(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "break_time", lambda: 0.4)
    joined(source, User(budget=1000.0))
    with Writer(source.path, OPEN) as writer:
        assert writer.go().is_through(PATIENCE)


def test_without_a_thread_for_a_snapshot_there_is_none(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lane(_device: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "lane", no_lane)
    user = User([(0, 1)])
    lease = joined(source, user)
    with Writer(source.path, OPEN) as writer:
        writer.go()
        eventually(lambda: lease.is_decided, "the decision")
        user.lets_go = True
        writer.seconds()
    assert lease.snapshot is None


def test_a_lease_that_the_kernel_has_taken_away_is_only_logged(
    source: FileSource,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = User()
    lease = joined(source, user)

    def gone(fd: int) -> None:
        give_back(fd)
        raise OSError(errno.EAGAIN, "gone")

    give_back = kernel.give_back
    monkeypatch.setattr(kernel, "give_back", gone)
    with Writer(source.path, OPEN) as writer:
        user.lets_go = True
        writer.go().seconds()
    eventually(lambda: "could not be given back" in caplog.text, "the line in the log")
    assert lease.state is State.OVER


# The keeper ---------------------------------------------------------------------


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every signal of a break is lost."""
    real = kernel.Breaks.wait

    def wait(breaks: kernel.Breaks, seconds: float) -> list[int | None] | None:
        return None if real(breaks, seconds) is None else []

    monkeypatch.setattr(kernel.Breaks, "wait", wait)


def test_a_break_whose_signal_was_lost_is_found_all_the_same(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf(monkeypatch)
    user = User()
    user.lets_go = True
    joined(source, user)
    with Writer(source.path, OPEN) as writer:
        assert writer.go().seconds() < kernel.break_time() / 2
    assert user.asked


def test_a_signal_that_stands_for_any_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 1000.0)
    real = kernel.Breaks.wait

    def wait(breaks: kernel.Breaks, seconds: float) -> list[int | None] | None:
        heard = real(breaks, seconds)
        return [None] if heard else heard

    monkeypatch.setattr(kernel.Breaks, "wait", wait)
    with opened(tmp_path / "a") as first, opened(tmp_path / "b") as second:
        users = [User(), User()]
        quiet, broken = joined(first, users[0]), joined(second, users[1])
        with Writer(second.path, OPEN) as writer:
            users[1].lets_go = True
            writer.go().seconds()
        assert (quiet.state, broken.state) == (State.HELD, State.OVER)
        assert users[0].asked == 0
        leases.leave(quiet, users[0])
        close_all()


def test_a_signal_about_a_number_that_has_no_lease_does_no_harm(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def wait(breaks: kernel.Breaks, seconds: float) -> list[int | None] | None:
        if told.is_set():
            return real(breaks, seconds)
        told.set()
        return [source.fileno(), 12345, -1]

    real = kernel.Breaks.wait
    monkeypatch.setattr(kernel.Breaks, "wait", wait)
    lease = joined(source, User())
    assert told.wait(PATIENCE)
    looked = leases.look_around()
    assert lease.is_held
    assert looked == module.LOOK_SECONDS


def dying(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The keeper dies once the event is set."""
    now = threading.Event()
    real = kernel.Breaks.wait

    def wait(breaks: kernel.Breaks, seconds: float) -> list[int | None] | None:
        if now.is_set():
            raise OSError(errno.EIO, "the kernel is out of its mind")
        return real(breaks, min(seconds, 0.01))

    monkeypatch.setattr(kernel.Breaks, "wait", wait)
    return now


def test_when_the_keeper_dies_its_leases_are_given_back_and_their_users_cut_off(
    source: FileSource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = dying(monkeypatch)
    user = User()
    lease = joined(source, user)
    now.set()
    eventually(lambda: user.reasons, "the end of the user")

    assert user.reasons == ["nobody looks after its lease"]
    eventually(lambda: not keepers(), "the end of the keeper")
    assert lease.state is State.OVER
    assert "has died" in caplog.text
    with Writer(source.path, OPEN) as writer:
        writer.go().seconds()


def test_after_a_keeper_has_died_the_next_lease_has_a_new_one(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dying(monkeypatch)
    first = joined(source, User())
    now.set()
    eventually(lambda: first.state is State.OVER, "the end of the lease")
    now.clear()

    user = User()
    user.lets_go = True
    second = joined(source, user)
    with Writer(source.path, OPEN) as writer:
        writer.go().seconds()
    assert second is not first
    assert second.state is State.OVER


def test_a_keeper_that_has_nothing_to_do_for_long_goes_and_leaves_nothing(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    leases.lend(source)
    eventually(lambda: not keepers(), "the end of the keeper")
    assert len(os.listdir("/proc/self/fd")) == before

    assert isinstance(leases.lend(source), Lease)
    assert keepers()


def test_closing_all_leaves_what_is_in_use(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with opened(tmp_path / "a") as idle, opened(tmp_path / "b") as busy:
        user = User()
        leases.lend(idle)
        lease = joined(busy, user)
        close_all()
        assert not kernel.is_held(idle.fileno())
        assert kernel.is_held(busy.fileno())
        assert keepers()

        leases.leave(lease, user)
        close_all()
        assert not kernel.is_held(busy.fileno())
        assert not keepers()
    assert len(os.listdir("/proc/self/fd")) == before


# Where there is none ------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "the process does not own the file and lacks CAP_LEASE"),
        (errno.EAGAIN, "somebody has the file open for writing"),
        (
            errno.EINVAL,
            "leases are switched off (fs.leases-enable), or there are none here",
        ),
        (errno.EPERM, "refused: Operation not permitted"),
        (errno.ENOLCK, "refused: No locks available"),
    ],
)
def test_what_the_kernel_says_is_the_reason(
    source: FileSource, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def take(_fd: int, _thread: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(kernel, "take", take)
    assert reason_for(source) == reason


def test_somebody_who_has_the_file_open_for_writing_is_the_reason(
    source: FileSource,
) -> None:
    with open(source.path, "r+b"):
        assert reason_for(source) == "somebody has the file open for writing"
    assert isinstance(leases.lend(source), Lease)


def test_a_filesystem_whose_leases_mean_nothing_is_the_reason(
    source: FileSource,
) -> None:
    source.facts = source.facts._replace(filesystem="fuse")
    assert reason_for(source) == "leases of fuse are not to be trusted"


def test_a_descriptor_of_the_applications_is_the_reason(source: FileSource) -> None:
    with FileSource.borrow(source.fileno()) as borrowed:
        assert reason_for(borrowed) == "the descriptor is the application's own"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSYS])
def test_a_keeper_that_cannot_listen_is_the_reason(
    source: FileSource, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Of those, too few descriptors may be over the next time."""

    def no_breaks(_poll: object) -> None:
        asked.append(number)
        raise OSError(number, os.strerror(number))

    asked: list[int] = []
    monkeypatch.setattr(leases, "_obstacle", "")
    monkeypatch.setattr(kernel, "Breaks", no_breaks)
    expected = f"breaks cannot be heard of: {os.strerror(number)}"
    assert reason_for(source) == expected
    assert reason_for(source) == expected
    assert len(asked) == (1 if number == errno.ENOSYS else 2)
    assert len(leases) == 0


def test_no_thread_for_the_keeper_is_the_reason(
    source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(keeper.Keeper, "start", start)
        assert reason_for(source) == "no thread is left to look after a lease"
    assert isinstance(leases.lend(source), Lease)


# In processes of their own -------------------------------------------------------


_FORKING = ("-W", "ignore::DeprecationWarning")  # where there are threads


def run(code: str, *arguments: object) -> str:
    """What a Python program prints that must end well; no child outlives it."""
    process = subprocess.Popen(
        [sys.executable, *_FORKING, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=2 * PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert (errors, process.returncode) == ("", 0), output
    return output


COMMON = """
import os, subprocess, sys, time
from zc_response.guards.leases import Lease, State, leases
from zc_response.sources import FileSource

class User:
    budget, most_bytes = 20.0, 1 << 20
    def needs(self): return []
    def let_go(self, lease): return True
    def cut_off(self, reason): return True

def write(path, seconds=10):
    "True if a writer in another process gets through in time."
    code = "import os, sys; os.open(sys.argv[1], os.O_WRONLY)"
    command = [sys.executable, "-ISE", "-c", code, path]
    try:
        return subprocess.run(command, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False
"""


def test_with_room_for_no_signal_at_all_writers_get_through(tmp_path: Path) -> None:
    """And the process survives what comes in their place, which is SIGIO."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
sources = []
for number in range(5):
    path = f"{sys.argv[1]}/{number}"
    open(path, "wb").close()
    sources.append(FileSource.open(path))
    assert isinstance(leases.join(sources[-1], User()), Lease)
print([write(source.path) for source in sources], len(leases))
leases.close()
for source in sources:
    source.release()
"""
    assert run(COMMON + code, tmp_path) == "[True, True, True, True, True] 0\n"


def test_a_child_holds_no_writer_up(source: FileSource) -> None:
    """It has the parent's descriptors until it closes them: right after the fork."""
    code = """
path = sys.argv[1]
source, user = FileSource.open(path), User()
lease = leases.join(source, user)
before = set(os.listdir("/proc/self/fd"))
end, parents = os.pipe()
child = os.fork()
if child == 0:
    os.close(parents)
    targets = [os.readlink(f"/proc/self/fd/{name}")
               for name in os.listdir("/proc/self/fd") if int(name) > 2
               and os.path.lexists(f"/proc/self/fd/{name}")]
    kept = [each for each in targets if "signalfd" in each or each == path]
    ok = not kept and not len(leases) and lease.state is State.OVER and source.closed
    os.read(end, 1)  # outlive the parent's lease
    os._exit(0 if ok else 1)
os.close(end)
print(lease.is_held, write(path), lease.state)
os.write(parents, b"x")
os.close(parents)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
leases.close()
source.release()
"""
    assert run(COMMON + code, source.path) == "True True State.OVER\n0\n"


def test_a_child_does_not_keep_the_lease_of_a_parent_that_is_gone(
    source: FileSource,
) -> None:
    code = """
path = sys.argv[1]
end, theirs = os.pipe()
told, tell = os.pipe()
parent = os.fork()
if parent == 0:
    leases.join(FileSource.open(path), User())
    if os.fork() == 0:
        os.close(theirs)
        os.write(tell, b"x")
        os.read(end, 1)
    else:
        os.read(told, 1)
    os._exit(0)  # without giving anything back
os.waitpid(parent, 0)
print(write(path))
"""
    assert run(COMMON + code, source.path) == "True\n"


def test_a_child_has_leases_of_its_own(source: FileSource) -> None:
    code = """
path = sys.argv[1]
source, user = FileSource.open(path), User()
lease = leases.join(source, user)
child = os.fork()
if child == 0:
    try:
        own = FileSource.open(path)
        lease = leases.join(own, User())
        ok = isinstance(lease, Lease) and write(path) and lease.state is State.OVER
        os._exit(0 if ok else 1)
    finally:
        os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lease.state)
leases.close()
source.release()
"""
    assert run(COMMON + code, source.path) == "0 State.OVER\n"


def test_fork_while_somebody_holds_the_registrys_lock_hangs_nobody(
    source: FileSource,
) -> None:
    code = """
path = sys.argv[1]
with leases._lock:
    child = os.fork()
    if child == 0:
        try:
            source = FileSource.open(path)
            os._exit(0 if isinstance(leases.lend(source), Lease) else 1)
        finally:
            os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(COMMON + code, source.path) == "0\n"


def test_where_a_filter_forbids_fcntl_the_reason_says_so(source: FileSource) -> None:
    """As a container's seccomp profile may: EPERM for F_SETSIG."""
    code = """
sys.path.append(sys.argv[2])
import seccomp
if not seccomp.refuse("F_SETSIG"):
    print("no seccomp")
    sys.exit()
source = FileSource.open(sys.argv[1])
print(leases.lend(source))
leases.close()
source.release()
"""
    if why_not := seccomp.why_not():
        pytest.skip(why_not)
    found = run(COMMON + code, source.path, Path(seccomp.__file__).parent)
    if found == "no seccomp\n":
        pytest.skip(found)
    assert found == "refused: Operation not permitted\n"
