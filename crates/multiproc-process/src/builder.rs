//! A child to be started, with all that can be asked of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::limits::Resource;
use multiproc_wire::{Encoder, Link, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind};
use crate::function::{self, Function, FunctionRef};
use crate::registry::Child;
use crate::restrictions::Restrictions;
use crate::startup::{self, Call, Order};
use crate::stdio::{Stdio, Streams};
use crate::{ForkPromise, Process, StartMethod, current_process, executable, memory, start_method};

/// A child to be started. Made by [`Process::builder`].
#[derive(Debug)]
#[must_use = "nothing is started before `spawn`"]
pub struct Builder {
    method: Option<StartMethod>,
    name: Option<String>,
    cleared: bool,
    variables: BTreeMap<OsString, Option<OsString>>,
    folder: Option<PathBuf>,
    streams: [Stdio; 3],
    daemon: bool,
    announce: bool,
    restrictions: Restrictions,
    memory: Option<u64>,
    session: bool,
    start_timeout: Option<Duration>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            method: None,
            name: None,
            cleared: false,
            variables: BTreeMap::new(),
            folder: None,
            streams: [Stdio::null(), Stdio::inherit(), Stdio::inherit()],
            daemon: false,
            announce: true,
            restrictions: Restrictions::default(),
            memory: None,
            session: false,
            start_timeout: None,
        }
    }

    /// In which way the child comes to be; as [`set_start_method`](crate::set_start_method) says unless asked
    /// otherwise.
    ///
    /// ```
    /// use multiproc_process::{Process, StartMethod};
    ///
    /// let child = Process::builder().start_method(StartMethod::ForkServer).spawn(|n: u64| n * n, 12)?;
    /// assert_eq!(child.join()?, 144);
    /// # Ok::<(), multiproc_process::Error>(())
    /// ```
    #[doc(alias = "multiprocessing.get_context")]
    pub fn start_method(mut self, method: StartMethod) -> Builder {
        self.method = Some(method);
        self
    }

    /// The name under which `ps` and errors show the child, and of the thread that runs its function;
    /// `Process-1`, `Process-2` … where none is given.
    #[doc(alias = "multiprocessing.Process.name")]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable in the child's environment, which else is the parent's.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.variables
            .insert(name.as_ref().into(), Some(value.as_ref().into()));
        self
    }

    /// Leaves a variable out of the child's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Builder {
        self.variables.insert(name.as_ref().into(), None);
        self
    }

    /// Starts from an empty environment; what was set before is gone too.
    pub fn env_clear(mut self) -> Builder {
        self.cleared = true;
        self.variables.clear();
        self
    }

    /// The folder the child starts in; the parent's where none is given.
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Builder {
        self.folder = Some(folder.as_ref().into());
        self
    }

    /// Where standard input comes from: nowhere, unless asked otherwise.
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Builder {
        self.streams[0] = stream.into();
        self
    }

    /// Where standard output goes: where the parent's does, unless asked otherwise.
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Builder {
        self.streams[1] = stream.into();
        self
    }

    /// Where standard error goes: where the parent's does, unless asked otherwise.
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Builder {
        self.streams[2] = stream.into();
        self
    }

    /// A daemonic child is killed at the end of the program, rather than waited for; and what is left of its
    /// process group is killed when it ends.
    ///
    /// # Differences from Python
    /// A daemonic child may have children of its own.
    #[doc(alias = "multiprocessing.Process.daemon")]
    pub fn daemon(mut self, daemon: bool) -> Builder {
        self.daemon = daemon;
        self
    }

    /// Whether a panic of the function is printed by the child, as well as returned by `join`. It is,
    /// unless asked otherwise.
    pub fn print_panics(mut self, print: bool) -> Builder {
        self.announce = print;
        self
    }

    /// The CPUs that the child runs on, by their numbers; all that the parent may use unless asked
    /// otherwise. One that is not there, or not for this process, is an error of the start.
    #[doc(alias = "os.sched_setaffinity")]
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> Builder {
        self.restrictions.affinity = Some(cpus.into_iter().collect());
        self
    }

    /// How much other processes go first: from -20, before all others, to 19, after them. It is not added
    /// to the parent's, which is what the child has unless asked otherwise; a lower one than that needs
    /// the right to it, and else is an error of the start.
    #[doc(alias = "os.nice")]
    pub fn niceness(mut self, niceness: i32) -> Builder {
        self.restrictions.niceness = Some(niceness);
        self
    }

    /// So much of a resource and no more, for the child and, each for itself, what it starts; the child
    /// cannot raise it again. More than the parent may have is an error of the start.
    ///
    /// ```
    /// use multiproc_process::{Process, Resource};
    ///
    /// let child = Process::builder()
    ///     .limit(Resource::CpuSeconds, 1)
    ///     .limit(Resource::CoreSize, 0)
    ///     .spawn(|()| -> () { loop { std::hint::spin_loop() } }, ())?;
    /// let error = child.join().unwrap_err();
    /// assert!(error.to_string().contains("SIGXCPU"), "{error}");
    /// # Ok::<(), multiproc_process::Error>(())
    /// ```
    #[doc(alias = "resource.setrlimit")]
    pub fn limit(mut self, resource: Resource, most: u64) -> Builder {
        self.restrictions.limit(resource, most);
        self
    }

    /// Caps the child's memory at so many bytes: by a control group of its own where this process may make one, and
    /// else by a limit of its address space. [`Process::memory_cap`] says which it was, and [`MemoryCap`] what each
    /// means. For the second alone there is [`limit`](Self::limit), with [`Resource::AddressSpace`].
    ///
    /// A process may make groups in or beside its own where version 2 is mounted, that or the one above gives `memory`
    /// to groups in it, and the folder and its `cgroup.procs` may be written: as systemd has it with `Delegate=memory`
    /// and `DelegateSubgroup=`. Nothing is rearranged for it. A group is removed when its child has ended; that of a
    /// killed parent when the next one is made beside it.
    ///
    /// Too small a cap of the first kind ends the child before its function is called; one of the second kind that leaves
    /// no room for the program and the stack of its function is an error of the start.
    ///
    /// [`MemoryCap`]: crate::MemoryCap
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.memory = Some(bytes);
        self
    }

    /// The permissions that files and folders made by the child do not get; the parent's umask unless
    /// asked otherwise.
    #[doc(alias = "os.umask")]
    pub fn umask(mut self, mask: u32) -> Builder {
        self.restrictions.umask = Some(mask);
        self
    }

    /// Has the child lead a session of its own, which no terminal controls, and not only a process group
    /// of its own, which each child does. It still does not outlive its parent.
    #[doc(alias = "os.setsid")]
    pub fn new_session(mut self) -> Builder {
        self.session = true;
        self
    }

    /// Has [`spawn`](Self::spawn) wait until the child is about to call its function, and for no longer
    /// than this: a child that has not come so far then is killed. All that can go wrong before is an
    /// error of `spawn` then, and not of `join`.
    pub fn start_timeout(mut self, timeout: Duration) -> Builder {
        self.start_timeout = Some(timeout);
        self
    }

    /// Starts a child that calls `function(arguments)`.
    ///
    /// # Errors
    /// An argument that cannot be encoded, a limit on processes, open files or memory that is reached, a
    /// folder that is not there, a name or variable that no system call can carry; a program without the
    /// hook before `main` that has not called [`init`](crate::init); a child too many levels deep.
    /// Nothing is left behind then. What happens from the start on is told by [`Process::join`], unless
    /// there is a [`start_timeout`](Self::start_timeout).
    pub fn spawn<A, R>(self, function: fn(A) -> R, arguments: A) -> Result<Process<R>, Error>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let fail = |kind| Error::new(kind, None);
        let function = Function::new(function)
            .reference()
            .map_err(|error| fail(Kind::Locate(error)))?;
        let mut bytes = Vec::new();
        let handoff = encode(&arguments, &mut bytes).map_err(|error| fail(Kind::Encode(error)))?;
        let call = Call::Sent(&bytes, handoff.handles());
        let started = self.start(Some(function), call)?;
        handoff.sent();
        started.process()
    }

    /// Forks a child of this process that calls `run`, which need not travel: it may capture what it likes, and
    /// runs on a copy of this thread. Its result travels as any other.
    ///
    /// [`StartMethod::Fork`] forks for a plain function too.
    ///
    /// ```
    /// # fn example(_: ()) {
    /// use multiproc_process::{ForkPromise, Process};
    ///
    /// let words = ["all", "that", "is", "here"];
    /// // SAFETY: the child uses nothing but its copy of `words`.
    /// let child = unsafe { Process::builder().fork(ForkPromise::alone(), || words.concat()) };
    /// assert_eq!(child.unwrap().join().unwrap(), "allthatishere");
    /// # }
    /// # // A doctest has other threads.
    /// # multiproc_process::Process::spawn(example, ()).unwrap().join().unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); and where this process has other threads, unless the promise covers those.
    ///
    /// # Safety
    /// What [`ForkPromise`] was promised holds for `run` too, which in the child is called, and whose captures are
    /// neither dropped nor used by anybody else there.
    pub unsafe fn fork<R>(
        mut self,
        promise: ForkPromise,
        run: impl FnOnce() -> R,
    ) -> Result<Process<R>, Error>
    where
        R: Serialize + DeserializeOwned,
    {
        self.method = Some(StartMethod::Fork(promise));
        let call = |panics, results: &mut Encoder<'_>| function::call_closure(panics, run, results);
        self.start(None, Call::Here(Box::new(call)))?.process()
    }

    fn start(mut self, function: Option<FunctionRef>, call: Call<'_>) -> Result<Started, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let deadline = self.start_timeout.map(Deadline::after);
        let name = self.name.unwrap_or_else(|| {
            // Relaxed: only distinct.
            format!("Process-{}", COUNT.fetch_add(1, Ordering::Relaxed))
        });
        let memory = self
            .memory
            .map(|most| memory::cap(most, &mut self.restrictions));
        let order = Order {
            function,
            print_panics: self.announce,
            tell_start: deadline.is_some(),
            restrictions: self.restrictions,
            name: name.clone(),
            parents_name: current_process().name().to_string(),
            start_method: start_method::inherited().map(String::from),
            executable: executable::inherited(),
        };
        let mut environment = if self.cleared {
            startup::Environment::new()
        } else {
            startup::own_environment()
        };
        for (name, value) in self.variables {
            match value {
                Some(value) => environment.insert(name, value),
                None => environment.remove(&name),
            };
        }
        environment.remove(OsStr::new(startup::TRIGGER));
        let (streams, ours) =
            Streams::new(self.streams).map_err(|error| Error::new(Kind::Start(error), None))?;
        let mut setting = startup::Setting {
            name,
            method: self.method.unwrap_or_else(start_method::used_start_method),
            environment,
            folder: self.folder,
            streams,
            ours,
            daemon: self.daemon,
            memory,
            session: self.session,
            deadline: deadline.unwrap_or(Deadline::NEVER),
        };
        let (child, link) = startup::start(&mut setting, &order, call)?;
        // The child's sides of its streams are its own from here on.
        Ok(Started {
            child,
            link,
            ours: setting.ours,
            deadline,
        })
    }
}

/// A child that was started, of which it is not known what it returns.
struct Started {
    child: Arc<Child>,
    link: Link,
    ours: Streams,
    deadline: Option<Deadline>,
}

impl Started {
    fn process<R>(self) -> Result<Process<R>, Error> {
        let process = Process::new(self.child, self.link, self.ours);
        if let Some(deadline) = self.deadline {
            process.wait_for_start(deadline)?;
        }
        Ok(process)
    }
}
