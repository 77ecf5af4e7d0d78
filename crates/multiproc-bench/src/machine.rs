//! Where the figures are from.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::jobs::cores;
use crate::python::Python;

#[derive(Debug, Serialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    python: String,
    /// Processes that wanted to run in the last minute, before anything was measured.
    load: String,
}

impl Machine {
    pub fn look(python: &Python) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find_map(|line| {
            let (_, model) = line.strip_prefix("model name")?.split_once(':')?;
            Some(model.trim().to_owned())
        });
        let unknown = || "unknown".to_owned();
        Machine {
            processor: model.unwrap_or_else(unknown),
            cores: cores(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            python: python.version().unwrap_or_else(|why| why),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .map_or_else(unknown, str::to_owned),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            processor,
            cores,
            kernel,
            python,
            load,
        } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}, {python}")?;
        if load.parse::<f64>().is_ok_and(|load| load >= 1.0) {
            write!(f, "; other programs run (load {load}): trust ratios only")?;
        }
        Ok(())
    }
}
