//! The plugin's SQL scripts: who may do what in PostgreSQL, and tables in partitions.

use nself_sync_tests::hosts::Request;
use nself_sync_tests::hosts::native::NativeHost;
use nself_sync_tests::hosts::postgres::database_name;
use nself_sync_tests::world::World;
use serde_json::json;

use crate::durability::native;

crate::cases![
    app_role_of_the_script_serves.native().only("postgres"),
    app_role_of_the_script_can_do_nothing_else.native().only("postgres"),
    script_on_an_empty_database_then_migrations_by_the_owner.native().only("postgres"),
    app_role_without_the_script_after_an_upgrade_is_told_so.native().only("postgres"),
    session_of_one_user_sees_that_users_rows_only.native().only("postgres"),
    partitioned_tables_serve_as_whole_ones_do.native().only("postgres"),
];

const SCRIPT: &str = include_str!("../../native-server/plugin/sql/roles.sql");
const PARTITION: &str = include_str!("../../native-server/plugin/sql/partition.sql");

/// Roles belong to the cluster, which the cases of a run share: each takes names of its own, by its data base's.
struct Roles<'a> {
    host: &'a NativeHost,
    database: &'a str,
}

impl<'a> Roles<'a> {
    fn of(world: &'a World) -> Self {
        let host = native(world);
        Self { host, database: database_name(host.database_url().expect("PostgreSQL")) }
    }

    fn name(&self, role: &str) -> String {
        format!("{}_{role}", self.database)
    }

    fn run_script(&self) {
        let (owner, app) = (self.name("owner"), self.name("app"));
        let script = format!("\\set owner {owner}\n\\set app {app}\n{SCRIPT}");
        let cluster = self.host.cluster().expect("PostgreSQL");
        cluster.psql_script(self.database, &script).expect("the script runs");
        for role in [owner, app] {
            let sql = format!("ALTER ROLE {role} PASSWORD 'role-secret'");
            self.host.psql(&sql).expect("a password");
        }
    }

    fn url(&self, role: &str) -> String {
        let (_, address) =
            self.host.database_url().expect("PostgreSQL").split_once('@').expect("a URL with a user");
        format!("postgres://{}:role-secret@{address}", self.name(role))
    }

    fn serve_as(&self, role: &str) {
        self.host.restart_with(&[("DATABASE_URL", &self.url(role))]).expect("it starts with this role");
    }

    fn ask_as(&self, role: &str, sql: &str) -> anyhow::Result<String> {
        self.host.cluster().expect("PostgreSQL").psql_as(&self.url(role), sql)
    }
}

/// A push, a merge, a conflict and its resolution, a removed device, pruning.
fn assert_serves(world: &World) {
    let world = world.another_user();
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}, "cursor": 1}));
    assert_eq!(b.push(json!({"files": {"f": {"content": "mine\n"}}})).status("files/f"), "conflict");
    let conflict = world.only_conflict();
    assert_eq!(world.resolve(&conflict, json!({"resolution": "mine"})).status, 200);
    assert_eq!(world.file("f").as_deref(), Some("mine\n"));
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    world.host.prune();
    assert_eq!(world.send(Request::new("GET", "/health")).status, 200);
}

fn app_role_of_the_script_serves(world: &World) {
    let roles = Roles::of(world);
    world.device("desktop-a").push(json!({"n": 1}));
    roles.run_script();
    roles.serve_as("app");
    assert_eq!(world.scalar("n"), json!(1), "what a superuser's server has stored is there");
    assert_serves(world);
    let log = roles.host.log();
    assert!(!log.contains("\"level\":\"error\"") && !log.contains("permission denied"), "{log}");
}

fn app_role_of_the_script_can_do_nothing_else(world: &World) {
    let roles = Roles::of(world);
    roles.host.psql("CREATE TABLE public.others (n INT); INSERT INTO others VALUES (1)").expect("a table");
    roles.run_script();
    let count = roles.ask_as("app", "SELECT count(*) FROM np_sync.np_sync_heads");
    assert!(count.is_ok(), "it reads the plugin's rows: {count:?}");
    for sql in [
        "SELECT * FROM public.others",
        "CREATE TABLE np_sync.another (n INT)",
        "ALTER TABLE np_sync.np_sync_heads ADD COLUMN n INT",
        "ALTER TABLE np_sync.np_sync_heads DISABLE ROW LEVEL SECURITY",
        "DROP TABLE np_sync.np_sync_deltas",
        "TRUNCATE np_sync.np_sync_deltas",
        "DELETE FROM np_sync.schema_migrations",
        "CREATE SCHEMA another",
        "CREATE ROLE another",
        "COPY np_sync.np_sync_heads TO PROGRAM 'cat'",
    ] {
        let refused = roles.ask_as("app", sql).expect_err(sql).to_string();
        assert!(refused.contains("permission denied") || refused.contains("must be "), "{sql}: {refused}");
    }
}

