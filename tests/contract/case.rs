//! One contract case, and what it needs of a host.

use nself_sync_tests::world::World;

/// A case: a sentence about what a user or an operator would notice, and the code that looks whether it is so.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&World),
    pub needs: Needs,
}

/// What a case needs. A host that cannot give it does not have the case.
#[derive(Clone, Copy)]
pub struct Needs {
    /// Real HTTP: headers, compression, limits of the transport.
    pub http: bool,
    /// A host to itself: it moves time, prunes, kills, or asks for a lot.
    pub own: bool,
    /// A process that can be killed and whose log can be read.
    pub native: bool,
    /// Only on the host of this name.
    pub only: Option<&'static str>,
    /// Environment variables of the host.
    pub config: Config,
}

pub type Config = &'static [(&'static str, &'static str)];

pub const LWW: Config = &[("PLUGIN_SYNC_CONFLICT_STRATEGY", "lww")];
pub const FILE_BLOCK: Config = &[("PLUGIN_SYNC_CONFLICT_BLOCK", "file")];
pub const THRESHOLD_5: Config = &[("PLUGIN_SYNC_SNAPSHOT_THRESHOLD", "5")];
/// Small limits, so that a case does not need megabytes to meet them.
pub const SMALL: Config = &[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "1"), ("PLUGIN_SYNC_MAX_BODY_KB", "64")];

/// Documents of more than the 2 MB that a row of a Durable Object takes.
pub const LARGE_FILES: Config =
    &[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "3000"), ("PLUGIN_SYNC_MAX_BODY_KB", "4096")];

impl Case {
    pub const fn new(name: &'static str, run: fn(&World)) -> Self {
        Self { name, run, needs: Needs { http: false, own: false, native: false, only: None, config: &[] } }
    }

    pub const fn http(mut self) -> Self {
        self.needs.http = true;
        self
    }

    pub const fn own(mut self) -> Self {
        self.needs.own = true;
        self
    }

    pub const fn native(mut self) -> Self {
        self.needs.native = true;
        self.needs.own = true;
        self
    }

    pub const fn only(mut self, host: &'static str) -> Self {
        self.needs.only = Some(host);
        self
    }

    pub const fn config(mut self, config: Config) -> Self {
        self.needs.config = config;
        self
    }
}

/// `cases![name, other.http(), third.own().config(LWW)]`: the list of a group. A function that is not in it is dead code,
/// which the lints refuse.
#[macro_export]
macro_rules! cases {
    ($($name:ident $(. $need:ident ( $($value:expr),* ))*),* $(,)?) => {
        pub const CASES: &[$crate::case::Case] =
            &[$($crate::case::Case::new(stringify!($name), $name)$(.$need($($value),*))*),*];
    };
}
