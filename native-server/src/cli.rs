//! The command line: subcommands, and every variable of the configuration as a flag of the same name.

use crate::config::{Config, VARIABLES};
use crate::jwt::{self, Grant};
use crate::operate::{self, Erase, Export, Import, Mark};
use crate::serve::{self, Options};
use crate::store::Store;
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use nself_sync_engine::ids::User;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Reads the command line and does what it says, to the end.
pub fn run() -> Result<()> {
    let matches = command().get_matches();
    let (name, own) = matches.subcommand().unwrap_or(("serve", &matches));
    let config = Config::read(|name| own.get_one::<String>(name).cloned())?;
    match name {
        "migrate" => block_on(migrate(&config)),
        "prune" => block_on(prune(&config)),
        "token" => token(&config, own),
        "healthcheck" => healthcheck(&config),
        "export" => block_on(export(own, named(own).context("--user")?).run(&config)),
        "import" => block_on(import(own).run(&config)),
        "status" => block_on(operate::status(&config)),
        "erase" => block_on(erase(own, named(own).context("--user")?).run(&config)),
        "dead-letters" => block_on(operate::dead_letters(&config, named(own), own.get_flag("requeue"))),
        "rotate-epoch" => block_on(operate::rotate_epoch(&config, named(own))),
        "verify" => block_on(operate::verify(&config, named(own))),
        _ => block_on(serve::serve(config, options(&matches, own))),
    }
}

fn command() -> Command {
    let serve_flags = [
        Arg::new("dev").long("dev").action(ArgAction::SetTrue).help(
            "For a try without a secret: loopback only, a secret of its own, and a token for user dev on stdout",
        ),
        Arg::new("address_file").long("address-file").value_name("PATH").value_parser(value_parser!(PathBuf)).help(
            "Writes the address to this file once the server listens",
        ),
        Arg::new("demo").long("demo").value_name("FOLDER").value_parser(value_parser!(PathBuf)).help(
            "Serves the built web demo of this folder at /demo",
        ),
    ];
    let variables = VARIABLES.iter().map(|variable| {
        Arg::new(variable.name)
            .long(variable.name.to_ascii_lowercase().replace('_', "-"))
            .env(variable.name)
            .hide_env_values(true)
            .value_name(variable.value)
            .help(variable.help)
            .help_heading("Configuration")
            .global(true)
    });
    Command::new("nself-sync")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps a user's ClawDE state the same on every device")
        .args(variables)
        .args(&serve_flags)
        .subcommand(
            Command::new("serve").about("Migrates the store, then serves (the default)").args(&serve_flags),
        )
        .subcommand(Command::new("migrate").about("Brings the store's schema up to date"))
        .subcommand(Command::new("prune").about("Removes what is older than the retention"))
        .subcommand(token_command())
        .subcommand(export_command())
        .subcommand(import_command())
        .subcommand(Command::new("status").about("Says how much is stored, and since when; writes nothing"))
        .subcommand(erase_command())
        .subcommand(rotate_command())
        .subcommand(
            Command::new("dead-letters")
                .about("Lists events that could not be delivered, or sends them again")
                .args(user_args("Only this user's", false))
                .arg(flag("requeue", "Puts them back among the events that wait, before these")),
        )
        .subcommand(
            Command::new("verify")
                .about("Looks at whether all that is stored is sound; writes nothing, exits 1 where something is not")
                .args(user_args("Only this user, whose state hash it prints", false)),
        )
        .subcommand(Command::new("healthcheck").about("Asks a running server for /health; exits 0 or 1"))
}

fn export_command() -> Command {
    Command::new("export")
        .about("Writes one user's state, history, conflicts and devices as lines of JSON, for another host")
        .args(user_args("Which user", true))
        .args([
            flag(
                "move",
                "Also moves the user away: from before the copy on, every call here is answered 410",
            )
            .conflicts_with("undo_move"),
            flag("undo_move", "Writes nothing: a user who was moved away is served here again"),
            path_arg("output", "Whereto; - or nothing: standard output"),
            url_arg(),
        ])
}

fn import_command() -> Command {
    Command::new("import")
        .about("Reads what export wrote; the user is served here once all of it is in")
        .args([path_arg("input", "Wherefrom; - or nothing: standard input"), url_arg()])
}

fn erase_command() -> Command {
    Command::new("erase")
        .about("Drops everything of one user: state, history, conflicts and devices. Asks twice")
        .args(user_args("Which user", true))
        .args([
            Arg::new("yes")
                .long("yes")
                .value_name("ID")
                .help("The user's id once more, in place of the questions"),
            url_arg(),
        ])
}

