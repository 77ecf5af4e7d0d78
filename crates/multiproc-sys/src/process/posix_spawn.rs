//! `posix_spawn`, which shares the parent's memory with the child until exec, so that a start costs the
//! same however large the parent is.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::syscall::{check, check_code};
use crate::wait::Waiter;

/// The descriptor at which the child finds the first handle it inherits; the others follow.
pub const FIRST_INHERITED: RawFd = 3;

/// Where a standard stream of a child leads.
#[derive(Debug, Default)]
pub enum Stdio {
    /// Where the parent's leads.
    #[default]
    Inherit,
    /// Nowhere: empty to read, swallowing what is written.
    Null,
    /// To this file, pipe or socket.
    Handle(OwnedFd),
}

/// The image of the running program. It stays valid when the file is replaced or removed.
#[must_use]
pub fn own_image() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// The number of this process's parent.
#[must_use]
pub fn parent_id() -> u32 {
    std::os::unix::process::parent_id()
}

/// Opens the standard streams that are closed, on nothing: else whatever is opened next would be taken for
/// them. What the standard library does before `main`, for a process that never reaches it.
pub fn open_standard_streams() {
    for number in 0..=2 {
        // SAFETY: no pointer is passed.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            // The lowest free number, hence this one. Where it fails the process has worse trouble.
            // SAFETY: a C string.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Names this process (its first 15 bytes) for tools that do not show arguments; the name of the
/// image would mean nothing to anybody.
pub fn set_name(name: &str) {
    let mut short = [0_u8; 16];
    let length = name.len().min(15);
    short[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: `short` is a C string of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, short.as_ptr()) };
}

/// The size of stack that the main thread may grow to, in bytes.
#[must_use]
pub fn main_stack_size() -> usize {
    /// Where there is no limit, what is usual.
    const USUAL: usize = 8 << 20;
    /// More than any program needs, and an address space is not endless.
    const MOST: usize = 1 << 30;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is live and the call fills it.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    if result != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return USUAL;
    }
    usize::try_from(limit.rlim_cur)
        .unwrap_or(MOST)
        .clamp(64 << 10, MOST)
}

/// Has `run` called when this process ends by returning from `main` or by `exit`, after what was
/// registered later. False where there is no memory to note it.
pub fn at_exit(run: extern "C" fn()) -> bool {
    // SAFETY: `run` is a function for the life of the image; what it must not do is its author's care.
    unsafe { libc::atexit(run) == 0 }
}

