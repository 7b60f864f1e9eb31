# The edge in workerd, without an account: `cargo xtask edge dev` and the tests run this.
# Where it listens and where it stores are named on the command line; the variables are those of the environment.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "storage", disk = (writable = true)),
    (name = "internet", network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "build/index.js"),
    (name = "./index_bg.wasm", wasm = embed "build/index_bg.wasm"),
  ],
  compatibilityDate = "2026-03-01",
  durableObjectNamespaces = [(className = "UserObject", uniqueKey = "nself-sync", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
  globalOutbound = "internet",
  bindings = [
    (name = "USERS", durableObjectNamespace = "UserObject"),
    (name = "HASURA_GRAPHQL_JWT_SECRET", fromEnvironment = "HASURA_GRAPHQL_JWT_SECRET"),
    (name = "PLUGIN_SYNC_ADMIN_TOKEN", fromEnvironment = "PLUGIN_SYNC_ADMIN_TOKEN"),
    (name = "PLUGIN_SYNC_CORS_ORIGINS", fromEnvironment = "PLUGIN_SYNC_CORS_ORIGINS"),
    (name = "PLUGIN_SYNC_PUSH_INTERVAL_MS", fromEnvironment = "PLUGIN_SYNC_PUSH_INTERVAL_MS"),
    (name = "PLUGIN_SYNC_CONFLICT_STRATEGY", fromEnvironment = "PLUGIN_SYNC_CONFLICT_STRATEGY"),
    (name = "PLUGIN_SYNC_CONFLICT_BLOCK", fromEnvironment = "PLUGIN_SYNC_CONFLICT_BLOCK"),
    (name = "PLUGIN_SYNC_MAX_FILE_SIZE_KB", fromEnvironment = "PLUGIN_SYNC_MAX_FILE_SIZE_KB"),
    (name = "PLUGIN_SYNC_MAX_BODY_KB", fromEnvironment = "PLUGIN_SYNC_MAX_BODY_KB"),
    (name = "PLUGIN_SYNC_SNAPSHOT_THRESHOLD", fromEnvironment = "PLUGIN_SYNC_SNAPSHOT_THRESHOLD"),
    (name = "PLUGIN_SYNC_RETENTION_DAYS", fromEnvironment = "PLUGIN_SYNC_RETENTION_DAYS"),
    (name = "PLUGIN_SYNC_TOKEN_IDLE_DAYS", fromEnvironment = "PLUGIN_SYNC_TOKEN_IDLE_DAYS"),
    (name = "PLUGIN_SYNC_RATE_PER_MIN", fromEnvironment = "PLUGIN_SYNC_RATE_PER_MIN"),
    (name = "PLUGIN_SYNC_QUOTA_MB", fromEnvironment = "PLUGIN_SYNC_QUOTA_MB"),
    (name = "PLUGIN_WEBHOOKS_INTERNAL_URL", fromEnvironment = "PLUGIN_WEBHOOKS_INTERNAL_URL"),
    (name = "PLUGIN_INTERNAL_SECRET", fromEnvironment = "PLUGIN_INTERNAL_SECRET"),
  ],
);
