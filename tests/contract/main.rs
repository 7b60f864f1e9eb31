//! The contract: every rule of PROTOCOL as a case, run against every host through the front door.
//!
//! `cargo test -p nself-sync-tests --test contract -- sqlite::push` runs one group on one host. The native server is
//! run as built beside this test (`cargo build -p nself-sync`), or as named by `NSELF_SYNC_BIN`.

mod auth;
mod bases;
mod case;
mod conflicts;
mod devices;
mod documents;
mod durability;
mod edge;
mod entries;
mod env;
mod errors;
mod front;
mod history;
mod hosts;
mod input;
mod jwks;
mod large;
mod limits;
mod live;
mod metrics;
mod moved;
mod operate;
mod patches;
mod paths;
mod policy;
mod pull;
mod push;
mod quota;
mod replay;
mod resolve;
mod retention;
mod roles;
mod scalars;
mod servers;
mod tokens;
mod traces;
mod transfer;
mod transport;
mod verify;
mod webhooks;
mod work;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use nself_sync_tests::world::World;

use case::Case;
use hosts::Hosts;

const GROUPS: &[(&str, &[Case])] = &[
    ("auth", auth::CASES),
    ("jwks", jwks::CASES),
    ("tokens", tokens::CASES),
    ("push", push::CASES),
    ("input", input::CASES),
    ("replay", replay::CASES),
    ("scalars", scalars::CASES),
    ("env", env::CASES),
    ("entries", entries::CASES),
    ("documents", documents::CASES),
    ("bases", bases::CASES),
    ("paths", paths::CASES),
    ("pull", pull::CASES),
    ("patches", patches::CASES),
    ("devices", devices::CASES),
    ("conflicts", conflicts::CASES),
    ("resolve", resolve::CASES),
    ("moved", moved::CASES),
    ("history", history::CASES),
    ("policy", policy::CASES),
    ("errors", errors::CASES),
    ("transport", transport::CASES),
    ("retention", retention::CASES),
    ("quota", quota::CASES),
    ("limits", limits::CASES),
    ("durability", durability::CASES),
    ("servers", servers::CASES),
    ("roles", roles::CASES),
    ("large", large::CASES),
    ("front", front::CASES),
    ("live", live::CASES),
    ("webhooks", webhooks::CASES),
    ("transfer", transfer::CASES),
    ("metrics", metrics::CASES),
    ("traces", traces::CASES),
    ("verify", verify::CASES),
    ("operate", operate::CASES),
    ("edge", edge::CASES),
    ("work", work::CASES),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // The cases wait for the hosts' disks more than they compute.
    args.test_threads.get_or_insert(4);
    let hosts = Arc::new(Hosts::new());
    let conclusion = libtest_mimic::run(&args, trials(&hosts));
    let stopped_well = hosts.stop_all();
    if conclusion.has_failed() || !stopped_well { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn trials(hosts: &Arc<Hosts>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (index, kind) in hosts.kinds().iter().enumerate() {
        for (group, cases) in GROUPS {
            for case in cases.iter().filter(|case| kind.has(&case.needs)) {
                let hosts = Arc::clone(hosts);
                let name = format!("{}::{group}::{}", kind.name, case.name);
                trials.push(Trial::test(name, move || Ok(run(&hosts, index, case)?)));
            }
        }
    }
    trials
}

fn run(hosts: &Hosts, kind: usize, case: &Case) -> anyhow::Result<()> {
    let (host, launch) = hosts.get(kind, &case.needs)?;
    (case.run)(&World::new(Arc::clone(&host), launch));
    if case.needs.own { host.stop() } else { Ok(()) }
}