/// Takes the handle that the parent has put at [`FIRST_INHERITED`]` + index`.
///
/// # Errors
/// Where no descriptor is there.
///
/// # Safety
/// Each index is taken once, by the code that the parent has put it there for.
pub unsafe fn inherited(index: RawFd) -> io::Result<OwnedFd> {
    let fd = FIRST_INHERITED + index;
    // SAFETY: no pointer is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and nobody else takes it (the caller's promise).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The waiter for a child that has just been started by any means. Where there is none the child is ended:
/// nobody could look after it.
///
/// # Errors
/// As [`Waiter::new`].
pub fn look_after(pid: u32) -> io::Result<Waiter> {
    Waiter::new(pid).inspect_err(|error| {
        // Gone already, and reaped by the kernel since SIGCHLD is ignored: the number may be another's.
        if error.raw_os_error() == Some(libc::ESRCH) {
            return;
        }
        let pid = pid.cast_signed();
        // SAFETY: no pointer is passed.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        // SAFETY: a null status is allowed.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    })
}

/// A child to be started.
#[derive(Debug)]
pub struct Command<'a> {
    image: CString,
    /// The first is the name.
    arguments: Vec<CString>,
    environment: Vec<CString>,
    folder: Option<CString>,
    streams: [Stdio; 3],
    session: bool,
    inherit: &'a [BorrowedFd<'a>],
}

impl<'a> Command<'a> {
    /// The image at `image`, shown under `name` by `ps`, with an empty environment, in this process's
    /// folder, with this process's standard streams. The child finds `inherit` from
    /// [`FIRST_INHERITED`] on, and no other descriptor.
    ///
    /// # Errors
    /// `InvalidInput` where one of them contains a NUL byte.
    pub fn new(
        image: &Path,
        name: impl AsRef<OsStr>,
        inherit: &'a [BorrowedFd<'a>],
    ) -> io::Result<Command<'a>> {
        Ok(Command {
            image: c_string(image.as_os_str(), "the path of the image")?,
            arguments: vec![c_string(name.as_ref(), "the name of the process")?],
            environment: Vec::new(),
            folder: None,
            streams: Default::default(),
            session: false,
            inherit,
        })
    }

    /// Adds an argument behind the name.
    ///
    /// # Errors
    /// `InvalidInput` where it contains a NUL byte.
    pub fn argument(&mut self, argument: &OsStr) -> io::Result<()> {
        self.arguments.push(c_string(argument, "an argument")?);
        Ok(())
    }

    /// Adds a variable to the environment.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty or has a `=` in it, or a NUL byte.
    pub fn variable(&mut self, name: &OsStr, value: &OsStr) -> io::Result<()> {
        check_name(name)?;
        let mut entry = OsString::with_capacity(name.len() + value.len() + 1);
        entry.push(name);
        entry.push("=");
        entry.push(value);
        self.environment.push(c_string(&entry, A_VARIABLE)?);
        Ok(())
    }

    /// The folder to start in.
    ///
    /// # Errors
    /// `InvalidInput` where the path contains a NUL byte.
    pub fn folder(&mut self, folder: &Path) -> io::Result<()> {
        self.folder = Some(c_string(folder.as_os_str(), "the path of the folder")?);
        Ok(())
    }

    /// The standard streams: input, output, error.
    pub fn streams(&mut self, streams: [Stdio; 3]) {
        self.streams = streams;
    }

    /// Has the child lead a session of its own, without a terminal, and not only a process group.
    pub fn new_session(&mut self) {
        self.session = true;
    }

    /// Starts the child.
    ///
    /// # Errors
    /// What the kernel answers: no more processes allowed (`EAGAIN`), no memory, too many open files,
    /// no such image or folder. Nothing is left behind.
    pub fn start(&self) -> io::Result<Waiter> {
        let moved = Moved::new(&self.streams, self.inherit)?;
        let mut actions = Actions::new()?;
        actions.streams(&self.streams, &moved)?;
        actions.inherit(&moved)?;
        if let Some(folder) = &self.folder {
            actions.folder(folder)?;
        }
        let attributes = Attributes::new(self.session)?;
        let pointers = |strings: &[CString]| -> Vec<*mut c_char> {
            let strings = strings.iter().map(|string| string.as_ptr().cast_mut());
            strings.chain([ptr::null_mut()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut pid: libc::pid_t = 0;
        // SAFETY: every pointer is to a live, initialised value; both arrays end in null, and their
        // strings, which the call only reads, outlive it.
        check_code(unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.image.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        })?;
        look_after(pid.cast_unsigned())
    }
}

/// The descriptors for the child, at numbers above those where the child is to find them, so that
/// putting one in place overwrites no other.
pub(super) struct Moved<'a> {
    pub(super) streams: [Option<Placed<'a>>; 3],
    inherit: Vec<Placed<'a>>,
}

pub(super) enum Placed<'a> {
    There(BorrowedFd<'a>),
    Copied(OwnedFd),
}

impl<'a> Moved<'a> {
    pub(super) fn new(
        streams: &'a [Stdio; 3],
        inherit: &'a [BorrowedFd<'a>],
    ) -> io::Result<Moved<'a>> {
        let floor = FIRST_INHERITED + RawFd::try_from(inherit.len()).map_err(io::Error::other)?;
        let mut moved = Moved {
            streams: [None, None, None],
            inherit: Vec::with_capacity(inherit.len()),
        };
        for (slot, stream) in moved.streams.iter_mut().zip(streams) {
            if let Stdio::Handle(handle) = stream {
                *slot = Some(above(std::os::fd::AsFd::as_fd(handle), floor)?);
            }
        }
        for handle in inherit {
            moved.inherit.push(above(*handle, floor)?);
        }
        Ok(moved)
    }
}

