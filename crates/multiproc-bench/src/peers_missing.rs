//! In place of the contenders that are crates, where this program is built without them.

use crate::race::Run;

/// What has to run first in `main`: nothing.
pub fn init() {}

macro_rules! missing {
    ($($name:ident($($argument:ty),*);)*) => {$(
        pub fn $name($(_: $argument),*) -> Result<Run, String> {
            Err("built without the feature `peers`".to_owned())
        }
    )*};
}

missing! {
    procspawn_map();
    procspawn_apply();
    procspawn_process();
    rayon_map(usize);
    rayon_tasks(usize, u64);
    rayon_payload(usize);
    crossbeam(Option<usize>);
    ipc_one_way();
    ipc_round_trip();
    ipc_bytes();
    iceoryx_round_trip();
}