fn script_on_an_empty_database_then_migrations_by_the_owner(world: &World) {
    let roles = Roles::of(world);
    roles.host.shut_down().expect("an orderly stop");
    roles.host.psql("DROP SCHEMA np_sync CASCADE").expect("the schema goes");
    roles.run_script();
    let migrate = |role| {
        roles.host.run_with(&["migrate"], &[("DATABASE_URL", &roles.url(role))]).expect("nself-sync runs")
    };
    let (status, text) = migrate("app");
    assert!(!status.success() && text.contains("permission denied"), "only the owner migrates: {text}");
    let (status, text) = migrate("owner");
    assert!(status.success(), "{text}");
    roles.run_script();
    roles.host.resume().expect("it starts");
    roles.serve_as("app");
    assert_serves(world);
}

fn app_role_without_the_script_after_an_upgrade_is_told_so(world: &World) {
    let roles = Roles::of(world);
    roles.run_script();
    roles
        .host
        .psql(&format!(
            "CREATE TABLE np_sync.np_sync_later (n INT);
             ALTER TABLE np_sync.np_sync_later ENABLE ROW LEVEL SECURITY;
             GRANT ALL ON np_sync.np_sync_later TO {}",
            roles.name("app")
        ))
        .expect("a table of a later version");
    let (status, text) =
        roles.host.run_with(&["migrate"], &[("DATABASE_URL", &roles.url("app"))]).expect("it runs");
    assert!(!status.success() && text.trim().lines().count() == 1, "{text}");
    assert!(text.contains("np_sync_later") && text.contains("sql/roles.sql"), "{text}");
    assert!(!text.contains("role-secret"), "{text}");
}

fn session_of_one_user_sees_that_users_rows_only(world: &World) {
    let roles = Roles::of(world);
    let other = world.another_user();
    for world in [world, &other] {
        world.device("desktop-a").push(json!({"n": 1}));
    }
    roles.run_script();
    let graphql = roles.name("graphql");
    roles
        .host
        .psql(&format!(
            "CREATE ROLE {graphql} LOGIN PASSWORD 'role-secret';
             GRANT USAGE ON SCHEMA np_sync TO {graphql};
             GRANT SELECT ON np_sync.np_sync_state TO {graphql}"
        ))
        .expect("a role like a GraphQL server's");
    let count = "SELECT count(*) FROM np_sync.np_sync_state";
    assert_eq!(roles.host.psql(count).expect("the owner counts"), "2");
    assert_eq!(roles.ask_as("graphql", count).expect("it may ask"), "0", "nobody's rows by itself");
    let of = |account: &str| {
        let sql = format!(
            "SET app.source_account_id = '{account}'; SET app.current_user_id = '{}'; {count}",
            world.user
        );
        roles.ask_as("graphql", &sql).expect("it may ask")
    };
    assert_eq!((of("primary").as_str(), of("another").as_str()), ("1", "0"));
}

fn partitioned_tables_serve_as_whole_ones_do(world: &World) {
    let roles = Roles::of(world);
    let users: Vec<World> = (0..20).map(|_| world.another_user()).collect();
    for (n, world) in users.iter().enumerate() {
        world.device("desktop-a").push(json!({"n": n, "files": {"f": {"content": format!("{n}\n")}}}));
    }
    let indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'np_sync' AND tablename !~ '_[0-9]+$' ORDER BY 1";
    let before = roles.host.psql(indexes).expect("the indexes");
    roles.host.shut_down().expect("an orderly stop");
    let cluster = roles.host.cluster().expect("PostgreSQL");
    cluster
        .psql_script(roles.database, &format!("\\set partitions 4\n{PARTITION}"))
        .expect("the script runs");
    assert_eq!(roles.host.psql(indexes).expect("the indexes"), before);
    let spread = "SELECT count(DISTINCT tableoid) FROM np_sync.np_sync_state";
    assert_eq!(roles.host.psql(spread).expect("where rows are"), "4", "the users are spread");
    roles.run_script();
    roles.host.resume().expect("it starts");
    roles.serve_as("app");
    for (n, world) in users.iter().enumerate() {
        assert_eq!((world.scalar("n"), world.file("f")), (json!(n), Some(format!("{n}\n"))));
    }
    assert_serves(world);
    let log = roles.host.log();
    assert!(!log.contains("\"level\":\"error\""), "{log}");
}
