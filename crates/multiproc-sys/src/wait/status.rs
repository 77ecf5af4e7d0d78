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
    Signal { number: i32, core_dumped: bool },
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
        })
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
    /// "exit code 3", "signal 11 (SIGSEGV)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Code(code) => write!(f, "exit code {code}"),
            Kind::Signal {
                number,
                core_dumped,
            } => {
                write!(f, "signal {number}")?;
                if let Some(name) = signal::name(number) {
                    write!(f, " ({name})")?;
                }
                if core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
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
    fn pythons_number_is_the_code_or_minus_the_signal() {
        assert_eq!(ExitStatus::from_wait_status(3 << 8).exitcode(), Some(3));
        assert_eq!(ExitStatus::from_wait_status(9).exitcode(), Some(-9));
        assert_eq!(ExitStatus::UNKNOWN.exitcode(), None);
        assert!(ExitStatus::from_wait_status(0).success());
    }
}
