//! Which system calls the code may make: those that programs which compute need, and no others.
//!
//! Two filters stand one behind the other. The first lets through what is listed and answers the
//! rest as a kernel that does not know them (`ENOSYS`), so that libraries fall back. The second
//! refuses (`EPERM`) what programs know and should be told they may not.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Step, fault, missing};
use crate::protocol::Plan;
use crate::spec::{Isolation, Program};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Restricts this process and its children, for good.
pub(super) fn restrict(plan: &Plan) -> Step<()> {
    let listed = allowed(plan).and_then(|rules| {
        let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
        compile(rules, unknown, SeccompAction::Allow)
    });
    let refused = refused(plan).and_then(|rules| {
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        compile(rules, SeccompAction::Allow, refused)
    });
    // The last one that is installed is the first that is asked.
    for filter in [listed, refused] {
        let filter = filter.map_err(|error| fault("the filter of system calls", error))?;
        seccompiler::apply_filter(&filter).map_err(|error| {
            let hint = "use a kernel with CONFIG_SECCOMP_FILTER; in a container: \
                        --security-opt seccomp=unconfined";
            missing("filters of system calls (seccomp)", error, hint)
        })?;
    }
    Ok(())
}

fn compile(rules: Rules, other: SeccompAction, listed: SeccompAction) -> Fallible<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, other, listed, arch)?.try_into()?)
}

/// Calls of every program that computes, whatever their arguments.
const PLAIN: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    // Files that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    // Files by name.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    // Waiting, pipes, events.
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Time.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    // Threads and signals of its own.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // About itself.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getrusage,
    libc::SYS_getpriority,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_capget,
];

/// Older forms of the same calls, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_rename,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// More for programs that may start others, which only namespaces keep together.
const FAMILY: &[c_long] = &[
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_fallocate,
];
#[cfg(target_arch = "x86_64")]
const OLDER_FAMILY: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_FAMILY: &[c_long] = &[];

/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32 as u64;

/// What may be asked of terminals and files: nothing that types or binds.
const IOCTLS: [u64; 7] = [
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
];

/// What a process may ask or say about itself.
const PRCTLS: [i32; 8] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_SECCOMP,
    libc::PR_SET_VMA,
];

fn is(argument: u8, value: u64) -> Fallible<SeccompCondition> {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    Ok(condition?)
}

fn has(argument: u8, mask: u64, value: u64) -> Fallible<SeccompCondition> {
    let op = SeccompCmpOp::MaskedEq(mask);
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        op,
        value,
    )?)
}

fn any_of(argument: u8, values: impl IntoIterator<Item = u64>) -> Fallible<Vec<SeccompRule>> {
    let rule = |value| Ok(SeccompRule::new(vec![is(argument, value)?])?);
    values.into_iter().map(rule).collect()
}

fn allowed(plan: &Plan) -> Fallible<Rules> {
    let mut rules: Rules = PLAIN
        .iter()
        .chain(OLDER)
        .map(|call| (*call, vec![]))
        .collect();
    rules.insert(libc::SYS_ioctl, any_of(1, IOCTLS)?);
    rules.insert(
        libc::SYS_prctl,
        any_of(0, PRCTLS.map(|option| option as u64))?,
    );
    // For the second filter, which refuses it to what comes then.
    rules.insert(libc::SYS_seccomp, vec![]);
    let pair = any_of(0, [libc::AF_UNIX as u64])?;
    rules.insert(libc::SYS_socketpair, pair);
    // Reading limits, not setting them.
    let own_limits = SeccompRule::new(vec![is(0, 0)?, has(2, u64::MAX, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![own_limits]);
    rules.insert(libc::SYS_getrlimit, vec![]);
    let is_script = !matches!(plan.program, Program::JavaScript { .. });
    if is_script {
        rules.insert(libc::SYS_execve, vec![]);
    }
    let is_alone = plan.isolation == Isolation::Confined || !is_script;
    if is_alone {
        let thread = libc::CLONE_THREAD as u64;
        let threads = SeccompRule::new(vec![has(0, thread | NEW_NAMESPACES, thread)?])?;
        rules.insert(libc::SYS_clone, vec![threads]);
        // Signals to itself.
        let own = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill] {
            rules.insert(call, any_of(0, [own])?);
        }
    } else {
        let family = SeccompRule::new(vec![has(0, NEW_NAMESPACES, 0)?])?;
        rules.insert(libc::SYS_clone, vec![family]);
        let more = FAMILY.iter().chain(OLDER_FAMILY);
        rules.extend(more.map(|call| (*call, vec![])));
    }
    Ok(rules)
}

/// Calls that are refused in so many words. Those that are not on the list of the allowed either
/// would do nothing without this, but say something else.
const REFUSED: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_setsockopt,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_seccomp,
    libc::SYS_personality,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setrlimit,
    libc::SYS_setpriority,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_vmsplice,
];
#[cfg(target_arch = "x86_64")]
const OLDER_REFUSED: &[c_long] = &[
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_REFUSED: &[c_long] = &[];

/// Ways to have signals sent to others.
const OWNERS: [i32; 3] = [
    libc::F_SETOWN,
    15, /* F_SETOWN_EX */
    10, /* F_SETSIG */
];

fn refused(plan: &Plan) -> Fallible<Rules> {
    let mut rules: Rules = REFUSED
        .iter()
        .chain(OLDER_REFUSED)
        .map(|call| (*call, vec![]))
        .collect();
    rules.insert(
        libc::SYS_fcntl,
        any_of(1, OWNERS.map(|command| command as u64))?,
    );
    if plan.isolation == Isolation::Confined {
        // Landlock does not govern these, and here the host's files can be named.
        let more = FAMILY.iter().chain(OLDER_FAMILY);
        let signals = [libc::SYS_kill, libc::SYS_tgkill];
        let governed = more.filter(|call| !signals.contains(call));
        rules.extend(governed.map(|call| (*call, vec![])));
    }
    Ok(rules)
}
