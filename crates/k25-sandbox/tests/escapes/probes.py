# Ways out of a sandbox. Each function tries one and returns what it got hold of; an exception, or
# nothing, means that it got nowhere. WORLD, above, says what there is to get hold of.
import ctypes
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NEWNS, NEWUSER, NEWUTS = 0x20000, 0x10000000, 0x4000000


def checked(result, what="call"):
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error) + " in " + what)
    return result


def syscall(number, *arguments):
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *wide), "system call %d" % number)


def own_namespaces(flags):
    # An ordinary user becomes root of its own namespace first.
    if os.geteuid() != 0:
        flags |= NEWUSER
    checked(libc.unshare(flags), "unshare")


# Files of the host.


def read_secret():
    return open(WORLD["secret"]).read()


def read_home():
    return os.listdir(WORLD["home"]) or None


def read_shadow():
    return open("/etc/shadow").read()


def read_disk():
    devices = [line.split()[0] for line in open("/proc/self/mounts") if line.startswith("/dev/")]
    return os.read(os.open(devices[0], os.O_RDONLY), 512)


def write_system():
    path = "/usr/local/.probe"
    open(path, "w").write("x")
    os.remove(path)
    return path


def write_outside():
    path = WORLD["open_folder"] + "/written%d" % os.getpid()
    open(path, "w").write("x")
    return path


def change_mode():
    os.chmod(WORLD["victim"], 0o777)
    return "mode"


def change_times():
    os.utime(WORLD["victim"], (1, 1))
    return "times"


def cut_short():
    os.truncate(WORLD["victim"], 1)
    return "length"


def set_attribute():
    os.setxattr(WORLD["victim"], "user.probe", b"x")
    return "attribute"


def move_away():
    os.rename(WORLD["victim_to_move"], WORLD["victim_to_move"] + ".moved")
    os.rename(WORLD["victim_to_move"] + ".moved", WORLD["victim_to_move"])
    return "name"


def hard_link():
    os.link(WORLD["victim"], "linked%d" % os.getpid())
    return "link"


def follow_link():
    os.symlink(WORLD["secret"], "link%d" % os.getpid())
    return open("link%d" % os.getpid()).read()


def leave_root():
    os.chroot("/")
    return "chroot"


def open_by_handle():
    handle = struct.pack("Ii128x", 128, 0)
    buffer, mount = ctypes.create_string_buffer(handle), ctypes.c_int()
    name_to_handle_at, open_by_handle_at = 303, 304
    syscall(name_to_handle_at, -100, WORLD["secret"].encode(), buffer, ctypes.byref(mount), 0)
    folder = os.open(os.path.dirname(WORLD["secret"]), os.O_RDONLY)
    return syscall(open_by_handle_at, folder, buffer, os.O_RDONLY)


def make_device():
    os.mknod("device%d" % os.getpid(), 0o20666, os.makedev(1, 3))
    return "device"


def make_pipe():
    os.mkfifo("pipe%d" % os.getpid())
    return "pipe"


# The network.


def tcp_to_host():
    with socket.create_connection(("127.0.0.1", WORLD["port"]), 2) as connection:
        return connection.recv(100)


def udp_out():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("127.0.0.1", 9))


def tcp_listen():
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::", 0))
        listener.listen()
        return listener.getsockname()


def abstract_socket():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + WORLD["abstract"])
        return connection.recv(100)


def named_socket():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(WORLD["socket"])
        return connection.recv(100)


def pair_to_abstract():
    # A pair may be made; its ends must not reach anyone else.
    left, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return left.sendto(b"x", "\0" + WORLD["abstract_datagram"])


def netlink():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).getsockname()


def raw_packets():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).getsockname()


def kernel_crypto():
    return socket.socket(38, socket.SOCK_SEQPACKET, 0).fileno()  # AF_ALG


# Other processes.


def signal_host():
    os.kill(WORLD["pid"], signal.SIGCONT)
    return WORLD["pid"]


