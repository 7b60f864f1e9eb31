//! The kinds of hosts of a run, and the hosts that cases share: one for each kind and configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Result;
use nself_sync_tests::hosts::edge::Edge;
use nself_sync_tests::hosts::memory::LaunchMemory;
use nself_sync_tests::hosts::native::Native;
use nself_sync_tests::hosts::postgres::Cluster;
use nself_sync_tests::hosts::{Host, Launch};

use crate::case::{Config, Needs};

/// One kind of host.
pub struct Kind {
    pub name: &'static str,
    http: bool,
    native: bool,
    launch: Arc<dyn Launch>,
    shared: Mutex<BTreeMap<Config, Slot>>,
}

type Slot = Arc<OnceLock<Result<Arc<dyn Host>, String>>>;

impl Kind {
    /// Without HTTP, and no process of its own.
    fn memory() -> Self {
        let launch = Arc::new(LaunchMemory);
        Self { name: "memory", http: false, native: false, launch, shared: Mutex::default() }
    }

    /// The worker and its objects, in workerd.
    fn edge() -> Self {
        Self { name: "edge", http: true, native: false, launch: Arc::new(Edge), shared: Mutex::default() }
    }

    fn native(name: &'static str, launch: Arc<dyn Launch>) -> Self {
        Self { name, http: true, native: true, launch, shared: Mutex::default() }
    }

    /// Whether cases with these needs run on this kind.
    pub fn has(&self, needs: &Needs) -> bool {
        (self.http || !needs.http)
            && (self.native || !needs.native)
            && needs.only.is_none_or(|only| only == self.name)
    }
}

/// All hosts of the run.
pub struct Hosts {
    kinds: Vec<Kind>,
}

impl Hosts {
    /// Nothing is started before a case needs it.
    pub fn new() -> Self {
        let postgres = LazyPostgres { cluster: OnceLock::new() };
        Self {
            kinds: vec![
                Kind::memory(),
                Kind::native("sqlite", Arc::new(Native::sqlite())),
                Kind::native("postgres", Arc::new(postgres)),
                Kind::edge(),
            ],
        }
    }

    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// A host that gives what is needed: the shared one of that configuration, or a fresh one.
    pub fn get(&self, kind: usize, needs: &Needs) -> Result<(Arc<dyn Host>, Arc<dyn Launch>)> {
        let kind = &self.kinds[kind];
        let launch = Arc::clone(&kind.launch);
        if needs.own {
            return Ok((launch.start(needs.config)?, launch));
        }
        let slot = {
            let mut shared = kind.shared.lock().expect("no holder panics");
            Arc::clone(shared.entry(needs.config).or_default())
        };
        let started = slot.get_or_init(|| launch.start(needs.config).map_err(|error| format!("{error:#}")));
        match started {
            Ok(host) => Ok((Arc::clone(host), launch)),
            Err(error) => anyhow::bail!("the host did not start: {error}"),
        }
    }

    /// Ends all shared hosts in the orderly way; false where one did not end well.
    pub fn stop_all(&self) -> bool {
        let mut well = true;
        for kind in &self.kinds {
            let shared = std::mem::take(&mut *kind.shared.lock().expect("no holder panics"));
            for (config, slot) in shared {
                if let Some(Ok(host)) = slot.get()
                    && let Err(error) = host.stop()
                {
                    eprintln!("{} {config:?}: {error:#}", kind.name);
                    well = false;
                }
            }
        }
        well
    }
}

/// Makes the run's cluster when the first case needs it.
struct LazyPostgres {
    cluster: OnceLock<Result<Native, String>>,
}

impl Launch for LazyPostgres {
    fn name(&self) -> &str {
        "postgres"
    }

    fn start(&self, vars: &[(&str, &str)]) -> Result<Arc<dyn Host>> {
        let native = self.cluster.get_or_init(|| {
            Cluster::start()
                .map(|cluster| Native::postgres(Arc::new(cluster)))
                .map_err(|error| format!("{error:#}"))
        });
        match native {
            Ok(native) => native.start(vars),
            Err(error) => anyhow::bail!("PostgreSQL: {error}"),
        }
    }
}
