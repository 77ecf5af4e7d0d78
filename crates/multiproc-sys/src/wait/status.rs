//! How a process ended.

use std::fmt;

use crate::signal;

/// How a process ended: by itself with a code, or by a signal.
#[doc(alias = "exitcode")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitStatus(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Code(i32),
    Signal {
        number: i32,
        core_dumped: bool,
        out_of_memory: bool,
    },
    Unknown,
}

impl ExitStatus {
    /// The end was seen, but somebody else took the status: the program ignores SIGCHLD, or waits for
    /// children that are not its own.
    pub const UNKNOWN: ExitStatus = ExitStatus(Kind::Unknown);

    /// From the number in which `wait` packs a status.
    pub(crate) fn from_wait_status(status: i32) -> ExitStatus {
        let number = status & 0x7f;
        ExitStatus(if number == 0 {
            Kind::Code(status >> 8 & 0xff)
        } else {
            Kind::Signal {
                number,
                core_dumped: status & 0x80 != 0,
                out_of_memory: false,
            }
        })
    }

    pub(crate) fn from_code(code: i32) -> ExitStatus {
        ExitStatus(Kind::Code(code))
    }

    pub(crate) fn from_signal(number: i32, core_dumped: bool) -> ExitStatus {
        ExitStatus(Kind::Signal {
            number,
            core_dumped,
            out_of_memory: false,
        })
    }

    /// This status, of a process that the kernel has killed for want of memory; others stay as they are.
    #[must_use]
    pub fn of_out_of_memory(self) -> ExitStatus {
        match self.0 {
            Kind::Signal {
                number: libc::SIGKILL,
                core_dumped,
                ..
            } => ExitStatus(Kind::Signal {
                number: libc::SIGKILL,
                core_dumped,
                out_of_memory: true,
            }),
            _ => self,
        }
    }

    /// Whether the process ended by itself with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.code() == Some(0)
    }

    /// The code it ended with by itself.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self.0 {
            Kind::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self.0 {
            Kind::Signal { number, .. } => Some(number),
            _ => None,
        }
    }

    /// Whether the signal left a core dump.
    #[must_use]
    pub fn core_dumped(self) -> bool {
        matches!(
            self.0,
            Kind::Signal {
                core_dumped: true,
                ..
            }
        )
    }

    /// Whether the kernel has killed it for want of memory. Known of a process in a control group of its own alone: who
    /// is killed since the whole machine or container is out of memory ends by SIGKILL as any other.
    #[must_use]
    pub fn out_of_memory(self) -> bool {
        matches!(
            self.0,
            Kind::Signal {
                out_of_memory: true,
                ..
            }
        )
    }

    /// Python's number: the code, or minus the signal; `None` where the status is not known.
    #[doc(alias = "multiprocessing.Process.exitcode")]
    #[must_use]
    pub fn exitcode(self) -> Option<i32> {
        match self.0 {
            Kind::Code(code) => Some(code),
            Kind::Signal { number, .. } => Some(-number),
            Kind::Unknown => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    /// "exit code 3", "signal 11 (SIGSEGV)", "signal 9 (SIGKILL), out of memory".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Code(code) => write!(f, "exit code {code}"),
            Kind::Signal {
                number,
                core_dumped,
                out_of_memory,
            } => {
                write!(f, "signal {number}")?;
                if let Some(name) = signal::name(number) {
                    write!(f, " ({name})")?;
                }
                if core_dumped {
                    f.write_str(", core dumped")?;
                }
                if out_of_memory {
                    f.write_str(", out of memory")?;
                }
                Ok(())
            }
            Kind::Unknown => f.write_str("an unknown status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_people_say_them() {
        let texts = [
            (3 << 8, "exit code 3"),
            (11, "signal 11 (SIGSEGV)"),
            (0x86, "signal 6 (SIGABRT), core dumped"),
            (40, "signal 40"),
        ];
        for (number, text) in texts {
            assert_eq!(ExitStatus::from_wait_status(number).to_string(), text);
        }
    }

    #[test]
    fn only_who_was_killed_can_have_been_out_of_memory() {
        let status = |number| ExitStatus::from_wait_status(number).of_out_of_memory();
        let killed = status(9);
        assert!(killed.out_of_memory());
        assert_eq!(killed.to_string(), "signal 9 (SIGKILL), out of memory");
        for other in [0, 3 << 8, 11] {
            assert_eq!(status(other), ExitStatus::from_wait_status(other));
            assert!(!status(other).out_of_memory());
        }
    }

    #[test]
    fn pythons_number_is_the_code_or_minus_the_signal() {
        assert_eq!(ExitStatus::from_wait_status(3 << 8).exitcode(), Some(3));
        assert_eq!(ExitStatus::from_wait_status(9).exitcode(), Some(-9));
        assert_eq!(ExitStatus::UNKNOWN.exitcode(), None);
        assert!(ExitStatus::from_wait_status(0).success());
    }
}