fn rotate_command() -> Command {
    Command::new("rotate-epoch")
        .about("After a restore: the history gets a new name, so that every device offers what it has")
        .args(user_args("Only this user", false))
        .arg(flag("all", "Every user who is served here").conflicts_with("user"))
        .group(ArgGroup::new("whose").args(["user", "all"]).required(true))
}

/// Which user is meant.
fn user_args(help: &'static str, is_required: bool) -> [Arg; 2] {
    [
        Arg::new("user").long("user").value_name("ID").required(is_required).help(help),
        Arg::new("account")
            .long("account")
            .value_name("ID")
            .default_value("primary")
            .help("Of which application"),
    ]
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name.replace('_', "-")).action(ArgAction::SetTrue).help(help)
}

fn path_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
}

fn url_arg() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .help("Of an edge host, by its PLUGIN_SYNC_ADMIN_TOKEN, in place of the configured store")
}

/// The user, where one is named.
fn named(matches: &ArgMatches) -> Option<User> {
    let id = matches.get_one::<String>("user").cloned()?;
    Some(User { account: matches.get_one::<String>("account").cloned().unwrap_or_default(), id })
}

fn export(matches: &ArgMatches, user: User) -> Export {
    let mark = match (matches.get_flag("move"), matches.get_flag("undo_move")) {
        (_, true) => Mark::MovesBack,
        (true, false) => Mark::Moves,
        (false, false) => Mark::Stays,
    };
    let url = matches.get_one("url").cloned();
    Export { user, mark, output: file(matches, "output"), url }
}

fn erase(matches: &ArgMatches, user: User) -> Erase {
    Erase { user, yes: matches.get_one("yes").cloned(), url: matches.get_one("url").cloned() }
}

fn import(matches: &ArgMatches) -> Import {
    Import { input: file(matches, "input"), url: matches.get_one("url").cloned() }
}

/// A file; `-` is none.
fn file(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).filter(|path| path.as_os_str() != "-").cloned()
}

fn token_command() -> Command {
    Command::new("token").about("Mints a JWT from the configured secret, for a try").args([
        Arg::new("user").long("user").value_name("ID").default_value("dev").help("Whose token"),
        Arg::new("account").long("account").value_name("ID").help("Of which application [default: primary]"),
        Arg::new("ttl")
            .long("ttl")
            .value_name("SECONDS")
            .default_value("3600")
            .value_parser(value_parser!(u64).range(1..=315_360_000))
            .help("How long it lives"),
    ])
}

/// The flags of `serve`, which may also stand where no subcommand does.
fn options(outer: &ArgMatches, own: &ArgMatches) -> Options {
    let path = |name: &str| own.get_one(name).or_else(|| outer.get_one(name)).cloned();
    Options {
        dev: own.get_flag("dev") || outer.get_flag("dev"),
        address_file: path("address_file"),
        demo: path("demo"),
    }
}

fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime")?;
    let result = runtime.block_on(command);
    // A thread that still waits for something, a key set say, keeps nobody from leaving.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout")
}

async fn migrate(config: &Config) -> Result<()> {
    crate::log::start(config.log_level, None);
    let store = Store::open(config).await?;
    store.migrate().await?;
    let migrations = store.health().await?;
    store.close().await;
    print(&format!("{} of {} migrations applied", migrations.applied, migrations.expected))
}

async fn prune(config: &Config) -> Result<()> {
    crate::log::start(config.log_level, None);
    let store = Store::open(config).await?;
    store.migrate().await?;
    let pruned = store.prune().await?;
    store.close().await;
    match pruned.is_empty() {
        true => print("nothing to prune"),
        false => print(&format!("pruned {pruned}")),
    }
}

fn token(config: &Config, matches: &ArgMatches) -> Result<()> {
    let Some(secret) = &config.secret else {
        bail!(
            "HASURA_GRAPHQL_JWT_SECRET is not set: a token can only be minted from the server's own secret"
        );
    };
    let grant = Grant {
        user: matches.get_one::<String>("user").cloned().unwrap_or_default(),
        account: matches.get_one::<String>("account").cloned(),
        ttl_s: matches.get_one::<u64>("ttl").copied().unwrap_or_default(),
    };
    print(&jwt::mint(secret, &grant)?)
}

/// What a container's health check runs: the image needs no other program for it.
fn healthcheck(config: &Config) -> Result<()> {
    let ip = match config.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let url = format!("http://{}/health", SocketAddr::new(ip, config.port));
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build(),
    );
    let status = agent.get(&url).call().with_context(|| url.clone())?.status();
    if status != 200 {
        bail!("{url} answered {status}");
    }
    print("ok")
}
