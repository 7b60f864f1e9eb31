//! Pushes a second through HTTP: 16 connections, 200 users. On PostgreSQL against pgbench, which runs the least
//! that a push must do (lock a head, insert a delta of 200 bytes, move the head) on the same cluster in the same run.

use super::Figure;
use super::connection::resident_bytes;
use super::fleet::{CONNECTIONS, Fleet};
use crate::hosts::postgres::Cluster;
use crate::server::{Server, Start};
use anyhow::Result;
use std::time::{Duration, Instant};

const USERS: usize = 200;
const WARM_UP: Duration = Duration::from_secs(2);
const RUN: Duration = Duration::from_secs(8);
const RESIDENT_MIB_MAX: f64 = 64.0;

/// SQLite, PostgreSQL, pgbench.
pub fn run() -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let url = cluster.create_database()?;
    let (sqlite, resident) = pushes(&Start::default())?;
    let (postgres, resident_postgres) =
        pushes(&Start { database_url: Some(url.clone()), ..Start::default() })?;
    let pgbench = cluster.pgbench(crate::hosts::postgres::database_name(&url), CONNECTIONS, RUN)?;
    Ok(vec![
        Figure::new("pushes on SQLite", sqlite, "pushes/s"),
        Figure::new("pushes on PostgreSQL", postgres, "pushes/s"),
        Figure::new("pgbench, the least a push must do", pgbench, "tx/s"),
        Figure::new("PostgreSQL to pgbench", postgres / pgbench, "ratio").at_least(1.0),
        Figure::new("SQLite to PostgreSQL", sqlite / postgres, "ratio").at_least(3.0),
        Figure::new("resident after 200 users, SQLite", resident, "MiB").at_most(RESIDENT_MIB_MAX),
        Figure::new("resident after 200 users, PostgreSQL", resident_postgres, "MiB")
            .at_most(RESIDENT_MIB_MAX),
    ])
}

/// Pushes a second, and the server's resident memory afterwards, in MiB.
fn pushes(start: &Start) -> Result<(f64, f64)> {
    let server = Server::start(start)?;
    let mut fleet = Fleet::open(&server, USERS)?;
    fleet.flat_out(WARM_UP)?;
    let began = Instant::now();
    let pushed = fleet.flat_out(RUN)?.len();
    let rate = pushed as f64 / began.elapsed().as_secs_f64();
    let resident = resident_bytes(server.pid())? as f64 / f64::from(1 << 20);
    server.stop()?;
    Ok((rate, resident))
}
