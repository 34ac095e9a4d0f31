//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the listeners of one process can use. Not more, since spawned servers inherit the limit and some
/// programs walk through all of it.
const WANTED: u64 = 65_536;
/// What macOS allows when the hard limit says that there is none (`OPEN_MAX`).
const ALLOWED_EVERYWHERE: u64 = 10_240;

/// Raises the soft limit of open files (usually 1,024) towards the hard one, and tells what it is now. To be
/// called once, at the start.
pub fn raise_descriptors() -> u64 {
    for wanted in [WANTED, ALLOWED_EVERYWHERE] {
        let limit = getrlimit(Resource::Nofile);
        let target = limit.maximum.map_or(wanted, |hard| hard.min(wanted));
        if limit.current.is_none_or(|soft| soft >= target) {
            break;
        }
        let raised = Rlimit {
            current: Some(target),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, target, "the limit of open files stays as it is"),
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_goes_towards_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(WANTED);
        let raised = raise_descriptors();
        assert!(raised >= hard.min(ALLOWED_EVERYWHERE), "{raised} of {hard}");
        assert_eq!(raise_descriptors(), raised);
    }
}