def signal_by_owner():
    import fcntl

    left, _ = socket.socketpair()
    fcntl.fcntl(left, fcntl.F_SETOWN, WORLD["pid"])
    return fcntl.fcntl(left, fcntl.F_GETOWN)


def pidfd_of_host():
    return syscall(434, WORLD["pid"], 0)


def see_host():
    line = open("/proc/%d/cmdline" % WORLD["pid"]).read()
    return line if "sleep" in line else None


def trace():
    child = os.fork()
    if child == 0:
        time.sleep(2)
        os._exit(0)
    attach = 16
    try:
        return checked(libc.ptrace(attach, child, 0, 0), "ptrace") or "traced"
    finally:
        os.kill(child, signal.SIGKILL)


def read_memory_of_another():
    child = os.fork()
    if child == 0:
        time.sleep(2)
        os._exit(0)
    buffer = ctypes.create_string_buffer(b"x" * 8)
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    vector = Vector(ctypes.addressof(buffer), 8)
    try:
        return syscall(310, child, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def write_memory_of_parent():
    with open("/proc/%d/mem" % os.getppid(), "r+b", buffering=0) as memory:
        return memory.fileno()


def secret_of_parent():
    environment = open("/proc/%d/environ" % os.getppid()).read() + str(dict(os.environ))
    return "PROBE_TOKEN" in environment or None


def inherited():
    descriptors = []
    for number in range(3, 1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        descriptors.append(number)
    return descriptors or None


def outlive_parent():
    return checked(libc.prctl(1, 0, 0, 0, 0)) or "no signal when it dies"  # PR_SET_PDEATHSIG


# Rights.


def nested_user():
    return checked(libc.unshare(NEWUSER), "unshare") or "user namespace"


def nested_user_by_clone():
    child = syscall(56, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child


def nested_user_by_clone3():
    arguments = ctypes.create_string_buffer(struct.pack("8Q", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    child = syscall(435, arguments, 64)
    if child == 0:
        os._exit(0)
    return child


def mount():
    own_namespaces(NEWNS)
    target = os.getcwd().encode()
    return checked(libc.mount(b"none", target, b"tmpfs", 0, None), "mount") or "mounted"


def host_name():
    own_namespaces(NEWUTS)
    return checked(libc.sethostname(b"probe", 5)) or "named"


def join_host():
    namespace = os.open("/proc/%d/ns/uts" % WORLD["pid"], os.O_RDONLY)
    return checked(libc.setns(namespace, 0)) or "joined"


def gain_by_setuid():
    run = subprocess.run([WORLD["setuid"], "-u"], capture_output=True, text=True)
    return "root" if run.stdout.strip() == "0" else None


def new_privileges():
    return "may gain privileges" if libc.prctl(39, 0, 0, 0, 0) == 0 else None


def become_another():
    # Whoever may, may say so about itself.
    checked(libc.setresuid(os.getuid(), os.getuid(), os.getuid()))
    return "setresuid"


def capabilities():
    status = open("/proc/self/status").read()
    effective = [line for line in status.splitlines() if line.startswith(("CapEff", "CapBnd", "CapPrm"))]
    return effective if any(int(line.split()[1], 16) for line in effective) else None


def capabilities_by_call():
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    syscall(125, ctypes.create_string_buffer(header), data)
    return data.raw if any(data.raw) else None


def raise_limit():
    return resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2) or "core files"


def real_time():
    return os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)) or "real time"


# Parts of the kernel that programs which compute have no use for.


def keys():
    return syscall(248, b"user", b"probe", b"x", 1, -2)  # in the process's keyring


def io_uring():
    return syscall(425, 4, ctypes.create_string_buffer(120))


def bpf():
    return syscall(321, 0, ctypes.create_string_buffer(struct.pack("5I", 2, 4, 4, 1, 0) + bytes(100)), 72)


def perf():
    attributes = struct.pack("IIQ", 1, 112, 0) + bytes(112)  # software, processor clock
    return syscall(298, ctypes.create_string_buffer(attributes), 0, -1, -1, 0)


def page_faults():
    return syscall(323, os.O_CLOEXEC)


def other_memory():
    return syscall(319, b"probe", 0)


def shared_memory():
    return syscall(29, 0, 4096, 0o1600)


def kernel_log():
    return checked(libc.klogctl(3, ctypes.create_string_buffer(100), 100))


def personality():
    return "personality" if checked(libc.personality(0x0040000)) >= 0 else None


def type_into_terminal():
    import fcntl
    import termios

    try:
        _, terminal = os.openpty()
    except OSError:
        terminal = 0
    if os.fork() == 0:
        try:
            os.setsid()
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
            os._exit(42)
        except OSError:
            os._exit(1)
    _, status = os.wait()
    return "typed" if os.WEXITSTATUS(status) == 42 else None


def other_numbers():
    # The same kernel through the door of another architecture: getpid by `int 0x80`.
    import mmap

    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = call()
    return result if result > 0 else None


# Too much of everything.


def much_memory():
    import mmap

    block, full = mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), b"x" * (1 << 20)
    for at in range(0, 2 << 30, 1 << 20):
        block[at : at + (1 << 20)] = full
    return "2 GiB"


def much_shared_memory():
    import mmap

    blocks, full = [], b"x" * (1 << 20)
    for _ in range(8):
        block = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        for at in range(0, 64 << 20, 1 << 20):
            block[at : at + (1 << 20)] = full
        blocks.append(block)
    return "512 MiB"


def many_processes():
    children = []
    try:
        for _ in range(200):
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            children.append(child)
        return len(children)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


def many_threads():
    stop = threading.Event()
    threading.stack_size(1 << 16)
    threads = [threading.Thread(target=stop.wait, daemon=True) for _ in range(300)]
    try:
        for thread in threads:
            thread.start()
        time.sleep(0.5)  # Where a guard counts, it has the time to.
        return len(threads)
    finally:
        stop.set()


def fill_disk():
    names = []
    try:
        for number in range(10):
            names.append("fill%d-%d" % (os.getpid(), number))
            with open(names[-1], "wb", buffering=0) as file:
                for _ in range(10):
                    assert file.write(bytes(1 << 20)) == 1 << 20
        # What is gone again at once has filled nothing.
        time.sleep(0.5)
        return "100 MiB"
    finally:
        for name in names:
            os.remove(name)


def fill_disk_unseen():
    files = []
    for number in range(10):
        name = "unseen%d-%d" % (os.getpid(), number)
        file = open(name, "wb", buffering=0)
        os.remove(name)
        files.append(file)
        for _ in range(10):
            assert file.write(bytes(1 << 20)) == 1 << 20
    time.sleep(0.5)
    return "100 MiB"


def many_files():
    folder = "many%d" % os.getpid()
    os.mkdir(folder)
    for number in range(12_000):
        os.close(os.open("%s/%d" % (folder, number), os.O_CREAT | os.O_WRONLY, 0o600))
    time.sleep(0.5)
    return 12_000


def kill_parent():
    parent = os.getppid()
    os.kill(parent, signal.SIGKILL)
    time.sleep(0.3)
    return parent if os.getppid() != parent else None


def kill_everyone():
    # Inside there is nobody but one's own; outside this is not tried.
    os.kill(-1, signal.SIGKILL)
    return None


def attempt(name):
    try:
        got = globals()[name]()
        print(name, "ESCAPED" if got is not None else "blocked", ascii(got)[:200], flush=True)
    except BaseException as error:
        print(name, "blocked", type(error).__name__, ascii(error)[:200], flush=True)


for name in NAMES:
    # Outside each is tried by a process of its own, for some change who they are.
    if not EACH_ALONE:
        attempt(name)
    elif os.fork() == 0:
        attempt(name)
        os._exit(0)
    else:
        os.wait()