fn above(handle: BorrowedFd<'_>, floor: RawFd) -> io::Result<Placed<'_>> {
    if handle.as_raw_fd() >= floor {
        return Ok(Placed::There(handle));
    }
    // SAFETY: the descriptor is open; no pointer is passed.
    let fd = check(unsafe { libc::fcntl(handle.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor) })?;
    // SAFETY: just made, nobody else's.
    Ok(Placed::Copied(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Placed<'_> {
    pub(super) fn number(&self) -> RawFd {
        match self {
            Placed::There(handle) => handle.as_raw_fd(),
            Placed::Copied(handle) => handle.as_raw_fd(),
        }
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Actions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check_code(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised.
        Ok(Actions(unsafe { actions.assume_init() }))
    }

    fn streams(&mut self, streams: &[Stdio; 3], moved: &Moved<'_>) -> io::Result<()> {
        for (number, (stream, handle)) in (0..).zip(streams.iter().zip(&moved.streams)) {
            match (stream, handle) {
                (Stdio::Handle(_), Some(handle)) => self.copy(handle.number(), number)?,
                (Stdio::Null, _) => self.null(number)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn inherit(&mut self, moved: &Moved<'_>) -> io::Result<()> {
        let mut target = FIRST_INHERITED;
        for handle in &moved.inherit {
            self.copy(handle.number(), target)?;
            target += 1;
        }
        // Others' descriptors may lack close-on-exec.
        // SAFETY: the actions are initialised.
        check_code(unsafe {
            libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.0, target)
        })
    }

    fn copy(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised.
        check_code(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }

    fn null(&mut self, number: RawFd) -> io::Result<()> {
        let flags = if number == 0 {
            libc::O_RDONLY
        } else {
            libc::O_WRONLY
        };
        let path = c"/dev/null".as_ptr();
        // SAFETY: the actions are initialised and copy the path, a C string.
        check_code(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, number, path, flags, 0)
        })
    }

    fn folder(&mut self, folder: &CString) -> io::Result<()> {
        // SAFETY: the actions are initialised and copy the path, a C string.
        check_code(unsafe {
            libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, folder.as_ptr())
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A group of its own, perhaps in a session of its own, and no signal blocked.
    fn new(session: bool) -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check_code(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let mut mask = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check(unsafe { libc::sigemptyset(mask.as_mut_ptr()) })?;
        // SAFETY: both are initialised.
        check_code(unsafe {
            libc::posix_spawnattr_setsigmask(&raw mut attributes.0, mask.as_ptr())
        })?;
        // SAFETY: initialised.
        check_code(unsafe { libc::posix_spawnattr_setpgroup(&raw mut attributes.0, 0) })?;
        // The leader of a session leads a group; who leads a group cannot make a session any more.
        let lead = match session {
            true => libc::POSIX_SPAWN_SETSID.into(),
            false => libc::POSIX_SPAWN_SETPGROUP,
        };
        let flags = lead | libc::POSIX_SPAWN_SETSIGMASK;
        let flags = libc::c_short::try_from(flags).expect("small");
        // SAFETY: initialised.
        check_code(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Finds what [`Command`] would refuse, in a text that no system call is to carry.
///
/// # Errors
/// `InvalidInput` where it contains a NUL byte; `what` says whose it is.
pub fn check_text(text: &OsStr, what: &str) -> io::Result<()> {
    if text.as_bytes().contains(&0) {
        return Err(with_nul(text, what));
    }
    Ok(())
}

/// As [`check_text`], for what [`Command::variable`] would refuse.
///
/// # Errors
/// As that.
pub fn check_variable(name: &OsStr, value: &OsStr) -> io::Result<()> {
    check_name(name)?;
    check_text(name, A_VARIABLE)?;
    check_text(value, A_VARIABLE)
}

const A_VARIABLE: &str = "an environment variable";

fn check_name(name: &OsStr) -> io::Result<()> {
    if name.is_empty() || name.as_bytes()[1..].contains(&b'=') {
        return Err(invalid(format!(
            "{name:?} cannot name an environment variable"
        )));
    }
    Ok(())
}

fn c_string(text: &OsStr, what: &str) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| with_nul(text, what))
}

fn with_nul(text: &OsStr, what: &str) -> io::Error {
    invalid(format!("{what} contains a NUL byte: {text:?}"))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Deadline;
    use crate::socket::{Received, Socket};
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn limit() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    /// Runs `/bin/ls` over its own descriptors, writing to a socket of ours.
    fn list(folder: Option<&str>, inherit: &[BorrowedFd<'_>]) -> String {
        let (ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(Path::new("/bin/sh"), "sh", inherit).unwrap();
        command
            .variable(OsStr::new("ENV_OF"), OsStr::new("child"))
            .unwrap();
        if let Some(folder) = folder {
            command.folder(Path::new(folder)).unwrap();
        }
        // A shell with nothing to read ends at once; what it is told comes as its input.
        let (script, input) = io::pipe().map(|(r, w)| (w, r)).unwrap();
        io::Write::write_all(&mut &script, b"echo $(cd /proc/self/fd && echo *) $ENV_OF $(pwd) $(cat /proc/self/stat | cut -d' ' -f5) $$\n").unwrap();
        drop(script);
        command.streams([
            Stdio::Handle(input.into()),
            Stdio::Handle(theirs.into()),
            Stdio::Null,
        ]);
        let child = command.start().unwrap();
        drop(command);
        assert!(child.wait(limit()).unwrap());
        assert!(child.try_reap().unwrap().unwrap().success());
        // Written by `write`, without our count in front: read it raw.
        let fd = OwnedFd::from(ours);
        let mut text = vec![0; 1000];
        // SAFETY: `text` has room for its length.
        let length = unsafe { libc::read(fd.as_raw_fd(), text.as_mut_ptr().cast(), text.len()) };
        text.truncate(usize::try_from(length).unwrap());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_child_gets_what_is_meant_for_it_and_nothing_else() {
        // SAFETY: no pointer is passed. A descriptor without close-on-exec, as other code makes them.
        let careless = unsafe { libc::dup(2) };
        let file = std::fs::File::open("/dev/null").unwrap();
        let told = list(Some("/usr"), &[file.as_fd(), file.as_fd()]);
        let words: Vec<&str> = told.split_whitespace().collect();
        // 0 1 2 3 4, then whatever the shell itself opened for the listing.
        assert_eq!(&words[..5], ["0", "1", "2", "3", "4"]);
        assert!(
            !words[..words.len() - 4].contains(&careless.to_string().as_str()) || careless < 10
        );
        assert_eq!(&words[words.len() - 4..words.len() - 2], ["child", "/usr"]);
        let (group, pid) = (words[words.len() - 2], words[words.len() - 1]);
        assert_eq!(group, pid, "the child leads its own group");
        // SAFETY: ours, made above.
        unsafe { libc::close(careless) };
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        let none = Command::new(Path::new("/no/such/image"), "x", &[]).unwrap();
        assert_eq!(none.start().unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut lost = Command::new(Path::new("/bin/true"), "x", &[]).unwrap();
        lost.folder(Path::new("/no/such/folder")).unwrap();
        assert_eq!(lost.start().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(Command::new(Path::new("/bin/true"), "a\0b", &[]).is_err());
        let mut odd = Command::new(Path::new("/bin/true"), "x", &[]).unwrap();
        assert!(odd.variable(OsStr::new("A=B"), OsStr::new("")).is_err());
        assert!(odd.variable(OsStr::new(""), OsStr::new("")).is_err());
    }

    #[test]
    fn a_killed_child_tells_its_signal() {
        let (ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(Path::new("/bin/cat"), "cat", &[]).unwrap();
        command.streams([Stdio::Handle(theirs.into()), Stdio::Null, Stdio::Inherit]);
        let child = command.start().unwrap();
        assert_eq!(child.try_reap().unwrap(), None);
        assert!(!child.wait(Deadline::now()).unwrap());
        assert_eq!(child.early_status(), None, "a living child has none");
        child.kill(libc::SIGSTOP).unwrap();
        child.kill(libc::SIGCONT).unwrap();
        assert_eq!(
            child.early_status(),
            None,
            "nor has one that is stopped or was"
        );
        child.kill_group(libc::SIGKILL).unwrap();
        assert!(child.wait(limit()).unwrap());
        assert_eq!(
            child
                .early_status()
                .and_then(crate::wait::ExitStatus::signal),
            Some(libc::SIGKILL)
        );
        assert_eq!(
            child.try_reap().unwrap().unwrap().signal(),
            Some(libc::SIGKILL)
        );
        assert_eq!(
            child.early_status(),
            None,
            "a reaped child has no early status"
        );
        child.kill(libc::SIGKILL).unwrap();
        child.kill_group(libc::SIGKILL).unwrap();
        drop(command);
        let end = ours.receive(&mut vec![], limit()).unwrap();
        assert!(matches!(end, Received::End));
    }
}
